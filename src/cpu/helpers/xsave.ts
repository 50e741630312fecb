// FXSAVE, FXRSTOR and the XSAVE family on the components x87, SSE and AVX (SDM Vol. 1, 10.5 and chapter 13; AMD APM Vol. 2, 11.5).
// Nothing is tracked: a component is in use when its registers differ from their initial configuration.
import { GuestFault, Vector } from '../exits.ts';
import { MXCSR_DEFAULT, MXCSR_MASK } from '../float/sse.ts';
import { fninit, fxrstorX87, fxsaveX87 } from '../float/x87.ts';
import { ModeBit, R, S } from '../layout.ts';
import type { CpuState } from '../state.ts';
import { requireAlignment } from './alignment.ts';
import type { Helper, HelperCore } from './core.ts';
import { requireWritable } from './whole-store.ts';
import { x87Of } from './x87.ts';

const LEGACY_SIZE = 512;
const HEADER_SIZE = 64;
const MXCSR = 24;
const MXCSR_MASK_FIELD = 28;
const X87_SIZE = 24;
const ST = 32;
const XMM = 160;
const XMM_STRIDE = 32;
const FPR_STRIDE = 16;
/** Standard format; in the compacted one it follows the header as well, being the only extended component. */
const YMM_OFFSET = 576;
const YMM_SIZE = 256;
const HALF = 16;

const X87 = 1n;
const SSE = 2n;
const AVX = 4n;
const COMPACTED = 1n << 63n;
const EFER_FFXSR = 1n << 14n;

/** XMM8-15 are neither saved nor restored outside 64-bit mode. */
function registersOf(state: CpuState): number {
  return state.get32(S.mode) & ModeBit.long64 ? 16 : 8;
}

/** #GP, or where software asked for alignment faults, #AC for what is not even at a long word, as Intel's processors do it. */
function requireAligned(core: HelperCore, linear: bigint, bytes: bigint, write: boolean): void {
  if (!(linear & (bytes - 1n))) return;
  requireAlignment(core, linear, 4n, () => {
    if (write) requireWritable(core, linear, LEGACY_SIZE);
    else core.readLinear(linear, new Uint8Array(LEGACY_SIZE));
  });
  throw new GuestFault(Vector.GP, 0);
}

/** An area is at most this long in what is read or written of it at once. */
const IMAGE_SIZE = LEGACY_SIZE + HEADER_SIZE;
// One image is at work at a time. Every signal and context switch of a guest goes through here: nothing is allocated for it.
const image = new Uint8Array(IMAGE_SIZE);
const words = new Uint32Array(image.buffer);
const view = new DataView(image.buffer);
const pair = new Uint8Array(16);
const pairView = new DataView(pair.buffer);

/** Copies one half of each vector register to the image. @param half 0 XMM, 16 the upper half of YMM; at: offset in the image */
function saveVectors(state: CpuState, half: number, at: number): void {
  const count = registersOf(state);
  for (let i = 0; i < count; i++) {
    const from = S.xmm + i * XMM_STRIDE + half;
    const to = (at + i * HALF) >> 2;
    for (let k = 0; k < HALF / 4; k++) words[to + k] = state.get32(from + 4 * k);
  }
}

function loadVectors(state: CpuState, half: number, at: number): void {
  const count = registersOf(state);
  for (let i = 0; i < count; i++) {
    const to = S.xmm + i * XMM_STRIDE + half;
    const from = (at + i * HALF) >> 2;
    for (let k = 0; k < HALF / 4; k++) state.set32(to + 4 * k, words[from + k]);
  }
}

function clearVectors(state: CpuState, half: number): void {
  const count = registersOf(state);
  for (let i = 0; i < count; i++) {
    const at = S.xmm + i * XMM_STRIDE + half;
    for (let k = 0; k < HALF; k += 4) state.set32(at + k, 0);
  }
}

function vectorsInUse(state: CpuState, half: number): boolean {
  const count = registersOf(state);
  for (let i = 0; i < count; i++) {
    const at = S.xmm + i * XMM_STRIDE + half;
    if (state.get32(at) | state.get32(at + 4) | state.get32(at + 8) | state.get32(at + 12)) return true;
  }
  return false;
}

