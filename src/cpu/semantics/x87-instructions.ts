// The x87 instructions' way to operands, flags and pending exceptions (SDM Vol. 1, chapter 8); helpers/x87.ts computes.
// Memory operands pass through the scratch area of the state block, so that one helper serves them all and memory faults come first.
import { Vector as Exception } from '../exits.ts';
import { S } from '../layout.ts';
import type { Bool, Operand, Ops, Value, Width } from './ops.ts';
import { type QuickForm, quickFromMemory, quickOnStack, quickPlain, quickToMemory } from './x87-quick-forms.ts';

const RAX = 0;
const SUMMARY = 0x80; // FSW.ES
const CR0_NE = 0x20;

/** RFLAGS bits of comparisons. */
const CF = 1;
const PF = 4;
const ZF = 0x40;
/** ccAux: CF with CF xor OF; and what inverts PF. */
const AUX_CARRY = 0xc000000000000000n;
const AUX_PARITY = 0x100;

function bit(o: Ops, v: Value, mask: number): Bool {
  return o.cmp('ne', o.bin('and', v, o.const(mask)), o.const(0));
}

/**
 * A waiting instruction raises a pending exception before anything else. With CR0.NE clear it would be FERR#, an interrupt through the
 * chipset, which no system that we run uses: then nothing happens.
 */
export function waitForPending(o: Ops): void {
  const pending = o.and(bit(o, o.state(S.fsw, 16), SUMMARY), bit(o, o.state(S.cr0, 64), CR0_NE));
  o.faultIf(pending, Exception.MF);
}

export function fwait(o: Ops): void {
  waitForPending(o);
}

/** Sets ZF, PF and CF from bits as in RFLAGS, OF, SF and AF to 0: COMISS, FCOMI, PTEST and their families. */
export function setComparisonFlags(o: Ops, rflags: Value): void {
  const bits = o.let(rflags);
  const zf = o.letBool(bit(o, bits, ZF));
  const invertParity = o.xor(zf, bit(o, bits, PF)); // a result of 0 has even parity, one of 1 odd
  o.setFlags({
    result: o.select(zf, o.const(0), o.const(1)),
    aux: o.bin(
      'or',
      o.select(bit(o, bits, CF), o.const(AUX_CARRY), o.const(0)),
      o.select(invertParity, o.const(AUX_PARITY), o.const(0)),
    ),
  });
}

/** The last instruction's address; selectors read as 0 ("deprecated FCS and FDS"), the opcode is not kept. */
function notePointer(o: Ops, data: Value | null): void {
  o.setState(S.fip, 64, o.rip());
  if (data !== null) o.setState(S.fdp, 64, data);
}

/** The quick way where there is one and it holds, else the exact one. */
function quickly(o: Ops, quick: QuickForm | null, exact: () => void): void {
  if (!quick) {
    exact();
    return;
  }
  const { holds, run, flags } = quick;
  const quickWay = (): void => {
    run();
    if (flags !== undefined) setComparisonFlags(o, flags);
  };
  o.if(holds, quickWay, exact);
}

/** D8-DF with ModRM.rm naming ST(i). @param modrm ModRM byte with rm = 0 */
export function onStack(esc: number, modrm: number, setsFlags = false) {
  return (o: Ops, _w: Width, st: Operand): void => {
    waitForPending(o);
    notePointer(o, null);
    const i = o.let(o.registerNumber(st));
    const exact = (): void => {
      const bits = o.callValue('x87Register', o.const(esc), o.bin('or', i, o.const(modrm)));
      if (setsFlags) setComparisonFlags(o, bits);
    };
    quickly(o, quickOnStack(o, esc, (modrm >> 3) & 7, i), exact);
  };
}

/** D8-DF with the whole ModRM byte an opcode. */
export function plain(esc: number, modrm: number) {
  return (o: Ops): void => {
    waitForPending(o);
    notePointer(o, null);
    const exact = (): void => {
      o.callValue('x87Register', o.const(esc), o.const(modrm));
    };
    quickly(o, quickPlain(o, esc, modrm), exact);
  };
}

/** FNCLEX, FNINIT, and the 8087's FNENI, FNDISI, FNSETPM: they do not wait. */
export function control(esc: number, modrm: number) {
  return (o: Ops): void => {
    o.callValue('x87Register', o.const(esc), o.const(modrm));
  };
}

/** Reads a memory operand of 2, 4, 8 or 10 bytes. */
export function fromMemory(esc: number, reg: number, bytes: number) {
  return (o: Ops, _w: Width, src: Operand): void => {
    waitForPending(o);
    const pointer = o.let(o.offset(src));
    const low = o.let(o.read(src, bytes === 10 ? 64 : ((bytes * 8) as Width)));
    let high = o.const(0);
    if (bytes === 10) {
      const end = o.let(o.bin('add', o.linear(src, 10, false), o.const(8)));
      high = o.let(o.load(end, 16));
    }
    notePointer(o, pointer);
    const exact = (): void => {
      o.setState(S.scratch, 64, low);
      if (bytes === 10) o.setState(S.scratch + 8, 16, high);
      o.callValue('x87Memory', o.const(esc), o.const(reg));
    };
    quickly(o, quickFromMemory(o, esc, reg, low, high), exact);
  };
}

/** Writes a memory operand of 2, 4, 8 or 10 bytes; checked for writing before the stack moves. */
export function toMemory(esc: number, reg: number, bytes: number) {
  return (o: Ops, _w: Width, dst: Operand): void => {
    const width = bytes === 10 ? 64 : ((bytes * 8) as Width);
    waitForPending(o);
    const pointer = o.let(o.offset(dst));
    const address = bytes === 10 ? o.let(o.linear(dst, 10, true)) : null;
    o.update(dst, width);
    const end = address !== null ? o.let(o.bin('add', address, o.const(8))) : null;
    if (end !== null) o.loadForUpdate(end, 16);
    notePointer(o, pointer);
    const due = o.variable(o.const(1));
    const exact = (): void => o.assign(due, o.callValue('x87Memory', o.const(esc), o.const(reg)));
    quickly(o, quickToMemory(o, esc, reg), exact);
    o.if(o.cmp('ne', due, o.const(0)), () => {
      o.write(dst, width, o.state(S.scratch, width));
      if (end !== null) o.store(end, 16, o.state(S.scratch + 8, 16));
    });
  };
}

/** FLDCW: no pointers. */
export function fldcw(o: Ops, _w: Width, src: Operand): void {
  waitForPending(o);
  o.setState(S.scratch, 16, o.read(src, 16));
  o.callValue('x87Memory', o.const(0xd9), o.const(5));
}

/** FNSTCW and FNSTSW. */
export function storeWord(field: number) {
  return (o: Ops, _w: Width, dst: Operand): void => o.write(dst, 16, o.state(field, 16));
}
export function fnstswAx(o: Ops): void {
  o.setReg(RAX, 16, o.state(S.fsw, 16));
}

/** FNSTENV and FNSAVE (not waiting), FLDENV and FRSTOR. The image's layout follows the operand size. */
export function image(name: string, registers: boolean, write: boolean) {
  return (o: Ops, w: Width, m: Operand): void => {
    if (!write) waitForPending(o);
    const bytes = (w === 16 ? 14 : 28) + (registers ? 80 : 0);
    o.call(name, o.const(w), o.let(o.linear(m, bytes, write)));
  };
}
