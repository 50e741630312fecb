// Encodings of the system instructions (SDM Vol. 2 and Vol. 3A, chapter 2.8).
import type { RowSink } from '../decode/table.ts';
import { nop } from '../semantics/move.ts';
import { pushSegment } from '../semantics/stack.ts';
import * as sys from '../semantics/system.ts';

const { helper, onMemory, onValue } = sys;
const ENDS = { ends: true };
const CPL0 = { cpl0: true };
const CPL0_ENDS = { cpl0: true, ends: true };

export function systemRows({ row }: RowSink): void {
  // identification, time, random numbers
  row('0F A2', helper('cpuid'));
  row('0F 31', sys.toPair('rdtsc'));
  row('0F 01 F9', sys.rdtscp, { feature: 'rdtscp' });
  row('0F 33', sys.toPair('rdpmc'));
  row('0F 32', sys.toPair('rdmsr'), CPL0);
  row('0F 30', helper('wrmsr', 'endBlock'), CPL0_ENDS);
  row('NF 0F C7 /6 :r', sys.random, 'Rv', { feature: 'rdrand' });
  row('NF 0F C7 /7 :r', sys.random, 'Rv', { feature: 'rdseed' });
  row('F3 0F C7 /7 :r', sys.rdpid, 'Ry', { feature: 'rdpid', f64: true });

  // system calls, interrupts, far transfers
  row('0F 05', helper('syscall', 'transfer'), { ends: true, width: 64 });
  row('0F 07', helper('sysret', 'transfer'), { ends: true, cpl0: true, width: 'y' });
  row('0F 34', helper('sysenter', 'transfer'), ENDS);
  row('0F 35', helper('sysexit', 'transfer'), { ends: true, width: 'y' });
  row('CC', sys.trap(3), ENDS);
  row('CD', sys.intN, 'Ib', ENDS);
  row('CE', sys.trap(4), { ends: true, no64: true });
  row('F1', sys.trap(1), ENDS);
  row('CF', helper('iret', 'transfer'), { ends: true, width: 'v' });
  row('CA', onValue('farReturn', 16, 'transfer'), 'Iw', { ends: true, width: 'v' });
  row('CB', helper('farReturn0', 'transfer'), { ends: true, width: 'v' });
  row('9A', sys.farImmediate('farCall'), 'Az', { ends: true, no64: true });
  row('EA', sys.farImmediate('farJump'), 'Az', { ends: true, no64: true });
  row('FF /3', sys.farIndirect('farCall'), 'Mv', { ...ENDS, farPointer: true });
  row('FF /5', sys.farIndirect('farJump'), 'Mv', { ...ENDS, farPointer: true });
  row('0F 0B', sys.undefined_);
  row('0F B9 /r', sys.undefined_, 'Gv', 'Ev');
  row('0F FF /r', sys.undefined_, 'Gv', 'Ev');
  row('F4', helper('hlt', 'transfer'), CPL0_ENDS);
  row('NP 0F 01 C1', helper('vmcall', 'transfer'), ENDS);
  row('NP 0F 01 D9', helper('vmmcall', 'transfer'), ENDS);
  row('NP 0F 01 C8', helper('monitor'), { feature: 'monitor' });
  row('NP 0F 01 C9', helper('mwait', 'transfer'), { ...ENDS, feature: 'monitor' });

  // segments and tables
  for (const n of [0, 1, 2, 3, 4, 5]) row(`8C /${n}`, sys.movFromSegment, 'Ev', 'Sw');
  for (const n of [0, 2, 3, 4, 5]) row(`8E /${n}`, sys.movToSegment, 'Sw', 'Ew', ENDS);
  for (const [name, opcode] of [
    ['ES', '06'],
    ['CS', '0E'],
    ['SS', '16'],
    ['DS', '1E'],
  ] as const) {
    row(opcode, pushSegment, name, { no64: true, width: 'v' });
  }
  for (const [name, opcode] of [
    ['ES', '07'],
    ['SS', '17'],
    ['DS', '1F'],
  ] as const) {
    row(opcode, sys.popSegment, name, { no64: true, width: 'v', ends: true, restartable: true });
  }
  row('0F A0', pushSegment, 'FS', { width: 'v', d64: true });
  row('0F A8', pushSegment, 'GS', { width: 'v', d64: true });
  row('0F A1', sys.popSegment, 'FS', { width: 'v', d64: true, ends: true, restartable: true });
  row('0F A9', sys.popSegment, 'GS', { width: 'v', d64: true, ends: true, restartable: true });
  row('C4 /r', sys.loadFarPointer(0), 'Gz', 'Ms', { ends: true, no64: true });
  row('C5 /r', sys.loadFarPointer(3), 'Gz', 'Ms', { ends: true, no64: true });
  row('0F B2 /r', sys.loadFarPointer(2), 'Gv', 'Ms', { ...ENDS, farPointer: true });
  row('0F B4 /r', sys.loadFarPointer(4), 'Gv', 'Ms', { ...ENDS, farPointer: true });
  row('0F B5 /r', sys.loadFarPointer(5), 'Gv', 'Ms', { ...ENDS, farPointer: true });
  row('0F 00 /0', sys.storeSystem('sldt'), 'Ev', { protectedOnly: true });
  row('0F 00 /1', sys.storeSystem('str'), 'Ev', { protectedOnly: true });
  row('0F 00 /2', onValue('lldt', 16), 'Ew', { cpl0: true, protectedOnly: true });
  row('0F 00 /3', onValue('ltr', 16), 'Ew', { cpl0: true, protectedOnly: true });
  row('0F 00 /4', onValue('verr', 16), 'Ew', { protectedOnly: true });
  row('0F 00 /5', onValue('verw', 16), 'Ew', { protectedOnly: true });
  row('0F 02 /r', sys.lookAt('lar'), 'Gv', 'Ew', { protectedOnly: true });
  row('0F 03 /r', sys.lookAt('lsl'), 'Gv', 'Ew', { protectedOnly: true });
  row('0F 01 /0 :m', onMemory('sgdt', 6, true), 'Ms', { width: 'v' });
  row('0F 01 /1 :m', onMemory('sidt', 6, true), 'Ms', { width: 'v' });
  row('0F 01 /2 :m', onMemory('lgdt', 6, false), 'Ms', { ...CPL0, width: 'v' });
  row('0F 01 /3 :m', onMemory('lidt', 6, false), 'Ms', { ...CPL0, width: 'v' });
  row('0F 01 /4', sys.storeSystem('smsw'), 'Ev');
  row('0F 01 /6', onValue('lmsw', 16, 'endBlock'), 'Ew', CPL0_ENDS);

  // control and debug registers, translation
  const wide = { width: 'y', f64: true } as const;
  row('0F 20 /r', sys.movFrom('readCr'), 'Ry', 'Cy', { ...CPL0, ...wide });
  row('0F 22 /r', sys.movTo('writeCr'), 'Cy', 'Ry', { ...CPL0_ENDS, ...wide });
  row('0F 21 /r', sys.movFrom('readDr'), 'Ry', 'Dy', { ...CPL0, ...wide });
  row('0F 23 /r', sys.movTo('writeDr'), 'Dy', 'Ry', { ...CPL0_ENDS, ...wide });
  row('0F 06', helper('clts', 'endBlock'), CPL0_ENDS);
  row('0F 01 /7 :m', sys.invlpg, 'Ms', CPL0_ENDS);
  row('66 0F 38 82 /r', sys.invpcid, 'Gy', 'Mo', { ...CPL0_ENDS, feature: 'invpcid', f64: true });
  row('0F 01 F8', helper('swapgs'), { ...CPL0, only64: true });
  row('F3 0F AE /0 :r', sys.readBase(4), 'Ry', { only64: true, feature: 'fsgsbase' });
  row('F3 0F AE /1 :r', sys.readBase(5), 'Ry', { only64: true, feature: 'fsgsbase' });
  row('F3 0F AE /2 :r', sys.writeBase(4), 'Ry', { only64: true, feature: 'fsgsbase' });
  row('F3 0F AE /3 :r', sys.writeBase(5), 'Ry', { only64: true, feature: 'fsgsbase' });
  row('NP 0F 01 CA', helper('clac', 'endBlock'), { ...ENDS, feature: 'smap' });
  row('NP 0F 01 CB', helper('stac', 'endBlock'), { ...ENDS, feature: 'smap' });

  // caches, hints
  row('0F 08', nop, CPL0);
  row('0F 09', nop, CPL0);
  row('NP 0F AE /7 :m', sys.touch, 'Mb');
  row('66 0F AE /7 :m', sys.touch, 'Mb', { feature: 'clflushopt' });
  row('66 0F AE /6 :m', sys.touch, 'Mb', { feature: 'clwb' });
  row('0F 0D /r', nop, 'Ev');
  for (const opcode of ['18', '19', '1A', '1B', '1C', '1D', '1E', '1F']) row(`0F ${opcode} /r`, nop, 'Ev');
  row('NP 0F AE /5 :r', nop);
  row('NP 0F AE /6 :r', nop);
  row('NP 0F AE /7 :r', nop);

  // interrupts' flag and ports
  row('FA', helper('cli'));
  row('FB', helper('sti', 'endBlock'), ENDS);
  row('E4', sys.input, 'AL', 'Ib');
  row('E5', sys.input, 'rAX', 'Ib', { width: 'z' });
  row('EC', sys.input, 'AL', 'DX');
  row('ED', sys.input, 'rAX', 'DX', { width: 'z' });
  row('E6', sys.output, 'Ib', 'AL', ENDS);
  row('E7', sys.output, 'Ib', 'rAX', { ends: true, width: 'z' });
  row('EE', sys.output, 'DX', 'AL', { ends: true, width: 8 });
  row('EF', sys.output, 'DX', 'rAX', { ends: true, width: 'z' });
  const rep = { rep: true, restartable: true };
  row('6C', sys.ins, { ...rep, width: 8 });
  row('6D', sys.ins, { ...rep, width: 'z' });
  row('6E', sys.outs, 'Xb', rep);
  row('6F', sys.outs, 'Xz', rep);

  // extended states
  row('NP 0F 01 D0', sys.toPair('xgetbv'), { feature: 'xsave' });
  row('NP 0F 01 D1', helper('xsetbv', 'endBlock'), { ...CPL0_ENDS, feature: 'xsave' });

  // legacy modes only
  row('63 /r', sys.arpl, 'Ew', 'Gw', { no64: true, protectedOnly: true });
  row('62 /r', sys.bound, 'Gz', 'Ms', { no64: true });
  row('27', helper('daa'), { no64: true });
  row('2F', helper('das'), { no64: true });
  row('37', helper('aaa'), { no64: true });
  row('3F', helper('aas'), { no64: true });
  row('D4', onValue('aam', 8), 'Ib', { no64: true });
  row('D5', onValue('aad', 8), 'Ib', { no64: true });
  row('D6', helper('salc'), { no64: true });
  row('60', helper('pusha'), { no64: true, width: 'v' });
  row('61', helper('popa'), { no64: true, width: 'v' });
}
