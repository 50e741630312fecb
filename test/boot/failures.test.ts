// Kernels made to fail: the verdict, the exit status, and an explanation that tells a person why.

import { readFileSync } from 'node:fs';
import { describe, expect } from 'vitest';
import { PT_LOAD } from '../../src/abi/elf.ts';
import { kernelSymbols, loadImages } from '../../src/toolstack/image/index.ts';
import { type Checked, check, domzero, scratchPath } from './domzero.ts';
import { brokenInitramfs, emptyInitramfs } from './initramfs.ts';
import { testWith } from './kernels.ts';

/** What belongs to every explanation: where it was, how it came there, what it asked of the hypervisor. */
function expectExplained({ status, result, text }: Checked): void {
  expect(status, text).toBe(1);
  const { crash } = result;
  expect(crash).not.toBeNull();
  expect(crash?.symbol, text).toMatch(/^\w[\w.]*\+0x[0-9a-f]+/);
  expect(crash?.registers.rip).toMatch(/^0x[0-9a-f]{16}$/);
  expect(Object.keys(crash?.registers ?? {})).toEqual(expect.arrayContaining(['rsp', 'rflags', 'cr3', 'gsb', 'cs']));
  expect(crash?.stack.filter(word => word.symbol !== null)).not.toHaveLength(0);
  expect(text).toContain(crash?.symbol);
  expect(text).toMatch(/^ +registers:$/m);
  expect(text).toMatch(/^ +stack:\n +\+0x[0-9a-f]+ 0x[0-9a-f]{16} \w+/m);
  expect(text).toContain('again: domzero check ');
}

