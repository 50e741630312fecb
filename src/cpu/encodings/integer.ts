// Encodings of the integer instructions (SDM Vol. 2, appendix A, one-byte and 0F maps).
import type { RowSink } from '../decode/table.ts';
import * as arith from '../semantics/arith.ts';
import * as bits from '../semantics/bits.ts';
import * as flags from '../semantics/flag-instructions.ts';
import * as move from '../semantics/move.ts';
import * as muldiv from '../semantics/muldiv.ts';
import * as shift from '../semantics/shift.ts';
import * as stack from '../semantics/stack.ts';
import * as strings from '../semantics/strings.ts';

const hex = (n: number) => n.toString(16).toUpperCase().padStart(2, '0');
const LOCK = { lock: true };

export function integerRows({ row }: RowSink): void {
  // 00-3F: eight operations in six forms
  const eight = [arith.add, arith.or, arith.adc, arith.sbb, arith.and, arith.sub, arith.xor, arith.cmp];
  eight.forEach((f, i) => {
    const base = i * 8;
    const lock = f === arith.cmp ? {} : LOCK;
    row(`${hex(base)} /r`, f, 'Eb', 'Gb', lock);
    row(`${hex(base + 1)} /r`, f, 'Ev', 'Gv', lock);
    row(`${hex(base + 2)} /r`, f, 'Gb', 'Eb');
    row(`${hex(base + 3)} /r`, f, 'Gv', 'Ev');
    row(hex(base + 4), f, 'AL', 'Ib');
    row(hex(base + 5), f, 'rAX', 'Iz');
    row(`80 /${i}`, f, 'Eb', 'Ib', lock);
    row(`81 /${i}`, f, 'Ev', 'Iz', lock);
    row(`82 /${i}`, f, 'Eb', 'Ib', { ...lock, no64: true });
    row(`83 /${i}`, f, 'Ev', 'Ibs', lock);
  });
  row('40+r', arith.inc, 'Zv', { no64: true });
  row('48+r', arith.dec, 'Zv', { no64: true });
  row('FE /0', arith.inc, 'Eb', LOCK);
  row('FE /1', arith.dec, 'Eb', LOCK);
  row('FF /0', arith.inc, 'Ev', LOCK);
  row('FF /1', arith.dec, 'Ev', LOCK);
  row('84 /r', arith.test, 'Eb', 'Gb');
  row('85 /r', arith.test, 'Ev', 'Gv');
  row('A8', arith.test, 'AL', 'Ib');
  row('A9', arith.test, 'rAX', 'Iz');
  for (const n of [0, 1]) {
    row(`F6 /${n}`, arith.test, 'Eb', 'Ib');
    row(`F7 /${n}`, arith.test, 'Ev', 'Iz');
  }
  const unary = [arith.not, arith.neg, muldiv.mul, muldiv.imul, muldiv.div, muldiv.idiv];
  unary.forEach((f, i) => {
    row(`F6 /${i + 2}`, f, 'Eb', i < 2 ? LOCK : {});
    row(`F7 /${i + 2}`, f, 'Ev', i < 2 ? LOCK : {});
  });
  row('0F AF /r', muldiv.imulTruncated, 'Gv', 'Ev');
  row('69 /r', muldiv.imulTruncated, 'Gv', 'Ev', 'Iz');
  row('6B /r', muldiv.imulTruncated, 'Gv', 'Ev', 'Ibs');
  row('0F B0 /r', arith.cmpxchg, 'Eb', 'Gb', LOCK);
  row('0F B1 /r', arith.cmpxchg, 'Ev', 'Gv', LOCK);
  row('0F C0 /r', arith.xadd, 'Eb', 'Gb', LOCK);
  row('0F C1 /r', arith.xadd, 'Ev', 'Gv', LOCK);
  row('0F C7 /1', arith.cmpxchgPair, 'My', { ...LOCK, restartable: true });

  // moves
  row('88 /r', move.mov, 'Eb', 'Gb');
  row('89 /r', move.mov, 'Ev', 'Gv');
  row('8A /r', move.mov, 'Gb', 'Eb');
  row('8B /r', move.mov, 'Gv', 'Ev');
  row('8D /r', move.lea, 'Gv', 'Ms');
  row('A0', move.mov, 'AL', 'Ob');
  row('A1', move.mov, 'rAX', 'Ov');
  row('A2', move.mov, 'Ob', 'AL');
  row('A3', move.mov, 'Ov', 'rAX');
  row('B0+r', move.mov, 'Zb', 'Ib');
  row('B8+r', move.mov, 'Zv', 'Iv');
  row('C6 /0', move.mov, 'Eb', 'Ib');
  row('C7 /0', move.mov, 'Ev', 'Iz');
  row('86 /r', move.xchg, 'Eb', 'Gb', LOCK);
  row('87 /r', move.xchg, 'Ev', 'Gv', LOCK);
  row('F3 90', move.nop, { noRexB: true });
  row('90', move.nop, { noRexB: true });
  row('90+r', move.xchg, 'Zv', 'rAX');
  row('0F B6 /r', move.movzx(8), 'Gv', 'Eb');
  row('0F B7 /r', move.movzx(16), 'Gv', 'Ew');
  row('0F BE /r', move.movsx(8), 'Gv', 'Eb');
  row('0F BF /r', move.movsx(16), 'Gv', 'Ew');
  row('63 /r', move.movsx(32), 'Gv', 'Ed', { only64: true });
  row('98', move.extendAccumulator, { width: 'v' });
  row('99', move.extendToPair, { width: 'v' });
  row('D7', move.xlat, 'Xb');
  row('0F C8+r', bits.bswap, 'Zv');
  row('F2 0F 38 F0 /r', bits.crc32(8), 'Gy', 'Eb', { feature: 'sse4_2' });
  row('F2 0F 38 F1 /r', bits.crc32(null), 'Gd', 'Ev', { feature: 'sse4_2' });
  row('NF 0F 38 F0 /r', bits.movbe, 'Gv', 'Mv', { feature: 'movbe' });
  row('NF 0F 38 F1 /r', bits.movbe, 'Mv', 'Gv', { feature: 'movbe' });
  for (let cc = 0; cc < 16; cc++) {
    row(`0F ${hex(0x40 + cc)} /r`, move.cmov(cc), 'Gv', 'Ev');
    row(`0F ${hex(0x90 + cc)} /r`, move.setcc(cc), 'Eb');
    row(hex(0x70 + cc), stack.jcc(cc), 'Jb', { f64: true, width: 'v' });
    row(`0F ${hex(0x80 + cc)}`, stack.jcc(cc), 'Jz', { f64: true });
  }

  // shifts
  const shifts = [shift.rol, shift.ror, shift.rcl, shift.rcr, shift.shl, shift.shr, shift.shl, shift.sar];
  shifts.forEach((f, i) => {
    row(`C0 /${i}`, f, 'Eb', 'Ib');
    row(`C1 /${i}`, f, 'Ev', 'Ib');
    row(`D0 /${i}`, f, 'Eb', '1');
    row(`D1 /${i}`, f, 'Ev', '1');
    row(`D2 /${i}`, f, 'Eb', 'CL');
    row(`D3 /${i}`, f, 'Ev', 'CL');
  });
  row('0F A4 /r', shift.shld, 'Ev', 'Gv', 'Ib');
  row('0F A5 /r', shift.shld, 'Ev', 'Gv', 'CL');
  row('0F AC /r', shift.shrd, 'Ev', 'Gv', 'Ib');
  row('0F AD /r', shift.shrd, 'Ev', 'Gv', 'CL');

  // bits
  row('0F A3 /r', bits.bt, 'Ev', 'Gv');
  row('0F AB /r', bits.bts, 'Ev', 'Gv', LOCK);
  row('0F B3 /r', bits.btr, 'Ev', 'Gv', LOCK);
  row('0F BB /r', bits.btc, 'Ev', 'Gv', LOCK);
  row('0F BA /4', bits.bt, 'Ev', 'Ib');
  row('0F BA /5', bits.bts, 'Ev', 'Ib', LOCK);
  row('0F BA /6', bits.btr, 'Ev', 'Ib', LOCK);
  row('0F BA /7', bits.btc, 'Ev', 'Ib', LOCK);
  row('F3 0F B8 /r', bits.popcnt, 'Gv', 'Ev', { feature: 'popcnt' });
  row('F3 0F BC /r', bits.tzcnt, 'Gv', 'Ev');
  row('0F BC /r', bits.bsf, 'Gv', 'Ev');
  row('F3 0F BD /r', bits.lzcnt, 'Gv', 'Ev');
  row('0F BD /r', bits.bsr, 'Gv', 'Ev');

  // stack
  const d64 = { d64: true };
  row('50+r', stack.push, 'Zv', d64);
  row('58+r', stack.pop, 'Zv', d64);
  row('68', stack.push, 'Iz', d64);
  row('6A', stack.push, 'Ibs', { ...d64, width: 'v' });
  row('8F /0', stack.pop, 'Ev', { ...d64, restartable: true });
  row('FF /6', stack.push, 'Ev', d64);
  row('C8', stack.enter, 'Iw', 'Ib', { ...d64, width: 'v' });
  row('C9', stack.leave, { ...d64, width: 'v' });
  row('9C', flags.pushf, { ...d64, width: 'v' });
  row('9D', flags.popf, { ...d64, width: 'v', ends: true });
  row('9E', flags.sahf);
  row('9F', flags.lahf);
  row('F5', flags.cmc);
  row('F8', flags.clc);
  row('F9', flags.stc);
  row('FC', flags.cld);
  row('FD', flags.std);

  // near transfers
  const near = { f64: true, ends: true } as const;
  row('E8', stack.callRelative, 'Jz', near);
  row('E9', stack.jmpRelative, 'Jz', near);
  row('EB', stack.jmpRelative, 'Jb', { ...near, width: 'v' });
  row('FF /2', stack.callIndirect, 'Ev', near);
  row('FF /4', stack.jmpIndirect, 'Ev', near);
  row('C2', stack.retPop, 'Iw', { ...near, width: 'v' });
  row('C3', stack.ret, { ...near, width: 'v' });
  row('E0', stack.loop('ne'), 'Jb', { f64: true, width: 'v', restartable: true });
  row('E1', stack.loop('e'), 'Jb', { f64: true, width: 'v', restartable: true });
  row('E2', stack.loop('always'), 'Jb', { f64: true, width: 'v', restartable: true });
  row('E3', stack.jcxz, 'Jb', { f64: true, width: 'v' });

  // strings
  const rep = { rep: true, restartable: true };
  row('A4', strings.movs, 'Xb', rep);
  row('A5', strings.movs, 'Xv', rep);
  row('A6', strings.cmps, 'Xb', rep);
  row('A7', strings.cmps, 'Xv', rep);
  row('AA', strings.stos, { ...rep, width: 8 });
  row('AB', strings.stos, { ...rep, width: 'v' });
  row('AC', strings.lods, 'Xb', rep);
  row('AD', strings.lods, 'Xv', rep);
  row('AE', strings.scas, { ...rep, width: 8 });
  row('AF', strings.scas, { ...rep, width: 'v' });
}
