// The machine check registers: banks in which hardware reports its errors, of which this machine has none (SDM Vol. 3B, 16.3; AMD APM
// Vol. 2, 9.3). Kernels enable and clear them.
import type { CpuModel } from '../../cpu/models/model.ts';
import type { Saveable } from '../chip.ts';
import { ALL_BITS, type MsrPart } from './msr-table.ts';

const Msr = { capabilities: 0x179, status: 0x17a, control: 0x17b, firstBankControl2: 0x280, firstBank: 0x400 } as const;
/** Registers of a bank. */
const Bank = { control: 0, status: 1, address: 2, misc: 3 } as const;

const CAP_CONTROL = 1n << 8n;
const CAP_CORRECTED_INTERRUPT = 1n << 10n;
const CAP_THRESHOLD_STATUS = 1n << 11n;
const CAP_RECOVERY = 1n << 24n;
/** Threshold, and the interrupt enable at bit 30. */
const CONTROL2_DEFINED = 0x40007fffn;
const STATUS_DEFINED = 7n;

interface Kind {
  banks: number;
  capabilities: bigint;
}

const KINDS: Readonly<Record<CpuModel['vendor'], Kind>> = {
  AuthenticAMD: { banks: 7, capabilities: CAP_CONTROL },
  GenuineIntel: { banks: 8, capabilities: CAP_CORRECTED_INTERRUPT | CAP_THRESHOLD_STATUS | CAP_RECOVERY },
};

export interface MachineCheckState {
  status: bigint;
  control: bigint;
  /** A bank's control, status, address and misc one after the other. */
  banks: bigint[];
  control2: bigint[];
}

export class MachineCheck implements MsrPart, Saveable<MachineCheckState> {
  private readonly kind: Kind;
  private readonly statusWritable: () => boolean;
  private state: MachineCheckState;

  /** @param statusWritable AMD's HWCR.McStatusWrEn: software may write errors into the banks */
  constructor(vendor: CpuModel['vendor'], statusWritable: () => boolean) {
    this.kind = KINDS[vendor];
    this.statusWritable = statusWritable;
    this.state = initial(this.kind.banks);
  }

  reset(): void {
    this.state = initial(this.kind.banks);
  }

  read(index: number): bigint | null {
    const { kind, state } = this;
    switch (index) {
      case Msr.capabilities:
        return kind.capabilities | BigInt(kind.banks);
      case Msr.status:
        return state.status;
      case Msr.control:
        return this.has(CAP_CONTROL) ? state.control : null;
    }
    if (index >= Msr.firstBank && index < Msr.firstBank + 4 * kind.banks) return state.banks[index - Msr.firstBank];
    return this.hasControl2(index) ? state.control2[index - Msr.firstBankControl2] : null;
  }

  write(index: number, value: bigint): boolean {
    const { kind, state } = this;
    if (index === Msr.status) {
      if (value & ~STATUS_DEFINED) return false;
      state.status = value;
      return true;
    }
    if (index === Msr.control && this.has(CAP_CONTROL)) {
      state.control = value;
      return true;
    }
    if (index >= Msr.firstBank && index < Msr.firstBank + 4 * kind.banks) {
      return this.writeBank(index - Msr.firstBank, value);
    }
    if (!this.hasControl2(index) || value & ~CONTROL2_DEFINED) return false;
    state.control2[index - Msr.firstBankControl2] = value;
    return true;
  }

  save(): MachineCheckState {
    return structuredClone(this.state);
  }

  load(state: MachineCheckState): void {
    this.state = structuredClone(state);
  }

  /** What reports errors can be cleared, not written. */
  private writeBank(at: number, value: bigint): boolean {
    if ((at & 3) !== Bank.control && value !== 0n && !this.statusWritable()) return false;
    this.state.banks[at] = value;
    return true;
  }

  private has(capability: bigint): boolean {
    return (this.kind.capabilities & capability) !== 0n;
  }

  private hasControl2(index: number): boolean {
    const bank = index - Msr.firstBankControl2;
    return this.has(CAP_CORRECTED_INTERRUPT) && bank >= 0 && bank < this.kind.banks;
  }
}

function initial(banks: number): MachineCheckState {
  return {
    status: 0n,
    control: ALL_BITS,
    banks: Array.from({ length: 4 * banks }, () => 0n),
    control2: Array.from({ length: banks }, () => 0n),
  };
}
