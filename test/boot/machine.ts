// A machine in this process, used as a person at its console would.

import type { Machine } from '../../src/index.ts';
import { ROOT_PASSWORD } from './disk.ts';

/** Colours and cursor movements, which nobody types and some programs print between any two words. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: escape sequences begin with one
const ESCAPES = /\x1b(?:\[[0-9;?]*[A-Za-z]|[()][A-Z0-9]|[=>])/g;
/** Instructions after which nobody waits any longer for a text. */
const PATIENCE = 60_000_000_000n;
const TAIL = 3000;

export class Person {
  private readonly machine: Machine;
  /** What was printed since the last text that was waited for. */
  private unread = '';
  private readonly decoder = new TextDecoder();

  constructor(machine: Machine) {
    this.machine = machine;
    machine.console.onOutput(bytes => {
      this.unread += this.decoder.decode(bytes, { stream: true });
    });
  }

  /** Waits for this text; gives what was printed up to it. */
  async sees(text: string): Promise<string> {
    const found = () => this.unread.replace(ESCAPES, '').indexOf(text);
    const stopAt = this.machine.instructions + PATIENCE;
    const until = () => found() >= 0 || this.machine.shutdown !== null || this.machine.instructions > stopAt;
    const end = await this.machine.run({ until });
    const clean = this.unread.replace(ESCAPES, '');
    const at = clean.indexOf(text);
    if (at < 0)
      throw new Error(`"${text}" was not seen (${this.machine.shutdown ?? end}); last: ${clean.slice(-TAIL)}`);
    this.unread = clean.slice(at + text.length);
    return clean.slice(0, at + text.length);
  }

  /** Waits for Debian's login prompt and becomes root. */
  async logsIn(): Promise<void> {
    await this.sees('domzero login:');
    await this.types('root');
    await this.sees('Password:');
    await this.types(ROOT_PASSWORD);
    await this.sees('# ');
  }

  /** A line, at the machine's pace. */
  async types(line: string): Promise<void> {
    let rest = new TextEncoder().encode(`${line}\n`);
    for (;;) {
      rest = rest.subarray(this.machine.console.write(rest));
      if (rest.length === 0) return;
      await this.machine.run({ instructions: 1_000_000n });
    }
  }

  /** Runs a command in a shell; gives its output. */
  async runs(command: string): Promise<string> {
    // What is typed is echoed, so the mark must not stand in it as it is printed.
    await this.types(`${command}; echo "=""done="`);
    const output = await this.sees('=done=\r\n');
    return output.slice(output.indexOf('\n') + 1, -'=done=\r\n'.length).replaceAll('\r', '');
  }

  /** Waits until it is off; gives how it ended. */
  async seesItEnd(): Promise<string | null> {
    await this.machine.run({ until: () => this.machine.shutdown !== null });
    return this.machine.shutdown;
  }
}
