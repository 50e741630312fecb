// Out-of-line arithmetic and bulk moves: wide division, REP MOVS and REP STOS within pages, flags, units, identification.
import { GuestFault, Vector } from '../exits.ts';
import { Flag } from '../flags.ts';
import { R, S, UnitTrap } from '../layout.ts';
import type { CpuState } from '../state.ts';
import type { SystemCore, SystemHelper } from './core.ts';
import { movesTsc, readProcessorMsr, writeProcessorMsr } from './msrs.ts';

const PAGE = 4096;
const RCX_AT = S.gpr + R.rcx * 8;
const RSI_AT = S.gpr + R.rsi * 8;
const RDI_AT = S.gpr + R.rdi * 8;
const CR0_EM = 4n;
const CR4_OSFXSR = 1n << 9n;
const CR4_TSD = 4n;
const CR4_PCE = 0x100n;
const CR4_OSXSAVE = 1n << 18n;

function divide(core: SystemCore, divisor: bigint, signed: boolean): void {
  const { gpr } = core.state;
  const joined = (gpr[R.rdx] << 64n) | gpr[R.rax];
  const dividend = signed ? BigInt.asIntN(128, joined) : joined;
  const by = signed ? BigInt.asIntN(64, divisor) : divisor;
  const quotient = dividend / by;
  const fits = signed ? BigInt.asIntN(64, quotient) === quotient : quotient >> 64n === 0n;
  if (!fits) throw new GuestFault(Vector.DE);
  gpr[R.rax] = BigInt.asUintN(64, quotient);
  gpr[R.rdx] = BigInt.asUintN(64, dividend % by);
}

/** Elements of `size` bytes to the end of the page of an address, at most so many. */
function elements(left: number, size: number, lo: number, otherLo: number): number {
  return Math.min(left, Math.floor((PAGE - Math.max(lo & 0xfff, otherLo & 0xfff)) / size));
}

/** Adds bytes to a 64-bit register. */
function advance(state: CpuState, at: number, bytes: number): void {
  const low = state.get32(at) + bytes;
  state.set32(at, low);
  if (low > 0xffffffff) state.set32(at + 4, state.get32(at + 4) + 1);
}

function countDown(state: CpuState, count: number): void {
  const low = state.get32(RCX_AT);
  state.set32(RCX_AT, low - count);
  if (low < count) state.set32(RCX_AT + 4, state.get32(RCX_AT + 4) - 1);
}

/** REP MOVS upwards over pages that are plain memory: the element loop does the rest. */
const bulkMove: SystemHelper = (core, sizeValue, step, most, segmentBase) => {
  if (step !== sizeValue || segmentBase !== 0n) return;
  const size = Number(sizeValue);
  let left = Number(most);
  const { state, memory } = core;
  for (;;) {
    const from = state.get32(RSI_AT) | 0;
    const to = state.get32(RDI_AT) | 0;
    const count = elements(left, size, from, to);
    if (count === 0) return;
    const source = core.cachedAddress(from, state.get32(RSI_AT + 4) | 0, false);
    // the target is not looked at, and marked as accessed, where the source faults
    const target = source && core.cachedAddress(to, state.get32(RDI_AT + 4) | 0, true);
    if (!target) return;
    const bytes = count * size;
    // an overlap with the target above repeats a pattern: element by element
    if (target > source && target < source + bytes) return;
    memory.u8.copyWithin(target, source, source + bytes);
    advance(state, RSI_AT, bytes);
    advance(state, RDI_AT, bytes);
    countDown(state, count);
    left -= count;
  }
};

/** REP STOS upwards, likewise. */
const bulkFill: SystemHelper = (core, sizeValue, step, most, value) => {
  if (step !== sizeValue) return;
  const size = Number(sizeValue);
  let left = Number(most);
  const { state, memory } = core;
  for (;;) {
    const to = state.get32(RDI_AT) | 0;
    const count = elements(left, size, to, to);
    if (count === 0) return;
    const target = core.cachedAddress(to, state.get32(RDI_AT + 4) | 0, true);
    if (!target) return;
    const bytes = count * size;
    fillPattern(memory.u8, target, bytes, value, size);
    advance(state, RDI_AT, bytes);
    countDown(state, count);
    left -= count;
  }
};

