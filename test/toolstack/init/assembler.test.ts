// The assembler's directives, labels, layout and executables. Encodings are in assembler-forms.test.ts.
import { describe, expect, it } from 'vitest';
import {
  addr,
  ah,
  asm,
  ax,
  byte,
  distance,
  dword,
  eax,
  ecx,
  mem,
  qword,
  r8,
  rax,
  rbx,
  rcx,
  rdi,
  rsi,
  rsp,
} from '../../../src/toolstack/init/assembler/assembler.ts';

const hex = (bytes: Uint8Array) => [...bytes].map(b => b.toString(16).padStart(2, '0')).join(' ');
const flat = (write: Parameters<typeof asm>[0], base: number | bigint = 0) => hex(asm(write).flat(base).bytes);

describe('labels', () => {
  it('are reached forward and backward, and scope those that start with a dot', () => {
    const text = flat(a => {
      a.label('one').label('.loop').dec(ecx).jne('.loop').jmp('two');
      a.label('two').label('.loop').dec(eax).jne('.loop').jmp('one.loop');
    });
    expect(text).toBe('ff c9 75 fc eb 00 ff c8 75 fc eb f4');
  });

  it('are data too: absolute, relative to RIP, and as distances', () => {
    const { bytes, symbols } = asm(a => {
      a.label('code').lea(rsi, mem('table')).mov(rax, addr('table', 8)).mov(eax, addr('table')).push(addr('code'));
      a.section('data').label('table').dq(addr('code')).dd(distance('code', 'end')).label('end');
    }).flat(0x1000);
    expect(symbols.get('table')).toBe(0x1020n);
    expect(hex(bytes)).toBe(
      '48 8d 35 19 00 00 00 48 b8 28 10 00 00 00 00 00 00 b8 20 10 00 00 68 00 10 00 00 00 00 00 00 00 ' +
        '00 10 00 00 00 00 00 00 2c 00 00 00',
    );
  });

  it('in the top 2 GiB fit where the processor extends a sign', () => {
    const high = 0xffffffff81000000n;
    expect(
      flat(
        a =>
          a
            .label('here')
            .push(addr('here'))
            .mov(eax, mem({ label: 'here', index: rcx, scale: 4 })),
        high,
      ),
    ).toBe('68 00 00 00 81 8b 04 8d 00 00 00 81');
    expect(() => asm(a => a.label('here').push(addr('here'))).flat(0x80000000)).toThrow('does not fit in 32 bits');
  });

  it('that are missing or twice there are errors', () => {
    expect(() => asm(a => a.jmp('nowhere')).flat()).toThrow('no label nowhere');
    expect(() => asm(a => a.label('x').label('x'))).toThrow('label x stands twice');
    expect(() => asm(a => a.loop('far').reserve(200).label('far')).flat()).toThrow('does not fit in 8 bits');
  });

  it('at a distance make a branch long, and only that one', () => {
    const { bytes } = asm(a => a.jmp('near').je('far').label('near').reserve(126).jne('near').label('far')).flat();
    expect(hex(bytes.subarray(0, 8))).toBe('eb 06 0f 84 80 00 00 00');
    expect(hex(bytes.subarray(134))).toBe('75 80');
  });
});

describe('operands', () => {
  it('must say a width somewhere', () => {
    expect(() => asm(a => a.mov(mem(rax), 1))).toThrow('no form of mov in 64-bit code takes ([rax], 1)');
    expect(() => asm(a => a.inc(mem(rax)))).toThrow('no form of inc');
    expect(() => asm(a => a.movzx(eax, mem(rax)))).toThrow('no form of movzx');
    expect(() => asm(a => a.call(mem(rax)))).toThrow('no form of call');
    expect(flat(a => a.mov(byte(rax), 1))).toBe('c6 00 01');
    expect(flat(a => a.cmpxchg8b(mem(rdi)).invlpg(mem(rax)))).toBe('0f c7 0f 0f 01 38');
  });

  it('that cannot stand together are errors', () => {
    expect(() => asm(a => a.mov(rax, eax))).toThrow('no form of mov in 64-bit code takes (rax, eax)');
    expect(() => asm(a => a.mov(ah, byte(r8)))).toThrow('AH, CH, DH and BH');
    expect(() => asm(a => a.mov(eax, mem(rax, rsp)))).toThrow('rsp cannot be an index');
    expect(() => asm(a => a.mov(eax, mem(rax, ecx)))).toThrow('one width');
    expect(() => asm(a => a.mov(eax, mem(rax, 1n << 33n)))).toThrow('does not fit in 32 bits');
    expect(() => asm(a => a.add(rax, 0x80000000))).toThrow('no form of add');
    expect(() => asm(a => a.mov(ax, 0x10000))).toThrow('no form of mov');
    expect(() => asm(a => a.bits(32).push(rax))).toThrow('no form of push in 32-bit code');
    expect(() => asm(a => a.bits(32).mov(eax, mem(rbx)))).toThrow('64-bit address cannot stand in 32-bit code');
    expect(() => asm(a => a.mov(eax, mem(ax)))).toThrow('16-bit address cannot stand in 64-bit code');
  });

  it('take numbers with or without sign', () => {
    expect(flat(a => a.add(rax, 0xfffffffffffffff0n))).toBe(flat(a => a.add(rax, -16)));
    expect(flat(a => a.and(eax, 0xfffffff0))).toBe(flat(a => a.and(eax, -16)));
  });
});

