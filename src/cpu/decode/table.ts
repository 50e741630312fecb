// Collects the encoding rows and finds the row for decoded bytes.
import { parseRow, type Row, type RowOptions, type Semantic } from './row.ts';

type RowArgument = string | RowOptions;

function prefixFits(mandatory: Row['mandatory'], prefixClass: number): boolean {
  if (mandatory === 'any') return true;
  if (mandatory === 'NF') return prefixClass <= 1;
  return PREFIX_CLASSES[mandatory] === prefixClass;
}

/** What a family's file of rows is given. */
export interface RowSink {
  row(pattern: string, semantic: Semantic, ...operandsAndOptions: RowArgument[]): void;
}

const PREFIX_CLASSES = { NP: 0, '66': 1, F3: 2, F2: 3 } as const;
const OPCODES_PER_MAP = 256;

/** The encoding table: rows by map and opcode, resolved by prefix, REX.W, ModRM and mode. */
export class EncodingTable {
  readonly rows: Row[] = [];
  private readonly byOpcode: (Row[] | undefined)[] = new Array(4 * OPCODES_PER_MAP);

  /** @param families functions that declare rows, in order; among rows that fit, the more particular comes first by its declaration. */
  constructor(families: readonly ((sink: RowSink) => void)[]) {
    const sink: RowSink = {
      row: (pattern, semantic, ...rest) => {
        const operands = rest.filter((r): r is string => typeof r === 'string');
        const options = rest.find((r): r is RowOptions => typeof r === 'object') ?? {};
        this.add(parseRow(this.rows.length, pattern, semantic, operands, options));
      },
    };
    for (const family of families) family(sink);
  }

  private add(row: Row): void {
    this.rows.push(row);
    const plusR = row.operands.some(o => o.source === 'opcode') || / ?[0-9A-F]{2}\+r/.test(row.pattern);
    for (let i = 0; i < (plusR ? 8 : 1); i++) {
      const key = row.map * OPCODES_PER_MAP + row.opcode + i;
      (this.byOpcode[key] ??= []).push(row);
    }
  }

  /** True where any row of this opcode takes a ModRM byte. An opcode's rows agree on it. */
  hasModrm(map: number, opcode: number): boolean {
    const rows = this.byOpcode[map * OPCODES_PER_MAP + opcode];
    return rows !== undefined && rows[0].modrm;
  }

  /**
   * The row for an opcode, or null (#UD).
   * @param prefixClass 0 none, 1 66, 2 F3, 3 F2 (the last of F2/F3 wins over 66)
   */
  find(
    map: number,
    opcode: number,
    prefixClass: number,
    rexW: boolean,
    modrm: number,
    long64: boolean,
    rexB = false,
  ): Row | null {
    const rows = this.byOpcode[map * OPCODES_PER_MAP + opcode];
    if (!rows) return null;
    for (const row of rows) {
      if (long64 ? row.no64 : row.only64) continue;
      if (row.noRexB && rexB) continue;
      if (!prefixFits(row.mandatory, prefixClass)) continue;
      if (row.rexW !== null && (row.rexW === 1) !== rexW) continue;
      if (row.modrm) {
        if (row.exact !== null) {
          if (row.exact !== modrm) continue;
        } else {
          if (row.reg !== null && row.reg !== ((modrm >> 3) & 7)) continue;
          if (row.form !== 'any' && (row.form === 'reg') !== modrm >= 0xc0) continue;
        }
      }
      return row;
    }
    return null;
  }
}
