// Giving other work its turn: a guest runs for long, consoles and pages must flow meanwhile.

/** Resolves after the surroundings' pending events have been handled; without the delay that timers have. */
export function yieldToEventLoop(): Promise<void> {
  const { setImmediate } = globalThis as { setImmediate?: (callback: () => void) => unknown };
  if (setImmediate) return new Promise(resolve => void setImmediate(resolve));
  return new Promise(resolve => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(null);
  });
}

/** A sleep that can be cut short. */
export class Wakeable {
  private wakeUp: (() => void) | null = null;
  /** wake() came while nobody slept. */
  private awake = false;

  wake(): void {
    if (this.wakeUp) this.wakeUp();
    else this.awake = true;
  }

  /** Sleeps until wake(), at most `ms`; Infinity is allowed. */
  async sleep(ms: number): Promise<void> {
    if (!this.awake) {
      await new Promise<void>(resolve => {
        const timer = Number.isFinite(ms) ? setTimeout(resolve, Math.min(ms, 2 ** 31 - 1)) : null;
        this.wakeUp = () => {
          if (timer !== null) clearTimeout(timer);
          resolve();
        };
      });
    }
    this.wakeUp = null;
    this.awake = false;
  }
}