describe('prefixes and mixed code', () => {
  it('prefixes stand before the instruction', () => {
    expect(flat(a => a.lock().cmpxchg(qword(rdi), rcx).rep().stosq())).toBe('f0 48 0f b1 0f f3 48 ab');
  });

  it('16-bit code can lead to 32-bit code', () => {
    const program = asm(a => {
      a.bits(16).label('real').cli().lgdt(mem('gdt')).jmpFar(8, addr('protected'));
      a.bits(32).label('protected').mov(eax, dword(0x1234)).hlt();
      a.label('gdt').dw(0).dd(0);
    });
    expect(hex(program.flat(0x7c00).bytes)).toBe(
      'fa 0f 01 16 12 7c ea 0b 7c 08 00 8b 05 34 12 00 00 f4 00 00 00 00 00 00',
    );
  });
});

describe('data', () => {
  it('holds numbers, text and bytes', () => {
    expect(
      flat(a =>
        a
          .db(1, 'é', [2, 3], -1)
          .dw(0x1234)
          .dd(-2)
          .dq(1n << 63n),
      ),
    ).toBe('01 c3 a9 02 03 ff 34 12 fe ff ff ff 00 00 00 00 00 00 00 80');
    expect(() => asm(a => a.db(256))).toThrow('256 does not fit in 1 bytes');
  });

  it('shares equal literals, after the code', () => {
    expect(
      flat(a => {
        a.lea(rsi, mem(a.literal('hi')))
          .lea(rdi, mem(a.literal('hi')))
          .hlt();
      }),
    ).toBe('48 8d 35 08 00 00 00 48 8d 3d 01 00 00 00 f4 68 69 00');
  });

  it('in bss takes room in memory only, and cannot have contents', () => {
    const program = asm(a => a.hlt().align(8).section('bss').label('buffer').reserve(4096));
    const image = program.flat(0x1000);
    expect([image.bytes.length, image.memorySize, image.symbols.get('buffer')]).toEqual([8, 16 + 4096, 0x1010n]);
    expect(() => asm(a => a.section('bss').db(1)).flat()).toThrow('bss holds no bytes');
  });
});

describe('executables', () => {
  const program = asm(a => {
    a.nop().label('start').mov(eax, mem('counter')).hlt();
    a.section('data').label('counter').dd(7);
    a.section('bss').label('room').reserve(10000);
  });

  it('have a segment for code and one for data, at page-congruent offsets', () => {
    const file = program.elf({ entry: 'start' });
    const view = new DataView(file.buffer);
    expect(hex(file.subarray(0, 20))).toBe('7f 45 4c 46 02 01 01 00 00 00 00 00 00 00 00 00 02 00 3e 00');
    expect(view.getBigUint64(24, true)).toBe(0x400001n);
    const headers = [...Array(view.getUint16(56, true)).keys()].map(i => {
      const at = 64 + 56 * i;
      const u64 = (n: number) => Number(view.getBigUint64(at + n, true));
      return [view.getUint32(at, true), view.getUint32(at + 4, true), u64(8), u64(16), u64(24), u64(32), u64(40)];
    });
    expect(headers).toEqual([
      [1, 5, 4096, 0x400000, 0x400000, 8, 8],
      [1, 6, 8192, 0x401000, 0x401000, 4, 16 + 10000],
      [0x6474e551, 6, 0, 0, 0, 0, 0],
    ]);
    expect(hex(file.subarray(8192))).toBe('07 00 00 00');
  });

  it('carry notes and physical addresses, as kernels do', () => {
    const file = program.elf({
      entry: 'start',
      base: 0xffffffff81000000n,
      physicalBase: 0x1000000,
      notes: [{ name: 'Xen', type: 6, descriptor: new TextEncoder().encode('linux\0') }],
    });
    const view = new DataView(file.buffer);
    expect(view.getBigUint64(64 + 24, true)).toBe(0x1000000n);
    expect(view.getUint32(64 + 2 * 56, true)).toBe(4);
    const at = Number(view.getBigUint64(64 + 2 * 56 + 8, true));
    expect(hex(file.subarray(at, at + 24))).toBe(
      '04 00 00 00 06 00 00 00 06 00 00 00 58 65 6e 00 6c 69 6e 75 78 00 00 00',
    );
  });

  it('need an entry that exists', () => {
    expect(() => program.elf({ entry: 'main' })).toThrow('no label main');
  });
});
