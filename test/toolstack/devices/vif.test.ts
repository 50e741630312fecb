// A PV network device on a real hypervisor: entries as libxl writes them, grants and event channels taken and given back.
import { beforeEach, describe, expect, it } from 'vitest';
import { GTF } from '../../../src/abi/xen/grant-table.ts';
import { netifRxRequest, netifTxRequest, netifTxResponse } from '../../../src/abi/xen/io/netif.ts';
import { ALL_ABILITIES, connectPorts, type NetworkPort } from '../../../src/backends/net/link.ts';
import { ARP_OPERATION, arpFrame, parseArp } from '../../../src/backends/net/packet/arp.ts';
import { Switch } from '../../../src/backends/net/switch.ts';
import { UserNetwork } from '../../../src/backends/net/user/user-network.ts';
import type { BackendDevice } from '../../../src/backends/xenbus/backend-device.ts';
import type { XenStore } from '../../../src/backends/xenstore/store.ts';
import type { Domain } from '../../../src/hypervisor/domain.ts';
import { RX_ENTRY, TX_ENTRY } from '../../../src/protocols/netif.ts';
import { FrontRing } from '../../../src/protocols/ring.ts';
import { attachVif, parseVif } from '../../../src/toolstack/devices/vif.ts';
import { viewOf } from '../../../src/util/bytes.ts';
import { FakeSockets } from '../../backends/net/user/fake-sockets.ts';
import { makeStore } from '../../backends/xenstore/guest.ts';
import { FakeHost } from '../../hypervisor/fake-host.ts';

const REF = { tx: 8, rx: 9, sent: 10, buffers: 20 } as const;
const MAC = 0x00163e010203;

let host: FakeHost;
let store: XenStore;
let domain: Domain;
let device: BackendDevice;
let pages: number[];
let port: NetworkPort;
let freePorts: number;

/** A page of the guest's that it grants to the host. */
function granted(ref: number, flags: number = GTF.permit_access): Uint8Array {
  const mfn = host.frame(domain);
  domain.grants.entries.permit(ref, 0, BigInt(mfn), flags);
  pages.push(mfn);
  return host.bytes(mfn);
}

const uses = (): number =>
  pages.reduce(
    (sum, mfn) => sum + host.hypervisor.frames.refCount[mfn]! - 1 + host.hypervisor.frames.typeCount[mfn]!,
    0,
  );
const openPorts = (): number =>
  Array.from({ length: 64 }, (_, n) => domain.events.channelAt(n)).filter(one => one?.state === 'interdomain').length;

beforeEach(() => {
  host = new FakeHost();
  domain = host.domain();
  store = makeStore();
  pages = [];
  const bridge = new Switch();
  connectPorts(new UserNetwork({ clock: host.clock, sockets: new FakeSockets() }), bridge.addPort());
  port = bridge.addPort();
  freePorts = openPorts();
  const spec = parseVif('mac=00:16:3e:01:02:03, bridge=xenbr1, ip=10.0.2.15');
  device = attachVif({ store: store.host, domain, index: 0, spec, port });
});

function connect(): { tx: FrontRing; rx: FrontRing; events: number } {
  const front = '/local/domain/1/device/vif/0';
  const shape = (ref: number, entrySize: number) => {
    const bytes = granted(ref);
    return new FrontRing({ pages: [{ bytes: () => bytes }], entrySize });
  };
  const tx = shape(REF.tx, TX_ENTRY);
  const rx = shape(REF.rx, RX_ENTRY);
  const events = domain.events.allocUnbound(0);
  const nodes = { 'tx-ring-ref': REF.tx, 'rx-ring-ref': REF.rx, 'event-channel': events, 'request-rx-copy': 1 };
  for (const [name, value] of Object.entries(nodes)) store.host.write(`${front}/${name}`, String(value));
  store.host.write(`${front}/state`, '4');
  return { tx, rx, events };
}

