// The back end of a PV network device against a front end that keeps to the protocol, and against ones that do not.
import fc from 'fast-check';
import { beforeEach, describe, expect, it } from 'vitest';
import { NETTXF } from '../../../../src/abi/xen/io/netif.ts';
import type { Frame, NetworkDevice, NetworkPort } from '../../../../src/backends/net/link.ts';
import { wholeFrame } from '../../../../src/backends/net/link.ts';
import { Netback } from '../../../../src/backends/net/netback/netback.ts';
import { NetbackQueue } from '../../../../src/backends/net/netback/queue.ts';
import { writeEthernet } from '../../../../src/backends/net/packet/ethernet.ts';
import { parseIpv4, writeIpv4 } from '../../../../src/backends/net/packet/ipv4.ts';
import { finishTcp, parseTcp, TCP, tcpBytes } from '../../../../src/backends/net/tcp/segment.ts';
import { BackendDevice } from '../../../../src/backends/xenbus/backend-device.ts';
import type { XenStore } from '../../../../src/backends/xenstore/store.ts';
import { setPageU32 } from '../../../../src/protocols/shared-page.ts';
import { makeStore } from '../../xenstore/guest.ts';
import { pattern } from '../tcp/pair.ts';
import { EVENT, FakeDomain, Front, TX_RING } from './front.ts';

const BACK = '/local/domain/0/backend/vif/1/0';
const FRONT = '/local/domain/1/device/vif/0';
const ERROR = '/local/domain/0/error/backend/vif/1/0/error';
const BROADCAST = 0xffffffffffff;

let store: XenStore;
let domain: FakeDomain;
let front: Front;
let sent: Frame[];
let device: NetworkDevice | null;
let back: BackendDevice;
let resumed: number;
let onSend: (frame: Frame) => void;

function start(maxQueues = 1): void {
  store = makeStore();
  domain = new FakeDomain();
  front = new Front(domain);
  sent = [];
  device = null;
  resumed = 0;
  onSend = () => {};
  const port: NetworkPort = {
    mtu: 1500,
    send: frame => {
      sent.push({ ...frame, bytes: frame.bytes.slice() });
      onSend(frame);
    },
    attach: own => {
      device = own;
    },
    resume: () => void resumed++,
  };
  const driver = new Netback({ domain, port, maxQueues, broken: reason => back.fail(reason) });
  store.host.write(`${BACK}/state`, '1');
  store.host.write(`${FRONT}/state`, '1');
  back = new BackendDevice({ store: store.host, backendPath: BACK, frontendPath: FRONT, driver });
}

function connect(nodes: Record<string, string | null> = {}): void {
  for (const [name, value] of Object.entries({ ...front.nodes, ...nodes })) {
    if (value !== null) store.host.write(`${FRONT}/${name}`, value);
  }
  store.host.write(`${FRONT}/state`, '4');
}

const state = () => store.host.read(`${BACK}/state`);

beforeEach(() => start());

function ethernet(length: number, destination = 1): Uint8Array {
  const bytes = pattern(length);
  writeEthernet(bytes, { destination, source: 2, type: 0x88b5 });
  return bytes;
}

function tcpFrame(length: number, finished: boolean): Uint8Array {
  const segment = {
    sourcePort: 1,
    destinationPort: 2,
    seq: 1,
    ack: 2,
    flags: TCP.ack,
    window: 3,
    options: {},
    payload: pattern(length),
  };
  const tcp = tcpBytes(0x0a00020f, 0x0a000202, segment);
  if (finished) finishTcp(tcp);
  const bytes = new Uint8Array(34 + tcp.length);
  writeEthernet(bytes, { destination: 1, source: 2, type: 0x0800 });
  writeIpv4(bytes, 14, { source: 0x0a00020f, destination: 0x0a000202, protocol: 6, id: 1 }, tcp.length);
  bytes.set(tcp, 34);
  return bytes;
}

