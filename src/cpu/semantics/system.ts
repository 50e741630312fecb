// System instructions: what they check and move is the business of the processor's helpers (system/), bound here to operands.
import { Vector as Exception } from '../exits.ts';
import { Flag } from '../flags.ts';
import { S, SEG, SEG_FIELD, SEGMENT_SIZE } from '../layout.ts';
import type { Operand, Ops, Value, Width } from './ops.ts';
import { repeated } from './strings.ts';

const RAX = 0;
const RCX = 1;
const RDX = 2;

/** An instruction that is all helper. `moves`: the helper sets RIP or asks for an exit. */
export function helper(name: string, kind: 'plain' | 'transfer' | 'endBlock' = 'plain') {
  return (o: Ops, w: Width): void => {
    o.call(name, o.const(w));
    if (kind === 'transfer') o.transfer();
    else if (kind === 'endBlock') o.endBlock();
  };
}

/** A helper on the memory operand's linear address. */
export function onMemory(name: string, bytes: number, write: boolean) {
  return (o: Ops, w: Width, m: Operand): void => {
    o.call(name, o.const(w), o.let(o.linear(m, bytes, write)));
  };
}

/** A helper on the value of an operand. */
export function onValue(name: string, width: Width | null, kind: 'plain' | 'transfer' | 'endBlock' = 'plain') {
  return (o: Ops, w: Width, src: Operand): void => {
    o.call(name, o.const(w), o.read(src, width ?? w));
    if (kind === 'transfer') o.transfer();
    else if (kind === 'endBlock') o.endBlock();
  };
}

/** RDTSC and relatives: EDX:EAX from a 64-bit value. */
export function toPair(name: string) {
  return (o: Ops): void => {
    const v = o.let(o.callValue(name));
    o.setReg(RAX, 32, o.zext(32, v));
    o.setReg(RDX, 32, o.bin('shr_u', v, o.const(32)));
  };
}

export function rdtscp(o: Ops): void {
  const v = o.let(o.callValue('rdtsc'));
  o.setReg(RAX, 32, o.zext(32, v));
  o.setReg(RDX, 32, o.bin('shr_u', v, o.const(32)));
  o.setReg(RCX, 32, o.state(S.tscAux, 32));
}

/** MOV to and from a control or debug register; the number is read from the operand's address by the helper. */
export function movFrom(name: string) {
  return (o: Ops, w: Width, dst: Operand, src: Operand): void => {
    o.write(dst, w, o.callValue(name, o.registerNumber(src)));
  };
}
export function movTo(name: string) {
  return (o: Ops, w: Width, dst: Operand, src: Operand): void => {
    o.call(name, o.registerNumber(dst), o.read(src, w));
    o.endBlock();
  };
}

/** MOV r/m, Sreg: a register destination takes the operand size, memory 16 bits. */
export function movFromSegment(o: Ops, w: Width, dst: Operand, src: Operand): void {
  o.write(dst, dst.kind === 'reg' ? w : 16, o.read(src, 16));
}

export function movToSegment(o: Ops, _w: Width, dst: Operand, src: Operand): void {
  o.call('loadSegment', o.registerNumber(dst), o.read(src, 16));
  o.endBlock();
}

/** POP Sreg: the register is loaded (and may fault) before SP moves. */
export function popSegment(o: Ops, w: Width, dst: Operand): void {
  const sp = o.reg(4, o.stackWidth);
  const v = o.load(o.segmentAddress(SEG.ss, sp, w / 8, false), w);
  o.call('loadSegment', o.registerNumber(dst), o.zext(16, v));
  o.setReg(4, o.stackWidth, o.zext(o.stackWidth, o.bin('add', sp, o.const(w / 8))));
  o.endBlock();
}

