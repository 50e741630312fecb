import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Frame, type NetworkDevice, type NetworkPort, wholeFrame } from '../../../src/backends/net/link.ts';
import { VirtioNet } from '../../../src/machine/virtio/net.ts';
import { FACES, type Face, Machine, VirtioDriver } from './driver.ts';

const MAC = Uint8Array.of(0x52, 0x54, 0, 1, 2, 3);
const BROADCAST = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
const MERGEABLE = 1n << 15n;
const GUEST_OFFLOADS = (1n << 1n) | (1n << 7n) | (1n << 8n);
const EVENT_INDEX = 1n << 29n;

/** A network that remembers what was sent into it. */
class Wire implements NetworkPort {
  readonly mtu = 1500;
  readonly sent: Frame[] = [];
  resumed = 0;
  device: NetworkDevice | null = null;
  send(frame: Frame): void {
    this.sent.push({ ...frame, bytes: frame.bytes.slice() });
  }
  attach(device: NetworkDevice | null): void {
    this.device = device;
  }
  resume(): void {
    this.resumed++;
  }
}

function card(face: Face, wanted?: bigint): { driver: VirtioDriver; wire: Wire; device: VirtioNet; header: number } {
  const machine = new Machine();
  const wire = new Wire();
  const device = new VirtioNet(machine, { mac: MAC, port: wire });
  const driver = new VirtioDriver(machine, device, face).start(wanted);
  const header = face === 'modern' || driver.features & MERGEABLE ? 12 : 10;
  return { driver, wire, device, header };
}

function frameTo(destination: ArrayLike<number>, length: number): Uint8Array {
  const bytes = Uint8Array.from({ length }, (_, i) => i & 0xff);
  bytes.set(Array.from(destination), 0);
  return bytes;
}

function command(driver: VirtioDriver, ...bytes: number[]): number | undefined {
  return driver.request(2, [Uint8Array.from(bytes.slice(0, 2)), Uint8Array.from(bytes.slice(2)), 1])?.written[0][0];
}

