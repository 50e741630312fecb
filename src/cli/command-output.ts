// Of a console on which the built-in init ran a command: that command's output, without the kernel's messages before and after
// it and without the lines of init's own report.

import { MARKER } from '../toolstack/init/protocol.ts';
import { concatBytes, hasBytesAt, indexOfBytes } from '../util/bytes.ts';

const MARK = new TextEncoder().encode(MARKER);
const LINE_FEED = 0x0a;
const NOTHING = new Uint8Array(0);
/** Reported when the command has ended (src/toolstack/init/PROTOCOL.md). */
const ENDED = /^domzero1: \d+ command\/(?:exit|signal) /;

export class CommandOutput {
  private readonly out: (bytes: Uint8Array) => void;
  private readonly decoder = new TextDecoder('latin1');
  /** Bytes that may be the beginning of a report's line, or a whole beginning of one. */
  private held: Uint8Array = NOTHING;
  private state: 'before' | 'running' | 'after' = 'before';

  constructor(out: (bytes: Uint8Array) => void) {
    this.out = out;
  }

  /** The console's next bytes, split anywhere. What cannot be of the report is given at once. */
  push(bytes: Uint8Array): void {
    let rest = concatBytes([this.held, bytes]);
    this.held = NOTHING;
    while (rest.length > 0) {
      const at = indexOfBytes(rest, MARK);
      if (at < 0) {
        const keep = beginningAtEnd(rest);
        this.give(rest.subarray(0, rest.length - keep));
        this.held = rest.slice(rest.length - keep);
        return;
      }
      this.give(rest.subarray(0, at));
      const end = rest.indexOf(LINE_FEED, at);
      if (end < 0) {
        this.held = rest.slice(at);
        return;
      }
      this.reportLine(this.decoder.decode(rest.subarray(at, end)));
      rest = rest.subarray(end + 1);
    }
  }

  /** Gives what was held back, at the end. */
  flush(): void {
    if (indexOfBytes(this.held, MARK) < 0) this.give(this.held);
    this.held = NOTHING;
  }

  private give(bytes: Uint8Array): void {
    if (this.state === 'running' && bytes.length > 0) this.out(bytes);
  }

  private reportLine(line: string): void {
    if (ENDED.test(line)) this.state = 'after';
    else if (this.state === 'before') this.state = 'running';
  }
}

/** How many bytes at the end are a beginning of the mark. */
function beginningAtEnd(bytes: Uint8Array): number {
  for (let length = Math.min(MARK.length - 1, bytes.length); length > 0; length--) {
    if (hasBytesAt(bytes, bytes.length - length, MARK.subarray(0, length))) return length;
  }
  return 0;
}