describe('connecting', () => {
  it("offers what Linux's back end offers, and connects with what its front end asks for", () => {
    expect(store.host.read(`${BACK}/feature-rx-copy`)).toBe('1');
    expect(state()).toBe('2');
    connect();
    expect([state(), domain.mapped, [...domain.handlers.keys()]]).toEqual(['4', 2, [EVENT.tx, EVENT.rx]]);
    expect(device!.accepts).toEqual({ checksum: true, tcpv4: true, tcpv6: true });
    store.host.write(`${FRONT}/state`, '5');
    store.host.write(`${FRONT}/state`, '6');
    expect([state(), domain.mapped, domain.handlers.size, device]).toEqual(['6', 0, 0, null]);
  });

  it('has one event channel where the front end does not split them', () => {
    connect({ 'event-channel-tx': null, 'event-channel-rx': null, 'event-channel': '3' });
    expect([state(), [...domain.handlers.keys()]]).toEqual(['4', [3]]);
    front.queue([{ bytes: ethernet(60) }]);
    front.kick();
    expect(sent).toHaveLength(1);
  });

  it.each([
    ['no copying', { 'request-rx-copy': '0' }],
    ['no ring', { 'tx-ring-ref': null }],
    ['a ring that is not granted', { 'rx-ring-ref': '77' }],
    ['a port that is not open', { 'event-channel-rx': '11' }],
    ['too many queues', { 'multi-queue-num-queues': '2' }],
    ['no queues', { 'multi-queue-num-queues': '0' }],
  ])('%s: says so, gives everything back, and closes', (_, nodes) => {
    connect(nodes);
    expect([state(), domain.mapped, domain.handlers.size, device]).toEqual(['5', 0, 0, null]);
    expect(store.host.read(ERROR)).toMatch(/^-22 \w/);
  });

  it('a ring whose indices were wrong from the start is refused', () => {
    setPageU32(front.txPage, 0, 1000);
    connect();
    expect(store.host.read(ERROR)).toContain('indices out of range');
    expect([domain.mapped, domain.handlers.size]).toEqual([0, 0]);
  });

  it('uses the queues of a front end that has several', () => {
    start(4);
    domain.grant(18);
    domain.grant(19);
    const queues: Record<string, string | null> = { 'multi-queue-num-queues': '2' };
    for (const [i, refs] of [
      [8, 9, 3, 4],
      [18, 19, 5, 6],
    ].entries()) {
      for (const [k, name] of ['tx-ring-ref', 'rx-ring-ref', 'event-channel-tx', 'event-channel-rx'].entries()) {
        queues[`queue-${i}/${name}`] = String(refs[k]);
        queues[name] = null;
      }
    }
    connect(queues);
    expect([state(), domain.mapped, domain.handlers.size]).toEqual(['4', 4, 4]);
    back.stop();
    expect([domain.mapped, domain.handlers.size]).toEqual([0, 0]);
  });
});

