// x2APIC mode: a local APIC's registers as MSRs 0x800 to 0x8ff, where what the page tolerates is #GP (SDM Vol. 3A, table 11-6).
import { COMMAND_BITS, Lvt, lvtBits, Reg, spuriousBits } from './apic-registers.ts';
import type { LocalApic } from './local-apic.ts';

export const X2APIC_FIRST = 0x800;
export const X2APIC_LAST = 0x8ff;

const offsetOf = (index: number): number => (index - X2APIC_FIRST) << 4;
/** Registers of the page that are no MSRs. */
const NOT_HERE: readonly number[] = [Reg.arbitrationPriority, Reg.remoteRead, Reg.destinationFormat, Reg.commandHigh];
const WRITE_ONLY: readonly number[] = [Reg.eoi, Reg.selfIpi];

/** The value; null for #GP. */
export function readX2apic(apic: LocalApic, index: number): bigint | null {
  const offset = offsetOf(index);
  if (!exists(apic, offset) || WRITE_ONLY.includes(offset)) return null;
  const low = BigInt(apic.readRegister(offset));
  return offset === Reg.command ? low | (BigInt(apic.readRegister(Reg.commandHigh)) << 32n) : low;
}

/** False for #GP. */
export function writeX2apic(apic: LocalApic, index: number, value: bigint): boolean {
  const offset = offsetOf(index);
  if (!exists(apic, offset)) return false;
  const low = Number(value & 0xffffffffn);
  if (offset === Reg.command) {
    if (low & ~COMMAND_BITS) return false;
    apic.writeCommand(low, Number(value >> 32n));
    return true;
  }
  const writable = writableBits(apic, offset);
  if (writable === null || value >> 32n || low & ~writable) return false;
  if (offset === Reg.selfIpi) apic.writeSelfIpi(low);
  else apic.writeRegister(offset, low);
  return true;
}

const exists = (apic: LocalApic, offset: number): boolean =>
  apic.base.x2apic && apic.hasRegister(offset) && !NOT_HERE.includes(offset);

/** Null for registers that cannot be written. */
function writableBits(apic: LocalApic, offset: number): number | null {
  const lvt = lvtBits(apic.kind).get(offset);
  // read-only bits are not reserved ones: Linux writes them when it leaves the APIC to the 8259s again
  if (lvt !== undefined) return lvt | Lvt.pending | (lvt & Lvt.level ? Lvt.remoteIrr : 0);
  switch (offset) {
    case Reg.taskPriority:
    case Reg.selfIpi:
      return 0xff;
    case Reg.eoi:
    case Reg.errorStatus:
      return 0;
    case Reg.spurious:
      return spuriousBits(apic.kind);
    case Reg.initialCount:
      return -1;
    case Reg.divide:
      return 0xb;
    default:
      return null;
  }
}
