// When to send again: the smoothed round-trip time and the timeout that follows from it. Source: RFC 6298.

const MS = 1e6;
const FIRST_TIMEOUT = 1000 * MS;
/** Below the RFC's second, as every system has it today; Linux's value. */
const MIN_TIMEOUT = 200 * MS;
const MAX_TIMEOUT = 60_000 * MS;

export class RoundTrip {
  #smoothed: number | null = null;
  #variation = 0;
  #timeout = FIRST_TIMEOUT;
  #backoff = 0;

  /** Nanoseconds to wait for an acknowledgement. */
  get timeoutNs(): number {
    return Math.min(this.#timeout * 2 ** this.#backoff, MAX_TIMEOUT);
  }

  /** Times in a row that it has been waited for in vain. */
  get backoff(): number {
    return this.#backoff;
  }

  /** A time measured on a segment that was sent once. */
  sample(ns: number): void {
    if (this.#smoothed === null) {
      this.#smoothed = ns;
      this.#variation = ns / 2;
    } else {
      this.#variation = (3 * this.#variation + Math.abs(this.#smoothed - ns)) / 4;
      this.#smoothed = (7 * this.#smoothed + ns) / 8;
    }
    this.#timeout = Math.max(MIN_TIMEOUT, this.#smoothed + 4 * this.#variation);
  }

  /** Nothing came in time. */
  timedOut(): void {
    this.#backoff++;
  }

  /** New data was acknowledged. */
  progress(): void {
    this.#backoff = 0;
  }
}
