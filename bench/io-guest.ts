// What the benchmarks of devices share: a guest that is nothing but load (bench/guest/io.c) on a stock kernel, and how its parts are timed from outside.
import { execFileSync, spawn } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { createInterface } from 'node:readline';
import { loadImages } from '../src/index.ts';
import { type Driver, driverModules } from '../src/toolstack/image/drivers.ts';
import { CpioWriter } from '../src/util/cpio.ts';

export const MEMORY_MIB = 256;
const TICKS_PER_SECOND = 100;
const MARK = /suite: (begin|end|done|serving|failed)(?:: | ?)(\S*) ?([0-9a-f]*)/;

/** One part, as it was seen from outside. */
export interface Part {
  /** Of all processes that the lane consists of. */
  cpuSeconds: number;
  wallSeconds: number;
  bytes: number;
}
export type Parts = Map<string, Part>;

/** A kernel with the guest's program, for both buses. */
export interface IoGuest {
  readonly kernel: string;
  readonly initrd: Readonly<Record<'xen' | 'virtio', string>>;
}

/** Writes the files; needs gcc. */
export async function ioGuest(
  folder: string,
  packages: readonly string[],
  device: 'disk' | 'network',
): Promise<IoGuest> {
  const image = await loadImages(packages.map(path => ({ name: basename(path), bytes: readFileSync(path) })));
  if (!image.bzImage) throw new Error(`${packages[0]}: QEMU needs a bzImage`);
  const [kernel, program] = [join(folder, 'vmlinuz'), join(folder, 'io')];
  writeFileSync(kernel, image.bzImage);
  execFileSync('gcc', ['-O2', '-static', '-o', program, new URL('guest/io.c', import.meta.url).pathname]);
  const make = async (driver: Driver): Promise<string> => {
    const archive = new CpioWriter().directory('dev').directory('modules').device('dev/console', 'character', 5, 1);
    const names = driverModules(image, driver) ?? [];
    const modules = (await image.modules?.withDependencies(names)) ?? [];
    modules.forEach(({ bytes }, i) => {
      archive.file(`modules/${String(i).padStart(2, '0')}.ko`, bytes);
    });
    const path = join(folder, `${driver.replace(' ', '-')}.cpio`);
    writeFileSync(path, archive.file('init', readFileSync(program), { mode: 0o755 }).finish());
    return path;
  };
  return { kernel, initrd: { xen: await make(`xen ${device}`), virtio: await make(`virtio ${device}`) } };
}

/** User and system time of a process with all its threads so far. */
function cpuSeconds(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1].split(' ');
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}

export interface Process {
  readonly command: string;
  readonly args: readonly string[];
}

/** Runs processes, of which the last one's guest does the timed work and each begins when the one before it serves. */
export async function measure(processes: readonly Process[]): Promise<Parts> {
  const parts: Parts = new Map();
  const children: ReturnType<typeof spawn>[] = [];
  const cpu = (): number => children.reduce((sum, { pid }) => sum + cpuSeconds(pid!), 0);
  try {
    for (const { command, args } of processes) {
      const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'] });
      children.push(child);
      let begun = { cpu: 0, wall: 0 };
      for await (const line of createInterface({ input: child.stdout! })) {
        const mark = MARK.exec(line);
        if (!mark) continue;
        const [, what, name, bytes] = mark;
        if (what === 'failed') throw new Error(`${command}: ${line}`);
        if (what === 'begin') begun = { cpu: cpu(), wall: performance.now() };
        else if (what === 'end') {
          const wallSeconds = (performance.now() - begun.wall) / 1000;
          parts.set(name, { cpuSeconds: cpu() - begun.cpu, wallSeconds, bytes: Number.parseInt(bytes, 16) });
        } else break;
      }
    }
    return parts;
  } finally {
    for (const child of children) child.kill('SIGKILL');
  }
}

/** QEMU with emulated processors, as fast a machine as it has: many instruction-set extensions, virtio without legacy. */
export function qemu(guest: IoGuest, append: string, devices: readonly string[]): Process {
  return {
    command: 'qemu-system-x86_64',
    args: [
      ...['-accel', 'tcg', '-display', 'none', '-no-reboot', '-monitor', 'none', '-serial', 'stdio', '-cpu', 'Nehalem'],
      ...['-m', String(MEMORY_MIB), '-kernel', guest.kernel, '-initrd', guest.initrd.virtio],
      ...['-append', `console=ttyS0 quiet ${append}`, ...devices],
    ],
  };
}

export function domzero(
  guest: IoGuest,
  mode: 'native' | 'pv' | 'pvh' | 'pvhvm',
  append: string,
  devices: readonly string[],
): Process {
  const initrd = guest.initrd[mode === 'native' ? 'virtio' : 'xen'];
  return {
    command: process.execPath,
    args: [
      ...['bin/domzero', 'run', guest.kernel, '--mode', mode, '--memory', `${MEMORY_MIB}M`, '--initrd', initrd],
      ...['--append', `quiet ${append}`, ...devices],
    ],
  };
}

const median = (values: number[]): number => values.toSorted((a, b) => a - b)[values.length >> 1];

/** Runs lanes in turn, and prints MB a second of processor time and of the clock, and the ratio to the last lane. */
export async function compare(lanes: Readonly<Record<string, () => Promise<Parts>>>, rounds: number): Promise<void> {
  execFileSync(process.execPath, ['bin/domzero', '--version']); // builds where needed
  const results = new Map(Object.keys(lanes).map(name => [name, [] as Parts[]]));
  for (let i = 0; i < rounds; i++) {
    for (const [name, run] of Object.entries(lanes)) results.get(name)!.push(await run());
  }
  const names = [...results.keys()];
  const reference = names.at(-1)!;
  console.log(`MB/s of processor time (of the clock), and the ratio to ${reference}; medians of ${rounds}`);
  const rate = (name: string, part: string, which: 'cpuSeconds' | 'wallSeconds'): number =>
    median(results.get(name)!.map(parts => parts.get(part)!.bytes / 1e6 / Math.max(0.01, parts.get(part)![which])));
  for (const part of results.get(reference)![0].keys()) {
    const cells = names.map(name => {
      const cpu = rate(name, part, 'cpuSeconds');
      const ratio = cpu / rate(reference, part, 'cpuSeconds');
      return `${name} ${cpu.toFixed(1)} (${rate(name, part, 'wallSeconds').toFixed(1)}) ${ratio.toFixed(2)}`;
    });
    console.log(`${part.padEnd(14)} ${cells.join('   ')}`);
  }
}
