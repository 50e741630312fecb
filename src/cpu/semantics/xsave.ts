// FXSAVE, the XSAVE family, LDMXCSR and STMXCSR (SDM Vol. 1, chapter 13); helpers/xsave.ts copies the registers.
import { Vector as Exception } from '../exits.ts';
import { S } from '../layout.ts';
import type { Operand, Ops, Width } from './ops.ts';

const CR0_TS = 8;
const CR4_OSXSAVE = 1 << 18;
const MXCSR_RESERVED = 0xffff0000;
const LEGACY_SIZE = 512;
const XSAVE_MINIMUM = 576;

/** FXSAVE and FXRSTOR. */
export function legacyArea(name: string, write: boolean) {
  return (o: Ops, w: Width, m: Operand): void => {
    o.call(name, o.const(w), o.let(o.linear(m, LEGACY_SIZE, write)));
  };
}

/** XSAVE, XSAVEOPT, XSAVEC, XRSTOR: the only extended-state instructions that CR0.EM does not concern. */
export function extendedArea(name: string, write: boolean) {
  return (o: Ops, w: Width, m: Operand): void => {
    o.faultIf(o.cmp('eq', o.bin('and', o.state(S.cr4, 64), o.const(CR4_OSXSAVE)), o.const(0)), Exception.UD);
    o.faultIf(o.cmp('ne', o.bin('and', o.state(S.cr0, 64), o.const(CR0_TS)), o.const(0)), Exception.NM);
    o.call(name, o.const(w), o.let(o.linear(m, XSAVE_MINIMUM, write)));
  };
}

export function ldmxcsr(o: Ops, _w: Width, m: Operand): void {
  const v = o.let(o.read(m, 32));
  o.faultIf(o.cmp('ne', o.bin('and', v, o.const(MXCSR_RESERVED)), o.const(0)), Exception.GP, 0);
  o.setState(S.mxcsr, 32, v);
}

export function stmxcsr(o: Ops, _w: Width, m: Operand): void {
  o.write(m, 32, o.state(S.mxcsr, 32));
}
