// Floating-point instructions of SSE to SSE4.1: their operands' way to the helpers that compute (helpers/sse-float.ts).
// The source is read first, and copied to the scratch area, so that memory faults come before arithmetic ones.
import { S } from '../layout.ts';
import type { Operand, Ops, Vector, Width } from './ops.ts';
import { enterMmx, mmxSource, source, writeMmx } from './sse-operands.ts';
import { setComparisonFlags, waitForPending } from './x87-instructions.ts';

/** Bit 0 double precision, bit 1 scalar. */
export type Form = 0 | 1 | 2 | 3;
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

/** dst = dst op src, by a helper that takes the last opcode byte. */
export function arithmetic(helper: string, opcode: number, form: Form) {
  return (o: Ops, _w: Width, dst: Operand, src: Operand): void => {
    sourceToScratch(o, src, form);
    o.call(helper, o.const(opcode), o.const(form), o.registerNumber(dst));
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
    sourceToScratch(o, src, form);
    const flags = o.callValue('floatCompareFlags', o.const(signaling ? 1 : 0), o.const(form), o.registerNumber(dst));
    setComparisonFlags(o, flags);
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
    sourceToScratch(o, src, form);
    o.write(dst, w, o.callValue('floatToInteger', o.const(truncate ? 1 : 0), o.const(form), o.const(w)));
  };
}

/** CVTSI2SS, CVTSI2SD. */
export function fromInteger(form: 2 | 3) {
  return (o: Ops, w: Width, dst: Operand, src: Operand): void => {
    const v = o.sext(w, o.read(src, w));
    o.call('integerToFloat', o.const(form), o.registerNumber(dst), v);
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
