// Routines of init that write the report's lines (PROTOCOL.md).
import {
  add,
  all,
  and,
  byte,
  div,
  eq,
  ge,
  gt,
  le,
  lt,
  mul,
  ne,
  rem,
  room,
  shr,
  sub,
  variable,
  word,
  xor,
} from './language/expressions.ts';
import { routine } from './language/routine.ts';
import { EAGAIN, EINTR, sys } from './linux.ts';
import { CUT, FNV_OFFSET, FNV_PRIME, MARKER, VALUE_LIMIT } from './protocol.ts';
import { stringLength } from './strings.ts';

const code = (c: string) => c.charCodeAt(0);

// Keys and values are bounded; this is room for both.
const line = room('line', VALUE_LIMIT + 2048);
const lineEnd = variable('line_end');
const lineNumber = variable('line_number');

const put = routine('put', (r, c) => {
  const at = r.local(word(lineEnd));
  r.store(1, at, c);
  r.store('word', lineEnd, add(at, 1));
});

/** Appends text that needs no escapes. */
export const putString = routine('put_string', (r, text) => {
  r.while(byte(text), () => {
    r.do(put(byte(text)));
    r.set(text, add(text, 1));
  });
});

/** Appends an unsigned number in decimal. */
export const putNumber = routine('put_number', (r, n) => {
  r.if(div(n, 10), () => r.do(putNumber(div(n, 10))));
  r.do(put(add(code('0'), rem(n, 10))));
});

/** Appends an unsigned number in decimal, with zeros before it. */
export const putPadded = routine('put_padded', (r, n, digits) => {
  r.if(gt(digits, 1), () => r.do(putPadded(div(n, 10), sub(digits, 1))));
  r.do(put(add(code('0'), rem(n, 10))));
});

/** Appends the lowest `digits` hexadecimal digits. */
export const putHex = routine('put_hex', (r, n, digits) => {
  r.while(digits, () => {
    r.set(digits, sub(digits, 1));
    const digit = r.local(and(shr(n, mul(digits, 4)), 15));
    r.if(gt(digit, 9), () => r.set(digit, add(digit, code('a') - code('0') - 10)));
    r.do(put(add(code('0'), digit)));
  });
});

const putEscapedByte = routine('put_escaped_byte', (r, c) => {
  r.if(all(ge(c, 0x20), le(c, 0x7e), ne(c, code('\\'))), () => r.return(put(c)));
  r.do(put(code('\\')));
  r.if(eq(c, code('\\')), () => r.return(put(c)));
  r.if(eq(c, code('\n')), () => r.return(put(code('n'))));
  r.if(eq(c, code('\t')), () => r.return(put(code('t'))));
  r.do(put(code('x')), putHex(c, 2));
});

/** Appends bytes with escapes, cut where the value grows too long. */
export const putEscaped = routine('put_escaped', (r, bytes, length) => {
  const limit = r.local(add(word(lineEnd), VALUE_LIMIT));
  const end = r.local(add(bytes, length));
  r.while(ne(bytes, end), () => {
    r.if(ge(word(lineEnd), limit), () => r.return(putString(CUT)));
    r.do(putEscapedByte(byte(bytes)));
    r.set(bytes, add(bytes, 1));
  });
});

export const writeAll = routine('write_all', (r, bytes, length) => {
  r.while(length, () => {
    const written = r.local(sys('write', 1, bytes, length));
    // Gives up on an error that trying again does not mend.
    r.if(
      gt(written, 0),
      () => {
        r.set(bytes, add(bytes, written));
        r.set(length, sub(length, written));
      },
      () => r.if(all(ne(written, -EINTR), ne(written, -EAGAIN)), () => r.return()),
    );
  });
});

export const beginLine = routine('begin_line', r => {
  r.store('word', lineEnd, line);
  r.do(putString(MARKER));
  r.store('word', lineNumber, add(word(lineNumber), 1));
  r.do(putNumber(word(lineNumber)), put(code(' ')));
});

/** FNV-1a over bytes, 32 bits. */
export const hash = routine('hash', (r, bytes, length) => {
  const end = r.local(add(bytes, length));
  const value = r.local(FNV_OFFSET);
  r.while(ne(bytes, end), () => {
    r.set(value, and(mul(xor(value, byte(bytes)), FNV_PRIME), 0xffffffff));
    r.set(bytes, add(bytes, 1));
  });
  r.return(value);
});

/** Appends the checksum and writes the line. */
export const endLine = routine('end_line', r => {
  const from = r.local(add(line, MARKER.length));
  const sum = r.local(hash(from, sub(word(lineEnd), from)));
  r.do(putString(' #'), putHex(xor(sum, shr(sum, 16)), 4), put(code('\n')));
  r.do(writeAll(line, sub(word(lineEnd), line)));
});

/** Begins a line with an escaped key. */
export const putKey = routine('put_key', (r, key) => {
  r.do(beginLine(), putEscaped(key, stringLength(key)));
});

/** `key = result`, or `key ! errno` when it is negative. */
export const reportStatus = routine('report_status', (r, key, result) => {
  r.do(putKey(key));
  r.if(
    lt(result, 0),
    () => r.do(putString(' ! '), putNumber(sub(0, result))),
    () => r.do(putString(' = '), putNumber(result)),
  );
  r.do(endLine());
});

/** `key = bytes`. */
export const reportValue = routine('report_value', (r, key, bytes, length) => {
  r.do(putKey(key), putString(' = '), putEscaped(bytes, length), endLine());
});

/** `key = text`. */
export const reportText = routine('report_text', (r, key, text) => {
  r.do(reportValue(key, text, stringLength(text)));
});
