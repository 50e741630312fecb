// Encodings of the x87 instructions: the escape opcodes D8-DF (SDM Vol. 2D, appendix A.5) and FWAIT.
import type { RowSink } from '../decode/table.ts';
import { IMAGE, memoryOperand } from '../float/x87.ts';
import { S } from '../layout.ts';
import * as x87 from '../semantics/x87-instructions.ts';

const UNIT = { unit: 'x87' } as const;
const SSE3 = { unit: 'x87', feature: 'pni' } as const;
const hex = (n: number) => n.toString(16).toUpperCase().padStart(2, '0');
const MEMORY_OPERANDS: Record<number, string> = { 2: 'Mw', 4: 'Md', 8: 'Mq', 10: 'Mt' };

/** ModRM.reg values of an escape opcode whose register forms take any ST(i); the undocumented aliases among them too. */
const STACK_FORMS: readonly (readonly number[])[] = [
  [0, 1, 2, 3, 4, 5, 6, 7],
  [0, 1, 3],
  [0, 1, 2, 3],
  [0, 1, 2, 3, 5, 6],
  [0, 1, 2, 3, 4, 5, 6, 7],
  [0, 1, 2, 3, 4, 5],
  [0, 1, 2, 4, 5, 6, 7],
  [0, 1, 2, 3, 5, 6],
];

/** Whole ModRM bytes that are opcodes by themselves and wait. D9 EF, D9 D1 and others between are undefined. */
const SINGLE: readonly [esc: number, modrm: readonly number[]][] = [
  [0xd9, [0xd0, 0xe0, 0xe1, 0xe4, 0xe5, 0xe8, 0xe9, 0xea, 0xeb, 0xec, 0xed, 0xee]],
  [0xd9, [0xf0, 0xf1, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7, 0xf8, 0xf9, 0xfa, 0xfb, 0xfc, 0xfd, 0xfe, 0xff]],
  [0xda, [0xe9]],
  [0xde, [0xd9]],
];

/** FISTTP: DB /1, DD /1, DF /1. */
function isFisttp(esc: number, reg: number): boolean {
  return reg === 1 && (esc === 0xdb || esc === 0xdd || esc === 0xdf);
}

export function x87Rows({ row }: RowSink): void {
  row('9B', x87.fwait, { unit: 'wait' });
  row('DF E0', x87.fnstswAx, UNIT);
  for (const modrm of [0xe0, 0xe1, 0xe2, 0xe3, 0xe4]) row(`DB ${hex(modrm)}`, x87.control(0xdb, modrm), UNIT);
  for (const [esc, codes] of SINGLE)
    for (const modrm of codes) row(`${hex(esc)} ${hex(modrm)}`, x87.plain(esc, modrm), UNIT);

  const sized = { ...UNIT, width: 'z' } as const;
  row('D9 /4 :m', x87.image('fldenv', false, false), 'Ms', sized);
  row('D9 /6 :m', x87.image('fnstenv', false, true), 'Ms', sized);
  row('DD /4 :m', x87.image('frstor', true, false), 'Ms', sized);
  row('DD /6 :m', x87.image('fnsave', true, true), 'Ms', sized);
  row('D9 /5 :m', x87.fldcw, 'Mw', UNIT);
  row('D9 /7 :m', x87.storeWord(S.fcw), 'Mw', UNIT);
  row('DD /7 :m', x87.storeWord(S.fsw), 'Mw', UNIT);

  for (let esc = 0xd8; esc <= 0xdf; esc++) {
    for (let reg = 0; reg < 8; reg++) {
      const bytes = memoryOperand(esc, reg);
      const control = (esc === 0xd9 && (reg === 5 || reg === 7)) || (esc === 0xdd && reg === 7);
      if (bytes === 0 || bytes === IMAGE || control) continue;
      const semantic = bytes > 0 ? x87.fromMemory(esc, reg, bytes) : x87.toMemory(esc, reg, -bytes);
      row(`${hex(esc)} /${reg} :m`, semantic, MEMORY_OPERANDS[Math.abs(bytes)], isFisttp(esc, reg) ? SSE3 : UNIT);
    }
    for (const reg of STACK_FORMS[esc & 7]) {
      const comparesToFlags = (esc === 0xdb || esc === 0xdf) && (reg === 5 || reg === 6);
      row(`${hex(esc)} /${reg} :r`, x87.onStack(esc, 0xc0 | (reg << 3), comparesToFlags), 'Tt', UNIT);
    }
  }
}
