// `domzero run` with pipes for a terminal: a shell of Debian's busybox on the guest's console.

import { describe, expect } from 'vitest';
import { domzero } from './domzero.ts';
import { shellInitramfs } from './initramfs.ts';
import { testWith } from './kernels.ts';

/** A quiet kernel, so that what is printed is the shell's. */
const QUIET = ['--append', 'quiet'];
const SHELL = 'mount -t proc proc /proc; mount -t devtmpfs dev /dev; export PS1=; exec sh';

describe.concurrent('a shell on the console', { timeout: 600_000 }, () => {
  testWith('cloud', 'does what it is piped, and its output is plain bytes', async (kernel, context) => {
    const initrd = shellInitramfs(context, SHELL);
    const input = 'stty -echo\necho hello; uname -r\nhead -c 3 /proc/cmdline; echo; poweroff -f\n';
    const { status, out, err } = await domzero(
      ['run', ...kernel, '--mode', 'pv', '--initrd', initrd, '--timeout', '500', ...QUIET],
      input,
    );
    expect({ status, err }).toEqual({ status: 0, err: '' });
    // What is typed is echoed until stty has run; lines that are nothing but output are the shell's.
    const lines = out.split(/\r?\n/);
    expect(lines).toContain('hello');
    expect(lines.some(line => /^\d+\.\d+\.\d+-\S+$/.test(line))).toBe(true);
    expect(lines).toContain('con');
    expect(err).toBe('');
  });

  testWith('cloud', 'takes more input than its ring holds, and loses none', async (kernel, context) => {
    const initrd = shellInitramfs(context, 'export PS1=; stty -echo; sh; poweroff -f');
    const words = Array.from({ length: 400 }, (_, i) => `word${i}`);
    const input = `${words.map(word => `echo ${word}`).join('\n')}\nexit\n`;
    const { status, out } = await domzero(
      ['run', ...kernel, '--mode', 'pv', '--initrd', initrd, '--timeout', '500', ...QUIET],
      input,
    );
    expect(status).toBe(0);
    expect(out.split(/\r?\n/).filter(line => /^word\d+$/.test(line))).toEqual(words);
  });

  testWith('cloud', 'that ends makes the kernel panic: 255', async (kernel, context) => {
    const initrd = shellInitramfs(context, 'echo bye; exit 3');
    const { status, out, err } = await domzero(['run', ...kernel, '--mode', 'pv', '--initrd', initrd, ...QUIET]);
    expect(status).toBe(255);
    expect(out).toMatch(/^bye\r?$/m);
    expect(out).toContain('Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000300');
    expect(err).toContain('kernel panic: Attempted to kill init!');
  });

  testWith('cloud', 'that does not end is stopped: 124', async (kernel, context) => {
    const initrd = shellInitramfs(context, 'echo waiting; sleep 1000000');
    const { status, out, err } = await domzero([
      ...['run', ...kernel, '--mode', 'pv', '--initrd', initrd, '--timeout', '90'],
      ...QUIET,
    ]);
    expect(status).toBe(124);
    expect(out).toMatch(/^waiting\r?$/m);
    expect(err).toContain('still running after 90 s');
  });
});

describe.concurrent('a command in the guest', { timeout: 600_000 }, () => {
  testWith('cloud', "gives its output alone, and its status is the program's", async (kernel, context) => {
    const initrd = shellInitramfs(context, 'exit 1');
    const command = ['/bin/sh', '-c', 'echo out; echo err >&2; exit 7'];
    const { status, out } = await domzero(['run', ...kernel, '--mode', 'pv', '--initrd', initrd, '--', ...command]);
    expect(status).toBe(7);
    expect(out.replaceAll('\r', '')).toBe('out\nerr\n');
  });
});

describe.concurrent('check with an initramfs of the user', { timeout: 600_000 }, () => {
  testWith('cloud', 'passes when what it waits for is seen', async (kernel, context) => {
    const initrd = shellInitramfs(context, 'echo the answer is $((6 * 7)); sleep 1000000');
    const { status, out } = await domzero([
      ...['check', ...kernel, '--modes', 'pv', '--initrd', initrd, '--expect', '^the answer is 42$'],
    ]);
    expect(out).toContain('pass');
    expect(status).toBe(0);
  });

  testWith('cloud', 'fails when the guest ends without it', async (kernel, context) => {
    const initrd = shellInitramfs(context, 'echo something else; poweroff -f');
    const { status, out } = await domzero([
      ...['check', ...kernel, '--modes', 'pv', '--initrd', initrd, '--expect', '^the answer is 42$'],
    ]);
    expect(out).toMatch(/fail .*before a line that matches/);
    expect(status).toBe(1);
  });
});
