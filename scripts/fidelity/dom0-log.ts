// Compares what a kernel logs as Dom0 here and under genuine Xen: the same image and initramfs, line by line, times and numbers masked.
//   npx tsx scripts/fidelity/dom0-log.ts KERNEL.deb [--memory 512] [--write | --recorded]
// Prints a Markdown table of the differences with their causes; exit status 1 where one has none. --write keeps genuine Xen's lines
// as the fixture that test/boot/fidelity-dom0.test.ts compares with; --recorded compares with that instead of booting QEMU.

import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { parseArgs } from 'node:util';
import { loadImages } from '../../src/index.ts';
import { builtinInitramfs } from '../../src/toolstack/init/initramfs.ts';
import { genuineDom0 } from './genuine-dom0.ts';
import { logDifferences, logTable } from './log-differences.ts';
import { DOM0_OPTIONS, record } from './record.ts';
import { kernelLines } from './trace-file.ts';

const FIXTURE = new URL('../../test/fixtures/xen-trace/linux-6.1-dom0-console.txt', import.meta.url);
const TIMEOUT_MS = 900_000;

async function genuineLog(kernel: readonly string[], memoryMiB: number): Promise<string[]> {
  const folder = mkdtempSync(join(tmpdir(), 'domzero-fidelity-'));
  try {
    const image = await loadImages(kernel.map(path => ({ name: basename(path), bytes: readFileSync(path) })));
    if (!image.bzImage) throw new Error('Xen starts a bzImage');
    const [file, initrd, console] = ['vmlinuz', 'initrd', 'console'].map(name => join(folder, name));
    writeFileSync(file, image.bzImage);
    writeFileSync(initrd, builtinInitramfs({ bits: image.elf.bits }));
    const { cpus, append } = DOM0_OPTIONS;
    const [command, args] = genuineDom0({ kernel: file, initrd, append, memoryMiB, cpus, console }, folder);
    const { status, stderr } = spawnSync(command, args, { encoding: 'utf8', timeout: TIMEOUT_MS });
    if (status !== 0) throw new Error(`QEMU ended with ${status}: ${stderr}`);
    return kernelLines(readFileSync(console, 'utf8'));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      memory: { type: 'string', default: '512' },
      write: { type: 'boolean', default: false },
      recorded: { type: 'boolean', default: false },
    },
  });
  if (positionals.length === 0) throw new Error('give a kernel');
  const memoryMiB = Number(values.memory);
  const theirs = values.recorded
    ? kernelLines(readFileSync(FIXTURE, 'utf8'))
    : await genuineLog(positionals, memoryMiB);
  if (values.write) writeFileSync(FIXTURE, `${theirs.join('\n')}\n`);
  const { cpus, append } = DOM0_OPTIONS;
  const commandLine = `console=hvc0 ${append}`;
  const ours = await record(positionals, { mode: 'dom0', cpus, memoryMiB, cpu: 'epyc', commandLine });
  const differences = logDifferences(theirs, kernelLines(ours.console.join('\n')));
  console.log(logTable(theirs.length, differences).join('\n'));
  return differences.some(({ cause }) => cause === null) ? 1 : 0;
}

process.exitCode = await main();
