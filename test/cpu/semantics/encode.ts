// Builds bytes of an instruction for a row of the encoding table, with all that may vary: prefixes, registers, addressing forms.
import { type Decoder, type Instruction, MAX_INSTRUCTION_LENGTH } from '../../../src/cpu/decode/decoder.ts';
import type { Row } from '../../../src/cpu/decode/row.ts';
import { ModeBit } from '../../../src/cpu/layout.ts';
import type { Prng } from '../../oracle/prng.ts';

export type Form = 'mem' | 'reg' | 'none';

export interface Encoded {
  bytes: Uint8Array;
  instruction: Instruction;
  /** Where the displacement or absolute offset stands in the bytes. */
  displacementAt: number;
}

const TRIES = 300;
const MANDATORY: Record<Row['mandatory'], number[]> = { any: [], NP: [], NF: [], '66': [0x66], F3: [0xf3], F2: [0xf2] };
const MAPS = [[], [0x0f], [0x0f, 0x38], [0x0f, 0x3a]];
const SEGMENTS = [0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65];

/** The forms that a row's ModRM byte may have. */
export function formsOf(row: Row): Form[] {
  if (!row.modrm || row.exact !== null) return ['none'];
  if (row.operands.some(o => o.file === 'cr' || o.file === 'dr')) return ['reg'];
  return row.form === 'any' ? ['mem', 'reg'] : [row.form];
}

/** Random bytes in which small and extreme numbers are frequent. */
function tail(prng: Prng): number[] {
  const out: number[] = [];
  while (out.length < 16) {
    const v = prng.u32();
    switch (prng.below(4)) {
      case 0:
        out.push(v & 0x7f, 0, 0, 0);
        break;
      case 1:
        out.push(v & 1 ? 0xff : 0x80, v & 2 ? 0xff : 0, v & 4 ? 0xff : 0x7f, v & 8 ? 0xff : 0x80);
        break;
      default:
        out.push(v & 0xff, (v >>> 8) & 0xff, (v >>> 16) & 0xff, v >>> 24);
    }
  }
  return out;
}

function build(prng: Prng, row: Row, form: Form, long64: boolean): [bytes: number[], displacementAt: number] {
  const out: number[] = [];
  const free = row.mandatory === 'any' || row.mandatory === 'NF';
  if (free && prng.oneIn(3)) out.push(0x66);
  if (prng.oneIn(8)) out.push(0x67);
  if (prng.oneIn(6)) out.push(prng.pick(SEGMENTS));
  if (row.lock && form === 'mem' && prng.oneIn(6)) out.push(0xf0);
  if (row.rep ? prng.oneIn(2) : row.mandatory === 'any' && prng.oneIn(24)) out.push(prng.pick([0xf2, 0xf3]));
  out.push(...MANDATORY[row.mandatory]);
  if (long64 && (row.rexW === 1 || prng.oneIn(2))) {
    const w = row.rexW === null ? prng.below(2) : row.rexW;
    const noB = row.noRexB ? 14 : 15;
    out.push(0x40 | (prng.below(16) & noB & 7) | (w << 3));
  }
  out.push(...MAPS[row.map]);
  out.push(row.opcode + (row.operands.some(o => o.source === 'opcode') ? prng.below(8) : 0));
  let displacementAt = out.length;
  if (row.exact !== null) out.push(row.exact);
  else if (row.modrm) {
    const reg = row.reg ?? prng.below(8);
    const mod = form === 'reg' ? 3 : prng.below(3);
    const rm = prng.below(8);
    out.push((mod << 6) | (reg << 3) | rm);
    displacementAt = out.length + (form === 'mem' && rm === 4 ? 1 : 0);
  }
  return [[...out, ...tail(prng)], displacementAt];
}

/** One encoding of a row, or null where nothing that is built decodes to the row. */
export function encode(prng: Prng, decoder: Decoder, row: Row, form: Form, mode: number): Encoded | null {
  const long64 = (mode & ModeBit.long64) !== 0;
  for (let i = 0; i < TRIES; i++) {
    const [bytes, displacementAt] = build(prng, row, form, long64);
    const whole = Uint8Array.from(bytes);
    const decoded = decoder.decode(whole, 0, Math.min(whole.length, MAX_INSTRUCTION_LENGTH), mode);
    if (decoded === 'more' || 'fault' in decoded) continue;
    if (decoded.row !== row) continue;
    const copy = { ...decoded, operands: decoded.operands.map(o => ({ ...o })) };
    if (decoded.memory) copy.memory = { ...decoded.memory };
    return { bytes: whole.slice(0, decoded.length), instruction: copy, displacementAt };
  }
  return null;
}
