// Floating-point instructions of SSE to SSE4.1: their operands' way to the helpers that compute (helpers/sse-float.ts).
// The source is read first, and copied to the scratch area, so that memory faults come before arithmetic ones.
import { S } from '../layout.ts';
import type { Operand, Ops, Vector, Width } from './ops.ts';
import { enterMmx, mmxSource, source, writeMmx } from './sse-operands.ts';
import {
  counting,
  type Form,
  inexactUnseen,
  noDenormals,
  ordered,
  ordinary,
  ordinaryOrZero,
  quickArithmetic,
  quickComparison,
  shapeOf,
} from './sse-quick.ts';
import { setComparisonFlags, waitForPending } from './x87-instructions.ts';

const SCALAR_WIDTH = [128, 128, 32, 64] as const;

function toScratch(o: Ops, v: Vector): void {
  o.setState(S.scratch, 64, o.vectorLow(v));
  o.setState(S.scratch + 8, 64, o.vectorHigh(v));
}

/** Copies a source of the form's width; whole vectors must be aligned in memory. */
function sourceToScratch(o: Ops, src: Operand, form: Form): void {
  const bits = SCALAR_WIDTH[form];
  toScratch(o, bits === 128 ? source(o, src) : o.readVector(src, bits));
}

/** A source of the form's width; whole vectors must be aligned in memory. */
function readSource(o: Ops, src: Operand, form: Form): Vector {
  const bits = SCALAR_WIDTH[form];
  return o.letVector(bits === 128 ? source(o, src) : o.readVector(src, bits));
}

/** dst = dst op src, by a helper that takes the last opcode byte where there is no quick way. */
export function arithmetic(helper: string, opcode: number, form: Form) {
  return (o: Ops, _w: Width, dst: Operand, src: Operand): void => {
    const y = readSource(o, src, form);
    const exactly = (): void => {
      toScratch(o, y);
      o.call(helper, o.const(opcode), o.const(form), o.registerNumber(dst));
    };
    const x = o.letVector(o.readVector(dst, 128));
    const quick = quickArithmetic(o, opcode, form, counting(o, form, x), counting(o, form, y));
    if (quick) o.if(quick.holds, () => o.writeVector(dst, SCALAR_WIDTH[form], quick.result), exactly);
    else exactly();
  };
}

/** CMPPS, ROUNDPS, DPPS and their families: the helper takes the immediate. */
export function withImmediate(helper: string, form: Form) {
  return (o: Ops, _w: Width, dst: Operand, src: Operand, imm: Operand): void => {
    sourceToScratch(o, src, form);
    o.call(helper, o.read(imm, 8), o.const(form), o.registerNumber(dst));
  };
}

/** COMISS, UCOMISS, COMISD, UCOMISD. */
export function compareFlags(signaling: boolean, form: 2 | 3) {
  return (o: Ops, _w: Width, dst: Operand, src: Operand): void => {
    const source = readSource(o, src, form);
    const x = counting(o, form, o.readVector(dst, 128));
    const y = counting(o, form, source);
    const flags = o.variable(o.const(0));
    o.if(
      o.and(ordered(o, form, x, y), noDenormals(o, form, x, y)),
      () => o.assign(flags, quickComparison(o, form, x, y)),
      () => {
        toScratch(o, source);
        const found = o.callValue(
          'floatCompareFlags',
          o.const(signaling ? 1 : 0),
          o.const(form),
          o.registerNumber(dst),
        );
        o.assign(flags, found);
      },
    );
    setComparisonFlags(o, flags);
  };
}

/** CVTSS2SD and CVTSD2SS. @param from the source's form */
export function convertScalar(conversion: number, from: 2 | 3) {
  const to: Form = from === 3 ? 2 : 3;
  return (o: Ops, _w: Width, dst: Operand, src: Operand): void => {
    const source = readSource(o, src, from);
    const x = counting(o, from, source);
    const result = o.letVector(o.vec(from === 3 ? 'f32x4.demote_f64x2_zero' : 'f64x2.promote_low_f32x4', [x]));
    const zero = o.vec(`${shapeOf(to)}.eq`, [counting(o, to, result), o.constVector(0n, 0n)]);
    const counted = counting(o, to, result);
    const good = from === 2 ? ordinaryOrZero(o, to, counted, zero) : ordinary(o, to, counted);
    const quick = o.and(good, noDenormals(o, from, x));
    o.if(
      // a wider format holds every number of a narrower one
      from === 2 ? quick : o.and(quick, inexactUnseen(o)),
      () => o.writeVector(dst, SCALAR_WIDTH[to] as 64 | 32, result),
      () => {
        toScratch(o, source);
        o.call('floatConvert', o.const(conversion), o.registerNumber(dst));
      },
    );
  };
}

