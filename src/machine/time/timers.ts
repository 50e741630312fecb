// Timers of one clock: a heap ordered by deadline, then by the order in which they were set, so that two runs fire alike.

/** A one-shot timer. Its deadline is its whole state; it may be set again at any time, also from its own handler. */
export interface Timer {
  /** System time in ns at which it fires; null while it is stopped. */
  readonly deadline: bigint | null;
  /** Arms it, replacing an earlier deadline. A deadline in the past fires at the next `fire`. */
  set(ns: bigint): void;
  stop(): void;
}

class QueuedTimer implements Timer {
  deadline: bigint | null = null;
  sequence = 0;
  /** Index in the heap; -1 while stopped. */
  index = -1;
  readonly queue: TimerQueue;
  readonly handler: (now: bigint) => void;

  constructor(queue: TimerQueue, handler: (now: bigint) => void) {
    this.queue = queue;
    this.handler = handler;
  }

  set(ns: bigint): void {
    this.queue.insert(this, ns);
  }

  stop(): void {
    this.queue.remove(this);
  }
}

const before = (a: QueuedTimer, b: QueuedTimer): boolean =>
  a.deadline === b.deadline ? a.sequence < b.sequence : a.deadline! < b.deadline!;

export class TimerQueue {
  private readonly heap: QueuedTimer[] = [];
  private sequence = 0;

  /** A stopped timer that calls `handler` with the current system time when it fires. */
  create(handler: (now: bigint) => void): Timer {
    return new QueuedTimer(this, handler);
  }

  /** The earliest deadline; null when nothing is armed. */
  next(): bigint | null {
    return this.heap.length === 0 ? null : this.heap[0].deadline;
  }

  /**
   * Fires what is due at `now` and was armed before this call, in order; returns how many. A handler that arms a timer for `now` or
   * earlier has it fire at the next call, so no guest can keep the host in here.
   */
  fire(now: bigint): number {
    const armedBefore = this.sequence;
    let fired = 0;
    const later: QueuedTimer[] = [];
    while (this.heap.length > 0 && this.heap[0].deadline! <= now) {
      const timer = this.heap[0];
      if (timer.sequence >= armedBefore) {
        // Armed by a handler just now: set aside, without losing its place in the order.
        this.take(timer);
        later.push(timer);
        continue;
      }
      this.remove(timer);
      timer.handler(now);
      fired++;
    }
    for (const timer of later) if (timer.index === -1 && timer.deadline !== null) this.push(timer);
    return fired;
  }

  /** @internal */
  insert(timer: QueuedTimer, ns: bigint): void {
    this.take(timer);
    timer.deadline = ns;
    timer.sequence = this.sequence++;
    this.push(timer);
  }

  /** @internal */
  remove(timer: QueuedTimer): void {
    this.take(timer);
    timer.deadline = null;
  }

  private push(timer: QueuedTimer): void {
    timer.index = this.heap.length;
    this.heap.push(timer);
    this.up(timer.index);
  }

  private take(timer: QueuedTimer): void {
    const at = timer.index;
    if (at === -1) return;
    const last = this.heap.pop()!;
    timer.index = -1;
    if (last === timer) return;
    this.heap[at] = last;
    last.index = at;
    this.up(at);
    this.down(last.index);
  }

  private up(from: number): void {
    let at = from;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!before(this.heap[at], this.heap[parent])) return;
      this.swap(at, parent);
      at = parent;
    }
  }

  private down(from: number): void {
    let at = from;
    for (;;) {
      const left = at * 2 + 1;
      if (left >= this.heap.length) return;
      const right = left + 1;
      const child = right < this.heap.length && before(this.heap[right], this.heap[left]) ? right : left;
      if (!before(this.heap[child], this.heap[at])) return;
      this.swap(at, child);
      at = child;
    }
  }

  private swap(a: number, b: number): void {
    const x = this.heap[a];
    this.heap[a] = this.heap[b];
    this.heap[b] = x;
    this.heap[a].index = a;
    this.heap[b].index = b;
  }
}
