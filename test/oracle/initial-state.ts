// A case's initial registers and operand bytes from its seed: values that matter to the kind of instruction, not just any bits.
// FXSAVE image offsets: SDM Vol. 1, table 10-2.
import { Prng } from './prng.ts';

/** What bytes stand for: how a memory operand or a vector register is filled. */
export const Kind = {
  integer: 0,
  f32: 1,
  f64: 2,
  f80: 3,
  bcd: 4,
  /** One byte again and again, with one that may differ. */
  repetitive: 5,
  /** FNSTENV images (28 and 14 bytes), FNSAVE images (108 and 94), FXSAVE and XSAVE images (512 and 576). */
  env28: 6,
  env14: 7,
  state108: 8,
  state94: 9,
  fxsave: 10,
  xsave: 11,
  /** A few letters and NULs. */
  text: 12,
  /** 64-bit shift counts. */
  counts: 13,
} as const;

/** Which register files hold what. */
export const Flavor = {
  /** General registers only; the x87 stack is empty. */
  general: 0,
  vectorInteger: 1,
  vectorF32: 2,
  vectorF64: 3,
  x87: 4,
  mmx: 5,
  /** XMM as floats, MMX as integers: the conversions between them. */
  mixedF32: 6,
  mixedF64: 7,
  /** XMM as strings, and as shift counts. */
  vectorText: 8,
  vectorCounts: 9,
} as const;

export const FXSAVE_SIZE = 464;
export const FX = {
  fcw: 0,
  fsw: 2,
  ftw: 4,
  fop: 6,
  fip: 8,
  fdp: 16,
  mxcsr: 24,
  mxcsrMask: 28,
  st: 32,
  xmm: 160,
} as const;
export const MXCSR_DEFAULT = 0x1f80;

export interface RegisterState {
  /** rax rcx rdx rbx rsp rbp rsi rdi r8..r15 */
  gpr: BigUint64Array;
  /** The arithmetic flags and DF. */
  rflags: number;
  /** x87, MXCSR and XMM as FXSAVE lays them out in 64-bit mode. */
  fxsave: Uint8Array;
}

const EDGES = [0x7f, 0x80, 0xff, 0x100, 0x7fff, 0x8000, 0xffff, 0x1_0000, 0x7fffffff, 0x80000000, 0xffffffff];

/** Eight bytes of integer operand, as two words. */
function integer64(prng: Prng, out: Uint32Array, at: number): void {
  const r = prng.u32();
  const x = prng.u32();
  let lo = x;
  let hi = 0;
  switch (r & 15) {
    case 7:
      hi = lo >>> 31 ? 0xffffffff : 0;
      break;
    case 8:
      lo = x & 15;
      break;
    case 9:
      lo = ~(x & 15);
      hi = 0xffffffff;
      break;
    case 10:
      lo = x & 32 ? 0 : 1 << (x & 31);
      hi = x & 32 ? 1 << (x & 31) : 0;
      break;
    case 11:
      lo = x & 32 ? 0xffffffff : (1 << (x & 31)) - 1;
      hi = x & 32 ? (1 << (x & 31)) - 1 : 0;
      break;
    case 12:
      lo = EDGES[x % EDGES.length];
      break;
    case 13:
      lo = x & 64 ? 0xffffffff : 0;
      hi = x & 64 ? 0x7fffffff : 0x80000000;
      break;
    case 14:
      lo = Math.imul(x & 0xff, 0x01010101);
      hi = lo;
      break;
    case 15:
      lo = 0;
      break;
    case 6:
      break;
    default:
      hi = prng.u32();
  }
  out[at] = lo;
  out[at + 1] = hi;
}

const scratch = new DataView(new ArrayBuffer(16));
const words = new Uint32Array(2);

function float32(prng: Prng): number {
  const r = prng.u32();
  const x = prng.u32();
  const sign = r & 0x80000000;
  switch ((r >>> 3) & 31) {
    case 0:
      return sign;
    case 1:
      return sign | 0x7f800000;
    case 2:
      return sign | 0x7fc00000 | (x & 0x3fffff);
    case 3:
      return sign | 0x7f800000 | (x & 0x3fffff) | 1;
    case 4:
      return sign | (x & 0x7fffff);
    case 5:
      return sign | 0x00800000 | (x & 7);
    case 6:
      return sign | 0x7f7fffff;
    case 7:
      return sign | 0x3f800000;
    case 8:
      return sign | ((127 + 30 + (x & 3)) << 23) | ((x >>> 4) & 1 ? 0x7fffff : 0);
    case 9:
      return sign | ((127 + 62 + (x & 3)) << 23) | ((x >>> 4) & 1 ? 0x7fffff : 0);
    case 10:
    case 11:
      return x;
    case 12:
    case 13:
    case 14:
      scratch.setFloat32(0, (x & 0xff) / ((r >>> 8) & 1 ? 1 : 2));
      return scratch.getUint32(0) | sign;
    case 15:
      return sign | ((x % 3) << 23) | ((x >>> 8) & 0x7fffff);
    case 16:
      return sign | ((252 + (x % 3)) << 23) | ((x >>> 8) & 0x7fffff);
    default:
      return sign | ((127 - 16 + (x & 31)) << 23) | ((x >>> 8) & 0x7fffff);
  }
}

