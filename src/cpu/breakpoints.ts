// Hardware breakpoints: DR0-DR3 as DR7 enables them (SDM Vol. 3B, 17.2). While any is armed the processor runs one instruction at a time,
// and pages with watched data stay out of the TLB, so that every access to them is seen.
import { S } from './layout.ts';
import type { CpuState } from './state.ts';

const ENABLES = 0xff;
const ON_EXECUTION = 0;
const ON_WRITES = 1;
/** R/W = 2 watches ports, which is the business of whoever owns them. */
const ON_ACCESS = 3;
const DR7_AT = S.dr + 7 * 8;
/** Bytes by the LEN field. */
const LENGTHS = [1, 2, 8, 4] as const;

interface Watch {
  /** Bit of DR6. */
  bit: bigint;
  first: bigint;
  last: bigint;
  writesOnly: boolean;
}

export class Breakpoints {
  private readonly state: CpuState;
  private readonly seen = new BigUint64Array(5);
  private executions: { bit: bigint; address: bigint }[] = [];
  private watches: Watch[] = [];
  /** DR6 bits of what the current instruction has touched. */
  hits = 0n;
  /** Some breakpoint was armed when the instruction that runs now began: accesses are noted. */
  watching = false;

  constructor(state: CpuState) {
    this.state = state;
  }

  get armed(): boolean {
    return (this.state.get32(DR7_AT) & ENABLES) !== 0;
  }

  /** Reads the debug registers; true where they are not what they were the last time, so that translations must go. */
  refresh(): boolean {
    const { state, seen } = this;
    let changed = false;
    for (let i = 0; i < 5; i++) {
      const value = state.get(i < 4 ? S.dr + i * 8 : DR7_AT);
      if (seen[i] !== value) changed = true;
      seen[i] = value;
    }
    if (!changed) return false;
    this.executions = [];
    this.watches = [];
    const dr7 = Number(seen[4] & 0xffffffffn);
    for (let i = 0; i < 4; i++) {
      if (!((dr7 >>> (2 * i)) & 3)) continue;
      const bit = 1n << BigInt(i);
      const kind = (dr7 >>> (16 + 4 * i)) & 3;
      if (kind === ON_EXECUTION) this.executions.push({ bit, address: seen[i] });
      else if (kind === ON_WRITES || kind === ON_ACCESS) {
        const length = LENGTHS[(dr7 >>> (18 + 4 * i)) & 3];
        const first = seen[i] & ~BigInt(length - 1);
        this.watches.push({ bit, first, last: first + BigInt(length - 1), writesOnly: kind === ON_WRITES });
      }
    }
    return true;
  }

  /** DR6 bits of the instruction breakpoints at a linear address. */
  atExecution(linear: bigint): bigint {
    let bits = 0n;
    for (const { bit, address } of this.executions) if (address === linear) bits |= bit;
    return bits;
  }

  /** True where a page (its linear address without the low 12 bits) holds watched data. */
  watchesPage(linear: bigint): boolean {
    const page = linear >> 12n;
    return this.watches.some(w => w.first >> 12n === page || w.last >> 12n === page);
  }

  /** Notes an access to data. */
  note(linear: bigint, bytes: number, write: boolean): void {
    for (const { bit, first, last, writesOnly } of this.watches) {
      if (linear <= last && linear + BigInt(bytes) > first && (write || !writesOnly)) this.hits |= bit;
    }
  }
}
