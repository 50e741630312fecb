// MXCSR, #XM, and the alignment of 16-byte operands (SDM Vol. 1, 11.5; Vol. 2A, 2.4).
import { describe, expect, it } from 'vitest';
import { fresh } from './sse-machine.ts';
import { fault, Machine, R, S, Vector } from './system/machine.ts';

const OSXMMEXCPT = 0x400n;
const ONE = 0x3f800000n;

const shared = new Machine();

function machine(mxcsr = 0x1f80): Machine {
  const m = fresh(shared);
  m.state.set32(S.mxcsr, mxcsr);
  return m.set(R.rax, 0xc000);
}
const xmm = (m: Machine, n: number): bigint[] => [m.state.get(S.xmm + n * 32), m.state.get(S.xmm + n * 32 + 8)];
function setXmm(m: Machine, n: number, low: bigint, high = 0n): void {
  m.state.set(S.xmm + n * 32, low);
  m.state.set(S.xmm + n * 32 + 8, high);
}

describe('floating-point exceptions', () => {
  it('are flags where masked', () => {
    const m = machine();
    setXmm(m, 0, ONE);
    setXmm(m, 1, 0n);
    m.step('f30f5ec1'); // divss xmm0, xmm1
    expect(xmm(m, 0)[0]).toBe(0x7f800000n);
    expect(m.state.get32(S.mxcsr)).toBe(0x1f84);
  });

  it.each([
    [OSXMMEXCPT, Vector.XM],
    [0n, Vector.UD],
  ])('are faults where not (CR4 %x)', (cr4, vector) => {
    const m = machine(0x1d80);
    m.state.set(S.cr4, m.state.get(S.cr4) | cr4);
    m.cpu.modeChanged();
    setXmm(m, 0, ONE, 77n);
    expect(m.fault('f30f5ec1')).toMatchObject(fault(vector));
    expect(xmm(m, 0)).toEqual([ONE, 77n]);
    expect(m.state.get32(S.mxcsr)).toBe(0x1d84);
  });

  it('come after memory faults', () => {
    const m = machine(0);
    m.page(0xd000, 0n);
    m.set(R.rax, 0xcffe);
    expect(m.fault('f30f5e00')).toMatchObject({ ...fault(Vector.PF, 0), address: 0xd000n });
    expect(m.state.get32(S.mxcsr)).toBe(0);
  });

  it('LDMXCSR refuses reserved bits, STMXCSR stores', () => {
    const m = machine();
    m.poke(0xc000, 4, 0x1ffff);
    expect(m.fault('0fae10')).toMatchObject(fault(Vector.GP, 0));
    m.poke(0xc000, 4, 0xffff);
    m.step('0fae10').step('0fae5804');
    expect(m.peek(0xc004, 4)).toBe(0xffffn);
  });
});

describe('alignment', () => {
  it.each([
    ['ADDPS', '0f5800'],
    ['PADDB', '660ffc00'],
    ['MOVAPS load', '0f2800'],
    ['MOVAPS store', '0f2900'],
    ['MOVDQA load', '660f6f00'],
    ['MOVNTDQ', '660fe700'],
    ['MOVNTDQA', '660f382a00'],
    ['PSHUFB', '660f380000'],
    ['PSHUFD', '660f700000'],
    ['CVTDQ2PS', '0f5b00'],
    ['AESENC', '660f38dc00'],
  ])('%s wants 16 bytes', (_, code) => {
    const m = machine();
    m.step(code).set(R.rax, 0xc008);
    expect(m.fault(code)).toMatchObject(fault(Vector.GP, 0));
  });

  it.each([
    ['MOVUPS load', '0f1000'],
    ['MOVUPS store', '0f1100'],
    ['MOVDQU', 'f30f6f00'],
    ['LDDQU', 'f20ff000'],
    ['ADDSS', 'f30f5800'],
    ['ADDSD', 'f20f5800'],
    ['CVTPS2PD', '0f5a00'],
    ['PMOVSXBW', '660f382000'],
    ['PCMPISTRI', '660f3a630000'],
    ['PUNPCKLBW mm', '0f6000'],
    ['INSERTPS', '660f3a210000'],
  ])('%s does not', (_, code) => {
    machine().set(R.rax, 0xc001).step(code);
  });

  it('comes before page faults', () => {
    const m = machine();
    m.page(0xd000, 0n);
    m.set(R.rax, 0xd008);
    expect(m.fault('0f5800')).toMatchObject(fault(Vector.GP, 0));
    m.set(R.rax, 0xd010);
    expect(m.fault('0f5800')).toMatchObject({ ...fault(Vector.PF, 0), address: 0xd010n });
  });
});

describe('published results', () => {
  it('PCLMULQDQ (Gueron and Kounavis, figure 1)', () => {
    const a = [0x63746f725d53475dn, 0x7b5b546573745665n] as const;
    const b = [0x5b477565726f6e5dn, 0x4869285368617929n] as const;
    const product = (imm: string): string => {
      const m = machine();
      setXmm(m, 0, ...a);
      setXmm(m, 1, ...b);
      m.step(`660f3a44c1${imm}`);
      const [low, high] = xmm(m, 0);
      return ((high << 64n) | low).toString(16);
    };
    expect(product('00')).toBe('1d4d84c85c3440c0929633d5d36f0451');
    expect(product('10')).toBe('1bd17c8d556ab5a17fa540ac2a281315');
    expect(product('01')).toBe('1a2bf6db3a30862fbabf262df4b7d5c9');
    expect(product('11')).toBe('1d1e1f2c592e7c45d66ee03e410fd4ed');
  });

  it('AES-128 (FIPS 197, appendix B), round keys by AESKEYGENASSIST', () => {
    const bytes = (hex: string): Uint8Array => Uint8Array.from(Buffer.from(hex, 'hex'));
    const m = machine();
    const register = (n: number): Uint8Array => m.state.bytes.subarray(S.xmm + n * 32, S.xmm + n * 32 + 16);
    register(0).set(bytes('3243f6a8885a308d313198a2e0370734'));
    const key = bytes('2b7e151628aed2a6abf7158809cf4f3c');
    register(1).set(key);
    m.step('660fefc1'); // pxor xmm0, xmm1
    let constant = 1;
    for (let round = 1; round <= 10; round++) {
      m.step(`660f3adfd1${constant.toString(16).padStart(2, '0')}`); // aeskeygenassist xmm2, xmm1
      const word = register(2).slice(12, 16);
      const next = register(1).slice();
      for (let i = 0; i < 16; i++) next[i] ^= i < 4 ? word[i] : next[i - 4];
      register(1).set(next);
      m.step(round < 10 ? '660f38dcc1' : '660f38ddc1');
      constant = constant & 0x80 ? 0x1b : constant << 1;
    }
    expect(Buffer.from(register(0)).toString('hex')).toBe('3925841d02dc09fbdc118597196a0b32');
  });

  it('PCMPISTRI finds a string', () => {
    const m = machine();
    m.put(0xc000, new TextEncoder().encode('look at that one'));
    m.state.bytes.set(new TextEncoder().encode('that\0'), S.xmm);
    m.step('660f3a63000c'); // equal ordered, least index
    expect(m.get(R.rcx)).toBe(8n);
    expect(m.state.rflags & 0x8d5n).toBe(0x81n); // CF found, SF the first ends, ZF clear
  });
});