function float64(prng: Prng, out: Uint32Array, at: number): void {
  const r = prng.u32();
  let lo = prng.u32();
  let hi = prng.u32() & 0xfffff;
  const sign = r & 0x80000000;
  const exponent = (e: number): number => e << 20;
  switch ((r >>> 3) & 31) {
    case 0:
      lo = hi = 0;
      break;
    case 1:
      lo = 0;
      hi = 0x7ff00000;
      break;
    case 2:
      hi |= 0x7ff80000;
      break;
    case 3:
      hi = 0x7ff00000 | (hi & 0x7ffff);
      break;
    case 4:
      break; // denormal
    case 5:
      lo &= 7;
      hi = 0x00100000;
      break;
    case 6:
      lo = 0xffffffff;
      hi = 0x7fefffff;
      break;
    case 7:
      lo = 0;
      hi = 0x3ff00000;
      break;
    case 8:
      hi = exponent(1023 + 30 + (lo & 3)) | (lo & 16 ? 0xfffff : 0);
      lo = lo & 16 ? 0xffffffff << (lo & 7) : 0;
      break;
    case 9:
      hi = exponent(1023 + 62 + (lo & 3)) | (lo & 16 ? 0xfffff : 0);
      lo = lo & 16 ? 0xffffffff << (lo & 7) : 0;
      break;
    case 10:
    case 11:
      hi = (r << 7) ^ lo;
      break;
    case 12:
    case 13:
    case 14:
      scratch.setFloat64(0, (lo & 0xff) / ((r >>> 8) & 1 ? 1 : 2));
      hi = scratch.getUint32(0);
      lo = scratch.getUint32(4);
      break;
    case 15:
      hi |= exponent(lo % 3);
      break;
    case 16:
      hi |= exponent(2044 + (lo % 3));
      break;
    case 17: // around the range of binary32: overflow, underflow and rounding of conversions
      hi |= exponent(1023 + (r & 4 ? 127 : -127) + (lo & 3) - 2);
      break;
    case 18:
      hi |= exponent(1023 - 150 + (lo & 31));
      break;
    case 19: // a half in the last place of binary32
      hi |= exponent(1023);
      lo = (lo & 0xe0000000) | 0x10000000;
      break;
    default:
      hi |= exponent(1023 - 16 + (lo & 31));
  }
  out[at] = lo;
  out[at + 1] = hi | sign;
}

/** Ten bytes of an x87 register, written at a byte offset. */
function float80(prng: Prng, out: DataView, at: number): void {
  const r = prng.u32();
  let lo = prng.u32();
  let hi = prng.u32() | 0x80000000;
  let e = 0;
  const x = r >>> 8;
  switch ((r >>> 3) & 31) {
    case 0:
      lo = hi = 0;
      break;
    case 1:
      lo = 0;
      hi = 0x80000000;
      e = 0x7fff;
      break;
    case 2:
      hi |= 0xc0000000;
      e = 0x7fff;
      break;
    case 3:
      hi = 0x80000000 | (hi & 0x3fffffff);
      e = 0x7fff;
      break;
    case 4:
      hi &= 0x7fffffff; // denormal
      break;
    case 5:
      if (x & 1) hi = 0x80000000; // pseudo-denormal
      break;
    case 6:
      hi &= 0x7fffffff; // unnormal, pseudo-infinity or pseudo-NaN: an invalid operand
      e = x & 1 ? 0x7fff : 16383 + (x & 15);
      break;
    case 7:
      e = 16383;
      lo = 0;
      hi = 0x80000000;
      break;
    case 8:
      e = 16383 + 14 + (x & 3);
      break;
    case 9:
      e = 16383 + 30 + (x & 3);
      break;
    case 10:
      e = 16383 + 62 + (x & 3);
      break;
    case 11:
    case 12:
    case 13:
    case 14: {
      const n = (lo & 0xfff) | 1; // small integers and halves
      const shift = Math.clz32(n);
      hi = n << shift;
      lo = 0;
      e = 16383 + 31 - shift - (x & 1);
      break;
    }
    case 15:
      e = x % 3;
      break;
    case 16:
      e = 0x7ffe - (x % 3);
      break;
    case 17:
      e = 16383 + 1023 * (x & 1 ? 1 : -1) + ((x >>> 1) & 3) - 2;
      break;
    case 18:
      e = 16383 + 127 * (x & 1 ? 1 : -1) + ((x >>> 1) & 3) - 2;
      break;
    case 19: // halves in the last place of binary64 and binary32
      e = 16383 + (x & 3);
      lo = x & 4 ? (lo & 0xfffff800) | 0x400 : 0;
      if (!(x & 4)) hi = (hi & 0xffffff00) | 0x80;
      break;
    case 20:
      e = 16383 + ((x & 0x7f) - 64);
      break;
    case 21:
      e = x & 0x7fff;
      if (e === 0 || e === 0x7fff) e = 1;
      break;
    default:
      e = 16383 - 8 + (x & 15);
  }
  out.setUint32(at, lo, true);
  out.setUint32(at + 4, hi, true);
  out.setUint16(at + 8, e | (r & 1 ? 0x8000 : 0), true);
}

