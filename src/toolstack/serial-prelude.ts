// A PVHVM guest has two consoles, of which its user sees one: the serial port until the PV console speaks, which the kernel then prints all
// its messages on too. So everything is seen once, and a kernel that does not get that far is heard.
import type { GuestConsole } from './guest-console.ts';

const NEWLINE = 10;
const LONGEST_LINE = 1024;

export class SerialPrelude {
  private readonly console: GuestConsole;
  private line: number[] = [];
  private isOver = false;

  constructor(console: GuestConsole) {
    this.console = console;
  }

  /** The serial port has sent a byte. */
  byte(byte: number): void {
    if (this.isOver) return;
    this.line.push(byte);
    if (byte === NEWLINE || this.line.length >= LONGEST_LINE) this.flush();
  }

  /** The PV console speaks. */
  end(): void {
    this.flush();
    this.isOver = true;
  }

  private flush(): void {
    if (this.line.length > 0) this.console.print(Uint8Array.from(this.line));
    this.line = [];
  }
}
