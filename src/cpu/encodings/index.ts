// The encoding table of the processor: every family of rows.
import { EncodingTable } from '../decode/table.ts';
import { integerRows } from './integer.ts';
import { mmxRows } from './mmx.ts';
import { sseRows } from './sse.ts';
import { sseFloatRows } from './sse-float.ts';
import { systemRows } from './system.ts';
import { x87Rows } from './x87.ts';
import { xsaveRows } from './xsave.ts';

/** More particular rows come first among those of one opcode: families with mandatory prefixes before those without. */
export function createEncodingTable(): EncodingTable {
  return new EncodingTable([integerRows, systemRows, x87Rows, xsaveRows, mmxRows, sseRows, sseFloatRows]);
}
