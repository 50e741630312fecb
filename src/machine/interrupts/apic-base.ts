// IA32_APIC_BASE, MSR 0x1b: where the page of registers is, and whether the APIC is off, in xAPIC or in x2APIC mode
// (SDM Vol. 3A, 11.4.4 and 11.12.5).
import type { ApicKind } from './apic-registers.ts';

const BOOTSTRAP = 1n << 8n;
const EXTENDED = 1n << 10n;
const ENABLED = 1n << 11n;
const PAGE_MASK = 0xfffn;
/** Where it is after reset. */
export const APIC_PAGE = 0xfee00000;

export class ApicBase {
  private readonly kind: ApicKind;
  private readonly bootstrap: boolean;
  private readonly switched: () => void;
  private register: bigint;

  /** @param switched called after a write that changed something */
  constructor(kind: ApicKind, bootstrap: boolean, switched: () => void) {
    this.kind = kind;
    this.bootstrap = bootstrap;
    this.switched = switched;
    this.register = this.initial;
  }

  private get initial(): bigint {
    return BigInt(APIC_PAGE) | ENABLED | (this.bootstrap ? BOOTSTRAP : 0n);
  }

  reset(): void {
    this.register = this.initial;
  }

  get value(): bigint {
    return this.register;
  }

  get enabled(): boolean {
    return (this.register & ENABLED) !== 0n;
  }

  get x2apic(): boolean {
    return (this.register & EXTENDED) !== 0n;
  }

  /** Physical address of the page of registers; null where there is none. */
  get page(): number | null {
    return this.enabled && !this.x2apic ? Number(this.register & ~PAGE_MASK) : null;
  }

  /** False for #GP: reserved bits, a state that does not exist, or a way between states that does not. */
  write(value: bigint): boolean {
    let defined = (((1n << BigInt(this.kind.physicalAddressBits)) - 1n) & ~PAGE_MASK) | BOOTSTRAP | ENABLED;
    if (this.kind.x2apic) defined |= EXTENDED;
    if (value & ~defined) return false;
    const enabled = (value & ENABLED) !== 0n;
    const extended = (value & EXTENDED) !== 0n;
    if (extended && !enabled) return false;
    // into x2APIC mode only from xAPIC mode, out of it only by switching off
    if (extended && !this.enabled) return false;
    if (!extended && enabled && this.x2apic) return false;
    if (value === this.register) return true;
    this.register = value;
    this.switched();
    return true;
  }

  load(value: bigint): void {
    this.register = value;
  }
}
