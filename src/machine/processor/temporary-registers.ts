import { GuestFault, Vector } from '../../cpu/exits.ts';
import type { Processor, Registers } from '../../cpu/types.ts';
import type { LocalApic } from '../interrupts/local-apic.ts';
import { readX2apic, writeX2apic } from '../interrupts/x2apic.ts';

export function temporaryRegisters(processor: Processor, apic: () => LocalApic): Registers {
  return {
    rdmsr: i => {
      const own = processor.readOwnMsr(i);
      if (own !== null) return own;
      if (i === 0x1b) return apic().base.value;
      if (i >= 0x800 && i < 0x900) {
        const v = readX2apic(apic(), i);
        if (v !== null) return v;
      }
      if (i === 0x6e0) return apic().timer.deadline;
      if ([0xfe, 0x2ff, 0xc0010015, 0xc0010010, 0x8b].includes(i)) return 0n;
      throw new GuestFault(Vector.GP, 0);
    },
    wrmsr: (i, v) => {
      if (processor.writeOwnMsr(i, v)) return;
      if (i === 0x1b) {
        if (!apic().base.write(v)) throw new GuestFault(Vector.GP, 0);
        return;
      }
      if (i >= 0x800 && i < 0x900 && writeX2apic(apic(), i, v)) return;
      if (i === 0x6e0) return apic().timer.setDeadline(v);
      throw new GuestFault(Vector.GP, 0);
    },
    cpuid: (leaf, subleaf) => {
      const found = processor.model.leaves.find(l => l.leaf === leaf && (l.subleaf === null || l.subleaf === subleaf));
      const r = found ? { ...found } : { eax: 0, ebx: 0, ecx: 0, edx: 0 };
      if (leaf === 1) {
        r.ebx = (r.ebx & 0xff00ffff) | (apic().initialId << 24);
        r.ecx &= ~8;
      }
      if (leaf === 0xb) r.edx = apic().initialId;
      return r;
    },
  };
}