describe('what the guest sends', () => {
  it('arrives as it was, in one piece or many, and is answered', () => {
    connect();
    const whole = ethernet(1514);
    const ids = [
      ...front.queue([{ bytes: whole, offset: 100 }]),
      ...front.queue([
        { bytes: whole.subarray(0, 14), offset: 4000 },
        { bytes: whole.subarray(14, 1000) },
        { bytes: whole.subarray(1000) },
      ]),
    ];
    front.kick();
    expect(sent.map(({ bytes }) => bytes)).toEqual([whole, whole]);
    expect(front.txResponses()).toEqual(ids.map(id => `${id}:0`));
    expect(domain.notified).toEqual([EVENT.tx]);
    expect(domain.mapped).toBe(2);
  });

  it('may leave its checksum blank, and a segment uncut', () => {
    connect();
    front.queue([{ bytes: tcpFrame(100, false) }], NETTXF.csumBlank | NETTXF.dataValidated);
    front.queue([{ bytes: tcpFrame(100, true) }]);
    const large = tcpFrame(9000, false);
    const pieces = [0, 4000, 8000].map(at => ({ bytes: large.subarray(at, at + 4000) }));
    const ids = front.queue(pieces, NETTXF.csumBlank, { size: 1448, type: 1 });
    front.kick();
    const checksum = { start: 34, offset: 16 };
    expect(sent.map(({ checksum, segmentation }) => ({ checksum, segmentation }))).toEqual([
      { checksum, segmentation: null },
      { checksum: null, segmentation: null },
      { checksum, segmentation: { type: 'tcpv4', size: 1448 } },
    ]);
    expect(sent[2]!.bytes).toEqual(large);
    expect(front.txResponses().slice(2)).toEqual([`${ids[0]}:0`, 'null', `${ids[1]}:0`, `${ids[2]}:0`]);
  });

  it('is an error response where it makes no sense, and the device goes on', () => {
    connect();
    const bad = [
      front.queue([{ bytes: new Uint8Array(13) }]),
      front.queue(Array.from({ length: 19 }, () => ({ bytes: pattern(10) }))),
      front.queue([{ bytes: pattern(60) }], NETTXF.csumBlank),
      front.queue([{ bytes: tcpFrame(100, false) }], NETTXF.csumBlank, { size: 0, type: 1 }),
      front.queue([{ bytes: tcpFrame(100, false) }], NETTXF.csumBlank, { size: 100, type: 7 }),
    ];
    const revoked = front.queue([{ bytes: ethernet(60) }]);
    domain.pages.delete(100 + revoked[0]!);
    const good = front.queue([{ bytes: ethernet(60) }]);
    front.kick();
    const answers = front.txResponses().filter(answer => answer !== 'null');
    expect(answers).toEqual(
      [...bad, revoked]
        .flat()
        .map(id => `${id}:-1`)
        .concat(`${good[0]}:0`),
    );
    expect([sent.length, state(), domain.mapped]).toEqual([1, '4', 2]);
  });

  it('a ring that claims more requests than it can hold closes the device', () => {
    connect();
    setPageU32(front.txPage, 0, 5000);
    domain.send(EVENT.tx);
    expect([state(), domain.mapped, domain.handlers.size, device]).toEqual(['5', 0, 0, null]);
    expect(store.host.read(ERROR)).toMatch(/^-22 transmit ring/);
  });

  it.each([
    ['a piece that crosses its page', () => void front.queue([{ bytes: pattern(100), offset: 4090 }])],
    ['a packet without its end', () => front.queue([{ bytes: pattern(100) }], NETTXF.moreData)],
    ['an extra info without its place', () => front.queue([{ bytes: pattern(100) }], NETTXF.extraInfo)],
  ])('%s closes the device', (_, act) => {
    connect();
    front.tx.push();
    act();
    front.kick();
    domain.send(EVENT.tx);
    expect([state(), domain.mapped, domain.handlers.size, device]).toEqual(['5', 0, 0, null]);
    expect(store.host.read(ERROR)).toMatch(/^-22 /);
  });
});

