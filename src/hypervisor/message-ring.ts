// The hypervisor's messages as `xl dmesg` reads them: the last 16 KiB of the log. Source: xen/drivers/char/console.c (conring).

const SIZE = 16384;

export class MessageRing {
  private readonly ring = new Uint8Array(SIZE);
  /** Indices count all bytes ever written; `first` is the oldest that may be read. */
  first = 0;
  private end = 0;

  /** Adds a line. */
  add(line: string): void {
    for (const byte of new TextEncoder().encode(`${line}\n`)) this.ring[this.end++ % SIZE] = byte;
    this.first = Math.max(this.first, this.end - SIZE);
  }

  /** At most `count` bytes from an index on, or from the oldest that is still there. */
  read(from: number, count: number): { start: number; bytes: Uint8Array } {
    const start = Math.min(Math.max(from, this.end - SIZE, 0), this.end);
    const bytes = new Uint8Array(Math.min(count, this.end - start));
    for (let i = 0; i < bytes.length; i++) bytes[i] = this.ring[(start + i) % SIZE];
    return { start, bytes };
  }

  /** What was written so far is not read any more, unless somebody asks for it by index. */
  clear(): void {
    this.first = this.end;
  }
}
