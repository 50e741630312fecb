// Every form of the assembler's table, in every code width and operand size, decoded again by iced-x86.
import {
  Code,
  Decoder,
  DecoderOptions,
  type Instruction,
  MemorySizeExt,
  Mnemonic as Name,
  OpKind,
  Register as Reg,
} from 'iced-x86';
import { describe, expect, it } from 'vitest';
import * as o from '../../../src/toolstack/init/assembler/assembler.ts';
import { asm, type Memory, mem, type Operand, type Register } from '../../../src/toolstack/init/assembler/assembler.ts';
import { encode } from '../../../src/toolstack/init/assembler/encode.ts';
import { CONDITIONS, FORMS, type Mnemonic } from '../../../src/toolstack/init/assembler/forms.ts';
import { type Bits, type Form, formsOf } from '../../../src/toolstack/init/assembler/match.ts';

const BASE = 0x1000n;
const LABEL = BASE + 0x40n;

/** General registers of a size in bytes; 0: all. */
const gpr = (size: number) =>
  (Object.values(o) as unknown[]).filter(
    (r): r is Register => isRegister(r) && r.class === 'gpr' && (size === 0 || r.size === size),
  );
const isRegister = (r: unknown): r is Register =>
  typeof r === 'object' && r !== null && (r as Register).kind === 'register';
const ofClass = (cls: string) =>
  (Object.values(o) as unknown[]).filter((r): r is Register => isRegister(r) && r.class === cls);
const named = (name: string) => (o as unknown as Record<string, Register>)[name];

function memories(bits: Bits): Memory[] {
  const { eax, ecx, bx, si, bp, di } = o;
  if (bits === 16)
    return [
      [bx, si],
      [bp, di, 1, 5],
      [bp, si, 1, -0x200],
      [si],
      [di, -1],
      [bp],
      [bx, 0x1234],
      [0x1234],
      ['there'],
      [bx, di],
      [eax, ecx, 4, 8],
    ].map(args => mem(...(args as Parameters<typeof mem>)));
  if (bits === 32)
    return [
      [eax],
      [o.ebp],
      [o.esp, 4],
      [o.ebx, o.esi, 4, 0x1000],
      [0x80000000],
      ['there'],
      [eax, -128],
      [eax, 128],
      [{ index: ecx, scale: 8, displacement: 4 }],
      [bx, di],
    ].map(args => mem(...(args as Parameters<typeof mem>)));
  const { rax, rcx, rbx, rbp, rsp, r8, r9, r12, r13, r9d } = o;
  return [
    ...[
      [rax],
      [rbp],
      [r13],
      [rsp],
      [r12, 8],
      [rbx, -128],
      [rbx, 128],
      [rbx, -129],
      [rcx, r9, 8, 0x12345678],
      [rsp, rbp, 1, -4],
      [r13, r12, 2],
      [r8, rax],
      [{ index: rax, scale: 4, displacement: 0x10 }],
      [0x1000],
      [-8n],
      ['there'],
      ['there', 4],
      [{ label: 'there', index: rcx, scale: 8 }],
      [{ label: 'there', base: r13 }],
      [eax, ecx, 2, 4],
      [r9d],
    ].map(args => mem(...(args as Parameters<typeof mem>))),
    o.within(o.gs, mem(0x28)),
    o.within(o.fs, mem(r12)),
  ];
}

/** Sample operands for one pattern of the table. */
function samples(pattern: string, width: number, bits: Bits): Operand[] {
  const general = /^(r|rm|m|R)(8|16|32|48|64|80|128|v)$/.exec(pattern);
  if (general) {
    const size = general[2] === 'v' ? width : Number(general[2]) / 8;
    const registers = general[1] === 'm' ? [] : gpr(size).filter(r => bits === 64 || r.rex !== 'needed');
    const sized = general[1].includes('m') ? memories(bits).map(m => ({ ...m, size }) as Memory) : [];
    return [...registers, ...sized];
  }
  switch (pattern) {
    case 'm':
      return memories(bits);
    case 'acc':
      return gpr(width).filter(r => r.code === 0);
    case 'sreg':
      return ofClass('sreg').filter(r => r.name !== 'cs');
    case 'cr':
      return ofClass('cr').filter(r => bits === 64 || r.code < 8);
    case 'dr':
      return ofClass('dr');
    case '1':
      return [1];
    case 'imm8':
      return [5, 0, 0x7f, 0xff, -128];
    case 'simm8':
      return [5, 0, -1, 127, -128];
    case 'imm16':
      return [0x1234, 0xffff, -2];
    case 'imm32':
      return [0x12345678, 0xffffffff, -5];
    case 'uimm32':
      return [0, 1, 0x80000000, 0xffffffffn];
    case 'imm64':
      return [0x123456789abcdef0n, 1n << 63n, 0x100000000, -0x80000001n];
    case 'immv':
      return [0x1234, 0x7fff, -0x7ff0];
    case 'immz':
      return [0x1234, -0x1000];
    case 'moffs':
      return [mem(0x123456789abcn), mem(0xffffffffff600000n - 0x80000000n)];
    default:
      return [named(pattern)];
  }
}

