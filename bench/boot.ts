// Whole-process time of a boot to power-off: `domzero check` in a mode beside QEMU (TCG), which boots the same bzImage and initramfs with as much
// memory: natively for `native`, as Dom0 of genuine Xen for the Xen modes. They run in turn, so that a busy machine hurts both. For `dom0` the two
// kernel logs are then compared line by line: docs/fidelity.md. Debian's
// qemu-system-x86 and, for the Xen modes, xen-hypervisor-*-amd64 packages must be installed.
//   npx tsx bench/boot.ts KERNEL.deb [rounds [mode]]
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { genuineDom0 } from '../scripts/fidelity/genuine-dom0.ts';
import { logDifferences, logTable } from '../scripts/fidelity/log-differences.ts';
import { kernelLines } from '../scripts/fidelity/trace-file.ts';
import { loadImage } from '../src/index.ts';
import { MODES, type Mode } from '../src/toolstack/image/modes.ts';
import { builtinInitramfs } from '../src/toolstack/init/initramfs.ts';

const MEMORY_MIB = 256;
/** As `check` has it, and every message on the console. */
const APPEND = 'earlyprintk=xen ignore_loglevel';
const TIMEOUT_MS = 600_000;

interface Sample {
  wallSeconds: number;
  cpuSeconds: number;
}

/** Runs a command to its end under time(1)'s eyes: rusage of the child comes from the shell's `times`. */
function measure(command: string, args: string[]): Sample {
  const started = performance.now();
  const quoted = [command, ...args].map(a => `'${a.replaceAll("'", "'\\''")}'`).join(' ');
  const result = spawnSync('bash', ['-c', `${quoted} >/dev/null 2>&1; status=$?; times; exit $status`], {
    encoding: 'utf8',
    timeout: TIMEOUT_MS,
  });
  if (result.status !== 0) throw new Error(`${command} ended with status ${result.status}`);
  const children = result.stdout.trim().split('\n')[1].split(' ');
  const seconds = (t: string) => Number(t.split('m')[0]) * 60 + Number(t.split('m')[1].replace('s', ''));
  return {
    wallSeconds: (performance.now() - started) / 1000,
    cpuSeconds: seconds(children[0]) + seconds(children[1]),
  };
}

function median(values: number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1];
}

/** Files of one kernel, as both sides boot it. */
interface Files {
  kernel: string;
  initrd: string;
  console: string;
}

const quiet = (files: Files): string[] => [
  ...['-display', 'none', '-no-reboot', '-monitor', 'none', '-serial', `file:${files.console}`],
];

function qemuNative(files: Files): Sample {
  return measure('qemu-system-x86_64', [
    ...['-accel', 'tcg', '-cpu', 'max', '-m', String(MEMORY_MIB), '-kernel', files.kernel, '-initrd', files.initrd],
    ...['-append', 'console=ttyS0 earlyprintk=ttyS0'],
    ...quiet(files),
  ]);
}

function qemuXen(files: Files, folder: string): Sample {
  const { kernel, initrd, console } = files;
  const dom0 = { kernel, initrd, console, append: APPEND, memoryMiB: MEMORY_MIB, cpus: 1 };
  return measure(...genuineDom0(dom0, folder));
}

/** What the kernel logged on both sides in the last round. */
function compareLogs(files: Files, logs: string): void {
  const [ours] = readdirSync(logs).filter(name => name.endsWith('.console.log'));
  const theirs = kernelLines(readFileSync(files.console, 'utf8'));
  const differences = logDifferences(theirs, kernelLines(readFileSync(join(logs, ours), 'utf8')));
  console.log(logTable(theirs.length, differences).join('\n'));
}

async function main(): Promise<void> {
  const [file, roundsText = '3', mode = 'pv'] = process.argv.slice(2);
  if (!file || !MODES.includes(mode as Mode)) {
    throw new Error(`usage: npx tsx bench/boot.ts KERNEL.deb [rounds [${MODES.join('|')}]]`);
  }
  const rounds = Number(roundsText);
  const folder = mkdtempSync(join(tmpdir(), 'domzero-bench-'));
  try {
    const image = await loadImage(new Uint8Array(readFileSync(file)), file);
    if (!image.bzImage) throw new Error(`${file}: QEMU needs a bzImage`);
    const [kernel, initrd, console_] = ['vmlinuz', 'initrd', 'console'].map(name => join(folder, name));
    const files = { kernel, initrd, console: console_ };
    const logs = join(folder, 'logs');
    writeFileSync(kernel, image.bzImage);
    writeFileSync(initrd, builtinInitramfs({ bits: image.elf.bits }));
    const alternative = mode === 'native' ? 'QEMU' : 'QEMU+Xen';
    const qemu = () => (mode === 'native' ? qemuNative(files) : qemuXen(files, folder));
    const domzero = () =>
      measure(process.execPath, [
        ...['bin/domzero', 'check', kernel, '--modes', mode, '--memory', `${MEMORY_MIB}M`],
        ...(mode === 'dom0' ? ['--append', 'ignore_loglevel', '--logs', logs] : []),
      ]);
    execFileSync(process.execPath, ['bin/domzero', '--version']); // builds where needed
    const ours: Sample[] = [];
    const theirs: Sample[] = [];
    for (let i = 0; i < rounds; i++) {
      ours.push(domzero());
      theirs.push(qemu());
      const [a, b] = [ours[i], theirs[i]];
      console.log(
        `round ${i + 1}: domzero ${a.wallSeconds.toFixed(1)} s (${a.cpuSeconds.toFixed(1)} s CPU), ` +
          `${alternative} ${b.wallSeconds.toFixed(1)} s (${b.cpuSeconds.toFixed(1)} s CPU), ratio ${(a.wallSeconds / b.wallSeconds).toFixed(2)}`,
      );
    }
    const ratios = ours.map((a, i) => a.wallSeconds / theirs[i].wallSeconds);
    const cpu = ours.map((a, i) => a.cpuSeconds / theirs[i].cpuSeconds);
    const spread = `${Math.min(...ratios).toFixed(2)} to ${Math.max(...ratios).toFixed(2)}`;
    console.log(
      `${image.release} ${mode}: wall ratio ${median(ratios).toFixed(2)} (${spread}), CPU ratio ${median(cpu).toFixed(2)}`,
    );
    if (mode === 'dom0') compareLogs(files, logs);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

await main();
