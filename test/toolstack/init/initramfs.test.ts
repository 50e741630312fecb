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
    const list = entries(builtinInitramfs());
    expect(list.map(({ name, mode, device }) => [name, mode.toString(8), ...device])).toEqual([
      ['dev', '40755', 0, 0],
      ['proc', '40755', 0, 0],
      ['sys', '40755', 0, 0],
      ['dev/console', '20600', 5, 1],
      ['dev/null', '20666', 1, 3],
      ['init', '100755', 0, 0],
    ]);
    expect(list.at(-1)?.data).toEqual(initProgram());
  });

  it('takes a command, and another place for init', () => {
    const list = entries(builtinInitramfs({ command: ['sh', '-c', 'écho hi'], path: '/domzero/init' }));
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

  it('refuses a command that cannot be written down', () => {
    expect(() => builtinInitramfs({ command: [] })).toThrow('the command is empty');
    expect(() => builtinInitramfs({ command: ['a\0b'] })).toThrow('NUL');
  });

  it('is small, and the same every time', () => {
    expect(builtinInitramfs()).toEqual(builtinInitramfs());
    expect(builtinInitramfs().length).toBeLessThan(20_000);
  });
});