const size = (m: Operand) => (m as Memory).size;

function check(
  name: string,
  form: Form,
  bits: Bits,
  width: number,
  operands: Operand[],
  i: Instruction,
  length: number,
) {
  const what = `${name} ${JSON.stringify(operands, (_, v) => (typeof v === 'bigint' ? String(v) : v))}`;
  expect(i.length, what).toBe(length);
  const sought = name.replace('Far', '');
  const condition = /^(j|set|cmov)(\w+)$/.exec(sought);
  const code = condition && CONDITIONS[condition[2] as keyof typeof CONDITIONS];
  if (code !== null && code !== undefined && !sought.endsWith('xz')) expect(i.conditionCode, what).toBe(code + 1);
  else if (!Code[i.code].toLowerCase().startsWith(sought)) expect(Name[i.mnemonic].toLowerCase(), what).toBe(sought);
  // XCHG is the same both ways round; iced shows the memory first.
  const shown = name === 'xchg' && typeof operands[1] === 'object' && operands[1].kind === 'memory';
  operands.forEach((operand, index) => {
    const n = shown ? 1 - index : index;
    const pattern = form.operands[index];
    if (typeof operand === 'number' || typeof operand === 'bigint') {
      if (form.encoding.includes('far')) {
        const actual = n === 0 ? i.farBranchSelector : form.encoding.includes('o16') ? i.farBranch16 : i.farBranch32;
        expect(BigInt(actual), what).toBe(
          BigInt.asUintN(n === 0 || form.encoding.includes('o16') ? 16 : 32, BigInt(operand)),
        );
        return;
      }
      const bitsOf: Record<string, number> = {
        '1': 8,
        imm8: 8,
        simm8: (width || bits / 8) * 8,
        immv: width * 8,
        immz: bits,
      };
      const w = bitsOf[pattern] ?? Number(/\d+/.exec(pattern)?.[0]);
      expect(BigInt.asUintN(w, i.immediate(n)), what).toBe(BigInt.asUintN(w, BigInt(operand)));
    } else if (isRegister(operand)) {
      expect(i.opKind(n), what).toBe(OpKind.Register);
      const actual = Reg[i.opRegister(n)].toLowerCase();
      // Selectors' width does not matter to LLDT and its like; `uimm32` goes through the 32-bit register.
      const loose = pattern === 'rm16' && !name.startsWith('mov') && !form.encoding.includes('o16');
      if (loose)
        expect(
          gpr(0)
            .filter(r => r.code === operand.code)
            .map(r => r.name),
          what,
        ).toContain(icedName(actual));
      else if (form.operands.includes('uimm32'))
        expect(icedName(actual), what).toBe(gpr(4).find(r => r.code === operand.code)?.name);
      else expect(icedName(actual), what).toBe(operand.name);
    } else {
      checkMemory(operand as Memory, i, bits, what);
      expect(i.opKind(n), what).toBe(OpKind.Memory);
      if (size(operand)) expect(MemorySizeExt.size(i.memorySize), what).toBe(size(operand));
    }
  });
}

/** iced calls R8D-R15D and the like as Intel does, and R8L-R15L our R8B-R15B. */
const icedName = (name: string) => name.replace(/^(r\d+)l$/, '$1b');

function checkMemory(m: Memory, i: Instruction, bits: Bits, what: string) {
  const relative = bits === 64 && m.label !== undefined && !m.base && !m.index;
  const base = Reg[i.memoryBase].toLowerCase();
  const index = Reg[i.memoryIndex].toLowerCase();
  const shown = [base, index].filter(r => r !== 'none');
  const wanted = relative ? ['rip'] : [m.base?.name, m.index?.name].filter(r => r !== undefined);
  expect(shown.sort(), what).toEqual([...wanted].sort());
  if (m.index) expect(i.memoryIndexScale, what).toBe(m.scale);
  if (m.index && m.scale > 1) expect(index, what).toBe(m.index.name);
  const address = m.displacement + (m.label ? LABEL : 0n);
  const width = (m.base ?? m.index) ? (m.base ?? (m.index as Register)).size * 8 : bits;
  expect(BigInt.asUintN(width, i.memoryDisplacement), what).toBe(BigInt.asUintN(width, address));
  const segment = m.segment?.name ?? 'none';
  expect(Reg[i.segmentPrefix].toLowerCase(), what).toBe(segment);
}

function assemble(name: Mnemonic, operands: Operand[], bits: Bits): Uint8Array {
  const program = asm(a => {
    a.label('here')
      [name](...operands)
      .label('end');
    a.align(0x40).label('there');
  }, bits);
  const image = program.flat(BASE);
  const end = Number((image.symbols.get('end') as bigint) - BASE);
  return image.bytes.slice(0, end);
}