function x87InUse(state: CpuState): boolean {
  const x87 = x87Of(state);
  if (x87.fcw !== 0x37f || x87.fsw !== 0 || x87.ftw !== 0 || x87.fop !== 0) return true;
  if (state.get32(S.fip) | state.get32(S.fip + 4) | state.get32(S.fdp) | state.get32(S.fdp + 4)) return true;
  if (x87.fcs !== 0 || x87.fds !== 0) return true;
  for (let at: number = S.fpr; at < S.fpr + 8 * FPR_STRIDE; at += FPR_STRIDE) {
    if (state.get32(at) | state.get32(at + 4) | (state.get32(at + 8) & 0xffff)) return true;
  }
  return false;
}

/** XINUSE. */
function inUse(state: CpuState): bigint {
  return (x87InUse(state) ? X87 : 0n) | (vectorsInUse(state, 0) ? SSE : 0n) | (vectorsInUse(state, HALF) ? AVX : 0n);
}

function initialX87(state: CpuState): void {
  const x87 = x87Of(state);
  fninit(x87);
  for (let i = 0; i < 8; i++) x87.setRegister(i, 0, 0n);
}

/** The image's MXCSR. One with reserved bits is refused before anything is loaded. */
function checkedMxcsr(): number {
  const value = words[MXCSR >> 2];
  if (value & ~MXCSR_MASK) throw new GuestFault(Vector.GP, 0);
  return value;
}

/** Fast FXSAVE and FXRSTOR of AMD processors: the kernel in 64-bit mode leaves XMM to others. */
function skipsVectors(state: CpuState): boolean {
  return (state.get(S.efer) & EFER_FFXSR) !== 0n && state.cpl === 0 && (state.get32(S.mode) & ModeBit.long64) !== 0;
}

function fxsave(core: HelperCore, width: bigint, linear: bigint): void {
  const { state } = core;
  requireAligned(core, linear, 16n, true);
  const vectors = !skipsVectors(state);
  fxsaveX87(x87Of(state), view, width === 64n);
  words[MXCSR >> 2] = state.get32(S.mxcsr);
  words[MXCSR_MASK_FIELD >> 2] = MXCSR_MASK;
  if (vectors) saveVectors(state, 0, XMM);
  requireWritable(core, linear, LEGACY_SIZE); // also the bytes behind the registers, which stay as they are
  core.writeLinear(linear, image.subarray(0, vectors ? XMM + registersOf(state) * HALF : XMM));
}

function fxrstor(core: HelperCore, width: bigint, linear: bigint): void {
  const { state } = core;
  requireAligned(core, linear, 16n, false);
  core.readLinear(linear, image.subarray(0, LEGACY_SIZE));
  state.set32(S.mxcsr, checkedMxcsr());
  fxrstorX87(x87Of(state), view, width === 64n);
  if (!skipsVectors(state)) loadVectors(state, 0, XMM);
}

/** The requested-feature bitmap: EDX:EAX within XCR0. */
function requested(state: CpuState): bigint {
  const mask = ((state.gpr[R.rdx] & 0xffffffffn) << 32n) | (state.gpr[R.rax] & 0xffffffffn);
  return mask & state.get(S.xcr0);
}

/** Writes what a component has in an XSAVE area; MXCSR is the caller's business. */
function writeComponents(core: HelperCore, components: bigint, width: bigint, linear: bigint): void {
  const { state } = core;
  const end = XMM + registersOf(state) * HALF;
  if (components & X87) {
    fxsaveX87(x87Of(state), view, width === 64n);
    core.writeLinear(linear, image.subarray(0, X87_SIZE));
    core.writeLinear(linear + BigInt(ST), image.subarray(ST, XMM));
  }
  if (components & SSE) {
    saveVectors(state, 0, XMM);
    core.writeLinear(linear + BigInt(XMM), image.subarray(XMM, end));
  }
  if (components & AVX) {
    saveVectors(state, HALF, XMM);
    core.writeLinear(linear + BigInt(YMM_OFFSET), image.subarray(XMM, end));
  }
}

function writeMxcsr(core: HelperCore, linear: bigint): void {
  pairView.setUint32(0, core.state.get32(S.mxcsr), true);
  pairView.setUint32(4, MXCSR_MASK, true);
  core.writeLinear(linear + BigInt(MXCSR), pair.subarray(0, 8));
}

/** The first words of the header. */
function writeHeader(core: HelperCore, linear: bigint, present: bigint, layout?: bigint): void {
  pairView.setBigUint64(0, present, true);
  pairView.setBigUint64(8, layout ?? 0n, true);
  core.writeLinear(linear + BigInt(LEGACY_SIZE), pair.subarray(0, layout === undefined ? 8 : 16));
}

