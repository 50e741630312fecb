import { describe, expect, it } from 'vitest';
import { MemorySource } from '../../../src/backends/block/memory-source.ts';
import type { BlockDone, BlockSource } from '../../../src/backends/block/source.ts';
import { VirtioBlock, type VirtioBlockOptions } from '../../../src/machine/virtio/block.ts';
import { FACES, type Face, Machine, VirtioDriver } from './driver.ts';

const IN = 0;
const OUT = 1;
const FLUSH = 4;
const GET_ID = 8;
const DISCARD = 11;
const WRITE_ZEROES = 13;
const OK = 0;
const IO_ERROR = 1;
const UNSUPPORTED = 2;

function header(type: number, sector: bigint | number = 0): Uint8Array {
  const bytes = new Uint8Array(16);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, type, true);
  view.setBigUint64(8, BigInt(sector), true);
  return bytes;
}

function ranges(...list: [sector: number, sectors: number, flags?: number][]): Uint8Array {
  const view = new DataView(new ArrayBuffer(16 * list.length));
  list.forEach(([sector, sectors, flags = 0], i) => {
    view.setBigUint64(16 * i, BigInt(sector), true);
    view.setUint32(16 * i + 8, sectors, true);
    view.setUint32(16 * i + 12, flags, true);
  });
  return new Uint8Array(view.buffer);
}

const pattern = (length: number, seed: number): Uint8Array =>
  Uint8Array.from({ length }, (_, i) => (i * 7 + (i >> 8) + seed) & 0xff);

function disk(face: Face, options: Partial<VirtioBlockOptions> = {}): { driver: VirtioDriver; device: VirtioBlock } {
  const machine = new Machine();
  const device = new VirtioBlock(machine, { source: new MemorySource({ size: 1 << 20 }), ...options });
  return { driver: new VirtioDriver(machine, device, face), device };
}

const status = (answer: { written: Uint8Array[] } | null): number | undefined => answer?.written.at(-1)?.[0];

/** A source whose requests are done when the test says so. */
function slow(inner: BlockSource): BlockSource & { waiting: (() => void)[]; calls: string[] } {
  const waiting: (() => void)[] = [];
  const calls: string[] = [];
  const put = (name: string, go: () => void): void => {
    calls.push(name);
    waiting.push(go);
  };
  return {
    waiting,
    calls,
    size: inner.size,
    sectorSize: inner.sectorSize,
    isReadOnly: inner.isReadOnly,
    canDiscard: inner.canDiscard,
    isImmediate: false,
    read: (offset, into, done) => put('read', () => inner.read(offset, into, done)),
    write: (offset, from, done) => put('write', () => inner.write(offset, from, done)),
    flush: done => put('flush', () => inner.flush(done)),
    discard: (offset, length, done) => put('discard', () => inner.discard(offset, length, done)),
    writeZeroes: (offset, length, done) => put('zeroes', () => inner.writeZeroes(offset, length, done)),
    close: () => inner.close(),
  };
}

