// What keyboard and mouse have in common: a serial link to the controller, commands with an argument, answers.

export const ACK = 0xfa;
export const RESEND = 0xfe;
export const SELF_TEST_PASSED = 0xaa;

/** Bytes that a device keeps for a controller that does not fetch them; more are lost. */
const QUEUE_LENGTH = 64;

export interface Ps2State {
  queue: number[];
  /** The command whose argument comes next; null when there is none. */
  command: number | null;
  last: number;
}

export abstract class Ps2Device {
  protected queue: number[] = [];
  protected command: number | null = null;
  private last = 0;
  /** The controller's ear: there is something to take. */
  notify: () => void = () => {};

  /** A byte from the controller. */
  abstract receive(byte: number): void;

  get pending(): boolean {
    return this.queue.length > 0;
  }

  /** The next byte for the controller. */
  take(): number {
    this.last = this.queue.shift() ?? 0;
    return this.last;
  }

  protected send(...bytes: number[]): void {
    if (this.queue.length + bytes.length > QUEUE_LENGTH) return;
    this.queue.push(...bytes);
    this.notify();
  }

  /** The last byte once more. */
  protected resend(): void {
    this.send(this.last);
  }

  protected saveLink(): Ps2State {
    return { queue: [...this.queue], command: this.command, last: this.last };
  }

  protected loadLink(state: Ps2State): void {
    this.queue = [...state.queue];
    this.command = state.command;
    this.last = state.last;
  }
}
