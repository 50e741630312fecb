// xAPIC mode: a local APIC's registers as a page of device memory, 32 bits every 16 bytes (SDM Vol. 3A, 11.4.1).
import type { AccessSize, RegisterSpace } from '../chip.ts';
import type { LocalApic } from './local-apic.ts';

/** The page of whichever processor makes the access: each has its own at the same address. */
export function apicPage(accessor: () => LocalApic): RegisterSpace {
  return {
    read(offset: number, size: AccessSize): number {
      // narrow reads are let through, what lies between the registers is nothing
      if ((offset & 15) + size > 4) return 0;
      return accessor().readRegister(offset & 0xff0) >>> (8 * (offset & 3));
    },
    write(offset: number, size: AccessSize, value: number): void {
      if (size === 4 && (offset & 15) === 0) accessor().writeRegister(offset & 0xff0, value);
    },
  };
}
