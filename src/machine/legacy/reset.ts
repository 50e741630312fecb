// The chipset's ways to reset the machine beside the keyboard controller's. Source: Intel ICH9 data sheet, RST_CNT and PORT92.
import { ByteRegisters } from '../byte-registers.ts';
import type { Line, Saveable } from '../chip.ts';

/** Where the reset register stands; the FADT names it too. */
export const RESET_PORT = 0xcf9;
/** Hard reset, by the register's bits SYS_RST and RST_CPU: what the FADT tells a kernel to write. */
export const RESET_VALUE = 0x06;

const SYSTEM_RESET = 2;
const RESET_CPU = 4;
const FULL_RESET = 8;

/**
 * Port 0xcf9, one byte in the middle of the PCI address register: whoever answers there passes byte accesses on. A reset happens when
 * RST_CPU goes up.
 */
export class ResetControl extends ByteRegisters implements Saveable<{ control: number }> {
  private readonly reset: () => void;
  private control = 0;

  constructor(reset: () => void) {
    super();
    this.reset = reset;
  }

  readByte(): number {
    return this.control;
  }

  writeByte(_offset: number, value: number): void {
    const rises = value & ~this.control & RESET_CPU;
    this.control = value & (SYSTEM_RESET | RESET_CPU | FULL_RESET);
    if (rises) this.reset();
  }

  save(): { control: number } {
    return { control: this.control };
  }

  load(state: { control: number }): void {
    this.control = state.control;
  }
}

const FAST_RESET = 1;
const A20 = 2;

/** Port 0x92, system control port A. */
export class SystemControlPortA extends ByteRegisters implements Saveable<{ control: number }> {
  private readonly reset: () => void;
  private readonly a20: Line;
  /** A machine whose firmware has run has A20 on. */
  private control = A20;

  /** @param a20 whether address line 20 gets through. */
  constructor(reset: () => void, a20: Line) {
    super();
    this.reset = reset;
    this.a20 = a20;
  }

  readByte(): number {
    return this.control;
  }

  writeByte(_offset: number, value: number): void {
    const rises = value & ~this.control & FAST_RESET;
    this.control = value & (FAST_RESET | A20);
    this.a20((value & A20) !== 0);
    if (rises) this.reset();
  }

  save(): { control: number } {
    return { control: this.control };
  }

  load(state: { control: number }): void {
    this.control = state.control;
    this.a20((state.control & A20) !== 0);
  }
}
