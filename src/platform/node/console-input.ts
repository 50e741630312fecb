// A person's or a program's input for a guest's console: a terminal in raw mode, where Ctrl-] leaves, or any stream as it is.

/** Ctrl-]. */
const LEAVE = 0x1d;

export interface ConsoleInput {
  readonly isTerminal: boolean;
  /** Gives the terminal back and stops reading. */
  stop(): void;
}

/**
 * Reads standard input until it ends or stop(). `write` is awaited before more is read.
 * @param leave a person pressed Ctrl-]
 */
export function readConsoleInput(write: (bytes: Uint8Array) => Promise<void>, leave: () => void): ConsoleInput {
  const { stdin, stdout } = process;
  const isTerminal = stdin.isTTY === true && stdout.isTTY === true;
  if (isTerminal) stdin.setRawMode(true);
  const onData = (bytes: Buffer) => {
    const end = isTerminal ? bytes.indexOf(LEAVE) : -1;
    stdin.pause();
    write(end < 0 ? bytes : bytes.subarray(0, end)).then(
      () => {
        if (!stopped) stdin.resume();
      },
      () => {},
    );
    if (end >= 0) leave();
  };
  let stopped = false;
  stdin.on('data', onData);
  return {
    isTerminal,
    stop: () => {
      if (stopped) return;
      stopped = true;
      stdin.off('data', onData);
      if (isTerminal) stdin.setRawMode(false);
      stdin.pause();
      // A pipe that nobody closes must not keep the process.
      stdin.unref?.();
    },
  };
}
