// IA32_MPERF and IA32_APERF: cycles in which the processor was not halted, at its nominal and at its actual rate, which are the same here
// (SDM Vol. 3B, 15.2). AMD has read-only views of them too (APM Vol. 2, 17.6.4).
import type { CpuModel } from '../../cpu/models/model.ts';
import type { Saveable } from '../chip.ts';
import type { MsrPart } from './msr-table.ts';

const MPERF = 0xe7;
const APERF = 0xe8;
const READ_ONLY = 0xc0000000;
const CPUID_EFFECTIVE_FREQUENCY = 1;
const CPUID_READ_ONLY_VIEWS = 1 << 10;

export class ActiveCycles implements MsrPart, Saveable<bigint[]> {
  private readonly active: () => bigint;
  private readonly exists: boolean;
  private readonly hasViews: boolean;
  /** What MPERF and APERF are ahead of the count. */
  private readonly offsets = [0n, 0n];

  /** @param active cycles since the start of the machine in which the processor ran */
  constructor(model: CpuModel, active: () => bigint) {
    this.active = active;
    const bit = (leaf: number, register: 'ebx' | 'ecx' | 'edx', mask: number): boolean =>
      ((model.leaves.find(row => row.leaf === leaf)?.[register] ?? 0) & mask) !== 0;
    this.exists = bit(6, 'ecx', CPUID_EFFECTIVE_FREQUENCY);
    this.hasViews = bit(0x80000007, 'edx', CPUID_READ_ONLY_VIEWS);
  }

  reset(): void {
    this.offsets.fill(-this.active());
  }

  read(index: number): bigint | null {
    if (!this.exists) return null;
    if (index === MPERF || index === APERF) return this.count(index);
    const view = index - READ_ONLY;
    return this.hasViews && (view === MPERF || view === APERF) ? this.count(view) : null;
  }

  write(index: number, value: bigint): boolean {
    if (!this.exists || (index !== MPERF && index !== APERF)) return false;
    this.offsets[index - MPERF] = value - this.active();
    return true;
  }

  save(): bigint[] {
    return [...this.offsets];
  }

  load(offsets: readonly bigint[]): void {
    this.offsets.splice(0, 2, ...offsets);
  }

  private count(index: number): bigint {
    return BigInt.asUintN(64, this.active() + this.offsets[index - MPERF]);
  }
}
