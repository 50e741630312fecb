// A set of interrupt vectors as the 256-bit registers IRR, ISR and TMR keep it (SDM Vol. 3A, 11.8.4).

export class VectorSet {
  private readonly words = new Uint32Array(8);

  add(vector: number): void {
    this.words[vector >>> 5] |= 1 << (vector & 31);
  }

  remove(vector: number): void {
    this.words[vector >>> 5] &= ~(1 << (vector & 31));
  }

  put(vector: number, member: boolean): void {
    if (member) this.add(vector);
    else this.remove(vector);
  }

  has(vector: number): boolean {
    return ((this.words[vector >>> 5] >>> (vector & 31)) & 1) === 1;
  }

  /** The highest member; -1 of none. */
  highest(): number {
    for (let i = 7; i >= 0; i--) if (this.words[i]) return i * 32 + 31 - Math.clz32(this.words[i]);
    return -1;
  }

  /** Vectors 32 i to 32 i + 31. */
  word(i: number): number {
    return this.words[i];
  }

  clear(): void {
    this.words.fill(0);
  }

  save(): number[] {
    return [...this.words];
  }

  load(words: readonly number[]): void {
    this.words.set(words);
  }
}
