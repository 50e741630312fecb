// Hashes and queues as a front end asks for them by its control ring.
import fc from 'fast-check';
import { beforeEach, describe, expect, it } from 'vitest';
import { xenNetifCtrlRequest, xenNetifCtrlResponse } from '../../../../src/abi/xen/io/netif.ts';
import { ControlRing } from '../../../../src/backends/net/netback/control-ring.ts';
import { FrontendHash } from '../../../../src/backends/net/netback/frontend-hash.ts';
import { Netback } from '../../../../src/backends/net/netback/netback.ts';
import { MAX_KEY, toeplitz } from '../../../../src/backends/net/netback/toeplitz.ts';
import { writeEthernet } from '../../../../src/backends/net/packet/ethernet.ts';
import { writeIpv4 } from '../../../../src/backends/net/packet/ipv4.ts';
import { FrontRing } from '../../../../src/protocols/ring.ts';
import { setPageU32, sharedPage } from '../../../../src/protocols/shared-page.ts';
import { viewOf } from '../../../../src/util/bytes.ts';
import { FakeDomain, Front } from './front.ts';

const RING = 30;
const PORT = 6;
const KEY_PAGE = 31;
const MAPPING_PAGE = 32;
const TYPE = { flags: 1, setFlags: 2, key: 3, size: 4, setSize: 5, mapping: 6, algorithm: 7 } as const;
const [SUCCESS, NOT_SUPPORTED, INVALID, OVERFLOW] = [0, 1, 2, 3];

/** The key that Microsoft's description of the hash verifies implementations with, and its results. */
const KEY = Buffer.from('6d5a56da255b0ec24167253d43a38fb0d0ca2bcbae7b30b477cb2da38030f20c6a42b73bbeac01fa', 'hex');
const VERIFIED = [
  { source: '66.9.149.187', from: 2794, destination: '161.142.100.80', to: 1766, tcp: 0x51ccc178, ip: 0x323e8fc2 },
  { source: '199.92.111.2', from: 14230, destination: '65.69.140.83', to: 4739, tcp: 0xc626b0ea, ip: 0xd718262a },
  { source: '24.19.198.95', from: 12898, destination: '12.22.207.184', to: 38024, tcp: 0x5c2b394a, ip: 0xd2d0a5de },
] as const;

function packet({ source, from, destination, to }: (typeof VERIFIED)[number], protocol = 6): Uint8Array {
  const bytes = new Uint8Array(60);
  writeEthernet(bytes, { destination: 1, source: 2, type: 0x0800 });
  const [a, b] = [source, destination].map(text => parseAddress(text));
  writeIpv4(bytes, 14, { source: a!, destination: b!, protocol, id: 1 }, 26);
  viewOf(bytes).setUint16(34, from);
  viewOf(bytes).setUint16(36, to);
  return bytes;
}

const parseAddress = (text: string): number =>
  text.split('.').reduce((sum, part) => ((sum << 8) | Number(part)) >>> 0, 0);

let domain: FakeDomain;
let ring: FrontRing;
let page: Uint8Array;

beforeEach(() => {
  domain = new FakeDomain();
  page = domain.grant(RING);
  ring = new FrontRing({ pages: [sharedPage(page)], entrySize: xenNetifCtrlRequest.size(64) });
  domain.grant(KEY_PAGE, undefined, true).set(KEY);
  domain.grant(MAPPING_PAGE);
});

/** Sends a request; gives status and data of the response. */
function ask(type: number, ...data: number[]): [status: number, data: number] {
  const entry = new Uint8Array(xenNetifCtrlRequest.size(64));
  xenNetifCtrlRequest.write(viewOf(entry), 0, { id: 77, type, data: [...data, 0, 0, 0].slice(0, 3) }, 64);
  ring.request(entry);
  if (ring.push()) domain.send(PORT);
  expect(ring.waiting).toBe(1);
  const response = xenNetifCtrlResponse.read(viewOf(ring.take()), 0, 64);
  ring.askForNext();
  expect([response.id, response.type]).toEqual([77, type]);
  return [response.status, response.data];
}

function open(queues = 4): { hash: FrontendHash; control: ControlRing; problems: string[] } {
  const problems: string[] = [];
  const hash = new FrontendHash();
  const control: ControlRing = new ControlRing(
    domain,
    { ref: RING, port: PORT },
    {
      hash,
      queues,
      broken: reason => {
        problems.push(reason);
        control.close();
      },
    },
  );
  return { hash, control, problems };
}

