// Ports that no PC has and emulators do: a way out with a number, and a console without a driver.
// Source: QEMU's isa-debug-exit and isa-debugcon devices.
import { ByteRegisters } from '../byte-registers.ts';
import type { AccessSize, RegisterSpace } from '../chip.ts';

/** A write ends the machine; a process that stands for it would exit with twice the value and one. */
export class DebugExit implements RegisterSpace {
  private readonly exit: (code: number) => void;

  constructor(exit: (code: number) => void) {
    this.exit = exit;
  }

  read(): number {
    return 0;
  }

  write(_offset: number, _size: AccessSize, value: number): void {
    this.exit(value * 2 + 1);
  }
}

/** What software that looks for a debug console reads from its port. */
const PRESENT = 0xe9;

export class DebugConsole extends ByteRegisters {
  private readonly output: (byte: number) => void;

  constructor(output: (byte: number) => void) {
    super();
    this.output = output;
  }

  readByte(): number {
    return PRESENT;
  }

  writeByte(_offset: number, value: number): void {
    this.output(value);
  }
}
