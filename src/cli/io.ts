// What a command reads and writes: the process' own streams, or a test's.

export interface Io {
  /** Results. */
  out(data: string | Uint8Array): void;
  /** Everything else. */
  err(text: string): void;
  /** Whether results may be coloured. */
  readonly colour: boolean;
  /** The columns of the terminal that `err` goes to; null where it is none. */
  progressColumns(): number | null;
}

export function processIo(): Io {
  const { stdout, stderr, env } = process;
  return {
    out: data => void stdout.write(data),
    err: text => void stderr.write(text),
    colour: stdout.isTTY === true && env.NO_COLOR === undefined && env.TERM !== 'dumb',
    progressColumns: () => (stderr.isTTY === true && env.TERM !== 'dumb' ? (stderr.columns ?? 80) : null),
  };
}