function decode(bytes: Uint8Array, bits: Bits): Instruction {
  const decoder = new Decoder(bits, bytes, DecoderOptions.None);
  decoder.ip = BASE;
  const instruction = decoder.decode();
  decoder.free();
  return instruction;
}

const needsRex = (name: Mnemonic, operands: Operand[], form: Form, width: number) => {
  const r = operands.flatMap(x =>
    typeof x !== 'object' ? [] : x.kind === 'register' ? [x] : x.kind === 'memory' ? [x.base, x.index] : [],
  );
  const rex = r.some(x => x && (x.rex === 'needed' || (x.class === 'gpr' && x.code > 7)));
  return rex || width === 8 || form.encoding.includes('o64') || name === 'crc32';
};

function* cases(form: Form, bits: Bits, width: number): Generator<Operand[]> {
  const columns = form.operands.map(pattern => samples(pattern, width, bits));
  const longest = Math.max(1, ...columns.map(c => c.length));
  // Operands move at different paces, so that pairs vary without trying every pair.
  for (let turn = 0; turn < 3; turn++)
    for (let i = 0; i < longest; i++) yield columns.map((c, n) => c[(i + n * turn * 5) % c.length]);
}

describe.each([64, 32, 16] as Bits[])('%i-bit code', bits => {
  it.each(Object.keys(FORMS) as Mnemonic[])('%s', name => {
    for (const form of formsOf(name)) {
      const { encoding } = form;
      if (form.operands.includes('rel')) continue;
      if (encoding.includes('x64') ? bits !== 64 : encoding.includes('x32') && bits === 64) continue;
      if (encoding.includes('x16') && bits !== 16) continue;
      if (bits !== 64 && (encoding.includes('o64') || form.operands.some(p => /^(r|rm|R|m)64$/.test(p) && p !== 'm64')))
        continue;
      const wide = form.operands.some(p => /^(acc|(r|rm|m|R|imm)v)$/.test(p));
      for (const width of wide ? (bits === 64 ? [2, 4, 8] : [2, 4]) : [0]) {
        let reached = 0;
        for (const operands of cases(form, bits, width)) {
          if (operands.some(x => isRegister(x) && x.rex === 'forbidden') && needsRex(name, operands, form, width))
            continue;
          const chosen = encode(name, operands, bits)[0];
          if (chosen.form === form.text) reached++;
          const bytes = assemble(name, operands, bits);
          const decoded = decode(bytes, bits);
          const used = formsOf(name).find(f => f.text === chosen.form) as Form;
          check(name, used, bits, width, operands, decoded, bytes.length);
          decoded.free();
        }
        // A form that nothing reaches is dead; two are shadowed on purpose, by a form of the same meaning and length.
        const shadowed = name === 'xchg' && form.text.startsWith('r8,rm8') ? 'r8' : undefined;
        if (!shadowed) expect(reached, `${name}: ${form.text} (${width})`).toBeGreaterThan(0);
      }
    }
  });
});

describe('branches', () => {
  const branches = (Object.keys(FORMS) as Mnemonic[]).filter(name => FORMS[name].some(f => f.startsWith('rel')));
  for (const bits of [64, 32, 16] as Bits[]) {
    it.each(branches)(`%s in ${bits}-bit code, short and near, forward and backward`, name => {
      for (const form of formsOf(name).filter(f => f.operands.includes('rel'))) {
        if (form.encoding.includes('x64') ? bits !== 64 : form.encoding.includes('x32') && bits === 64) continue;
        const near = form.encoding.includes('relv');
        for (const forward of [true, false]) {
          const pad = near ? 300 : 20;
          const program = asm(a => {
            if (!forward) a.label('target').reserve(pad);
            a.label('here')[name]('target').label('end');
            if (forward) a.reserve(pad).label('target');
          }, bits);
          const { bytes, symbols } = program.flat(BASE);
          const at = (label: string) => Number((symbols.get(label) as bigint) - BASE);
          const decoder = new Decoder(bits, bytes.slice(at('here'), at('end')), DecoderOptions.None);
          decoder.ip = BASE + BigInt(at('here'));
          const i = decoder.decode();
          expect(i.length).toBe(at('end') - at('here'));
          // In 16-bit code the instruction pointer wraps.
          const mask = bits === 16 ? 16 : 64;
          expect(BigInt.asUintN(mask, i.nearBranchTarget)).toBe(BigInt.asUintN(mask, symbols.get('target') as bigint));
          const code = CONDITIONS[name.slice(1) as keyof typeof CONDITIONS];
          if (code !== undefined) expect(i.conditionCode).toBe(code + 1);
          else expect(Name[i.mnemonic].toLowerCase()).toBe(name);
        }
      }
    });
  }
});
