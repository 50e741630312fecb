// What every decompressor throws for input that is truncated, corrupted, of an unsupported kind, or too large.

/** The input cannot be decompressed; the message is one sentence for a person and names the format. */
export class DecompressError extends Error {
  readonly format: string;

  constructor(format: string, problem: string) {
    super(`${format}: ${problem}`);
    this.name = 'DecompressError';
    this.format = format;
  }
}
