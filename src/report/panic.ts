// Finds in a console what a Linux kernel says when it dies (kernel/panic.c, arch/x86/kernel/dumpstack.c, arch/x86/mm/extable.c).

import { Tail, withoutTimestamp } from './console-lines.ts';

/** First lines of trouble. A kernel may survive these. */
const TROUBLE =
  /^(?:Kernel panic - not syncing|PANIC: |BUG: |kernel BUG at |Oops\b|general protection fault|invalid opcode|double fault|stack segment|divide error|int3: |traps: PANIC|Unable to handle|Bad pagetable)/;
/** After these it does not go on: panic(), and early_fixup_exception() before there is one. */
const FATAL = /^(?:Kernel panic - not syncing: ?(.*)|(PANIC: .*))$/;
/** panic() has said all it says. */
const OVER = /^---\[ end Kernel panic/;
/** Lines kept from the first one of trouble on. */
const KEPT = 120;
/** Lines kept of those before it: a panic's cause often stands there. */
const BEFORE = 6;

export class PanicFinder {
  private readonly kept: string[] = [];
  private readonly before = new Tail(BEFORE);
  private message: string | null = null;
  private instruction: string | null = null;
  private ended = false;

  /** A line of the console, without its line break. */
  push(line: string): void {
    const text = withoutTimestamp(line) ?? line;
    if (this.kept.length === 0 && !TROUBLE.test(text)) {
      this.before.push(line);
      return;
    }
    if (this.kept.length < KEPT) this.kept.push(line);
    const fatal = FATAL.exec(text);
    if (fatal !== null) this.message ??= fatal[1] ?? fatal[2];
    this.instruction ??= /^RIP: (?:[0-9a-f]{4}:)?(\S+)/.exec(text)?.[1] ?? null;
    if (OVER.test(text)) this.ended = true;
  }

  /** The panic's message; null while there was none. */
  get panic(): string | null {
    return this.message;
  }

  /** The first line of trouble, a panic or not. */
  get trouble(): string | null {
    return this.kept.length === 0 ? null : (withoutTimestamp(this.kept[0]) ?? this.kept[0]);
  }

  /** Where the kernel says it was: "name+0x12/0x40", or an address. */
  get rip(): string | null {
    return this.instruction;
  }

  /** Nothing more is to be expected from this kernel. */
  get isOver(): boolean {
    return this.ended;
  }

  /** From the first line of trouble on, with a few before it; empty where there was none. */
  get lines(): readonly string[] {
    return this.kept.length === 0 ? [] : [...this.before.lines, ...this.kept];
  }
}
