// Several domains on one terminal.
import { expect, test } from 'vitest';
import { SharedTerminal } from '../../src/cli/shared-terminal.ts';

function terminal(ids: readonly number[]) {
  const listeners = new Map<number, (bytes: Uint8Array) => void>();
  const typed = new Map<number, string>(ids.map(id => [id, '']));
  let shown = '';
  let notices = '';
  const domains = ids.map(id => ({
    id,
    onData: (listener: (bytes: Uint8Array) => void) => void listeners.set(id, listener),
    write: async (bytes: Uint8Array) => void typed.set(id, typed.get(id) + new TextDecoder().decode(bytes)),
  }));
  const shared = new SharedTerminal(
    domains,
    bytes => void (shown += new TextDecoder().decode(bytes)),
    text => void (notices += text),
  );
  return {
    shared,
    typed,
    prints: (id: number, text: string) => listeners.get(id)?.(new TextEncoder().encode(text)),
    types: (text: string) => shared.type(new TextEncoder().encode(text)),
    shown: () => shown,
    notices: () => notices,
  };
}

test('the domain with the input prints as it is, others by lines with their number', () => {
  const t = terminal([0, 1]);
  t.prints(0, 'login: ');
  t.prints(1, 'half of ');
  t.prints(1, 'a line\r\nnext');
  expect(t.shown()).toBe('login: (d1) half of a line\r\n');
});

test('Ctrl-a three times gives the input to the next domain, round and round', async () => {
  const t = terminal([0, 1]);
  await t.types('ls\x01\x01\x01id');
  await t.types('\x01\x01');
  await t.types('\x01pwd');
  expect([t.typed.get(0), t.typed.get(1)]).toEqual(['lspwd', 'id']);
  expect(
    t
      .notices()
      .match(/Serial input to DOM\d/g)
      ?.map(text => text.slice(-1)),
  ).toEqual(['0', '1', '0']);
});

test('fewer of them are the domain own business', async () => {
  const t = terminal([0, 1]);
  await t.types('a\x01\x01b');
  await t.types('\x01');
  await t.types('c');
  expect(t.typed.get(0)).toBe('a\x01\x01b\x01c');
});

test('what has begun a line prints the rest as it is once it has the input', async () => {
  const t = terminal([0, 1]);
  t.prints(1, 'password: ');
  await t.types('\x01\x01\x01');
  t.prints(1, 'ok');
  expect(t.shown()).toBe('(d1) password: \r\nok');
});

test('a domain that is gone gives the input back', async () => {
  const t = terminal([0, 1, 2]);
  await t.types('\x01\x01\x01');
  t.shared.remove(1);
  await t.types('x');
  expect([t.typed.get(0), t.typed.get(1), t.typed.get(2)]).toEqual(['x', '', '']);
});

test('one domain alone has the terminal to itself', async () => {
  const t = terminal([0]);
  t.prints(0, 'a');
  expect([t.shown(), t.notices()]).toEqual(['a', '']);
});
