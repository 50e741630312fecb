// One terminal for the consoles of several domains, by the rules of Xen's own serial console: the domain that has the input prints as it
// is, the others a line at a time with their number before it, and Ctrl-a three times gives the input to the next one.
// Source: xen/drivers/char/console.c, serial_rx() and hypercall's guest_console_write().
import { LineSplitter } from '../report/console-lines.ts';

const CTRL_A = 1;
const TIMES = 3;

/** A domain's console as the terminal needs it. */
export interface TerminalDomain {
  readonly id: number;
  onData(listener: (bytes: Uint8Array) => void): void;
  write(bytes: Uint8Array): Promise<void>;
}

export class SharedTerminal {
  private readonly domains: TerminalDomain[];
  private readonly print: (bytes: Uint8Array) => void;
  private readonly notice: (text: string) => void;
  private focus = 0;
  private pressed = 0;

  /**
   * @param domains the first has the input
   * @param print what domains print
   * @param notice a line about the terminal itself
   */
  constructor(domains: readonly TerminalDomain[], print: (bytes: Uint8Array) => void, notice: (text: string) => void) {
    this.domains = [...domains];
    this.print = print;
    this.notice = notice;
    const encoder = new TextEncoder();
    for (const domain of domains) {
      const lines = new LineSplitter(line => print(encoder.encode(`(d${domain.id}) ${line}\r\n`)));
      domain.onData(bytes => {
        if (this.current === domain) {
          lines.flush();
          this.print(bytes);
        } else lines.push(bytes);
      });
    }
    if (domains.length > 1) this.tell();
  }

  /** Something was typed. */
  async type(bytes: Uint8Array): Promise<void> {
    if (this.domains.length === 1) return this.current.write(bytes);
    let from = 0;
    const give = async (to: number): Promise<void> => {
      if (to > from) await this.current.write(bytes.subarray(from, to));
    };
    for (let i = 0; i < bytes.length; i++) {
      if (bytes[i] === CTRL_A) {
        // Eaten in threes; fewer than that are the domain's.
        if (this.pressed === 0) await give(i);
        from = i + 1;
        if (++this.pressed === TIMES) this.switch();
      } else if (this.pressed > 0) {
        await this.current.write(new Uint8Array(this.pressed).fill(CTRL_A));
        this.pressed = 0;
      }
    }
    await give(bytes.length);
  }

  /** A domain is gone: what it had of the input is the first one's. */
  remove(id: number): void {
    const at = this.domains.findIndex(domain => domain.id === id);
    if (at < 1) return;
    const had = at === this.focus;
    this.domains.splice(at, 1);
    if (had) this.focus = 0;
    else if (at < this.focus) this.focus--;
    if (had) this.tell();
  }

  private get current(): TerminalDomain {
    return this.domains[this.focus];
  }

  private switch(): void {
    this.pressed = 0;
    this.focus = (this.focus + 1) % this.domains.length;
    this.tell();
  }

  private tell(): void {
    this.notice(`(XEN) *** Serial input to DOM${this.current.id} (type 'CTRL-a' three times to switch input)\r\n`);
  }
}