/** LES LDS LSS LFS LGS. */
export function loadFarPointer(segment: number) {
  return (o: Ops, w: Width, dst: Operand, src: Operand): void => {
    const address = o.let(o.linear(src, w / 8 + 2, false));
    const offset = o.load(address, w);
    const selector = o.load(o.let(o.bin('add', address, o.const(w / 8))), 16);
    o.call('loadSegment', o.const(segment), selector);
    // no shadow as after MOV SS: the stack pointer has come along
    if (segment === SEG.ss) o.setState(S.shadow, 32, o.const(0));
    o.write(dst, w, offset);
    o.endBlock();
  };
}

/** Far JMP and CALL through memory: the offset, then the selector. */
export function farIndirect(name: string) {
  return (o: Ops, w: Width, src: Operand): void => {
    const address = o.let(o.linear(src, w / 8 + 2, false));
    const offset = o.load(address, w);
    const selector = o.load(o.let(o.bin('add', address, o.const(w / 8))), 16);
    o.call(name, o.const(w), selector, offset);
    o.transfer();
  };
}

/** Far JMP and CALL with an immediate pointer. */
export function farImmediate(name: string) {
  return (o: Ops, w: Width, src: Operand): void => {
    const pointer = o.let(o.read(src, 64));
    o.call(name, o.const(w), o.zext(16, o.bin('shr_u', pointer, o.const(32))), o.zext(32, pointer));
    o.transfer();
  };
}

export function intN(o: Ops, _w: Width, vector: Operand): void {
  o.call('softwareInterrupt', o.read(vector, 8));
  o.transfer();
}

/** INT3 (3), INTO (4), ICEBP (1). */
export function trap(vector: number) {
  return (o: Ops): void => {
    if (vector === 4)
      o.if(
        o.of(),
        () => o.call('trap', o.const(4)),
        () => o.call('skip'),
      );
    else o.call('trap', o.const(vector));
    o.transfer();
  };
}

/** UD0, UD1, UD2. */
export function undefined_(o: Ops): void {
  o.fault(Exception.UD);
}

/** IN and OUT with a port operand. */
export function input(o: Ops, w: Width, dst: Operand, port: Operand): void {
  o.write(dst, w, o.callValue('portIn', o.const(w), o.read(port, port.kind === 'imm' ? 8 : 16)));
}
export function output(o: Ops, w: Width, port: Operand, src: Operand): void {
  o.call('portOut', o.const(w), o.read(port, port.kind === 'imm' ? 8 : 16), o.read(src, w));
  o.endBlock();
}

function stringStep(o: Ops, w: Width): Value {
  const down = o.cmp('ne', o.bin('and', o.state(S.rflags, 64), o.const(Flag.DF)), o.const(0));
  return o.let(o.select(down, o.const(-(w / 8)), o.const(w / 8)));
}

export function ins(o: Ops, w: Width): void {
  const by = stringStep(o, w);
  repeated(o, () => {
    o.call('portCheck', o.const(w), o.reg(RDX, 16));
    const address = o.segmentAddress(SEG.es, o.reg(7, o.addressWidth), w / 8, true);
    o.loadForUpdate(address, w); // the destination must take the value that the port gives
    o.store(address, w, o.let(o.callValue('portIn', o.const(w), o.reg(RDX, 16))));
    o.setReg(7, o.addressWidth, o.zext(o.addressWidth, o.bin('add', o.reg(7, o.addressWidth), by)));
  });
}

export function outs(o: Ops, w: Width, src: Operand): void {
  const by = stringStep(o, w);
  repeated(o, () => {
    o.call('portCheck', o.const(w), o.reg(RDX, 16));
    const v = o.load(o.bitAddress(src, o.reg(6, o.addressWidth), w / 8, false), w);
    o.call('portOut', o.const(w), o.reg(RDX, 16), v);
    o.setReg(6, o.addressWidth, o.zext(o.addressWidth, o.bin('add', o.reg(6, o.addressWidth), by)));
  });
}

