/**
 * The daemon's side of a domain's PV console: what the guest prints goes to a callback, what somebody types goes to the
 * guest. Bytes pass as they are. Source: xen/include/public/io/console.h; conduct as xenconsoled's.
 *
 * Ring indices that make no sense are not followed: nothing moves in that direction until the guest has put them right,
 * and `problem` says so. A guest can hurt nothing but its own console.
 */
import { type ConsoleRings, consoleRings } from '../../protocols/console.ts';
import { RING_BROKEN } from '../../protocols/ring-buffer.ts';
import type { SharedPage } from '../../protocols/shared-page.ts';

export interface PvConsoleOptions {
  /** The console page. */
  page: SharedPage;
  /** Sends the guest's event channel: it may print more, or has something to read. */
  notify: () => void;
  /** Takes what the guest prints, up to 2048 bytes at a time; call pause() in it to have no more for now. */
  output: (bytes: Uint8Array) => void;
  /** Bytes of input that wait at most for the guest to read them. */
  inputLimit?: number;
}

export interface PvConsoleState {
  pendingInput: Uint8Array;
  paused: boolean;
}

const EMPTY = new Uint8Array(0);
const OUTPUT_RING = 2048;

export class PvConsole {
  readonly #rings: ConsoleRings;
  readonly #notify: () => void;
  readonly #output: (bytes: Uint8Array) => void;
  readonly #inputLimit: number;
  #pending: Uint8Array = EMPTY;
  #paused = false;
  #problem: string | null = null;

  constructor({ page, notify, output, inputLimit = 65536 }: PvConsoleOptions) {
    this.#rings = consoleRings(page);
    this.#notify = notify;
    this.#output = output;
    this.#inputLimit = inputLimit;
  }

  /** What is wrong with the rings right now, or null. */
  get problem(): string | null {
    return this.#problem;
  }

  /** Bytes that write() takes right now. */
  get inputFree(): number {
    return this.#inputLimit - this.#pending.length;
  }

  /** The guest has sent its event channel; also to be called once when it has died, for its last words. */
  onEvent(): void {
    this.#problem = null;
    const printed = this.#drainOutput();
    const typed = this.#fillInput();
    if (printed || typed) this.#notify();
  }

  /** Types into the guest. Returns how many bytes were taken; the rest does not fit now. */
  write(bytes: Uint8Array): number {
    const taken = Math.min(bytes.length, this.inputFree);
    if (taken > 0) {
      const pending = new Uint8Array(this.#pending.length + taken);
      pending.set(this.#pending);
      pending.set(bytes.subarray(0, taken), this.#pending.length);
      this.#pending = pending;
    }
    if (this.#fillInput()) this.#notify();
    return taken;
  }

  /** Leaves further output in the ring; once that is full, the guest waits. */
  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    if (!this.#paused) return;
    this.#paused = false;
    if (this.#drainOutput()) this.#notify();
  }

  /** At most one ringful: while this runs the guest does not, so there is no more. */
  #drainOutput(): boolean {
    if (this.#paused) return false;
    const bytes = this.#rings.output.read(OUTPUT_RING);
    if (bytes === RING_BROKEN) {
      this.#problem = 'console output ring indices out of range';
      return false;
    }
    if (bytes.length === 0) return false;
    this.#output(bytes);
    return true;
  }

  #fillInput(): boolean {
    if (this.#pending.length === 0) return false;
    const written = this.#rings.input.write(this.#pending);
    if (written === RING_BROKEN) {
      this.#problem = 'console input ring indices out of range';
      return false;
    }
    this.#pending = this.#pending.slice(written);
    return written > 0;
  }

  save(): PvConsoleState {
    return { pendingInput: this.#pending.slice(), paused: this.#paused };
  }

  load(state: PvConsoleState): void {
    this.#pending = state.pendingInput.slice();
    this.#paused = state.paused;
  }
}