describe('what the guest receives', () => {
  it('comes in its buffers, page by page, with what is left to be done', () => {
    connect();
    front.post(20);
    expect(device!.receive(wholeFrame(ethernet(60)))).toBe(true);
    const large = tcpFrame(9000, false);
    const unfinished = { checksum: { start: 34, offset: 16 }, segmentation: { type: 'tcpv4', size: 1448 } } as const;
    expect(device!.receive({ bytes: large, ...unfinished })).toBe(true);
    expect(front.received()).toEqual([
      { bytes: ethernet(60), flags: 0, gso: null },
      { bytes: large, flags: 1 | 2 | 4 | 8, gso: { size: 1448, type: 1 } },
    ]);
    expect(domain.notified).toContain(EVENT.rx);
    expect(domain.mapped).toBe(2);
  });

  it('waits for buffers, and says when there are some', () => {
    connect();
    const frame = wholeFrame(ethernet(4097));
    front.post(1);
    expect(device!.receive(frame)).toBe(false);
    expect(front.received()).toEqual([]);
    front.post(1);
    expect(resumed).toBe(1);
    expect(device!.receive(frame)).toBe(true);
    expect(front.received()[0]!.bytes).toEqual(frame.bytes);
  });

  it('is lost where a buffer is not granted, and the device goes on', () => {
    connect();
    front.post(2);
    domain.pages.delete(1000);
    expect(device!.receive(wholeFrame(ethernet(60)))).toBe(true);
    expect(device!.receive(wholeFrame(ethernet(61)))).toBe(true);
    expect(front.received().map(({ bytes }) => bytes)).toEqual([null, ethernet(61)]);
  });

  it('is whole where the front end can take nothing else', () => {
    connect({ 'feature-sg': null, 'feature-gso-tcpv4': '1', 'feature-no-csum-offload': '1' });
    expect(device!.accepts).toEqual({ checksum: false, tcpv4: false, tcpv6: false });
    front.post(4);
    expect(device!.receive(wholeFrame(ethernet(5000)))).toBe(true);
    expect(front.received()).toEqual([]);
  });

  it('leaves out groups that the guest did not ask for, once it wants that', () => {
    connect();
    front.post(20);
    const group = 0x01005e000001;
    const frames = () => {
      for (const to of [group, 0x333300000001, BROADCAST, 1]) device!.receive(wholeFrame(ethernet(60, to)));
      return front.received().map(({ bytes }) => bytes![5]);
    };
    expect(frames()).toEqual([1, 1, 255, 1]);
    store.host.write(`${FRONT}/request-multicast-control`, '1');
    expect(frames()).toEqual([255, 1]);
    const entry = (type: number) => {
      const [request, extra] = [new Uint8Array(12), Uint8Array.of(type, 0, 1, 0, 0x5e, 0, 0, 1)];
      request[6] = NETTXF.extraInfo;
      front.tx.request(request);
      front.tx.request(extra);
      front.kick();
      return front.txResponses();
    };
    expect(entry(2)).toEqual(['0:0', 'null']);
    expect(frames()).toEqual([1, 255, 1]);
    expect(entry(3)).toEqual(['0:0', 'null']);
    expect(frames()).toEqual([255, 1]);
  });

  it('closes the device where the ring is broken, even while a packet of the guest is answered', () => {
    connect();
    front.post(4);
    onSend = () => {
      setPageU32(front.rxPage, 0, 9999);
      device!.receive(wholeFrame(ethernet(60)));
    };
    front.queue([{ bytes: ethernet(60) }]);
    front.kick();
    expect([state(), domain.mapped, domain.handlers.size]).toEqual(['5', 0, 0]);
  });
});

