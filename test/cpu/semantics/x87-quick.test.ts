// The x87's quick way beside the exact one: every instruction that has both, over operands near the edges of rounding and alignment.
import { expect, test } from 'vitest';
import { executeMemory, executeRegister, newX87State, type X87State } from '../../../src/cpu/float/x87.ts';
import { X87Registers } from '../../../src/cpu/helpers/x87.ts';
import { S, SEG } from '../../../src/cpu/layout.ts';
import { EngineMemory } from '../../../src/cpu/memory.ts';
import { CPU_MODELS } from '../../../src/cpu/models/index.ts';
import { createProcessor } from '../../../src/cpu/processor.ts';

const CODE = 0x1000;
const DATA = 0x3000;
const ROUNDS = 600;

let seed = 0x2545f4914f6cdd1dn;
function random(bits: number): bigint {
  seed ^= BigInt.asUintN(64, seed << 13n);
  seed ^= seed >> 7n;
  seed = BigInt.asUintN(64, seed ^ (seed << 17n));
  return seed & ((1n << BigInt(bits)) - 1n);
}
const pick = <T>(...from: T[]): T => from[Number(random(16)) % from.length];

/** Significands with long runs of equal bits, which carry and tie, as often as any. */
function significand(): bigint {
  const some = 1n << random(6);
  const shape = pick(0n, some - 1n, ~(some - 1n), some, random(64), random(64) & ~0x7ffn, random(64) & ~0xffffffffffn);
  return BigInt.asUintN(64, shape) | (random(6) === 0n ? 0n : 1n << 63n);
}

function signExp(): number {
  const base = pick(0x3fff, 0x3fff, 0x3fff, 0x4000, 0x3c01, 0x43ff, 0x3f80, 0x407e, 1, 0x7ffe, 0, 0x7fff);
  const near = base + Number(random(8)) - 128;
  const exponent = Math.min(0x7fff, Math.max(0, random(2) === 0n ? near : base + Number(random(2)) - 1));
  return exponent | (random(1) === 0n ? 0 : 0x8000);
}

function processor() {
  const memory = new EngineMemory(1 << 20);
  const cpu = createProcessor(memory, CPU_MODELS[0], null);
  const { live } = cpu;
  live.set(S.cr0, 1n);
  live.set(S.efer, 1n << 10n);
  live.writeSegment(SEG.cs, { selector: 8, base: 0n, limit: 0xffffffff, attributes: 0xa09b });
  live.writeSegment(SEG.ss, { selector: 16, base: 0n, limit: 0xffffffff, attributes: 0xc093 });
  live.set32(S.pv, 1);
  live.gpr[0] = BigInt(DATA);
  cpu.modeChanged();
  return { memory, cpu, live, x87: new X87Registers(live) };
}

/** Fills both with the same registers, most of them in use. */
function fill(...states: X87State[]): void {
  const tags = Number(random(8) | random(8) | random(8));
  const fsw = Number((random(3) << 11n) | (random(1) << 9n) | (random(1) << 5n));
  const fcw = pick(0x37f, 0x37f, 0x37f, 0x37f, 0x27f, 0x7f, 0xf7f, 0x77f, 0x35f);
  for (let i = 0; i < 8; i++) {
    const zero = random(4) === 0n;
    const e = zero ? Number(random(1) << 15n) : signExp();
    const m = zero ? 0n : significand();
    for (const s of states) s.setRegister(i, e, m);
  }
  for (const s of states) [s.fcw, s.fsw, s.ftw] = [fcw, fsw, tags];
}

function expectSame(got: X87State, wanted: X87State, what: string): void {
  const text = (s: X87State) =>
    [s.fcw, s.fsw, s.ftw, ...Array.from({ length: 8 }, (_, i) => [s.signExp(i), s.mantissa(i)])].join(' ');
  expect(text(got), what).toBe(text(wanted));
}

const arithmetic = [0, 1, 4, 5, 6, 7].map(reg => 0xc1 | (reg << 3));
const REGISTER_FORMS: readonly [esc: number, modrm: readonly number[]][] = [
  [0xd8, arithmetic],
  [0xdc, arithmetic],
  [0xde, arithmetic],
  [0xd9, [0xc1, 0xc9, 0xe0, 0xe1, 0xe8, 0xee]],
  [0xdd, [0xd1, 0xd9, 0xd8]],
  [0xdb, [0xe9, 0xf1]],
  [0xdf, [0xe9, 0xf1]],
];

test('with registers', () => {
  const { memory, cpu, live, x87 } = processor();
  const FLAGS = 0x8d5n;
  for (const [esc, codes] of REGISTER_FORMS) {
    for (const modrm of codes) {
      memory.frame(CODE >> 12).set([esc, modrm]);
      cpu.dropFrame(CODE >> 12);
      const exact = newX87State();
      for (let round = 0; round < ROUNDS; round++) {
        fill(x87, exact);
        live.rip = BigInt(CODE);
        live.rflags = 2n;
        const before = `${exact.fcw} ${exact.fsw} ${exact.ftw}`;
        const result = executeRegister(exact, esc, modrm, 0);
        cpu.run(1);
        const what = `${esc.toString(16)} ${modrm.toString(16)} round ${round} of ${before}`;
        expectSame(x87, exact, what);
        if (result >= 0) expect(live.rflags & FLAGS, what).toBe(BigInt(result));
      }
    }
  }
});

const MEMORY_FORMS: readonly [esc: number, regs: readonly number[]][] = [
  [0xd8, [0, 1, 4, 5, 6, 7]],
  [0xdc, [0, 1, 4, 5, 6, 7]],
  [0xd9, [0, 2, 3]],
  [0xdd, [0, 2, 3]],
  [0xdb, [0, 5, 7]],
  [0xdf, [0, 5]],
];

test('with memory', () => {
  const { memory, cpu, live, x87 } = processor();
  const at = memory.frame(DATA >> 12);
  const view = new DataView(at.buffer, at.byteOffset, 16);
  const scratch = new DataView(new ArrayBuffer(16));
  for (const [esc, regs] of MEMORY_FORMS) {
    for (const reg of regs) {
      memory.frame(CODE >> 12).set([esc, reg << 3]);
      cpu.dropFrame(CODE >> 12);
      const exact = newX87State();
      for (let round = 0; round < ROUNDS; round++) {
        fill(x87, exact);
        live.rip = BigInt(CODE);
        const ordinary = (random(1) << 63n) | ((1000n + random(6)) << 52n) | random(52);
        const single = (random(1) << 31n) | ((100n + random(6)) << 23n) | random(23);
        const low = pick(ordinary, ordinary, single, single, random(64), 0n, 1n << 63n);
        for (const v of [view, scratch]) {
          v.setBigUint64(0, low, true);
          v.setUint16(8, Number(random(4)) === 0 ? 0 : 0x3fff, true);
        }
        scratch.setUint16(8, view.getUint16(8, true), true);
        const what = `${esc.toString(16)} /${reg} round ${round} of ${exact.fcw} ${exact.fsw} ${exact.ftw} with ${low.toString(16)}`;
        executeMemory(exact, esc, reg, scratch);
        cpu.run(1);
        expectSame(x87, exact, what);
        const wide = esc === 0xdb && reg === 7 ? 10 : esc === 0xdd ? 8 : 4;
        if (reg === 2 || reg === 3 || reg === 7)
          for (let i = 0; i < wide; i++) expect(view.getUint8(i), what).toBe(scratch.getUint8(i));
      }
    }
  }
});
