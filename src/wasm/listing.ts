// A function body's code as text, an instruction a line (WebAssembly core specification 2.0, "Binary Format", instructions).
import { Op } from './opcodes.ts';

const NAMES = new Map<number, string>(Object.entries(Op).map(([name, code]) => [code, name]));
const VECTOR_LOADS_END = 11;
const VECTOR_CONST = 12;
const VECTOR_SHUFFLE = 13;
const [FIRST_LANE, LAST_LANE] = [21, 34];

export interface ListedInstruction {
  /** Offset of its first byte. */
  at: number;
  text: string;
}

/** Reads what the engine emits; throws for an opcode that is none of opcodes.ts. */
export function listCode(code: readonly number[]): ListedInstruction[] {
  const out: ListedInstruction[] = [];
  let at = 0;
  let indent = 0;
  const unsigned = (): bigint => {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = code[at++];
      value |= BigInt(byte & 0x7f) << shift;
      if (!(byte & 0x80)) return value;
    }
  };
  const signed = (): bigint => {
    const start = at;
    const value = unsigned();
    return BigInt.asIntN(7 * (at - start), value);
  };
  const memory = (): string => {
    unsigned();
    return ` +0x${unsigned().toString(16)}`;
  };
  const operands = (op: number): string => {
    if (op === Op.block || op === Op.loop || op === Op.if) {
      at++;
      return '';
    }
    if (op >= Op.i32Load && op <= Op.i64Store32) return memory();
    if (op === Op.i32Const || op === Op.i64Const) return ` ${signed()}`;
    if (op === Op.callIndirect) return ` ${unsigned()} ${unsigned()}`;
    if (op === Op.br || op === Op.brIf || op === Op.call || (op >= Op.localGet && op <= Op.globalSet))
      return ` ${unsigned()}`;
    if (op === Op.brTable) return ` ${Array.from({ length: Number(unsigned()) + 1 }, unsigned).join(' ')}`;
    if (op !== Op.prefixFD) return '';
    const vector = Number(unsigned());
    if (vector <= VECTOR_LOADS_END) return ` ${vector}${memory()}`;
    if (vector === VECTOR_CONST || vector === VECTOR_SHUFFLE) at += 16;
    else if (vector >= FIRST_LANE && vector <= LAST_LANE) return ` ${vector} lane ${code[at++]}`;
    return ` ${vector}`;
  };
  while (at < code.length) {
    const start = at;
    const op = code[at++];
    const name = NAMES.get(op);
    if (name === undefined) throw new Error(`no such opcode: ${op.toString(16)}`);
    if (op === Op.end || op === Op.else) indent--;
    out.push({ at: start, text: `${'  '.repeat(Math.max(0, indent))}${name}${operands(op)}` });
    if (op === Op.block || op === Op.loop || op === Op.if || op === Op.else) indent++;
  }
  return out;
}
