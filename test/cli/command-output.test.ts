// A command's output is told from the kernel's and from init's report, however the console's bytes are split.
import { expect, test } from 'vitest';
import { CommandOutput } from '../../src/cli/command-output.ts';

const console = [
  '[    0.000000] Linux version 6.1\r\n',
  'domzero1: 1 protocol 1 #0000\r\n',
  'domzero1: 2 mount/proc = 0 #0000\r\n',
  'hello domzero1 domz\r\nno newline',
  'domzero1: 3 command/exit = 7 #0000\r\n',
  'domzero1: 4 done #0000\r\n',
  '[    1.000000] reboot: System halted\r\n',
].join('');
const output = 'hello domzero1 domz\r\nno newline';

function filtered(size: number): string {
  const bytes = new TextEncoder().encode(console);
  let text = '';
  const filter = new CommandOutput(part => {
    text += new TextDecoder().decode(part);
  });
  for (let at = 0; at < bytes.length; at += size) filter.push(bytes.subarray(at, at + size));
  filter.flush();
  return text;
}

test.each([1, 2, 3, 7, 10, 31, 1000])('in pieces of %i bytes', size => {
  expect(filtered(size)).toBe(output);
});

test('what is no beginning of a report is given at once', () => {
  let text = '';
  const filter = new CommandOutput(part => {
    text += new TextDecoder().decode(part);
  });
  filter.push(new TextEncoder().encode('domzero1: 1 protocol 1 #0000\n$ '));
  expect(text).toBe('$ ');
  filter.push(new TextEncoder().encode('dom'));
  expect(text).toBe('$ ');
  filter.push(new TextEncoder().encode('e\n'));
  expect(text).toBe('$ dome\n');
});
