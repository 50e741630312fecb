import { describe, expect, it } from 'vitest';
import { PlatformBus } from '../../src/machine/bus.ts';
import type { RegisterSpace } from '../../src/machine/chip.ts';

/** A chip that shows what it was asked. */
function recorder(): RegisterSpace & { log: string[] } {
  const log: string[] = [];
  return {
    log,
    read: (offset, size) => {
      log.push(`read ${offset} ${size}`);
      return 0x11223344 + offset;
    },
    write: (offset, size, value) => void log.push(`write ${offset} ${size} ${value.toString(16)}`),
  };
}

describe('PlatformBus', () => {
  it('gives ones where nothing answers', () => {
    const bus = new PlatformBus();
    expect(bus.portRead(0x80, 1)).toBe(0xff);
    expect(bus.portRead(0xffff, 4)).toBe(0xffffffff);
    expect(bus.read(0xfee00000n, 8)).toBe(0xffffffffffffffffn);
    bus.write(0xfee00000n, 8, 1n);
  });

  it('gives chips offsets from the start of their range, and 8 bytes as twice 4', () => {
    const bus = new PlatformBus();
    const chip = recorder();
    bus.memory.attach(0xfed00000, 0x400, chip);
    expect(bus.read(0xfed00010n, 4)).toBe(0x11223354n);
    bus.write(0xfed000f0n, 8, 0x1122334455667788n);
    expect(chip.log).toEqual(['read 16 4', 'write 240 4 55667788', 'write 244 4 11223344']);
  });

  it('splits what goes over the edge of a range into bytes', () => {
    const bus = new PlatformBus();
    const first = recorder();
    const second = recorder();
    bus.ports.attach(0x61, 1, first);
    bus.ports.attach(0x62, 1, second);
    bus.portWrite(0x61, 4, 0xaabbccdd);
    expect(first.log).toEqual(['write 0 1 dd']);
    expect(second.log).toEqual(['write 0 1 cc']);
    expect(bus.portRead(0x60, 2)).toBe(0x44ff);
  });

  it('refuses overlaps, and frees a range that is detached', () => {
    const bus = new PlatformBus();
    const detach = bus.ports.attach(0xc000, 0x20, recorder());
    expect(() => bus.ports.attach(0xc01f, 1, recorder())).toThrow(RangeError);
    expect(() => bus.ports.attach(0xbfff, 2, recorder())).toThrow(RangeError);
    bus.portRead(0xc000, 1);
    detach();
    expect(bus.portRead(0xc000, 1)).toBe(0xff);
    bus.ports.attach(0xc000, 0x20, recorder());
    expect(bus.portRead(0xc000, 1)).toBe(0x44);
  });
});
