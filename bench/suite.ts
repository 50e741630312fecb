// Side by side in one run: the parts of bench/guest/suite.c as domzero's PV guest, in QEMU (TCG) natively, and in QEMU with genuine Xen as
// Dom0. The guest says on its console when a part begins, when its first turn is done and when it ends; the parts are timed from outside, as
// the processor time that the emulating process takes, so that a busy machine hurts little. The ratio of the turns behind the first is
// how fast compiled code is; the first also has what compiling costs. Needs gcc and Debian's qemu-system-x86 and xen-hypervisor packages.
//   npx tsx bench/suite.ts KERNEL.deb [rounds] [part,part…] [lane,lane…]
import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { gunzipSync } from 'node:zlib';
import { loadImage } from '../src/index.ts';
import { CpioWriter } from '../src/util/cpio.ts';

const MEMORY_MIB = 256;
/** What Xen itself and QEMU's firmware want beside Dom0. */
const XEN_MIB = 512;
const TICKS_PER_SECOND = 100;
const MARK = /suite: (begin|turn|end|done) ?(\S*) ?([0-9a-f]*)/;
/** Parts that are the kernel's work more than the program's. */
const SYSTEM_PARTS = ['syscall', 'fork', 'fault', 'pipe', 'signal', 'file'];

/** Seconds of processor time of a part and of its first turn, and its checksum. */
interface PartTimes {
  seconds: number;
  first: number;
  sum: string;
}
type Times = Map<string, PartTimes>;

/** User and system time of a process with all its threads so far. */
function cpuSeconds(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1].split(' ');
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}

async function measure(command: string, args: readonly string[]): Promise<Times> {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const times: Times = new Map();
  let started = 0;
  let first = 0;
  for await (const line of createInterface({ input: child.stdout })) {
    const mark = MARK.exec(line);
    if (!mark) continue;
    const now = cpuSeconds(child.pid!);
    if (mark[1] === 'begin') started = now;
    else if (mark[1] === 'turn') first = now - started;
    else if (mark[1] === 'end') times.set(mark[2], { seconds: now - started, first, sum: mark[3] });
    else break;
  }
  child.kill('SIGKILL');
  return times;
}

const median = (values: number[]): number => values.toSorted((a, b) => a - b)[values.length >> 1];
const geometricMean = (values: number[]): number =>
  Math.exp(values.reduce((sum, v) => sum + Math.log(v), 0) / values.length);

function report(ours: Times[], theirs: Times[], title: string): void {
  console.log(`\n${title}\npart        ours [s]  theirs [s]  ratio (spread)          first turn  later turns`);
  const ratios: Record<'processor' | 'system', number[]> = { processor: [], system: [] };
  for (const [part, { sum }] of ours[0]) {
    const other = theirs[0].get(part);
    if (!other) continue;
    if (other.sum !== sum) console.log(`${part}: DIFFERENT RESULTS ${sum} and ${other.sum}`);
    const ratio = (of: (t: PartTimes) => number): number[] =>
      ours.map((t, i) => of(t.get(part)!) / Math.max(0.01, of(theirs[i].get(part)!)));
    const all = ratio(t => t.seconds);
    const [first, later] = [ratio(t => t.first), ratio(t => t.seconds - t.first)].map(r => median(r).toFixed(2));
    ratios[SYSTEM_PARTS.includes(part) ? 'system' : 'processor'].push(median(all));
    const [a, b] = [ours, theirs].map(times =>
      median(times.map(t => t.get(part)!.seconds))
        .toFixed(2)
        .padStart(8),
    );
    const spread = `${Math.min(...all).toFixed(2)} to ${Math.max(...all).toFixed(2)}`;
    console.log(
      `${part.padEnd(10)}  ${a}  ${b}    ${`${median(all).toFixed(2)} (${spread})`.padEnd(24)}${first.padStart(8)}  ${later.padStart(11)}`,
    );
  }
  for (const [kind, values] of Object.entries(ratios)) {
    if (values.length > 0) console.log(`${kind} parts: geometric mean ${geometricMean(values).toFixed(2)}`);
  }
}

async function main(): Promise<void> {
  const [file, rounds = '3', parts, lanes = 'domzero,qemu,xen'] = process.argv.slice(2);
  if (!file) throw new Error('usage: npx tsx bench/suite.ts KERNEL.deb [rounds] [part,part…] [lane,lane…]');
  const folder = mkdtempSync(join(tmpdir(), 'domzero-suite-'));
  try {
    const [kernel, initrd, program, xenFile] = ['vmlinuz', 'initrd', 'suite', 'xen'].map(name => join(folder, name));
    const image = await loadImage(new Uint8Array(readFileSync(file)), file);
    writeFileSync(kernel, image.bzImage!);
    execFileSync('gcc', ['-O2', '-static', '-o', program, new URL('guest/suite.c', import.meta.url).pathname]);
    const archive = new CpioWriter().directory('dev').device('dev/console', 'character', 5, 1);
    writeFileSync(initrd, archive.file('init', readFileSync(program), { mode: 0o755 }).finish());
    const xen = readdirSync('/boot').find(name => /^xen-4.*-amd64\.gz$/.test(name));
    if (xen) writeFileSync(xenFile, gunzipSync(readFileSync(join('/boot', xen))));
    // a comma would end the module's name in QEMU's -initrd
    const append = parts ? ` parts=${parts.replaceAll(',', '+')}` : '';
    const qemu = ['-accel', 'tcg', '-display', 'none', '-no-reboot', '-monitor', 'none', '-serial', 'stdio'];
    const start: Record<string, () => Promise<Times>> = {
      domzero: () => {
        const machine = [
          '--mode',
          'pv',
          '--memory',
          `${MEMORY_MIB}M`,
          '--initrd',
          initrd,
          '--append',
          `quiet${append}`,
        ];
        return measure(process.execPath, ['bin/domzero', 'run', kernel, ...machine]);
      },
      // as many instruction-set extensions as our model has: the C library chooses by them
      qemu: () =>
        measure('qemu-system-x86_64', [
          ...[...qemu, '-cpu', 'Nehalem', '-m', String(MEMORY_MIB), '-kernel', kernel, '-initrd', initrd],
          ...['-append', `console=ttyS0 quiet${append}`],
        ]),
      xen: () =>
        measure('qemu-system-x86_64', [
          ...[...qemu, '-cpu', 'Nehalem', '-m', String(MEMORY_MIB + XEN_MIB), '-kernel', xenFile],
          ...['-initrd', `${kernel} console=hvc0 quiet${append},${initrd}`],
          ...['-append', `console=com1 com1=115200 dom0_mem=${MEMORY_MIB}M dom0_max_vcpus=1`],
        ]),
    };
    execFileSync(process.execPath, ['bin/domzero', '--version']); // builds where needed
    const results: Record<string, Times[]> = {};
    for (let i = 0; i < Number(rounds); i++) {
      for (const lane of lanes.split(',')) {
        (results[lane] ??= []).push(await start[lane]());
        const seconds = [...results[lane][i]].map(([part, t]) => `${part} ${t.seconds.toFixed(2)}`);
        console.log(`round ${i + 1}, ${lane}: ${seconds.join(', ')}`);
      }
    }
    const { domzero, qemu: native, xen: dom0 } = results;
    if (domzero && native) report(domzero, native, 'domzero (PV) / QEMU (native)');
    if (domzero && dom0) report(domzero, dom0, 'domzero (PV) / QEMU with genuine Xen (Dom0)');
  } finally {
    rmSync(folder, { recursive: true });
  }
}

await main();
