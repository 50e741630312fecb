// FXSAVE, FXRSTOR and the XSAVE family on the components x87, SSE and AVX (SDM Vol. 1, 10.5 and chapter 13; AMD APM Vol. 2, 11.5).
// Nothing is tracked: a component is in use when its registers differ from their initial configuration.
import { GuestFault, Vector } from '../exits.ts';
import { MXCSR_DEFAULT, MXCSR_MASK } from '../float/sse.ts';
import { fninit, fxrstorX87, fxsaveX87 } from '../float/x87.ts';
import { ModeBit, R, S } from '../layout.ts';
import type { CpuState } from '../state.ts';
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

function requireAligned(linear: bigint, bytes: bigint): void {
  if (linear & (bytes - 1n)) throw new GuestFault(Vector.GP, 0);
}

/** Copies one half of each vector register between the state block and an image. @param half 0 XMM, 16 the upper half of YMM */
function saveVectors(state: CpuState, half: number, image: Uint8Array, at: number): void {
  for (let i = 0; i < registersOf(state); i++) {
    const from = S.xmm + i * XMM_STRIDE + half;
    image.set(state.bytes.subarray(from, from + HALF), at + i * HALF);
  }
}

function loadVectors(state: CpuState, half: number, image: Uint8Array, at: number): void {
  for (let i = 0; i < registersOf(state); i++)
    state.bytes.set(image.subarray(at + i * HALF, at + (i + 1) * HALF), S.xmm + i * XMM_STRIDE + half);
}

function clearVectors(state: CpuState, half: number): void {
  for (let i = 0; i < registersOf(state); i++) {
    const from = S.xmm + i * XMM_STRIDE + half;
    state.bytes.fill(0, from, from + HALF);
  }
}

function vectorsInUse(state: CpuState, half: number): boolean {
  for (let i = 0; i < registersOf(state); i++) {
    const at = S.xmm + i * XMM_STRIDE + half;
    if (state.get(at) !== 0n || state.get(at + 8) !== 0n) return true;
  }
  return false;
}

