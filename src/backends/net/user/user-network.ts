export interface NetworkClock {
  nowNs(): bigint;
  timer(handler: (now: bigint) => void): { set(ns: bigint): void; stop(): void };
}
