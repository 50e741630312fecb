// The MSRs of a local APIC: its base, x2APIC's registers, and the deadline of its timer (SDM Vol. 3A, 11.4.4, 11.12, 11.5.4.1).
import type { LocalApic } from '../interrupts/local-apic.ts';
import { readX2apic, writeX2apic, X2APIC_FIRST, X2APIC_LAST } from '../interrupts/x2apic.ts';
import type { MsrPart } from './msr-table.ts';

const APIC_BASE = 0x1b;
const TSC_DEADLINE = 0x6e0;

const isX2apic = (index: number): boolean => index >= X2APIC_FIRST && index <= X2APIC_LAST;

export function apicMsrs(apic: LocalApic): MsrPart {
  return {
    read(index: number): bigint | null {
      if (index === APIC_BASE) return apic.base.value;
      if (index === TSC_DEADLINE && apic.kind.tscDeadline) return apic.timer.deadline;
      return isX2apic(index) ? readX2apic(apic, index) : null;
    },
    write(index: number, value: bigint): boolean {
      if (index === APIC_BASE) return apic.base.write(value);
      if (index === TSC_DEADLINE && apic.kind.tscDeadline) {
        apic.timer.setDeadline(value);
        return true;
      }
      return isX2apic(index) && writeX2apic(apic, index, value);
    },
  };
}