function fillPattern(u8: Uint8Array, at: number, bytes: number, value: bigint, size: number): void {
  if (value === 0n) {
    u8.fill(0, at, at + bytes);
    return;
  }
  const first = Number(value & 0xffn);
  let uniform = true;
  for (let i = 0; i < size; i++) {
    const byte = Number((value >> BigInt(8 * i)) & 0xffn);
    if (byte !== first) uniform = false;
    u8[at + i] = byte;
  }
  if (uniform) u8.fill(first, at, at + bytes);
  else for (let done = size; done < bytes; done *= 2) u8.copyWithin(at + done, at, at + Math.min(done, bytes - done));
}

export const arithmeticHelpers: Record<string, SystemHelper> = {
  div128: (core, divisor) => divide(core, divisor, false),
  idiv128: (core, divisor) => divide(core, divisor, true),
  bulkMove,
  bulkFill,
  /** Sets ZF, keeps the other flags. */
  setZf: (core, zf) => {
    const { state } = core;
    const without = state.rflags & ~BigInt(Flag.ZF);
    state.rflags = zf ? without | BigInt(Flag.ZF) : without;
  },
  /** An instruction of a unit that is switched off (SDM Vol. 3A, table 2-2). */
  unitTrap: (core, unit) => {
    const { state } = core;
    const em = (state.get(S.cr0) & CR0_EM) !== 0n;
    if (unit === BigInt(UnitTrap.sse) && (em || !(state.get(S.cr4) & CR4_OSFXSR))) throw new GuestFault(Vector.UD);
    if (unit === BigInt(UnitTrap.mmx) && em) throw new GuestFault(Vector.UD);
    throw new GuestFault(Vector.NM);
  },
  cpuid: core => {
    const { gpr } = core.state;
    const r = core.registers.cpuid(Number(gpr[R.rax] & 0xffffffffn), Number(gpr[R.rcx] & 0xffffffffn));
    gpr[R.rax] = BigInt(r.eax >>> 0);
    gpr[R.rbx] = BigInt(r.ebx >>> 0);
    gpr[R.rcx] = BigInt(r.ecx >>> 0);
    gpr[R.rdx] = BigInt(r.edx >>> 0);
  },
  rdtsc: core => {
    const { state } = core;
    if (state.cpl !== 0 && state.get(S.cr4) & CR4_TSD) throw new GuestFault(Vector.GP, 0);
    return BigInt.asUintN(64, core.cycles() + state.get(S.tscOffset));
  },
  rdpmc: core => {
    const { state, registers } = core;
    if ((state.cpl !== 0 && !(state.get(S.cr4) & CR4_PCE)) || !registers.rdpmc) throw new GuestFault(Vector.GP, 0);
    core.requireAlone();
    return registers.rdpmc(Number(state.gpr[R.rcx] & 0xffffffffn));
  },
  rdmsr: core => {
    const index = Number(core.state.gpr[R.rcx] & 0xffffffffn);
    const own = readProcessorMsr(core, index);
    if (own !== null) return own;
    core.requireAlone();
    return core.registers.rdmsr(index);
  },
  wrmsr: core => {
    const { gpr } = core.state;
    const index = Number(gpr[R.rcx] & 0xffffffffn);
    const value = ((gpr[R.rdx] & 0xffffffffn) << 32n) | (gpr[R.rax] & 0xffffffffn);
    if (movesTsc(index)) core.requireAlone();
    if (writeProcessorMsr(core, index, value)) return;
    core.requireAlone();
    core.registers.wrmsr(index, value);
  },
  xgetbv: core => {
    const { state } = core;
    if (!(state.get(S.cr4) & CR4_OSXSAVE)) throw new GuestFault(Vector.UD);
    if (state.gpr[R.rcx] & 0xffffffffn) throw new GuestFault(Vector.GP, 0);
    return state.get(S.xcr0);
  },
  /** A 64-bit xorshift* over the count of cycles: the same run gives the same numbers. */
  random: core => {
    let x = BigInt.asUintN(64, core.cycles() * 0x9e3779b97f4a7c15n + core.state.gpr[R.rsp] + 1n);
    x ^= x >> 12n;
    x = BigInt.asUintN(64, x ^ (x << 25n));
    x ^= x >> 27n;
    return BigInt.asUintN(64, x * 0x2545f4914f6cdd1dn);
  },
};