/** A panic: Linux's own words are in the sentence and in the text, and its last call is the one that ends it. */
function expectPanic(checked: Checked, words: RegExp): void {
  const { result, text } = checked;
  expect(result.verdict, text).toBe('crash');
  expect(result.reason).toMatch(words);
  expect(result.reason).toMatch(/^kernel panic: /);
  expectExplained(checked);
  const { crash } = result;
  expect(crash?.panic.join('\n')).toContain('Kernel panic - not syncing');
  expect(crash?.stack.some(word => word.symbol?.startsWith('panic+'))).toBe(true);
  expect(crash?.hypercalls.at(-1)).toMatchObject({ vcpu: 0, result: '0' });
  expect(crash?.hypercalls.at(-1)?.call).toMatch(/^sched_op\(shutdown, arg=0x[0-9a-f]+\)$/);
  expect(text).toMatch(/^ +last hypercalls:\n +v0 \w+\(/m);
}

describe.concurrent('a kernel that is given the wrong thing', { timeout: 1_200_000 }, () => {
  testWith('cloud', 'no root file system', async kernel => {
    const checked = await check(kernel, 'pv', { initrd: emptyInitramfs(), append: 'root=/dev/xvda1' });
    expectPanic(checked, /VFS: Unable to mount root fs on unknown-block\(0,0\)/);
    // The cause is told before the panic itself.
    expect(checked.text).toMatch(/Cannot open root device "xvda1"/);
  });

  testWith('cloud', 'init=/nonexistent', async kernel => {
    const checked = await check(kernel, 'pv', { initrd: brokenInitramfs(), append: 'init=/nonexistent' });
    expectPanic(checked, /Requested init \/nonexistent failed \(error -2\)/);
    expect(checked.text).toContain('Failed to execute /init (error -2)');
  });

  testWith('cloud', 'rdinit=/nonexistent', async kernel => {
    const checked = await check(kernel, 'pv', { append: 'rdinit=/nonexistent' });
    expectPanic(checked, /VFS: Unable to mount root fs/);
  });

  testWith('cloud', 'too little memory to be loaded, and to boot', async kernel => {
    const { status, out } = await domzero(['check', ...kernel, '--modes', 'pv', '--memory', '32M']);
    expect(status, out).toBe(2);
    const least = /32 MiB of memory are too little: .* needs at least (\d+) MiB to be loaded/.exec(out)?.[1];
    expect(Number(least), out).toBeGreaterThan(32);
    expectPanic(await check(kernel, 'pv', { memory: `${least}M` }), /memory/i);
  });

  testWith('cloud', 'too little time', async kernel => {
    const checked = await check(kernel, 'pv', { timeout: 1 });
    expect(checked.result.verdict).toBe('timeout');
    expect(checked.result.reason).toMatch(/^still running after 1 s, after the stage "\w+"$/);
    expectExplained(checked);
  });
});

/** A kernel file with one byte of a function replaced. */
async function corrupted(files: readonly string[], symbol: string, byte: number): Promise<string> {
  const { elf } = await loadImages(files.map(name => ({ name, bytes: readFileSync(name) })));
  const address = kernelSymbols(elf)?.address(symbol);
  if (address == null) throw new Error(`the kernel has no ${symbol}`);
  const segment = elf.segments.find(
    ({ type, vaddr, fileSize }) => type === PT_LOAD && address >= vaddr && address < vaddr + BigInt(fileSize),
  );
  if (segment === undefined) throw new Error(`${symbol} is not in the file`);
  const bytes = elf.bytes.slice();
  bytes[segment.offset + Number(address - segment.vaddr)] = byte;
  return scratchPath(`vmlinux-${symbol}`, bytes);
}

const UNDEFINED_OPCODE = 0x06;
const BREAKPOINT = 0xcc;
const HALT = 0xf4;
const RETURN = 0xc3;

describe.concurrent('a kernel with one wrong byte', { timeout: 1_200_000 }, () => {
  testWith('cloud', 'in its first function: the hypervisor stops it', async kernel => {
    const checked = await check([await corrupted(kernel, 'xen_start_kernel', UNDEFINED_OPCODE)], 'pv');
    const { result, xenLog } = checked;
    expectExplained(checked);
    expect(result.verdict).toBe('crash');
    expect(result.reason).toMatch(/exception 6 .* at xen_start_kernel\+0x0$/);
    expect(result.crash).toMatchObject({ symbol: 'xen_start_kernel+0x0', vcpu: 0 });
    // Xen's own form, for those who search logs for it.
    expect(xenLog).toMatch(/^\(XEN\) Domain 1 \(vcpu#0\) crashed on cpu#0:$/m);
    expect(xenLog).toMatch(/^\(XEN\) RIP: {4}e033:\[<[0-9a-f]{16}>\]$/m);
    expect(xenLog).toMatch(/^\(XEN\) Guest stack trace from rsp=[0-9a-f]{16}:$/m);
  });

  testWith('cloud', 'before it has a console: it gives up without a word', async kernel => {
    const checked = await check([await corrupted(kernel, 'start_kernel', UNDEFINED_OPCODE)], 'pv');
    expectExplained(checked);
    expect(checked.result.verdict).toBe('fail');
    const { crash } = checked.result;
    const symbols = crash?.stack.map(word => word.symbol);
    expect(symbols).toContain('start_kernel+0x0');
    expect(symbols?.some(symbol => symbol?.startsWith('early_fixup_exception+'))).toBe(true);
    expect(crash?.hypercalls.at(-1)?.call).toBe('vcpu_op(down, vcpuid=0, arg=NULL)');
  });

  testWith('cloud', 'that leaves out a whole function: not a pass', async kernel => {
    const file = await corrupted(kernel, 'setup_arch', RETURN);
    const checked = await check([file], 'pv', { timeout: 60 });
    expect(['fail', 'crash', 'timeout']).toContain(checked.result.verdict);
    expectExplained(checked);
  });

  testWith('cloud', 'in the first task: a breakpoint that nobody set', async kernel => {
    const checked = await check([await corrupted(kernel, 'rest_init', BREAKPOINT)], 'pv');
    expectPanic(checked, /Fatal exception/);
    expect(checked.result.crash?.symbol).toMatch(/^rest_init\+0x1\//);
    expect(checked.text).toContain('int3: 0000 [#1]');
  });

  testWith('cloud', 'in the task that becomes init: a privileged instruction', async kernel => {
    const checked = await check([await corrupted(kernel, 'kernel_init', HALT)], 'pv');
    expectPanic(checked, /Attempted to kill init!/);
    expect(checked.result.crash?.symbol).toMatch(/^kernel_init\+0x0\//);
    expect(checked.text).toMatch(/general protection fault/);
  });

  testWith('cloud', 'in the idle loop: after init has begun to report', async kernel => {
    const checked = await check([await corrupted(kernel, 'do_idle', UNDEFINED_OPCODE)], 'pv');
    expectPanic(checked, /Attempted to kill the idle task!/);
    expect(checked.result.crash?.symbol).toMatch(/^do_idle\+0x0\//);
    expect(checked.text).toMatch(/invalid opcode: 0000 \[#1\]/);
  });
});
