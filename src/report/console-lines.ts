// A console's bytes as lines. A guest writes what it likes: lines and their number are bounded.

/** Characters; a longer line is split. */
const LONGEST_LINE = 4000;

/** Splits bytes into lines; what comes after the last line break waits for more. */
export class LineSplitter {
  private readonly onLine: (line: string) => void;
  private readonly decoder = new TextDecoder();
  private rest = '';

  constructor(onLine: (line: string) => void) {
    this.onLine = onLine;
  }

  push(bytes: Uint8Array): void {
    const lines = (this.rest + this.decoder.decode(bytes, { stream: true })).split('\n');
    this.rest = lines.pop() ?? '';
    for (const line of lines) this.give(line);
    while (this.rest.length > LONGEST_LINE) {
      this.give(this.rest.slice(0, LONGEST_LINE));
      this.rest = this.rest.slice(LONGEST_LINE);
    }
  }

  /** Gives what there is of an unfinished line. */
  flush(): void {
    if (this.rest !== '') this.give(this.rest);
    this.rest = '';
  }

  private give(line: string): void {
    this.onLine(printable(line));
  }
}

/** Without escape sequences and control characters, which would act on the reader's terminal. */
export function printable(line: string): string {
  return (
    line
      // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is removed
      .replace(/\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07]*\x07|.)/g, '')
      // biome-ignore lint/suspicious/noControlCharactersInRegex: as above
      .replace(/[\x00-\x08\x0b-\x1f\x7f-\x9f]/g, '')
  );
}

/** The last lines of many. */
export class Tail {
  private readonly kept: string[] = [];
  private readonly limit: number;

  constructor(limit: number) {
    this.limit = limit;
  }

  push(line: string): void {
    this.kept.push(line);
    if (this.kept.length > this.limit) this.kept.shift();
  }

  get lines(): readonly string[] {
    return [...this.kept];
  }
}

/**
 * A line of Linux's log without its time stamp (CONFIG_PRINTK_TIME, also with a caller's id) and the mark of Xen's boot console;
 * null where there is none.
 */
export function withoutTimestamp(line: string): string | null {
  const match = /^(?:\(early\) )?(?:<\d+>)?\[ *\d+\.\d{6}\](?:\[ *[TC]\d+\])? (.*)$/.exec(line);
  return match === null ? null : match[1];
}