describe('the hash', () => {
  it("is Toeplitz', as others compute it", () => {
    for (const one of VERIFIED) {
      const input = packet(one).subarray(26, 38);
      expect(toeplitz(KEY, input)).toBe(one.tcp);
      expect(toeplitz(KEY, input.subarray(0, 8))).toBe(one.ip);
    }
    expect(toeplitz(new Uint8Array(MAX_KEY), packet(VERIFIED[0]))).toBe(0);
  });

  it('is of what the front end wants it of', () => {
    const { hash } = open();
    expect(ask(TYPE.flags)).toEqual([NOT_SUPPORTED, 0]);
    expect(ask(TYPE.setFlags, 1)).toEqual([INVALID, 0]);
    expect(ask(TYPE.algorithm, 2)).toEqual([INVALID, 0]);
    expect(ask(TYPE.algorithm, 1)).toEqual([SUCCESS, 0]);
    expect(ask(TYPE.flags)).toEqual([SUCCESS, 15]);
    expect(ask(TYPE.setFlags, 16)).toEqual([INVALID, 0]);
    expect(ask(TYPE.key, KEY_PAGE, MAX_KEY)).toEqual([SUCCESS, 0]);
    const [one] = VERIFIED;
    expect(hash.of(packet(one))).toBeNull();
    ask(TYPE.setFlags, 1);
    expect(hash.of(packet(one))).toEqual({ type: 0, value: one.ip });
    ask(TYPE.setFlags, 3);
    expect(hash.of(packet(one))).toEqual({ type: 1, value: one.tcp });
    expect(hash.of(packet(one, 17))).toEqual({ type: 0, value: one.ip });
    ask(TYPE.setFlags, 12);
    expect(hash.of(packet(one))).toBeNull();
    ask(TYPE.setFlags, 1);
    expect(ask(TYPE.key, KEY_PAGE, 0)).toEqual([SUCCESS, 0]);
    expect(hash.of(packet(one))).toEqual({ type: 0, value: 0 });
    expect(ask(TYPE.key, KEY_PAGE, 41)).toEqual([OVERFLOW, 0]);
    expect(ask(TYPE.key, 999, 8)).toEqual([INVALID, 0]);
  });

  it('leads to queues by a table, or by what is left of a division', () => {
    const { hash } = open();
    const of = (value: number) => hash.queueOf({ type: 0, value }, 4);
    expect([of(6), of(0xffffffff)]).toEqual([2, 3]);
    expect(ask(TYPE.size)).toEqual([SUCCESS, 128]);
    expect(ask(TYPE.setSize, 129)).toEqual([INVALID, 0]);
    expect(ask(TYPE.setSize, 4)).toEqual([SUCCESS, 0]);
    expect(of(6)).toBe(0);
    const table = domain.pages.get(MAPPING_PAGE)!.bytes;
    [3, 1, 4].forEach((queue, i) => {
      setPageU32(table, i * 4, queue);
    });
    expect(ask(TYPE.mapping, MAPPING_PAGE, 3, 0)).toEqual([INVALID, 0]);
    expect(ask(TYPE.mapping, MAPPING_PAGE, 2, 2)).toEqual([SUCCESS, 0]);
    expect([of(0), of(2), of(7)]).toEqual([0, 3, 1]);
    expect(ask(TYPE.mapping, MAPPING_PAGE, 2, 3)).toEqual([INVALID, 0]);
    expect(ask(TYPE.mapping, MAPPING_PAGE, 0xffffffff, 1)).toEqual([OVERFLOW, 0]);
    expect(ask(TYPE.mapping, 999, 1, 0)).toEqual([INVALID, 0]);
    // Grants that stay mapped are not offered.
    expect(ask(8)).toEqual([NOT_SUPPORTED, 0]);
    expect(domain.mapped).toBe(1);
  });
});

describe('a network device with a control ring', () => {
  it('gives frames their hash, in the queue that it leads to', () => {
    const front = new Front(domain);
    front.nodes['ctrl-ring-ref'] = String(RING);
    front.nodes['event-channel-ctrl'] = String(PORT);
    const port = { mtu: 1500, send: () => {}, attach: () => {}, resume: () => {} };
    const back = new Netback({ domain, port, broken: () => {} });
    expect(back.features()['feature-ctrl-ring']).toBe('1');
    back.connect({
      text: name => front.nodes[name],
      number: (name, _max, absent) => Number(front.nodes[name] ?? absent),
      flag: name => front.nodes[name] === '1',
    });
    ask(TYPE.algorithm, 1);
    ask(TYPE.key, KEY_PAGE, MAX_KEY);
    ask(TYPE.setFlags, 3);
    front.post(8);
    const [one] = VERIFIED;
    expect(back.receive({ bytes: packet(one), checksum: null, segmentation: null })).toBe(true);
    // A response with an extra info behind it: type, flags, then type, algorithm and value of the hash.
    const response = viewOf(front.rx.take().slice());
    expect(response.getUint16(4, true) & 8).toBe(8);
    const extra = viewOf(front.rx.take().slice());
    const [kind, flags, type, algorithm] = [0, 1, 2, 3].map(at => extra.getUint8(at));
    expect([kind, flags, type, algorithm, extra.getUint32(4, true)]).toEqual([4, 0, 1, 1, one.tcp]);
    back.disconnect();
    expect([domain.mapped, domain.handlers.size]).toEqual([0, 0]);
  });
});

describe('whatever stands in a control ring', () => {
  it('it is answered or closed, and nothing is kept', () => {
    const word = fc.oneof(fc.nat(130), fc.constantFrom(KEY_PAGE, MAPPING_PAGE, 999, 0xffffffff));
    const request = fc.tuple(fc.nat(12), word, word, word);
    const index = fc.tuple(fc.constantFrom(0, 4, 8, 12), fc.oneof(fc.nat(300), fc.nat(0xffffffff)));
    const scribble = fc.uint8Array({ maxLength: 64 });
    fc.assert(
      fc.property(fc.array(fc.oneof(request, index, scribble), { maxLength: 40 }), steps => {
        page.fill(0);
        const { hash, control } = open(2);
        for (const step of steps) {
          if (step instanceof Uint8Array) page.set(step, 64);
          else if (step.length === 2) setPageU32(page, step[0], step[1]);
          else {
            const made = viewOf(page).getUint32(0, true);
            const [type, ...data] = step;
            const at = 64 + (made & 127) * 16;
            xenNetifCtrlRequest.write(viewOf(page), at, { id: made & 0xffff, type, data }, 64);
            setPageU32(page, 0, made + 1);
          }
          domain.send(PORT);
          expect(domain.mapped).toBeLessThanOrEqual(1);
          const found = hash.of(packet(VERIFIED[0]));
          if (found) expect(hash.queueOf(found, 2)).toBeLessThan(2);
        }
        control.close();
        expect([domain.mapped, domain.handlers.size]).toEqual([0, 0]);
      }),
      { numRuns: 300 },
    );
  });
});
