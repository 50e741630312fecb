// A bound on how much runs at the same time.

export class Slots {
  private left: number;
  private readonly waiting: Array<() => void> = [];

  constructor(count: number) {
    this.left = count;
  }

  /** Waits for a slot, takes it, and gives the way to give it back. */
  async take(): Promise<() => void> {
    while (this.left === 0) await this.change();
    this.left--;
    return () => {
      this.left++;
      this.waiting.shift()?.();
    };
  }

  /** Waits until there is a slot, without taking it. */
  async free(): Promise<void> {
    (await this.take())();
  }

  private change(): Promise<void> {
    return new Promise(resolve => this.waiting.push(resolve));
  }
}