/** Conversions between vector registers. @param bits how much of the source is read */
export function convert(conversion: number, bits: 128 | 64 | 32) {
  return (o: Ops, _w: Width, dst: Operand, src: Operand): void => {
    toScratch(o, bits === 128 ? source(o, src) : o.readVector(src, bits));
    o.call('floatConvert', o.const(conversion), o.registerNumber(dst));
  };
}

/** CVTSS2SI, CVTTSS2SI, CVTSD2SI, CVTTSD2SI. */
export function toInteger(truncate: boolean, form: 2 | 3) {
  return (o: Ops, w: Width, dst: Operand, src: Operand): void => {
    const y = readSource(o, src, form);
    const shape = shapeOf(form);
    const x = counting(o, form, y);
    // the largest that fits 32 bits at either precision
    const most = form === 3 ? 0x41dfffffffc00000n : 0x4effffff_4effffffn;
    const fits = o.vec(`${shape}.lt`, [o.vec(`${shape}.abs`, [x]), o.constVector(most, most)]);
    const small = o.cmp('ne', o.vecToValue(`${form === 3 ? 'i64x2' : 'i32x4'}.all_true`, [fits]), o.const(0));
    const result = o.variable(o.const(0));
    o.if(
      o.and(small, inexactUnseen(o)),
      () => {
        const whole = truncate ? x : o.vec(`${shape}.nearest`, [x]);
        const integers = o.vec(form === 3 ? 'i32x4.trunc_sat_f64x2_s_zero' : 'i32x4.trunc_sat_f32x4_s', [whole]);
        o.assign(result, o.sext(32, o.vecToValue('i32x4.extract_lane', [integers], 0)));
      },
      () => {
        toScratch(o, y);
        o.assign(result, o.callValue('floatToInteger', o.const(truncate ? 1 : 0), o.const(form), o.const(w)));
      },
    );
    o.write(dst, w, o.zext(w, result));
  };
}

/** CVTSI2SS, CVTSI2SD. */
export function fromInteger(form: 2 | 3) {
  return (o: Ops, w: Width, dst: Operand, src: Operand): void => {
    const v = o.let(o.sext(w, o.read(src, w)));
    const small = o.cmp('eq', o.sext(32, v), v);
    o.if(
      form === 3 ? small : o.and(small, inexactUnseen(o)),
      () => {
        const convert = form === 3 ? 'f64x2.convert_low_i32x4_s' : 'f32x4.convert_i32x4_s';
        o.writeVector(dst, SCALAR_WIDTH[form] as 64 | 32, o.vec(convert, [o.vectorFrom(v, o.const(0))]));
      },
      () => o.call('integerToFloat', o.const(form), o.registerNumber(dst), v),
    );
  };
}

/** CVTPI2PS and CVTPI2PD: an MMX source makes it an MMX instruction, a memory source does not. */
export function fromMmx(conversion: number) {
  return (o: Ops, _w: Width, dst: Operand, src: Operand): void => {
    if (src.kind === 'reg') waitForPending(o);
    toScratch(o, mmxSource(o, src));
    if (src.kind === 'reg') enterMmx(o);
    o.call('floatConvert', o.const(conversion), o.registerNumber(dst));
  };
}

/** CVTPS2PI, CVTPD2PI and their truncating forms. */
export function toMmx(truncate: boolean, form: 0 | 1) {
  return (o: Ops, _w: Width, dst: Operand, src: Operand): void => {
    waitForPending(o);
    toScratch(o, form === 1 ? source(o, src) : o.readVector(src, 64));
    enterMmx(o); // also where #XM follows
    const v = o.callValue('floatToPacked', o.const(truncate ? 1 : 0), o.const(form));
    writeMmx(o, dst, v);
  };
}