const IMAGE_SIZES: Readonly<Record<number, number>> = {
  [Kind.env28]: 28,
  [Kind.env14]: 14,
  [Kind.state108]: 108,
  [Kind.state94]: 94,
  [Kind.fxsave]: 512,
  [Kind.xsave]: 576,
};

/** Fills operand bytes of one kind; `size` is the number of bytes (rounded up to the kind's element). */
export function fill(prng: Prng, kind: number, out: Uint8Array): void {
  const image = IMAGE_SIZES[kind] ?? 0;
  if (out.length < image) {
    const whole = new Uint8Array(image); // an image that is cut off where mapped memory ends
    fill(prng, kind, whole);
    out.set(whole.subarray(0, out.length));
    return;
  }
  const view = new DataView(out.buffer, out.byteOffset, out.byteLength);
  switch (kind) {
    case Kind.f32:
      for (let i = 0; i + 4 <= out.length; i += 4) view.setUint32(i, float32(prng), true);
      break;
    case Kind.f64:
      for (let i = 0; i + 8 <= out.length; i += 8) {
        float64(prng, words, 0);
        view.setUint32(i, words[0], true);
        view.setUint32(i + 4, words[1], true);
      }
      break;
    case Kind.f80:
      for (let i = 0; i + 10 <= out.length; i += 10) float80(prng, view, i);
      break;
    case Kind.bcd:
      for (let i = 0; i < out.length; i++) {
        const r = prng.u32();
        out[i] = ((r & 15) % 10) | ((((r >>> 4) & 15) % 10) << 4);
      }
      break;
    case Kind.repetitive: {
      const value = prng.u32();
      const odd = prng.below(out.length * 2);
      for (let i = 0; i < out.length; i++) out[i] = i === odd ? value >>> 8 : value;
      break;
    }
    case Kind.env28:
    case Kind.env14:
    case Kind.state108:
    case Kind.state94:
      fillEnvironment(prng, view, kind);
      break;
    case Kind.fxsave:
    case Kind.xsave:
      fillX87(prng, view, prng.oneIn(4));
      view.setUint32(FX.mxcsr, randomMxcsr(prng) | (prng.oneIn(8) ? 0x10000 : 0), true);
      fill(prng, Kind.f32, out.subarray(FX.xmm, FX.xmm + 256));
      if (kind === Kind.xsave) view.setUint32(512, prng.below(4), true);
      break;
    case Kind.text: {
      const letters = prng.u32();
      for (let i = 0; i < out.length; i++) {
        const r = prng.below(9);
        out[i] = r === 8 ? 0 : r === 7 ? 0x80 + (letters & 31) : 0x41 + ((letters >>> (r & 3)) & 7);
      }
      break;
    }
    case Kind.counts:
      for (let i = 0; i + 8 <= out.length; i += 8) view.setUint32(i, prng.below(70), true);
      break;
    default: {
      let i = 0;
      for (; i + 8 <= out.length; i += 8) {
        integer64(prng, words, 0);
        view.setUint32(i, words[0], true);
        view.setUint32(i + 4, words[1], true);
      }
      if (i < out.length) {
        integer64(prng, words, 0);
        for (; i < out.length; i++) out[i] = words[0] >>> ((i & 3) * 8);
      }
    }
  }
}

/** What FLDENV and FRSTOR read; SDM Vol. 1, figures 8-9 to 8-12. */
function fillEnvironment(prng: Prng, view: DataView, kind: number): void {
  const wide = kind === Kind.env28 || kind === Kind.state108;
  const fx = new DataView(new ArrayBuffer(FXSAVE_SIZE));
  fillX87(prng, fx, false);
  let tags = 0;
  for (let i = 0; i < 8; i++) tags |= ((fx.getUint8(FX.ftw) >> i) & 1 ? prng.below(3) : 3) << (i * 2);
  const fields = [
    fx.getUint16(FX.fcw, true),
    fx.getUint16(FX.fsw, true),
    tags,
    prng.u32(),
    prng.u32(),
    prng.u32(),
    prng.u32(),
  ];
  fields.forEach((value, i) => {
    if (wide) view.setUint32(i * 4, i < 3 ? value | 0xffff0000 : value, true);
    else view.setUint16(i * 2, value & 0xffff, true);
  });
  const registers = wide ? 28 : 14;
  for (let at = registers; at + 10 <= view.byteLength; at += 10) float80(prng, view, at);
}