describe.each(FACES)('virtio-net, %s driver', face => {
  it('tells its address, the state of the link and the MTU', () => {
    const { driver, device } = card(face);
    expect([0, 1, 2, 3, 4, 5].map(i => driver.readConfig(i, 1))).toEqual([...MAC]);
    expect(driver.readConfig(6, 2)).toBe(1);
    expect(driver.readConfig(10, 2)).toBe(1500);
    device.setLink(false);
    expect(driver.readConfig(6, 2)).toBe(0);
    expect(driver.takeIsr()).toBe(2);
  });

  it('sends frames, finished or not', () => {
    const { driver, wire, header } = card(face);
    const frame = frameTo(BROADCAST, 60);
    driver.request(1, [new Uint8Array(header), frame.subarray(0, 14), frame.subarray(14)]);
    const tcp = new Uint8Array(header);
    tcp.set([1, 1, 54, 0, 0xb4, 5, 34, 0, 16, 0]);
    driver.request(1, [tcp, frameTo(MAC, 4000)]);
    expect(wire.sent).toEqual([
      { bytes: frame, checksum: null, segmentation: null },
      {
        bytes: frameTo(MAC, 4000),
        checksum: { start: 34, offset: 16 },
        segmentation: { type: 'tcpv4', size: 1460 },
      },
    ]);
  });

  it('drops what makes no sense, and what the driver has not negotiated', () => {
    const { driver, wire, header } = card(face, 0n);
    const withHeader = (...bytes: number[]): Uint8Array => {
      const out = new Uint8Array(header);
      out.set(bytes);
      return out;
    };
    const frame = frameTo(BROADCAST, 60);
    expect(driver.request(1, [withHeader(1, 0, 0, 0, 0, 0, 34, 0, 16, 0), frame])).not.toBeNull();
    expect(driver.request(1, [withHeader(1, 1, 54, 0, 0xb4, 5, 34, 0, 16, 0), frame])).not.toBeNull();
    expect(driver.request(1, [withHeader(0, 1, 54, 0, 0xb4, 5), frame])).not.toBeNull();
    expect(driver.request(1, [withHeader(1, 0, 0, 0, 0, 0, 59, 0, 1, 0), frame])).not.toBeNull();
    expect(driver.request(1, [new Uint8Array(header)])).not.toBeNull();
    expect(driver.request(1, [new Uint8Array(3)])).not.toBeNull();
    expect(wire.sent).toEqual([]);
    driver.request(1, [withHeader(), frame]);
    expect(wire.sent).toHaveLength(1);
  });

  it('receives into a buffer, and refuses where there is none', () => {
    const { driver, device, wire, header } = card(face, 0n);
    const frame = frameTo(MAC, 100);
    expect(device.receive(wholeFrame(frame))).toBe(false);
    const resumed = wire.resumed;
    const { head, addresses } = driver.add(0, [header, 1514]);
    driver.kick(0);
    expect(wire.resumed).toBe(resumed + 1);
    expect(device.receive(wholeFrame(frame))).toBe(true);
    expect(driver.used(0)).toEqual([[head, header + 100]]);
    expect(driver.bytes(addresses[1], 100)).toEqual(frame);
    expect(driver.takeIsr()).toBe(1);
    // one that fits no buffer is lost, and does not stand in the way
    const second = driver.add(0, [header, 50]);
    expect(device.receive(wholeFrame(frame))).toBe(false);
    driver.add(0, [header, 50]);
    expect(device.receive(wholeFrame(frame))).toBe(true);
    expect(device.receive(wholeFrame(frameTo(MAC, 50)))).toBe(true);
    expect(driver.used(0)).toEqual([[second.head, header + 50]]);
  });

  it('spreads a frame over several buffers where the driver can put it together', () => {
    const { driver, device } = card(face, MERGEABLE);
    const heads = [1, 2].map(() => driver.add(0, [1000]));
    const frame = frameTo(MAC, 2500);
    expect(device.receive(wholeFrame(frame))).toBe(false);
    heads.push(driver.add(0, [1000]));
    expect(device.receive(wholeFrame(frame))).toBe(true);
    expect(driver.used(0)).toEqual(heads.map(({ head }, i) => [head, [1000, 1000, 512][i]]));
    expect([...driver.bytes(heads[0].addresses[0] + 10, 2)]).toEqual([3, 0]);
    const joined = heads.flatMap(({ addresses }) => [...driver.bytes(addresses[0], 1000)]).slice(12, 2512);
    expect(Uint8Array.from(joined)).toEqual(frame);
  });

  it('lets the driver choose what to receive', () => {
    const { driver, device, header } = card(face);
    const receives = (destination: ArrayLike<number>): boolean => {
      driver.add(0, [header + 60]);
      device.receive(wholeFrame(frameTo(destination, 60)));
      return driver.used(0).length > 0;
    };
    const other = [0x52, 0x54, 0, 9, 9, 9];
    const group = [0x33, 0x33, 0, 0, 0, 1];
    expect(receives(other)).toBe(true);
    expect(command(driver, 0, 0, 0)).toBe(0);
    expect([MAC, BROADCAST, other, group].map(receives)).toEqual([true, true, false, false]);
    expect(command(driver, 0, 1, 1)).toBe(0);
    expect(receives(group)).toBe(true);
    expect(command(driver, 0, 1, 0)).toBe(0);
    expect(command(driver, 1, 0, 1, 0, 0, 0, ...other, 1, 0, 0, 0, ...group)).toBe(0);
    expect([other, group, [0x33, 0x33, 0, 0, 0, 2]].map(receives)).toEqual([true, true, false]);
    expect(command(driver, 1, 1, ...other)).toBe(0);
    expect([0, 1, 2, 3, 4, 5].map(i => driver.readConfig(i, 1))).toEqual(other);
    // cut off, not known
    expect(command(driver, 1, 0, 9, 0, 0, 0, 1)).toBe(1);
    expect(command(driver, 0, 77, 1)).toBe(1);
    expect(command(driver, 9, 0, 1)).toBe(1);
    expect(driver.status & 64).toBe(0);
  });

  it('keeps what it was told in its state', () => {
    const { driver, device, header } = card(face);
    command(driver, 0, 0, 0);
    const state = structuredClone(driver.transport.save());
    driver.status = 0;
    driver.transport.load(state);
    driver.add(0, [header + 60]);
    device.receive(wholeFrame(frameTo([2, 0, 0, 0, 0, 1], 60)));
    expect(driver.used(0)).toEqual([]);
    device.receive(wholeFrame(frameTo(MAC, 60)));
    expect(driver.used(0)).toHaveLength(1);
  });

  it('survives any command and any frame', () => {
    const { driver, wire } = card(face, ~EVENT_INDEX);
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 2, maxLength: 40 }), fc.boolean(), (bytes, isFrame) => {
        driver.request(isFrame ? 1 : 2, isFrame ? [bytes] : [bytes, 1]);
      }),
      { numRuns: 300 },
    );
    for (const { bytes } of wire.sent) expect(bytes.length).toBeLessThan(40);
  });
});

describe('offloads of a modern driver', () => {
  it('are what it negotiates and, later, says', () => {
    const { driver, device, wire, header } = card('modern');
    expect(device.accepts).toEqual({ checksum: true, tcpv4: true, tcpv6: true });
    expect(wire.device).toBe(device);
    const { addresses } = driver.add(0, [header + 200]);
    const frame = frameTo(MAC, 200);
    frame[34 + 12] = 0x80;
    device.receive({
      bytes: frame,
      checksum: { start: 34, offset: 16 },
      segmentation: { type: 'tcpv6', size: 100 },
    });
    expect([...driver.bytes(addresses[0], 12)]).toEqual([1, 4, 66, 0, 100, 0, 34, 0, 16, 0, 1, 0]);
    const offloads = (bits: bigint): number[] => [...new Uint8Array(BigUint64Array.of(bits).buffer)];
    expect(command(driver, 5, 0, ...offloads(1n << 1n))).toBe(0);
    expect(device.accepts).toEqual({ checksum: true, tcpv4: false, tcpv6: false });
    expect(command(driver, 5, 0, ...offloads(GUEST_OFFLOADS | (1n << 10n)))).toBe(1);
    driver.status = 0;
    expect(device.accepts).toEqual({ checksum: false, tcpv4: false, tcpv6: false });
  });
});
