// What is to be done between two runs of the processor rather than inside of an access or a hypercall: backends' work, completions.

/**
 * Handlers that wait for their turn. They run between instructions, never inside one, so a handler may do whatever it likes (destroy the
 * domain that raised it, say). One that is raised several times before its turn runs once, as with a pending bit.
 */
export class HostEvents {
  private queue = new Set<() => void>();

  /** Queues a handler. */
  raise(handler: () => void): void {
    this.queue.add(handler);
  }

  get isEmpty(): boolean {
    return this.queue.size === 0;
  }

  /** Calls the handlers that were queued up to now, in order; what they raise waits for the next call. Returns how many ran. */
  deliver(): number {
    if (this.queue.size === 0) return 0;
    const due = this.queue;
    this.queue = new Set();
    for (const handler of due) handler();
    return due.size;
  }
}