function x87InUse(state: CpuState): boolean {
  const x87 = x87Of(state);
  if (x87.fcw !== 0x37f || x87.fsw !== 0 || x87.ftw !== 0 || x87.fop !== 0) return true;
  if (x87.fip !== 0n || x87.fdp !== 0n || x87.fcs !== 0 || x87.fds !== 0) return true;
  for (let i = 0; i < 8; i++) if (x87.mantissa(i) !== 0n || x87.signExp(i) !== 0) return true;
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

function viewOf(image: Uint8Array): DataView {
  return new DataView(image.buffer, image.byteOffset, image.byteLength);
}

/** A MXCSR with reserved bits is refused before anything is loaded. */
function checkedMxcsr(image: Uint8Array): number {
  const value = viewOf(image).getUint32(MXCSR, true);
  if (value & ~MXCSR_MASK) throw new GuestFault(Vector.GP, 0);
  return value;
}

/** Fast FXSAVE and FXRSTOR of AMD processors: the kernel in 64-bit mode leaves XMM to others. */
function skipsVectors(state: CpuState): boolean {
  return (state.get(S.efer) & EFER_FFXSR) !== 0n && state.cpl === 0 && (state.get32(S.mode) & ModeBit.long64) !== 0;
}

function fxsave(core: HelperCore, width: bigint, linear: bigint): void {
  const { state } = core;
  requireAligned(linear, 16n);
  const vectors = !skipsVectors(state);
  const image = new Uint8Array(vectors ? XMM + registersOf(state) * HALF : XMM);
  fxsaveX87(x87Of(state), image, width === 64n);
  const view = viewOf(image);
  view.setUint32(MXCSR, state.get32(S.mxcsr), true);
  view.setUint32(MXCSR_MASK_FIELD, MXCSR_MASK, true);
  if (vectors) saveVectors(state, 0, image, XMM);
  requireWritable(core, linear, LEGACY_SIZE); // also the bytes behind the registers, which stay as they are
  core.writeLinear(linear, image);
}

function fxrstor(core: HelperCore, width: bigint, linear: bigint): void {
  const { state } = core;
  requireAligned(linear, 16n);
  const image = new Uint8Array(LEGACY_SIZE);
  core.readLinear(linear, image);
  state.set32(S.mxcsr, checkedMxcsr(image));
  fxrstorX87(x87Of(state), image, width === 64n);
  if (!skipsVectors(state)) loadVectors(state, 0, image, XMM);
}

/** The requested-feature bitmap: EDX:EAX within XCR0. */
function requested(state: CpuState): bigint {
  const mask = ((state.gpr[R.rdx] & 0xffffffffn) << 32n) | (state.gpr[R.rax] & 0xffffffffn);
  return mask & state.get(S.xcr0);
}

/** Writes what a component has in an XSAVE area; MXCSR is the caller's business. */
function writeComponents(core: HelperCore, components: bigint, width: bigint, linear: bigint): void {
  const { state } = core;
  const registers = registersOf(state) * HALF;
  const image = new Uint8Array(XMM + registers);
  if (components & X87) {
    fxsaveX87(x87Of(state), image, width === 64n);
    core.writeLinear(linear, image.subarray(0, X87_SIZE));
    core.writeLinear(linear + BigInt(ST), image.subarray(ST, XMM));
  }
  if (components & SSE) {
    saveVectors(state, 0, image, XMM);
    core.writeLinear(linear + BigInt(XMM), image.subarray(XMM));
  }
  if (components & AVX) {
    saveVectors(state, HALF, image, XMM);
    core.writeLinear(linear + BigInt(YMM_OFFSET), image.subarray(XMM));
  }
}

function writeMxcsr(core: HelperCore, linear: bigint): void {
  const bytes = new Uint8Array(8);
  const view = viewOf(bytes);
  view.setUint32(0, core.state.get32(S.mxcsr), true);
  view.setUint32(4, MXCSR_MASK, true);
  core.writeLinear(linear + BigInt(MXCSR), bytes);
}

function writeHeader(core: HelperCore, linear: bigint, words: readonly bigint[]): void {
  const bytes = new Uint8Array(words.length * 8);
  const view = viewOf(bytes);
  words.forEach((word, i) => {
    view.setBigUint64(i * 8, word, true);
  });
  core.writeLinear(linear + BigInt(LEGACY_SIZE), bytes);
}

/** Bytes of an area that requested components may write. */
function areaSize(components: bigint): number {
  return components & AVX ? YMM_OFFSET + YMM_SIZE : LEGACY_SIZE + HEADER_SIZE;
}

/** XSAVE and XSAVEOPT: the standard format. */
function standardSave(core: HelperCore, width: bigint, linear: bigint, optimized: boolean): void {
  const { state } = core;
  requireAligned(linear, 64n);
  const wanted = requested(state);
  requireWritable(core, linear, areaSize(wanted));
  const used = inUse(state) & wanted;
  const old = new Uint8Array(8);
  core.readLinear(linear + BigInt(LEGACY_SIZE), old);
  writeComponents(core, optimized ? used : wanted, width, linear);
  if (wanted & (SSE | AVX)) writeMxcsr(core, linear);
  writeHeader(core, linear, [(viewOf(old).getBigUint64(0, true) & ~wanted) | used]);
}

/** XSAVEC: the compacted format, in-use components alone. MXCSR counts as SSE state here. */
function compactedSave(core: HelperCore, width: bigint, linear: bigint): void {
  const { state } = core;
  requireAligned(linear, 64n);
  const wanted = requested(state);
  requireWritable(core, linear, areaSize(wanted));
  let saved = inUse(state) & wanted;
  if (wanted & SSE && state.get32(S.mxcsr) !== MXCSR_DEFAULT) saved |= SSE;
  writeComponents(core, saved, width, linear);
  if (saved & SSE) writeMxcsr(core, linear);
  writeHeader(core, linear, [saved, wanted | COMPACTED]);
}

/** The header's two words, checked as XRSTOR does. */
function checkedHeader(state: CpuState, image: Uint8Array): { present: bigint; compacted: boolean } {
  const view = viewOf(image);
  const present = view.getBigUint64(LEGACY_SIZE, true);
  const layout = view.getBigUint64(LEGACY_SIZE + 8, true);
  const compacted = (layout & COMPACTED) !== 0n;
  const xcr0 = state.get(S.xcr0);
  const reserved = image.subarray(LEGACY_SIZE + 16, compacted ? LEGACY_SIZE + HEADER_SIZE : LEGACY_SIZE + 24);
  const bad = compacted
    ? (layout & ~COMPACTED & ~xcr0) !== 0n || (present & ~layout) !== 0n || (present & COMPACTED) !== 0n
    : (present & ~xcr0) !== 0n || layout !== 0n;
  if (bad || reserved.some(b => b !== 0)) throw new GuestFault(Vector.GP, 0);
  return { present, compacted };
}

function xrstor(core: HelperCore, width: bigint, linear: bigint): void {
  const { state } = core;
  requireAligned(linear, 64n);
  const wanted = requested(state);
  const image = new Uint8Array(LEGACY_SIZE + HEADER_SIZE);
  core.readLinear(linear, image);
  const { present, compacted } = checkedHeader(state, image);
  const restored = wanted & present;
  const upper = new Uint8Array(registersOf(state) * HALF);
  if (restored & AVX) core.readLinear(linear + BigInt(YMM_OFFSET), upper);
  let mxcsr = state.get32(S.mxcsr);
  if (compacted) {
    if (wanted & SSE) mxcsr = restored & SSE ? checkedMxcsr(image) : MXCSR_DEFAULT;
  } else if (wanted & (SSE | AVX)) mxcsr = checkedMxcsr(image);

  state.set32(S.mxcsr, mxcsr);
  if (restored & X87) fxrstorX87(x87Of(state), image, width === 64n);
  else if (wanted & X87) initialX87(state);
  if (restored & SSE) loadVectors(state, 0, image, XMM);
  else if (wanted & SSE) clearVectors(state, 0);
  if (restored & AVX) loadVectors(state, HALF, upper, 0);
  else if (wanted & AVX) clearVectors(state, HALF);
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
