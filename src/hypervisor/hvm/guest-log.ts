// What an HVM guest prints for its host rather than for its users: line by line into the hypervisor's log.
// Source: xen/arch/x86/hvm/hvm.c, hvm_print_line(); QEMU's hw/i386/xen/xen_platform.c, log_writeb().
import type { Domain } from '../domain.ts';

/** Longer lines are broken: a guest must not fill the host's memory with one. */
const LONGEST_LINE = 80;
const NEWLINE = 10;
const TAB = 9;

export class GuestLog {
  private readonly domain: Domain;
  private line = '';

  constructor(domain: Domain) {
    this.domain = domain;
  }

  /** Bytes that are no text are dropped. */
  write(byte: number): void {
    if (byte === NEWLINE) {
      this.flush();
      return;
    }
    if (byte !== TAB && (byte < 0x20 || byte > 0x7e)) return;
    this.line += String.fromCharCode(byte);
    if (this.line.length >= LONGEST_LINE) this.flush();
  }

  private flush(): void {
    this.domain.hypervisor.log(`(d${this.domain.id}) ${this.line}`);
    this.line = '';
  }
}
