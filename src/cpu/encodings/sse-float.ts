// Encodings of the floating-point arithmetic of SSE to SSE4.1 (SDM Vol. 2, appendix A).
import type { RowSink } from '../decode/table.ts';
import { Conversion } from '../helpers/sse-float.ts';
import * as float from '../semantics/sse-float.ts';

const SSE = { unit: 'sse' } as const;
/** MMX state is entered before an arithmetic exception is raised. */
const SSE_MMX = { unit: 'sse', restartable: true } as const;
const SSE3 = { unit: 'sse', feature: 'pni' } as const;
const SSE41 = { unit: 'sse', feature: 'sse4_1' } as const;

/** Mandatory prefix, form and source operand of the usual four: PS, PD, SS, SD. */
const FORMS = [
  ['NP', 0, 'Wx'],
  ['66', 1, 'Wx'],
  ['F3', 2, 'Wd'],
  ['F2', 3, 'Wq'],
] as const;

const hex = (n: number) => n.toString(16).toUpperCase().padStart(2, '0');

export function sseFloatRows({ row }: RowSink): void {
  for (const [prefix, form, source] of FORMS) {
    for (const opcode of [0x51, 0x58, 0x59, 0x5c, 0x5d, 0x5e, 0x5f])
      row(`${prefix} 0F ${hex(opcode)} /r`, float.arithmetic('floatArithmetic', opcode, form), 'Vx', source, SSE);
    row(`${prefix} 0F C2 /r`, float.withImmediate('floatCompare', form), 'Vx', source, 'Ib', SSE);
    row(`66 0F 3A ${hex(8 + form)} /r`, float.withImmediate('floatRound', form), 'Vx', source, 'Ib', SSE41);
    if (form === 0 || form === 2)
      for (const opcode of [0x52, 0x53])
        row(`${prefix} 0F ${hex(opcode)} /r`, float.arithmetic('floatApproximate', opcode, form), 'Vx', source, SSE);
  }
  for (const [prefix, form] of [
    ['F2', 0],
    ['66', 1],
  ] as const) {
    for (const opcode of [0x7c, 0x7d, 0xd0])
      row(`${prefix} 0F ${hex(opcode)} /r`, float.arithmetic('floatHorizontal', opcode, form), 'Vx', 'Wx', SSE3);
  }
  row('66 0F 3A 40 /r', float.withImmediate('floatDot', 0), 'Vx', 'Wx', 'Ib', SSE41);
  row('66 0F 3A 41 /r', float.withImmediate('floatDot', 1), 'Vx', 'Wx', 'Ib', SSE41);

  row('NP 0F 2E /r', float.compareFlags(false, 2), 'Vx', 'Wd', SSE);
  row('66 0F 2E /r', float.compareFlags(false, 3), 'Vx', 'Wq', SSE);
  row('NP 0F 2F /r', float.compareFlags(true, 2), 'Vx', 'Wd', SSE);
  row('66 0F 2F /r', float.compareFlags(true, 3), 'Vx', 'Wq', SSE);

  // conversions
  row('NP 0F 5A /r', float.convert(Conversion.psToPd, 64), 'Vx', 'Wq', SSE);
  row('66 0F 5A /r', float.convert(Conversion.pdToPs, 128), 'Vx', 'Wx', SSE);
  row('F3 0F 5A /r', float.convertScalar(Conversion.ssToSd, 2), 'Vx', 'Wd', SSE);
  row('F2 0F 5A /r', float.convertScalar(Conversion.sdToSs, 3), 'Vx', 'Wq', SSE);
  row('NP 0F 5B /r', float.convert(Conversion.dqToPs, 128), 'Vx', 'Wx', SSE);
  row('66 0F 5B /r', float.convert(Conversion.psToDq, 128), 'Vx', 'Wx', SSE);
  row('F3 0F 5B /r', float.convert(Conversion.psToDqTruncated, 128), 'Vx', 'Wx', SSE);
  row('66 0F E6 /r', float.convert(Conversion.pdToDqTruncated, 128), 'Vx', 'Wx', SSE);
  row('F3 0F E6 /r', float.convert(Conversion.dqToPd, 64), 'Vx', 'Wq', SSE);
  row('F2 0F E6 /r', float.convert(Conversion.pdToDq, 128), 'Vx', 'Wx', SSE);
  row('NP 0F 2A /r', float.fromMmx(Conversion.piToPs), 'Vx', 'Qq', SSE_MMX);
  row('66 0F 2A /r', float.fromMmx(Conversion.dqToPd), 'Vx', 'Qq', SSE_MMX);
  row('F3 0F 2A /r', float.fromInteger(2), 'Vx', 'Ey', SSE);
  row('F2 0F 2A /r', float.fromInteger(3), 'Vx', 'Ey', SSE);
  for (const [opcode, truncate] of [
    ['2C', true],
    ['2D', false],
  ] as const) {
    row(`NP 0F ${opcode} /r`, float.toMmx(truncate, 0), 'Pq', 'Wq', SSE_MMX);
    row(`66 0F ${opcode} /r`, float.toMmx(truncate, 1), 'Pq', 'Wx', SSE_MMX);
    row(`F3 0F ${opcode} /r`, float.toInteger(truncate, 2), 'Gy', 'Wd', SSE);
    row(`F2 0F ${opcode} /r`, float.toInteger(truncate, 3), 'Gy', 'Wq', SSE);
  }
}