describe('a vif', () => {
  it("has the entries that libxl and Linux's back end leave in the store", () => {
    const nodes = (base: string): Record<string, string | undefined> =>
      Object.fromEntries(store.host.directory(base)!.map(name => [name, store.host.read(`${base}/${name}`)]));
    const permissions = (base: string) => store.host.permissions(base)!.map(({ domid, access }) => `${access}${domid}`);
    const back = {
      bridge: 'xenbr1',
      'feature-dynamic-multicast-control': '1',
      'feature-gso-tcpv4': '1',
      'feature-gso-tcpv6': '1',
      'feature-ipv6-csum-offload': '1',
      'feature-multicast-control': '1',
      'feature-rx-copy': '1',
      'feature-rx-flip': '0',
      'feature-sg': '1',
      'feature-split-event-channels': '1',
      'feature-ctrl-ring': '1',
      frontend: '/local/domain/1/device/vif/0',
      'frontend-id': '1',
      handle: '0',
      'hotplug-status': 'connected',
      ip: '10.0.2.15',
      mac: '00:16:3e:01:02:03',
      'multi-queue-max-queues': '1',
      online: '1',
      script: '/etc/xen/scripts/vif-bridge',
      state: '2',
      type: 'vif',
    };
    const front = {
      backend: '/local/domain/0/backend/vif/1/0',
      'backend-id': '0',
      handle: '0',
      mac: '00:16:3e:01:02:03',
      mtu: '1500',
      state: '1',
    };
    const [backPath, frontPath] = ['/local/domain/0/backend/vif/1/0', '/local/domain/1/device/vif/0'];
    expect(nodes(backPath)).toEqual(back);
    expect(nodes(frontPath)).toEqual(front);
    expect([permissions(backPath), permissions(frontPath)]).toEqual([
      ['n0', 'r1'],
      ['n1', 'r0'],
    ]);
    expect(store.host.read('/libxl/1/device/vif/0/frontend')).toBe('/local/domain/1/device/vif/0');
  });

  it('carries frames by grants, and gives every grant and event channel back', () => {
    const { tx, rx } = connect();
    expect(store.host.read('/local/domain/0/backend/vif/1/0/state')).toBe('4');
    // Each ring is mapped for writing: a reference and a type reference.
    expect([uses(), openPorts() - freePorts]).toEqual([4, 1]);
    const question = arpFrame({
      operation: ARP_OPERATION.request,
      senderMac: MAC,
      sender: 0x0a00020f,
      targetMac: 0,
      target: 0x0a000202,
    });
    granted(REF.sent, GTF.permit_access | GTF.readonly).set(question);
    const buffer = granted(REF.buffers);
    const [request, room] = [new Uint8Array(TX_ENTRY), new Uint8Array(RX_ENTRY)];
    netifRxRequest.write(viewOf(room), 0, { id: 5, pad: 0, gref: REF.buffers }, 64);
    netifTxRequest.write(viewOf(request), 0, { gref: REF.sent, offset: 0, flags: 0, id: 7, size: question.length }, 64);
    rx.request(room);
    rx.push();
    tx.request(request);
    tx.push();
    host.hypervisor.hostEvents.deliver();
    expect(netifTxResponse.read(viewOf(tx.take()), 0, 64)).toEqual({ id: 7, status: 0 });
    expect(rx.waiting).toBe(1);
    expect(parseArp(buffer.slice(0, 42))).toMatchObject({ operation: ARP_OPERATION.reply, sender: 0x0a000202 });
    expect([uses(), openPorts() - freePorts]).toEqual([4, 1]);
    device.stop();
    expect([uses(), openPorts() - freePorts]).toEqual([0, 0]);
  });

  it('gives back what it has when the front end closes, and takes it again when that starts anew', () => {
    connect();
    store.host.write('/local/domain/1/device/vif/0/state', '6');
    expect([uses(), openPorts() - freePorts]).toEqual([0, 0]);
    store.host.write('/local/domain/1/device/vif/0/state', '1');
    expect(store.host.read('/local/domain/0/backend/vif/1/0/state')).toBe('2');
    connect();
    expect([uses(), openPorts() - freePorts]).toEqual([4, 1]);
  });

  it('refuses grants and ports that are not for the host, and has then nothing of them', () => {
    granted(REF.tx);
    domain.grants.entries.permit(REF.rx, 5, BigInt(host.frame(domain)), GTF.permit_access);
    const events = domain.events.allocUnbound(0);
    const front = '/local/domain/1/device/vif/0';
    const nodes = { 'tx-ring-ref': REF.tx, 'rx-ring-ref': REF.rx, 'event-channel': events, 'request-rx-copy': 1 };
    for (const [name, value] of Object.entries(nodes)) store.host.write(`${front}/${name}`, String(value));
    store.host.write(`${front}/state`, '4');
    expect(store.host.read('/local/domain/0/error/backend/vif/1/0/error')).toMatch(/^-22 mapping grant 9: GNTST_/);
    expect([uses(), openPorts() - freePorts]).toEqual([0, 0]);
    store.host.write(`${front}/state`, '6');
    store.host.write(`${front}/state`, '1');
    store.host.write(`${front}/rx-ring-ref`, '4294967295');
    store.host.write(`${front}/state`, '4');
    expect(store.host.read('/local/domain/0/error/backend/vif/1/0/error')).toContain('mapping grant 4294967295');
  });
});

describe('a vif as a person writes it', () => {
  it("has the keys of a domain's configuration", () => {
    expect(parseVif('mac=00:16:3e:01:02:03,bridge=br0,mtu=9000,script=/x,type=vif')).toEqual({
      mac: MAC,
      bridge: 'br0',
      mtu: 9000,
      script: '/x',
    });
    expect(parseVif('')).toEqual({});
  });

  it.each([
    ['mac=1', '"1" is no Ethernet address'],
    ['mtu=1', 'an mtu is from 68 to'],
    ['rate=1Mb/s', 'rate of a vif is not built'],
    ['bridge', 'a vif is described by key=value, not "bridge"'],
  ])('%s: %s', (text, message) => {
    expect(() => parseVif(text)).toThrow(message);
  });
});

describe('a port that nobody is at', () => {
  it('takes no frames', () => {
    port.attach({ accepts: ALL_ABILITIES, receive: () => true });
    device.stop();
    expect(() => port.send({ bytes: new Uint8Array(60), checksum: null, segmentation: null })).not.toThrow();
  });
});