describe('a hostile front end', () => {
  const nodeValue = fc.oneof(
    fc.constantFrom('8', '9', '3', '4', '0', '1', '', '-1', '4294967296', 'x'),
    fc.string({ maxLength: 5 }),
  );
  const action = fc.oneof(
    fc.record({ do: fc.constant('state' as const), value: fc.oneof(fc.nat(9), fc.constantFrom(1, 4, 4, 5, 6)) }),
    fc.record({
      do: fc.constant('node' as const),
      name: fc.constantFrom(
        'tx-ring-ref',
        'rx-ring-ref',
        'event-channel-tx',
        'event-channel-rx',
        'feature-sg',
        'request-rx-copy',
        'multi-queue-num-queues',
        'request-multicast-control',
      ),
      value: nodeValue,
    }),
    fc.record({ do: fc.constant('good' as const) }),
    fc.record({
      do: fc.constant('scribble' as const),
      ring: fc.boolean(),
      at: fc.nat(4095),
      bytes: fc.uint8Array({ maxLength: 64 }),
    }),
    fc.record({
      do: fc.constant('index' as const),
      ring: fc.boolean(),
      which: fc.constantFrom(0, 4, 8, 12),
      value: fc.oneof(fc.nat(600), fc.nat(0xffffffff)),
    }),
    fc.record({ do: fc.constant('event' as const), port: fc.constantFrom(3, 4) }),
    fc.record({
      do: fc.constant('receive' as const),
      length: fc.integer({ min: 14, max: 65_549 }),
      large: fc.boolean(),
    }),
    fc.record({
      do: fc.constant('request' as const),
      flags: fc.nat(31),
      size: fc.oneof(fc.nat(200), fc.nat(65_535)),
      offset: fc.oneof(fc.nat(200), fc.nat(65_535)),
      gref: fc.constantFrom(TX_RING, 9, 300, 301, 302, 999),
    }),
    fc.record({ do: fc.constant('revoke' as const), gref: fc.constantFrom(8, 9, 300, 301, 302) }),
    fc.record({ do: fc.constant('post' as const), count: fc.nat(40) }),
  );

  it('hurts nobody: nothing throws, loops, or is kept', () => {
    fc.assert(
      fc.property(fc.array(action, { maxLength: 80 }), steps => {
        start(2);
        for (const ref of [300, 301]) domain.grant(ref, undefined, ref === 301).set(tcpFrame(3000, false));
        connect();
        for (const step of steps) {
          const { do: what } = step;
          if (what === 'state') store.host.write(`${FRONT}/state`, String(step.value));
          else if (what === 'node') store.host.write(`${FRONT}/${step.name}`, step.value);
          else if (what === 'good') {
            for (const page of [front.txPage, front.rxPage]) page.fill(0, 0, 64);
            for (const [name, value] of Object.entries(front.nodes)) store.host.write(`${FRONT}/${name}`, value);
            domain.pages.set(8, { bytes: front.txPage, readonly: false });
            domain.pages.set(9, { bytes: front.rxPage, readonly: false });
            store.host.write(`${FRONT}/state`, '1');
            store.host.write(`${FRONT}/state`, '4');
          } else if (what === 'scribble')
            (step.ring ? front.txPage : front.rxPage).set(step.bytes.subarray(0, 4096 - step.at), step.at);
          else if (what === 'index') setPageU32(step.ring ? front.txPage : front.rxPage, step.which, step.value);
          else if (what === 'event') domain.send(step.port);
          else if (what === 'receive') {
            const unfinished = {
              checksum: { start: 34, offset: 16 },
              segmentation: { type: 'tcpv4', size: 1448 },
            } as const;
            const bytes = new Uint8Array(step.length);
            device?.receive(step.large ? { bytes, ...unfinished } : wholeFrame(bytes));
          } else if (what === 'request') {
            const view = new DataView(front.txPage.buffer);
            const made = view.getUint32(0, true);
            const at = 64 + (made & 255) * 12;
            view.setUint32(at, step.gref, true);
            view.setUint16(at + 4, step.offset, true);
            view.setUint16(at + 6, step.flags, true);
            view.setUint16(at + 10, step.size, true);
            view.setUint32(0, made + 1, true);
          } else if (what === 'revoke') domain.pages.delete(step.gref);
          else {
            const view = new DataView(front.rxPage.buffer);
            const made = view.getUint32(0, true);
            for (let i = 0; i < step.count; i++) view.setUint32(64 + ((made + i) & 255) * 8 + 4, 300 + (i % 3), true);
            view.setUint32(0, made + step.count, true);
            domain.send(EVENT.rx);
          }
          expect(domain.mapped).toBeLessThanOrEqual(4);
        }
        back.stop();
        expect([domain.mapped, domain.handlers.size, device]).toEqual([0, 0, null]);
        for (const frame of sent) expect(frame.bytes.length).toBeLessThanOrEqual(65_535);
      }),
      { numRuns: 500 },
    );
  });

  it('a queue takes its rings and ports, or nothing', () => {
    const owner = { transmitted: () => {}, filter: () => true, refilled: () => {}, broken: () => {} };
    const nodes = { txRing: 8, rxRing: 9, txEvent: 3, rxEvent: 11 };
    expect(() => new NetbackQueue(domain, nodes, owner)).toThrow('binding event channel 11');
    expect([domain.mapped, domain.handlers.size]).toEqual([0, 0]);
  });
});

describe('checksums', () => {
  it('that were blank can be finished by whoever needs them', () => {
    connect();
    front.queue([{ bytes: tcpFrame(100, false) }], NETTXF.csumBlank);
    front.kick();
    const packet = parseIpv4(sent[0]!.bytes, 14)!;
    finishTcp(packet.payload);
    expect(parseTcp(packet, false)!.payload).toEqual(pattern(100));
  });
});
