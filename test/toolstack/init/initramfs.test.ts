// The archive that Linux unpacks, and the executable in it.
import { describe, expect, it } from 'vitest';
import { initProgram } from '../../../src/toolstack/init/init.ts';
import { builtinInitramfs } from '../../../src/toolstack/init/initramfs.ts';

interface Entry {
  name: string;
  mode: number;
  device: [number, number];
  data: Uint8Array;
}

/** Reads "newc" on its own: the writer is not asked. */
function entries(archive: Uint8Array): Entry[] {
  const found: Entry[] = [];
  const text = (at: number, length: number) => new TextDecoder().decode(archive.subarray(at, at + length));
  for (let at = 0; ; ) {
    expect(text(at, 6)).toBe('070701');
    const field = (n: number) => Number.parseInt(text(at + 6 + 8 * n, 8), 16);
    const name = text(at + 110, field(11) - 1);
    const dataAt = Math.ceil((at + 110 + field(11)) / 4) * 4;
    if (name === 'TRAILER!!!') return found;
    const data = archive.subarray(dataAt, dataAt + field(6));
    found.push({ name, mode: field(1), device: [field(9), field(10)], data });
    at = Math.ceil((dataAt + field(6)) / 4) * 4;
  }
}

describe('the built-in initramfs', () => {
  it('holds init, the console and the places to mount on', () => {
    const list = entries(builtinInitramfs({ bits: 64 }));
    expect(list.map(({ name, mode, device }) => [name, mode.toString(8), ...device])).toEqual([
      ['dev', '40755', 0, 0],
      ['proc', '40755', 0, 0],
      ['sys', '40755', 0, 0],
      ['dev/console', '20600', 5, 1],
      ['dev/null', '20666', 1, 3],
      ['init', '100755', 0, 0],
    ]);
    expect(list.at(-1)?.data).toEqual(initProgram(64));
  });

  it('takes a command, and another place for init', () => {
    const list = entries(builtinInitramfs({ bits: 64, command: ['sh', '-c', 'écho hi'], path: '/domzero/init' }));
    expect(list.map(e => e.name)).toEqual([
      'dev',
      'proc',
      'sys',
      'domzero',
      'dev/console',
      'dev/null',
      'domzero/init',
      'domzero/command',
    ]);
    expect(new TextDecoder().decode(list.at(-1)?.data)).toBe('sh\0-c\0écho hi\0');
  });

  it('is for 32-bit kernels too', () => {
    const header = (bits: 32 | 64) => [...initProgram(bits).subarray(0, 20)];
    expect([header(64)[4], header(64)[18]]).toEqual([2, 62]);
    expect([header(32)[4], header(32)[18]]).toEqual([1, 3]);
  });

  it('takes what is to be done first, and the files for it', () => {
    const list = entries(
      builtinInitramfs({
        bits: 64,
        modules: [
          { path: 'kernel/fs/b.ko', bytes: Uint8Array.of(1, 2) },
          { path: 'kernel/fs/a.ko', bytes: Uint8Array.of(3) },
        ],
        actions: [
          { do: 'module', path: '/b.ko', parameters: 'x=1 y=2' },
          { do: 'disk', name: 'xvda' },
          { do: 'network', name: 'eth0', address: '10.0.2.15', netmask: '255.255.255.0', gateway: '10.0.2.2' },
          { do: 'root', device: '/dev/vda', type: 'ext4', program: '/sbin/init' },
        ],
      }),
    );
    expect(list.map(e => e.name).slice(3)).toEqual([
      '.domzero',
      '.domzero/modules',
      'domzero',
      'dev/console',
      'dev/null',
      'init',
      '.domzero/modules/b.ko',
      '.domzero/modules/a.ko',
      'domzero/script',
    ]);
    expect(new TextDecoder().decode(list.at(-1)?.data).split('\n')).toEqual([
      'module /.domzero/modules/b.ko',
      'module /.domzero/modules/a.ko',
      'module /b.ko x=1 y=2',
      'disk xvda',
      'network eth0 0a00020f ffffff00 0a000202',
      'root /dev/vda ext4 /sbin/init',
      '',
    ]);
    const disk = (name: string) => () => builtinInitramfs({ bits: 64, actions: [{ do: 'disk', name }] });
    expect(disk('a b')).toThrow('"a b" cannot stand in a script');
    expect(disk('')).toThrow(RangeError);
  });

  it('refuses a command that cannot be written down', () => {
    expect(() => builtinInitramfs({ bits: 64, command: [] })).toThrow('the command is empty');
    expect(() => builtinInitramfs({ bits: 64, command: ['a\0b'] })).toThrow('NUL');
  });

  it('is small, and the same every time', () => {
    for (const bits of [32, 64] as const) {
      expect(builtinInitramfs({ bits })).toEqual(builtinInitramfs({ bits }));
      expect(builtinInitramfs({ bits }).length).toBeLessThan(30_000);
    }
  });
});