describe.each(FACES)('virtio-blk, %s driver', face => {
  it('is found as what it is', () => {
    const { driver } = disk(face);
    const { board } = driver.machine;
    expect(board.readConfig(driver.pciSlot, 0)).toBe(0x10011af4);
    expect(board.readConfig(driver.pciSlot, 0x2c)).toBe(0x00021af4);
    driver.start();
    expect(driver.status).toBe(face === 'legacy' ? 7 : 15);
    expect(driver.readConfig(0, 4)).toBe(2048);
    expect(driver.readConfig(20, 4)).toBe(512);
  });

  it('writes and reads, whatever the layout of the buffers', () => {
    const { driver } = disk(face);
    driver.start();
    const data = pattern(1536, 3);
    const write = driver.request(0, [header(OUT, 5), data.subarray(0, 700), data.subarray(700), 1]);
    expect(status(write)).toBe(OK);
    expect(write?.length).toBe(1);
    const whole = driver.request(0, [header(IN, 5), 1536, 1]);
    expect(whole?.length).toBe(1537);
    expect(whole?.written[0]).toEqual(data);
    // a header in two pieces, data in three, the status behind the data
    const request = header(IN, 5);
    const split = driver.request(0, [request.subarray(0, 4), request.subarray(4), 100, 1400, 37]);
    expect(split?.written[0]).toEqual(data.subarray(0, 100));
    expect(split?.written[1]).toEqual(data.subarray(100, 1500));
    expect([...split!.written[2]]).toEqual([...data.subarray(1500), OK]);
    expect(driver.hasInterrupt).toBe(true);
    expect(driver.takeIsr()).toBe(1);
    expect(driver.hasInterrupt).toBe(false);
  });

  it('takes a descriptor table of its own for a request', () => {
    const { driver } = disk(face);
    driver.start();
    const { memory } = driver.machine;
    const table = driver.allocate(48);
    const parts = [driver.allocate(16), driver.allocate(512), driver.allocate(1)];
    memory.write(parts[0], header(OUT, 1));
    memory.write(parts[1], pattern(512, 9));
    [16, 512, 1].forEach((length, i) => {
      memory.setU64(table + 16 * i, BigInt(parts[i]));
      memory.setU32(table + 16 * i + 8, length);
      memory.setU16(table + 16 * i + 12, i === 2 ? 2 : 1);
      memory.setU16(table + 16 * i + 14, i + 1);
    });
    driver.descriptor(0, 7, table, 48, 4);
    driver.expose(0, 7);
    driver.kick(0);
    expect(driver.used(0)).toEqual([[7, 1]]);
    expect(driver.request(0, [header(IN, 1), 512, 1])?.written[0]).toEqual(pattern(512, 9));
  });

  it('refuses what is not on the disk, and what it does not know', () => {
    const { driver } = disk(face);
    driver.start();
    expect(status(driver.request(0, [header(IN, 2048), 512, 1]))).toBe(IO_ERROR);
    expect(status(driver.request(0, [header(IN, 2047), 1024, 1]))).toBe(IO_ERROR);
    expect(status(driver.request(0, [header(OUT, 0xffffffffffffffffn), new Uint8Array(512), 1]))).toBe(IO_ERROR);
    expect(status(driver.request(0, [header(IN, 0), 100, 1]))).toBe(IO_ERROR);
    expect(status(driver.request(0, [header(77), 1]))).toBe(UNSUPPORTED);
    expect(status(driver.request(0, [header(IN, 2047), 512, 1]))).toBe(OK);
  });

  it('tells its serial number', () => {
    const { driver } = disk(face, { serial: 'root' });
    driver.start();
    const answer = driver.request(0, [header(GET_ID), 20, 1]);
    expect(new TextDecoder().decode(answer?.written[0])).toBe(`root${'\0'.repeat(16)}`);
    expect(status(answer)).toBe(OK);
  });

  it('does not write to what is read-only', () => {
    const { driver } = disk(face, { source: new MemorySource({ size: 4096, isReadOnly: true }) });
    driver.start();
    expect(driver.features & (1n << 5n)).not.toBe(0n);
    expect(status(driver.request(0, [header(OUT, 0), new Uint8Array(512), 1]))).toBe(IO_ERROR);
    expect(status(driver.request(0, [header(IN, 0), 512, 1]))).toBe(OK);
  });

  it('discards and writes zeros', () => {
    const source = MemorySource.of(pattern(1 << 18, 1));
    const { driver } = disk(face, { source });
    driver.start();
    expect(source.allocated).toBe(1 << 18);
    expect(status(driver.request(0, [header(DISCARD), ranges([0, 128], [256, 128]), 1]))).toBe(OK);
    expect(source.allocated).toBe(1 << 17);
    expect(status(driver.request(0, [header(WRITE_ZEROES), ranges([130, 2, 1]), 1]))).toBe(OK);
    const read = driver.request(0, [header(IN, 129), 2048, 1])!.written[0];
    const expected = pattern(1 << 18, 1).slice(129 * 512, 133 * 512);
    expected.fill(0, 512, 1536);
    expect(read).toEqual(expected);
    expect(status(driver.request(0, [header(DISCARD), ranges([500, 100]), 1]))).toBe(IO_ERROR);
    expect(status(driver.request(0, [header(DISCARD), ranges([0, 1, 1]), 1]))).toBe(UNSUPPORTED);
    expect(status(driver.request(0, [header(WRITE_ZEROES), ranges([0, 1, 8]), 1]))).toBe(UNSUPPORTED);
    expect(status(driver.request(0, [header(DISCARD), new Uint8Array(8), 1]))).toBe(IO_ERROR);
  });

  it('makes writes durable at once for a driver that cannot flush', () => {
    const source = slow(new MemorySource({ size: 1 << 16 }));
    const { driver } = disk(face, { source });
    const finishAll = (): void => {
      while (source.waiting.length > 0) source.waiting.shift()!();
    };
    driver.start(0n);
    driver.request(0, [header(OUT, 0), new Uint8Array(512), 1]);
    finishAll();
    expect(source.calls).toEqual(['write', 'flush']);
    driver.start();
    driver.request(0, [header(OUT, 0), new Uint8Array(512), 1]);
    finishAll();
    driver.request(0, [header(FLUSH), 1]);
    finishAll();
    driver.writeConfig(32, 1, 0);
    expect(driver.readConfig(32, 1)).toBe(0);
    driver.request(0, [header(OUT, 0), new Uint8Array(512), 1]);
    finishAll();
    expect(source.calls.slice(2)).toEqual(['write', 'flush', 'write', 'flush']);
  });

  it('waits for a source that takes its time, and forgets at a reset what it had asked', () => {
    const source = slow(MemorySource.of(pattern(4096, 5)));
    const { driver } = disk(face, { source });
    driver.start();
    const first = driver.add(0, [header(IN, 0), 512, 1]);
    const second = driver.add(0, [header(IN, 1), 512, 1]);
    driver.kick(0);
    expect(driver.used(0)).toEqual([]);
    source.waiting[1]();
    expect(driver.used(0)).toEqual([[second.head, 513]]);
    expect(driver.takeIsr()).toBe(1);
    expect(driver.bytes(second.addresses[1], 512)).toEqual(pattern(4096, 5).subarray(512, 1024));
    driver.start();
    const third = driver.add(0, [header(IN, 2), 512, 1]);
    expect(third.head).toBe(first.head);
    driver.kick(0);
    source.waiting[0]();
    expect(driver.used(0)).toEqual([]);
    source.waiting[2]();
    expect(driver.used(0)).toEqual([[third.head, 513]]);
    expect([...driver.bytes(first.addresses[1], 512)]).toEqual([...new Uint8Array(512)]);
  });

  it('stops where a chain is made available that it still has', () => {
    const { driver } = disk(face, { source: slow(new MemorySource({ size: 4096 })) });
    driver.start();
    const { head } = driver.add(0, [header(IN, 0), 512, 1]);
    driver.kick(0);
    driver.expose(0, head);
    driver.kick(0);
    expect(driver.status & 64).toBe(64);
  });

  it('serves again, from its state, what was not done', () => {
    const source = slow(MemorySource.of(pattern(4096, 5)));
    const { driver, device } = disk(face, { source });
    driver.start();
    const { head, addresses } = driver.add(0, [header(IN, 3), 512, 1]);
    driver.kick(0);
    const state = structuredClone(driver.transport.save());
    device.reset();
    driver.transport.load(state);
    driver.machine.events.deliver();
    expect(source.calls).toEqual(['read', 'read']);
    for (const finish of source.waiting) finish();
    expect(driver.used(0)).toEqual([[head, 513]]);
    expect(driver.bytes(addresses[1], 512)).toEqual(pattern(4096, 5).subarray(1536, 2048));
  });

  it('tells of a new size', () => {
    const source = new MemorySource({ size: 1 << 20 });
    const { driver, device } = disk(face, { source });
    driver.start();
    source.resize(1 << 21);
    device.resized();
    expect(driver.readConfig(0, 4)).toBe(4096);
    expect(driver.takeIsr()).toBe(2);
    expect(status(driver.request(0, [header(IN, 4095), 512, 1]))).toBe(OK);
  });

  it('does large work in turns', () => {
    const { driver } = disk(face);
    driver.start();
    const { memory } = driver.machine;
    // requests of 254 segments of 64 KiB, all the same memory: 16 MiB each
    const segments = 254;
    const table = driver.allocate(16 * (segments + 2));
    const head = driver.allocate(32);
    memory.write(head, header(IN, 0));
    for (let i = 0; i < segments + 2; i++) {
      const at = table + 16 * i;
      memory.setU64(at, BigInt(i === 0 ? head : i === segments + 1 ? head + 16 : 0x80000));
      memory.setU32(at + 8, i === 0 ? 16 : i === segments + 1 ? 1 : 0x1000);
      memory.setU16(at + 12, (i === segments + 1 ? 0 : 1) | (i === 0 ? 0 : 2));
      memory.setU16(at + 14, i + 1);
    }
    for (let i = 0; i < 200; i++) {
      driver.descriptor(0, i, table, 16 * (segments + 2), 4);
      driver.expose(0, i);
    }
    driver.kick(0);
    const first = driver.used(0).length;
    expect(first).toBeGreaterThan(0);
    expect(first).toBeLessThan(50);
    let turns = 0;
    while (driver.machine.events.deliver() > 0) turns++;
    expect(turns).toBeGreaterThan(3);
    expect(driver.used(0)).toHaveLength(200 - first);
  });
});

