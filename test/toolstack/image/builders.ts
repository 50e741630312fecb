// Small kernels, packages and ELF files made in the tests themselves, field by field.

import { concatBytes } from '../../../src/util/bytes.ts';

export const text = (value: string) => new TextEncoder().encode(value);

/** `count` bytes of a little-endian number. */
export function little(value: number | bigint, count: number): Uint8Array {
  const out = new Uint8Array(count);
  for (let i = 0, rest = BigInt(value); i < count; i++, rest >>= 8n) out[i] = Number(rest & 255n);
  return out;
}

export function pad(bytes: Uint8Array, align: number): Uint8Array {
  const out = new Uint8Array(Math.ceil(bytes.length / align) * align);
  out.set(bytes);
  return out;
}

/** One ELF note. */
export function note(owner: string, type: number, data: Uint8Array): Uint8Array {
  const name = text(`${owner}\0`);
  return concatBytes([little(name.length, 4), little(data.length, 4), little(type, 4), pad(name, 4), pad(data, 4)]);
}

export interface TestSegment {
  readonly type: number;
  readonly vaddr: bigint;
  readonly paddr?: bigint;
  readonly data: Uint8Array;
  readonly memorySize?: number;
}

export interface TestSection {
  readonly name: string;
  readonly type: number;
  readonly data: Uint8Array;
  readonly link?: number;
}

export interface TestElf {
  readonly bits?: 32 | 64;
  readonly machine?: number;
  readonly entry?: bigint;
  readonly segments: readonly TestSegment[];
  readonly sections?: readonly TestSection[];
}

/** An ELF file: header, program headers, data, section headers. */
export function makeElf({ bits = 64, machine, entry = 0n, segments, sections = [] }: TestElf): Uint8Array {
  const wide = bits === 64;
  const word = bits / 8;
  const [headerSize, programSize, sectionSize] = wide ? [64, 56, 64] : [52, 32, 40];
  let at = headerSize + programSize * segments.length;
  const body: Uint8Array[] = [];
  const place = (data: Uint8Array) => {
    const start = at;
    const padded = pad(data, 8);
    body.push(padded);
    at += padded.length;
    return start;
  };
  const program = segments.map(({ type, vaddr, paddr = vaddr, data, memorySize = data.length }) => {
    const where = [little(place(data), word), little(vaddr, word), little(paddr, word)];
    const sizes = [little(data.length, word), little(memorySize, word)];
    const flags = little(7, 4);
    const parts = wide ? [little(type, 4), flags, ...where, ...sizes] : [little(type, 4), ...where, ...sizes, flags];
    return concatBytes([...parts, little(4096, word)]);
  });
  const all: TestSection[] = [{ name: '', type: 0, data: new Uint8Array(0) }, ...sections];
  const names = `${all.map(section => section.name).join('\0')}\0.shstrtab\0`;
  all.push({ name: '.shstrtab', type: 3, data: text(names) });
  let nameAt = 0;
  const table = all.map(({ name, type, data, link = 0 }) => {
    const parts = [
      [nameAt, 4],
      [type, 4],
      [0, word],
      [0, word],
      [place(data), word],
      [data.length, word],
      [link, 4],
      [0, 4],
      [0, word],
      [0, word],
    ];
    nameAt += name.length + 1;
    return concatBytes(parts.map(([value, count]) => little(value, count)));
  });
  const header = [
    Uint8Array.of(0x7f, 0x45, 0x4c, 0x46, wide ? 2 : 1, 1, 1, 0),
    new Uint8Array(8),
    little(2, 2),
    little(machine ?? (wide ? 62 : 3), 2),
    little(1, 4),
    little(entry, word),
    little(headerSize, word),
    little(at, word),
    little(0, 4),
    ...[headerSize, programSize, segments.length, sectionSize, all.length, all.length - 1].map(n => little(n, 2)),
  ];
  return concatBytes([...header, ...program, ...body, ...table]);
}

/** A bzImage around a payload as the kernel's build makes it; `size` is what stands after every payload but gzip's. */
export function makeBzImage(payload: Uint8Array, version = '', size: number | null = null): Uint8Array {
  const setup = new Uint8Array(3 * 512);
  const put = (at: number, value: number, count: number) => setup.set(little(value, count), at);
  const appended = size === null ? payload : concatBytes([payload, little(size, 4)]);
  put(0x1f1, 2, 1);
  put(0x1fe, 0xaa55, 2);
  setup.set(text('HdrS'), 0x202);
  put(0x206, 0x20f, 2);
  put(0x20e, 0x300 - 0x200, 2);
  put(0x248, 0x20, 4);
  put(0x24c, appended.length, 4);
  setup.set(text(`${version}\0`), 0x300);
  return concatBytes([setup, new Uint8Array(0x20), appended]);
}

/** A kernel module that depends on others. */
export function makeModule(depends: readonly string[] = [], bits: 32 | 64 = 64): Uint8Array {
  const info = `license=GPL\0description=é\0depends=${depends.join(',')}\0retpoline=Y\0`;
  return makeElf({ bits, segments: [], sections: [{ name: '.modinfo', type: 1, data: text(info) }] });
}

/** A tar archive of files. */
export function makeTar(files: Readonly<Record<string, Uint8Array>>): Uint8Array {
  const parts = Object.entries(files).map(([path, data]) => {
    const header = new Uint8Array(512);
    const put = (at: number, value: string) => header.set(text(value), at);
    put(0, path);
    put(100, '0000644\0');
    put(124, `${data.length.toString(8).padStart(11, '0')}\0`);
    put(156, path.endsWith('/') ? '5' : '0');
    put(257, 'ustar\x0000');
    put(148, '        ');
    const sum = header.reduce((a, b) => a + b, 0);
    put(148, `${sum.toString(8).padStart(6, '0')}\0 `);
    return concatBytes([header, pad(data, 512)]);
  });
  return concatBytes([...parts, new Uint8Array(1024)]);
}

/** An ar archive. */
export function makeAr(members: Readonly<Record<string, Uint8Array>>): Uint8Array {
  const parts = Object.entries(members).map(([name, data]) => {
    const fields = [name.padEnd(16), '0'.padEnd(12), '0'.padEnd(6), '0'.padEnd(6), '100644'.padEnd(8)];
    return concatBytes([text(`${fields.join('')}${String(data.length).padEnd(10)}\`\n`), pad(data, 2)]);
  });
  return concatBytes([text('!<arch>\n'), ...parts]);
}

/** A Debian package with uncompressed members. */
export function makeDeb(control: string, files: Readonly<Record<string, Uint8Array>>): Uint8Array {
  return makeAr({
    'debian-binary': text('2.0\n'),
    'control.tar': makeTar({ './control': text(control) }),
    'data.tar': makeTar(files),
  });
}