function vectorKind(flavor: number): number {
  if (flavor === Flavor.vectorText) return Kind.text;
  if (flavor === Flavor.vectorF32 || flavor === Flavor.mixedF32) return Kind.f32;
  return flavor === Flavor.vectorF64 || flavor === Flavor.mixedF64 ? Kind.f64 : Kind.integer;
}

function randomMxcsr(prng: Prng): number {
  const r = prng.u32();
  const masks = r & 7 ? 0x1f80 : ((r >>> 8) & 0x3f) << 7;
  const flags = (r >>> 4) & 3 ? 0 : (r >>> 24) & 0x3f;
  const daz = ((r >>> 14) & 7) === 0 ? 0x40 : 0;
  const fz = ((r >>> 17) & 7) === 0 ? 0x8000 : 0;
  return masks | flags | daz | fz | (((r >>> 20) & 3) << 13);
}

function fillX87(prng: Prng, fx: DataView, mmx: boolean): void {
  const r = prng.u32();
  const s = prng.u32();
  const precision = [3, 3, 3, 3, 3, 2, 2, 0][r & 7];
  const masks = (r >>> 3) & 7 ? 0x3f : (r >>> 6) & 0x3f;
  const top = mmx && s & 1 ? 0 : (r >>> 12) & 7;
  const pending = ((r >>> 15) & 15) === 0 ? (r >>> 19) & 0x7f : 0;
  const raised = pending & ~masks & 0x3f && (s & 6) !== 0 ? pending & masks : pending; // few cases start with a pending exception
  const summary = raised & ~masks & 0x3f ? 0x8080 : 0;
  fx.setUint16(FX.fcw, 0x40 | masks | (precision << 8) | (((r >>> 26) & 3) << 10), true);
  fx.setUint16(FX.fsw, (top << 11) | (s & 0x4700) | raised | summary, true);
  const tags = (s >>> 16) & 3 ? 0xff : s >>> 24;
  fx.setUint8(FX.ftw, tags);
  for (let i = 0; i < 8; i++) {
    if (mmx) {
      integer64(prng, words, 0);
      fx.setUint32(FX.st + i * 16, words[0], true);
      fx.setUint32(FX.st + i * 16 + 4, words[1], true);
      fx.setUint16(FX.st + i * 16 + 8, 0xffff, true);
    } else float80(prng, fx, FX.st + i * 16);
  }
}

/** The registers before a case. Two calls with the same arguments give the same bytes, for ever. */
export function initialRegisters(seed: number, flavor: number): RegisterState {
  const prng = new Prng(seed, flavor);
  const gpr = new BigUint64Array(16);
  const gprWords = new Uint32Array(gpr.buffer);
  for (let i = 0; i < 16; i++) integer64(prng, gprWords, i * 2);
  const r = prng.u32();
  const rflags = (r & 0x8d5) | 0x202 | (((r >>> 16) & 15) === 0 ? 0x400 : 0);
  const fxsave = new Uint8Array(FXSAVE_SIZE);
  const fx = new DataView(fxsave.buffer);
  fx.setUint16(FX.fcw, 0x37f, true);
  fx.setUint32(FX.mxcsr, MXCSR_DEFAULT, true);
  fx.setUint32(FX.mxcsrMask, 0xffff, true);
  if (flavor === Flavor.x87) fillX87(prng, fx, false);
  if (flavor === Flavor.mmx || flavor === Flavor.mixedF32 || flavor === Flavor.mixedF64) fillX87(prng, fx, true);
  if (flavor !== Flavor.general && flavor !== Flavor.x87 && flavor !== Flavor.mmx) {
    fill(prng, vectorKind(flavor), fxsave.subarray(FX.xmm, FX.xmm + 256));
    if (flavor === Flavor.vectorCounts)
      for (let i = 1; i < 16; i += 2) fill(prng, Kind.counts, fxsave.subarray(FX.xmm + i * 16, FX.xmm + i * 16 + 8));
    const floats = vectorKind(flavor) === Kind.f32 || vectorKind(flavor) === Kind.f64;
    if (floats) fx.setUint32(FX.mxcsr, randomMxcsr(prng), true);
  } else for (let i = FX.xmm; i < FX.xmm + 256; i++) fxsave[i] = (i * 37) ^ 0x5a;
  return { gpr, rflags, fxsave };
}
