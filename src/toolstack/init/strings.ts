// Routines of init over zero-terminated strings and lines of text in memory.
import { add, all, byte, eq, ge, type Local, lt, mul, ne, or, sub, type Value } from './language/expressions.ts';
import { type RoutineWriter, routine } from './language/routine.ts';

const code = (c: string) => c.charCodeAt(0);

export const stringLength = routine('string_length', (r, string) => {
  const at = r.local(string);
  r.while(byte(at), () => r.set(at, add(at, 1)));
  r.return(sub(at, string));
});

/** With its zero; gives where that zero stands, so that the next string can be appended. */
export const copyString = routine('copy_string', (r, to, from) => {
  r.while(byte(from), () => {
    r.store(1, to, byte(from));
    r.set(to, add(to, 1));
    r.set(from, add(from, 1));
  });
  r.store(1, to, 0);
  r.return(to);
});

/** Up to the newline or zero. */
export const lineLength = routine('line_length', (r, text) => {
  const at = r.local(text);
  r.while(all(byte(at), ne(byte(at), 10)), () => r.set(at, add(at, 1)));
  r.return(sub(at, text));
});

/** The text after the prefix, or 0. */
export const startsWith = routine('starts_with', (r, text, prefix) => {
  r.while(byte(prefix), () => {
    r.if(ne(byte(text), byte(prefix)), () => r.return(0));
    r.set(text, add(text, 1));
    r.set(prefix, add(prefix, 1));
  });
  r.return(text);
});

/** Are these `length` bytes the same? */
export const sameBytes = routine('same_bytes', (r, one, other, length) => {
  const end = r.local(add(one, length));
  r.while(ne(one, end), () => {
    r.if(ne(byte(one), byte(other)), () => r.return(0));
    r.set(one, add(one, 1));
    r.set(other, add(other, 1));
  });
  r.return(1);
});

/** Do the words stand in the text of this length? */
export const contains = routine('contains', (r, text, length, words) => {
  const last = r.local(sub(add(text, length), stringLength(words)));
  const first = r.local(byte(words));
  r.while(ge(last, text), () => {
    r.if(eq(byte(text), first), () => r.if(startsWith(text, words), () => r.return(1)));
    r.set(text, add(text, 1));
  });
});

/** Appends the word that begins at `text`, up to white space; a zero behind it. Gives where the next word begins. */
export const copyWord = routine('copy_word', (r, to, text) => {
  r.while(lt(code(' '), byte(text)), () => {
    r.store(1, to, byte(text));
    r.set(to, add(to, 1));
    r.set(text, add(text, 1));
  });
  r.store(1, to, 0);
  r.while(eq(byte(text), code(' ')), () => r.set(text, add(text, 1)));
  r.return(text);
});

/** A hexadecimal number of lower-case digits. */
export const parseHex = routine('parse_hex', (r, text) => {
  const value = r.local(0);
  r.while(lt(code(' '), byte(text)), () => {
    const digit = r.local(sub(byte(text), code('0')));
    r.if(ge(digit, 10), () => r.set(digit, sub(digit, code('a') - code('0') - 10)));
    r.set(value, or(mul(value, 16), digit));
    r.set(text, add(text, 1));
  });
  r.return(value);
});

/** Statements for each line of a text that ends with a zero. */
export function eachLine(r: RoutineWriter, text: Value, write: (line: Local, length: Local) => void): void {
  const line = r.local(text);
  r.while(byte(line), () => {
    const length = r.local(lineLength(line));
    write(line, length);
    r.set(line, add(line, length));
    r.if(byte(line), () => r.set(line, add(line, 1)));
  });
}

export const clear = routine('clear', (r, bytes, length) => {
  const end = r.local(add(bytes, length));
  r.while(ne(bytes, end), () => {
    r.store(1, bytes, 0);
    r.set(bytes, add(bytes, 1));
  });
});
