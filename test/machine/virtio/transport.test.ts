// What the transport and the queues do, whatever the device: seen with a disk.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { MemorySource } from '../../../src/backends/block/memory-source.ts';
import { VirtioBlock } from '../../../src/machine/virtio/block.ts';
import { FACES, type Face, Machine, VirtioDriver } from './driver.ts';

const NEEDS_RESET = 64;
const EVENT_INDEX = 1n << 29n;

function disk(face: Face): VirtioDriver {
  const machine = new Machine();
  const device = new VirtioBlock(machine, { source: new MemorySource({ size: 1 << 20 }), queues: 2 });
  return new VirtioDriver(machine, device, face);
}

const READ = [new Uint8Array(16), 512, 1] as const;

describe('negotiation', () => {
  it('refuses modern drivers that take what is not offered, or are not of version 1', () => {
    const driver = disk('modern');
    const tryFeatures = (low: number, high: number): number => {
      driver.status = 0;
      driver.status = 3;
      [low, high].forEach((value, word) => {
        driver.write(8, 4, word);
        driver.write(12, 4, value);
      });
      driver.status = 11;
      return driver.status;
    };
    expect(tryFeatures(0, 0)).toBe(3);
    expect(tryFeatures(1, 1)).toBe(3);
    expect(tryFeatures(0, 3)).toBe(3);
    expect(tryFeatures(0, 1)).toBe(11);
    driver.write(12, 4, 0);
    expect(driver.read(12, 4)).toBe(1);
  });

  it('offers legacy drivers 32 bits', () => {
    const driver = disk('legacy').start();
    expect(driver.features >> 32n).toBe(0n);
    driver.write(4, 4, 0);
    expect(BigInt(driver.read(4, 4))).toBe(driver.features);
  });

  it('lets legacy drivers begin before they say that they are ready, and no others', () => {
    expect(disk('legacy').prepare().request(0, READ)?.length).toBe(513);
    const modern = disk('modern').prepare();
    expect(modern.request(0, READ)).toBeNull();
    modern.status = 15;
    modern.kick(0);
    expect(modern.used(0)).toHaveLength(1);
  });

  it('starts anew after a reset', () => {
    for (const face of FACES) {
      const driver = disk(face).start();
      expect(driver.request(0, READ)).not.toBeNull();
      expect(driver.hasInterrupt).toBe(true);
      driver.status = 0;
      expect(driver.hasInterrupt).toBe(false);
      driver.kick(0);
      expect(driver.status).toBe(0);
      expect(driver.start().request(1, READ)?.length).toBe(513);
    }
  });

  it('does nothing while it may not reach memory', () => {
    const driver = disk('modern').start();
    driver.machine.board.writeConfig(driver.pciSlot, 4, 3, 2);
    expect(driver.request(0, READ)).toBeNull();
    driver.machine.board.writeConfig(driver.pciSlot, 4, 7, 2);
    driver.kick(0);
    expect(driver.used(0)).toHaveLength(1);
  });
});

describe('the window in configuration space', () => {
  it('reaches the memory range', () => {
    const driver = disk('modern').start();
    const { board } = driver.machine;
    const at = board.capability(driver.pciSlot, 9, 4);
    expect(board.readConfig(driver.pciSlot, at + 3, 1)).toBe(5);
    const point = (offset: number, length: number): void => {
      board.writeConfig(driver.pciSlot, at + 4, 4, 1);
      board.writeConfig(driver.pciSlot, at + 8, offset);
      board.writeConfig(driver.pciSlot, at + 12, length);
    };
    point(20, 1);
    expect(board.readConfig(driver.pciSlot, at + 16, 1)).toBe(15);
    board.writeConfig(driver.pciSlot, at + 16, 0, 1);
    expect(driver.status).toBe(0);
    for (const [offset, length] of [
      [2, 4],
      [0x4000, 4],
      [0, 3],
      [0xfffffffc, 4],
    ]) {
      point(offset, length);
      board.readConfig(driver.pciSlot, at + 16);
      board.writeConfig(driver.pciSlot, at + 16, 1);
    }
  });
});

describe.each(FACES)('interrupts, %s driver', face => {
  it('come when the driver wants them', () => {
    const driver = disk(face).start();
    driver.machine.memory.setU16(driver.queues[0].driver, 1);
    expect(driver.request(0, READ)).not.toBeNull();
    expect(driver.hasInterrupt).toBe(false);
    driver.machine.memory.setU16(driver.queues[0].driver, 0);
    expect(driver.request(0, READ)).not.toBeNull();
    expect(driver.hasInterrupt).toBe(true);
  });

  it('come with the event index when the used index passes it', () => {
    const driver = disk(face).start(~0n);
    expect(driver.features & EVENT_INDEX).toBe(EVENT_INDEX);
    const { memory } = driver.machine;
    const { driver: available, device, size } = driver.queues[0];
    memory.setU16(available + 4 + 2 * size, 2);
    const seen = [0, 1, 2, 3].map(() => {
      driver.request(0, READ);
      return driver.takeIsr();
    });
    expect(seen).toEqual([0, 0, 1, 0]);
    // and the device asks to be told of the next one
    expect(memory.u16(device + 4 + 8 * size)).toBe(4);
  });
});