/** Bytes of an area that requested components may write. */
function areaSize(components: bigint): number {
  return components & AVX ? YMM_OFFSET + YMM_SIZE : LEGACY_SIZE + HEADER_SIZE;
}

/** XSAVE and XSAVEOPT: the standard format. */
function standardSave(core: HelperCore, width: bigint, linear: bigint, optimized: boolean): void {
  const { state } = core;
  requireAligned(core, linear, 64n, true);
  const wanted = requested(state);
  requireWritable(core, linear, areaSize(wanted));
  const used = inUse(state) & wanted;
  core.readLinear(linear + BigInt(LEGACY_SIZE), pair.subarray(0, 8));
  const old = pairView.getBigUint64(0, true);
  writeComponents(core, optimized ? used : wanted, width, linear);
  if (wanted & (SSE | AVX)) writeMxcsr(core, linear);
  writeHeader(core, linear, (old & ~wanted) | used);
}

/** XSAVEC: the compacted format, in-use components alone. MXCSR counts as SSE state here. */
function compactedSave(core: HelperCore, width: bigint, linear: bigint): void {
  const { state } = core;
  requireAligned(core, linear, 64n, true);
  const wanted = requested(state);
  requireWritable(core, linear, areaSize(wanted));
  let saved = inUse(state) & wanted;
  if (wanted & SSE && state.get32(S.mxcsr) !== MXCSR_DEFAULT) saved |= SSE;
  writeComponents(core, saved, width, linear);
  if (saved & SSE) writeMxcsr(core, linear);
  writeHeader(core, linear, saved, wanted | COMPACTED);
}

/** The two words of the image's header, checked as XRSTOR does. */
function checkedHeader(state: CpuState): { present: bigint; compacted: boolean } {
  const present = view.getBigUint64(LEGACY_SIZE, true);
  const layout = view.getBigUint64(LEGACY_SIZE + 8, true);
  const compacted = (layout & COMPACTED) !== 0n;
  const xcr0 = state.get(S.xcr0);
  let bad = compacted
    ? (layout & ~COMPACTED & ~xcr0) !== 0n || (present & ~layout) !== 0n || (present & COMPACTED) !== 0n
    : (present & ~xcr0) !== 0n || layout !== 0n;
  const reservedEnd = LEGACY_SIZE + (compacted ? HEADER_SIZE : 24);
  for (let at = LEGACY_SIZE + 16; at < reservedEnd; at += 4) bad ||= words[at >> 2] !== 0;
  if (bad) throw new GuestFault(Vector.GP, 0);
  return { present, compacted };
}

const upper = new Uint8Array(YMM_SIZE);

function xrstor(core: HelperCore, width: bigint, linear: bigint): void {
  const { state } = core;
  requireAligned(core, linear, 64n, false);
  const wanted = requested(state);
  core.readLinear(linear, image);
  const { present, compacted } = checkedHeader(state);
  const restored = wanted & present;
  const upperHalves = upper.subarray(0, registersOf(state) * HALF);
  if (restored & AVX) core.readLinear(linear + BigInt(YMM_OFFSET), upperHalves);
  let mxcsr = state.get32(S.mxcsr);
  if (compacted) {
    if (wanted & SSE) mxcsr = restored & SSE ? checkedMxcsr() : MXCSR_DEFAULT;
  } else if (wanted & (SSE | AVX)) mxcsr = checkedMxcsr();

  state.set32(S.mxcsr, mxcsr);
  if (restored & X87) fxrstorX87(x87Of(state), view, width === 64n);
  else if (wanted & X87) initialX87(state);
  if (restored & SSE) loadVectors(state, 0, XMM);
  else if (wanted & SSE) clearVectors(state, 0);
  if (restored & AVX) {
    image.set(upperHalves, XMM);
    loadVectors(state, HALF, XMM);
  } else if (wanted & AVX) clearVectors(state, HALF);
}

/** All take the operand size (64: REX.W, 64-bit pointers) and the area's linear address. */
export const xsaveHelpers: Record<string, Helper> = {
  fxsave,
  fxrstor,
  xsave: (core, width, linear) => standardSave(core, width, linear, false),
  xsaveopt: (core, width, linear) => standardSave(core, width, linear, true),
  xsavec: compactedSave,
  xrstor,
};
