// From console bytes to the report's lines (PROTOCOL.md): finds them between, behind and around what the kernel writes.
import { checksum, MARKER } from './protocol.ts';

/** One verified line. */
export interface ReportLine {
  readonly number: number;
  readonly body: string;
}

/** Longest line that is looked at, bytes; the rest of a longer one is skipped. */
const LINE_LIMIT = 16 << 10;

/** How a kernel message starts where the kernel stamps the time (printk.time), with the color some consoles add. */
const STAMP = /\[ *\d+\.\d{6}\](?:\[ *[TC]\d+\])? /g;

const VERIFIED = /^(\d{1,9}) ([\s\S]*) #([0-9a-f]{4})$/;

/**
 * Takes console bytes in any pieces. A kernel message may cut a line of the report in two: what stood before the
 * message's time stamp is kept and tried together with what follows; the checksum says whether that was right.
 */
export class ReportLineReader {
  private line: number[] = [];
  private tooLong = false;
  private carry = '';

  push(bytes: Uint8Array): ReportLine[] {
    const found: ReportLine[] = [];
    for (const b of bytes) {
      if (b === 0x0a) {
        const line = this.tooLong ? undefined : this.take(latin1(this.line));
        if (line) found.push(line);
        this.line = [];
        this.tooLong = false;
      } else if (b !== 0x0d && b !== 0) {
        if (this.line.length < LINE_LIMIT) this.line.push(b);
        else this.tooLong = true;
      }
    }
    return found;
  }

  private take(line: string): ReportLine | undefined {
    const found = verify(line) ?? (this.carry ? verify(this.carry + line) : undefined);
    if (found) {
      this.carry = '';
      return found;
    }
    // The last one: a value may quote the kernel's log, stamps and all.
    const stamp = [...line.matchAll(STAMP)].at(-1);
    const head = stamp ? line.slice(0, stamp.index) : line;
    // A whole kernel message changes nothing; a head that starts a line of the report starts anew.
    if (stamp && head === '') return undefined;
    const next = head.includes(MARKER) || this.carry === '' ? head : this.carry + head;
    // Without a time stamp only a cut line of the report is worth keeping.
    this.carry = (stamp || next.includes(MARKER)) && next.length < LINE_LIMIT ? next : '';
    return undefined;
  }
}

/** The report's line at the end of a console line, if its checksum is right. */
function verify(line: string): ReportLine | undefined {
  // Only the last few: a line full of markers must not cost more than any other.
  let at = line.length;
  for (let attempt = 0; attempt < 3 && at > 0; attempt++) {
    at = line.lastIndexOf(MARKER, at - 1);
    if (at < 0) return undefined;
    const match = VERIFIED.exec(line.slice(at + MARKER.length));
    if (!match) continue;
    const [, number, body, sum] = match;
    const bytes = Uint8Array.from(`${number} ${body}`, c => c.charCodeAt(0));
    if (checksum(bytes) === sum) return { number: Number(number), body };
  }
  return undefined;
}

function latin1(bytes: readonly number[]): string {
  let text = '';
  for (let i = 0; i < bytes.length; i += 4096) text += String.fromCharCode(...bytes.slice(i, i + 4096));
  return text;
}

/** Undoes the escapes of a key or value; bytes that are no UTF-8 become U+FFFD. */
export function unescaped(text: string): string {
  const bytes: number[] = [];
  for (let i = 0; i < text.length; i++) {
    if (text[i] !== '\\') {
      bytes.push(text.charCodeAt(i));
      continue;
    }
    const c = text[++i];
    const hex = /^[0-9a-f]{2}/.exec(text.slice(i + 1, i + 3))?.[0];
    if (c === 'n') bytes.push(0x0a);
    else if (c === 't') bytes.push(0x09);
    else if (c === 'x' && hex) {
      bytes.push(Number.parseInt(hex, 16));
      i += 2;
    } else if (c === '+') bytes.push(...new TextEncoder().encode('…'));
    else if (c !== undefined) bytes.push(c.charCodeAt(0));
  }
  return new TextDecoder().decode(Uint8Array.from(bytes));
}