describe.each(FACES)('hostile %s drivers', face => {
  const cases: [string, (driver: VirtioDriver) => void][] = [
    [
      'a loop of descriptors',
      driver => {
        driver.descriptor(0, 0, 0x60000, 16, 1, 1);
        driver.descriptor(0, 1, 0x60000, 16, 1, 0);
        driver.expose(0, 0);
      },
    ],
    [
      'a chain that goes on outside of the table',
      driver => {
        driver.descriptor(0, 0, 0x60000, 16, 1, 0x1000);
        driver.expose(0, 0);
      },
    ],
    ['a chain that starts outside of the table', driver => driver.expose(0, 0xfff0)],
    ['more chains than there are', driver => driver.machine.memory.setU16(driver.queues[0].driver + 2, 0x8000)],
    [
      'a buffer to read behind one to write',
      driver => {
        driver.descriptor(0, 0, 0x60000, 16, 3, 1);
        driver.descriptor(0, 1, 0x60000, 16, 0);
        driver.expose(0, 0);
      },
    ],
    [
      'an indirect table within one',
      driver => {
        driver.descriptor(0, 0, 0x60000, 16, 4);
        driver.machine.memory.setU64(0x60000, 0x60000n);
        driver.machine.memory.setU32(0x60008, 16);
        driver.machine.memory.setU16(0x6000c, 4);
        driver.expose(0, 0);
      },
    ],
    [
      'an indirect table of half a descriptor',
      driver => {
        driver.descriptor(0, 0, 0x60000, 24, 4);
        driver.expose(0, 0);
      },
    ],
    [
      'a table that is no RAM',
      driver => {
        driver.descriptor(0, 0, 0x4000_0000, 4096, 4);
        driver.expose(0, 0);
      },
    ],
    [
      'an address that no processor has',
      driver => {
        driver.machine.memory.setU64(driver.queues[0].descriptors, 0xffff_ffff_ffff_0000n);
        driver.expose(0, 0);
      },
    ],
    [
      'a request without a header',
      driver => {
        driver.add(0, [new Uint8Array(3), 1]);
      },
    ],
  ];

  it.each(cases)('stop the device until they reset it: %s', (_name, provoke) => {
    const driver = disk(face).start();
    provoke(driver);
    driver.kick(0);
    expect(driver.status & NEEDS_RESET).toBe(NEEDS_RESET);
    expect(driver.machine.lines).toHaveLength(1);
    if (face === 'modern') expect(driver.takeIsr()).toBe(2);
    driver.kick(0);
    expect(driver.request(1, READ)).toBeNull();
    expect(driver.machine.lines).toHaveLength(1);
    expect(driver.start().request(0, READ)?.length).toBe(513);
  });

  it('are not listened to for ever', () => {
    const driver = disk(face);
    for (let i = 0; i < 100; i++) {
      driver.start().expose(0, 0xfff0);
      driver.kick(0);
    }
    expect(driver.status & NEEDS_RESET).toBe(NEEDS_RESET);
    expect(driver.machine.lines).toHaveLength(20);
  });

  it('get errors for buffers that are no RAM', () => {
    const driver = disk(face).start();
    const { head, addresses } = driver.add(0, READ);
    driver.descriptor(0, (head + 1) % 256, 0x8000_0000, 512, 3, (head + 2) % 256);
    driver.kick(0);
    expect(driver.used(0)).toHaveLength(1);
    expect(driver.bytes(addresses[2], 1)[0]).toBe(1);
    expect(driver.machine.lines).toEqual([]);
  });

  it('cannot hurt by whatever they put into rings and registers', () => {
    const number = fc.oneof(fc.constantFrom(0, 1, 2, 3, 4, 255, 256, 0xffff), fc.nat(0xffffffff));
    const step = fc.oneof(
      fc.record({ kind: fc.constant('ram' as const), at: fc.nat(0x7fff), value: number }),
      fc.record({
        kind: fc.constant('register' as const),
        at: fc.nat(63),
        value: number,
        size: fc.constantFrom(1, 2, 4),
      }),
      fc.record({ kind: fc.constant('kick' as const), at: fc.nat(3), value: number }),
      fc.record({ kind: fc.constant('chain' as const), at: fc.nat(255), value: number, size: fc.nat(7) }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 80 }), steps => {
        const driver = disk(face).start(~0n);
        for (const { kind, at, value, ...more } of steps) {
          const size = 'size' in more ? more.size : 4;
          if (kind === 'ram') driver.machine.memory.setU32(0x10000 + at, value);
          else if (kind === 'register') driver.write(at, size as 1 | 2 | 4, value);
          else if (kind === 'kick') driver.kick(at);
          else {
            driver.descriptor(0, at, value % 0x120000, value & 0xffff, size, (at + (value & 3)) & 0xff);
            driver.expose(0, at);
          }
          driver.machine.events.deliver();
        }
        driver.machine.lines.length = 0;
        expect(driver.start().request(1, READ)?.length).toBe(513);
      }),
      { numRuns: 150 },
    );
  });
});
