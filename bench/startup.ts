// What the tool itself costs before it does anything: the command line to its answer, and a host from its import to the first instruction.
// Each in a process of its own; the median of several. A kernel's decompression is its own line: it is work, not start.
//   npx tsx bench/startup.ts KERNEL.deb [rounds]
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { loadImage } from '../src/index.ts';

const project = resolve(fileURLToPath(import.meta.url), '../..');
const program = join(project, 'bin/domzero');
const [file, rounds = '5'] = process.argv.slice(2);
if (file === undefined) throw new Error('usage: npx tsx bench/startup.ts KERNEL.deb [rounds]');

const directory = mkdtempSync(join(tmpdir(), 'domzero-startup-'));
try {
  const image = await loadImage(new Uint8Array(readFileSync(file)), file);
  const unpacked = join(directory, 'vmlinux');
  writeFileSync(unpacked, image.elf.bytes);
  // Once before, since a checkout builds itself.
  execFileSync(process.execPath, [program, '--version']);
  const host = `
    const { Host } = await import(${JSON.stringify(join(project, 'dist/src/index.js'))});
    await Host.create({ ramBytes: 256 << 20 });`;
  const commands: ReadonlyArray<readonly [what: string, args: readonly string[]]> = [
    ['node, nothing else', ['-e', '0']],
    ['--version', [program, '--version']],
    ['--help', [program, '--help']],
    ['inspect, a vmlinux', [program, 'inspect', unpacked]],
    ['inspect, the package', [program, 'inspect', file]],
    ['import and Host.create', ['--input-type=module', '-e', host]],
  ];
  for (const [what, args] of commands) {
    const times = Array.from({ length: Number(rounds) }, () => {
      const from = performance.now();
      execFileSync(process.execPath, args, { stdio: 'ignore' });
      return performance.now() - from;
    }).sort((a, b) => a - b);
    const [least, most] = [times[0], times[times.length - 1]].map(ms => (ms / 1000).toFixed(2));
    console.log(`${what.padEnd(24)} ${(times[times.length >> 1] / 1000).toFixed(2)} s (${least} to ${most})`);
  }
} finally {
  rmSync(directory, { recursive: true, force: true });
}
