// Takes the lines of the built-in init's report out of a console: a person who ran a command wants that command's output.

import { MARKER } from '../toolstack/init/protocol.ts';
import { concatBytes, hasBytesAt } from '../util/bytes.ts';

const MARK = new TextEncoder().encode(MARKER);
const LINE_FEED = 0x0a;

export class ReportFilter {
  private readonly out: (bytes: Uint8Array) => void;
  /** Bytes of a line that may yet turn out to be of the report. */
  private held: Uint8Array = new Uint8Array(0);
  /** The line that goes on was begun and is none of the report's. */
  private inLine = false;

  constructor(out: (bytes: Uint8Array) => void) {
    this.out = out;
  }

  /** The console's next bytes, split anywhere. What cannot be of the report is given at once. */
  push(bytes: Uint8Array): void {
    let rest = concatBytes([this.held, bytes]);
    this.held = new Uint8Array(0);
    while (rest.length > 0) {
      const end = rest.indexOf(LINE_FEED) + 1;
      const line = end === 0 ? rest : rest.subarray(0, end);
      if (!this.inLine && (hasBytesAt(line, 0, MARK) || (end === 0 && isPrefix(line)))) {
        if (end === 0) this.held = line.slice();
      } else {
        this.out(line);
        this.inLine = end === 0;
      }
      rest = rest.subarray(line.length);
    }
  }

  /** Gives what was held back, at the end. */
  flush(): void {
    if (this.held.length > 0 && !hasBytesAt(this.held, 0, MARK)) this.out(this.held);
    this.held = new Uint8Array(0);
  }
}

function isPrefix(line: Uint8Array): boolean {
  return line.length < MARK.length && line.every((byte, i) => byte === MARK[i]);
}