describe('virtio-blk with several queues', () => {
  it('signals each by its own vector', () => {
    const { driver } = disk('modern', { queues: 3 });
    const { board } = driver.machine;
    driver.start();
    const msix = board.capability(driver.pciSlot, 0x11);
    const table = (board.readConfig(driver.pciSlot, 0x14) & ~15) >>> 0;
    board.writeConfig(driver.pciSlot, msix + 2, 0x8000, 2);
    for (let vector = 0; vector < 4; vector++) {
      board.platform.memory.write(table + 16 * vector, 4, 0xfee00000);
      board.platform.memory.write(table + 16 * vector + 8, 4, 0x50 + vector);
      board.platform.memory.write(table + 16 * vector + 12, 4, 0);
    }
    for (let queue = 0; queue < 3; queue++) {
      driver.write(22, 2, queue);
      driver.write(26, 2, queue + 1);
    }
    driver.write(26, 2, 9);
    expect(driver.read(26, 2)).toBe(0xffff);
    driver.write(26, 2, 3);
    for (const queue of [2, 0, 1]) expect(status(driver.request(queue, [header(IN, 0), 512, 1]))).toBe(OK);
    expect(board.messages).toEqual([
      [0xfee00000, 0x53],
      [0xfee00000, 0x51],
      [0xfee00000, 0x52],
    ]);
    expect(driver.hasInterrupt).toBe(false);
    expect(driver.readConfig(34, 2)).toBe(3);
  });
});

describe('a source that fails', () => {
  it('is an error of the request and a line in the log', () => {
    const fail = (done: BlockDone): void => done(new Error('the disk is on fire'));
    const source: BlockSource = {
      ...new MemorySource({ size: 4096 }),
      size: 4096,
      sectorSize: 512,
      isReadOnly: false,
      canDiscard: false,
      isImmediate: true,
      read: (_offset, _into, done) => fail(done),
      write: (_offset, _from, done) => fail(done),
      flush: fail,
      discard: (_offset, _length, done) => fail(done),
      writeZeroes: (_offset, _length, done) => fail(done),
      close: () => {},
    };
    const { driver } = disk('modern', { source });
    driver.start();
    expect(status(driver.request(0, [header(IN, 0), 512, 1]))).toBe(IO_ERROR);
    expect(driver.machine.lines).toEqual(['virtio block: the disk is on fire']);
  });
});