/** SLDT, STR, SMSW: a register destination takes the operand size, memory 16 bits. */
export function storeSystem(name: string) {
  return (o: Ops, w: Width, dst: Operand): void => {
    o.write(dst, dst.kind === 'reg' ? w : 16, o.callValue(name, o.const(w)));
  };
}

/** LAR and LSL: the helper gives the value with bit 63 set where the selector may be looked at; ZF says which. */
export function lookAt(name: string) {
  return (o: Ops, w: Width, dst: Operand, src: Operand): void => {
    const v = o.let(o.callValue(name, o.read(src, 16)));
    const good = o.letBool(o.cmp('lt_s', v, o.const(0)));
    o.if(good, () => o.write(dst, w, o.zext(w, o.bin('and', v, o.const(0xffffffff)))));
    o.call('setZf', o.fromBool(good));
  };
}

/** RDFSBASE, RDGSBASE, WRFSBASE, WRGSBASE. */
export function readBase(segment: number) {
  return (o: Ops, w: Width, dst: Operand): void => {
    o.call('checkFsgsbase');
    o.write(dst, w, o.state(S.segments + segment * SEGMENT_SIZE + SEG_FIELD.base, w));
  };
}
export function writeBase(segment: number) {
  return (o: Ops, w: Width, src: Operand): void => o.call('writeBase', o.const(segment), o.read(src, w));
}

/** RDRAND, RDSEED: CF = 1, the other flags 0. */
export function random(o: Ops, w: Width, dst: Operand): void {
  o.write(dst, w, o.callValue('random'));
  o.setFlags({ result: o.const(1), aux: o.const((1n << 63n) | (1n << 62n)) });
}

export function rdpid(o: Ops, _w: Width, dst: Operand): void {
  o.write(dst, 64, o.state(S.tscAux, 32));
}

/** INVLPG names a page and accesses nothing: no segment's type or limit matters, its base does (SDM Vol. 2A). */
export function invlpg(o: Ops, _w: Width, m: Operand): void {
  const linear = o.let(o.bin('add', o.segmentBase(m), o.offset(m)));
  o.call('invlpg', o.long64 ? linear : o.zext(32, linear));
  o.endBlock();
}

export function invpcid(o: Ops, _w: Width, type: Operand, m: Operand): void {
  o.call('invpcid', o.read(type, 64), o.let(o.linear(m, 16, false)));
  o.endBlock();
}

/** CLFLUSH and relatives read the byte's address, which may fault. */
export function touch(o: Ops, _w: Width, m: Operand): void {
  o.load(o.let(o.linear(m, 1, false)), 8);
}

/** ARPL: raises the RPL of the destination selector to that of the source; ZF = it was lower. */
export function arpl(o: Ops, _w: Width, dst: Operand, src: Operand): void {
  const y = o.read(src, 16);
  const x = o.let(o.read(dst, 16));
  const rpl = o.let(o.bin('and', y, o.const(3)));
  const lower = o.letBool(o.cmp('lt_u', o.bin('and', x, o.const(3)), rpl));
  // an operand that stays as it is need not be writable
  o.if(lower, () => {
    const raised = o.bin('or', o.bin('and', x, o.const(0xfffc)), rpl);
    if (dst.kind === 'mem') o.store(o.bitAddress(dst, o.offset(dst), 2, true), 16, o.let(raised));
    else o.write(dst, 16, raised);
  });
  o.call('setZf', o.fromBool(lower));
}

/** BOUND: #BR unless lower <= index <= upper. */
export function bound(o: Ops, w: Width, index: Operand, bounds: Operand): void {
  const address = o.let(o.linear(bounds, w / 4, false));
  const lower = o.sext(w, o.load(address, w));
  const upper = o.sext(w, o.load(o.let(o.bin('add', address, o.const(w / 8))), w));
  const n = o.let(o.sext(w, o.read(index, w)));
  o.faultIf(o.or(o.cmp('lt_s', n, lower), o.cmp('gt_s', n, upper)), Exception.BR);
}
