// Options that several commands have, and what their values may be.

import { availableParallelism } from 'node:os';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { CPU_MODELS } from '../toolstack/cpu-model.ts';
import { type DiskSpec, DiskSpecError, parseDisk } from '../toolstack/devices/disk-spec.ts';
import { MODES, type Mode } from '../toolstack/image/modes.ts';
import type { GuestOptions } from './guest-options.ts';
import type { NetworkOptions } from './network-options.ts';
import type { ShareOptions } from './share-options.ts';
import type { TraceOptions } from './trace-options.ts';

/** What a machine is made of. */
export interface MachineOptions {
  readonly cpu: string;
  readonly cpus: number;
  /** MiB. */
  readonly memory: number;
  readonly append: string;
  readonly initrd?: string;
  readonly modules?: string;
  readonly disk: readonly DiskSpec[];
  readonly clock: 'virtual' | 'real';
  /** False for --no-jit. */
  readonly jit: boolean;
  /** The log shows what is compiled. */
  readonly dumpJit?: boolean;
  /** Seconds; Infinity for none. */
  readonly timeout: number;
}

export interface CheckOptions extends MachineOptions {
  readonly modes: readonly Mode[];
  readonly net?: 'user' | 'none';
  readonly jobs: number;
  readonly expect?: RegExp;
  readonly ktap?: boolean;
  readonly json?: string;
  readonly junit?: string;
  readonly logs?: string;
}

export interface RunOptions extends MachineOptions, NetworkOptions, ShareOptions, GuestOptions {
  readonly mode?: Mode;
  /** Images, instead of the command's arguments. */
  readonly dom0?: readonly string[];
  readonly logs?: string;
  /** Where what the guest does with Xen is written to. */
  readonly trace?: TraceOptions;
  /** Where the socket for `domzero control` is made. */
  readonly control?: string;
}

export const DEFAULTS = { cpu: CPU_MODELS[0].name, cpus: 1, memory: 512, guestMemory: 256 } as const;
const MOST_CPUS = 128;
/** A host's memory is one WebAssembly memory of less than 4 GiB, and Xen's own structures are in it too. */
const MOST_MEMORY = 3584;
const LEAST_MEMORY = 16;

export function addMachineOptions(command: Command, clock: 'virtual' | 'real', timeout: number): Command {
  const limit = timeout === Number.POSITIVE_INFINITY ? '' : ` (default: ${timeout})`;
  return command
    .option('--initrd <file>', "a user's own initramfs instead of the built-in one", nonEmpty)
    .option(
      '--modules <dir>',
      'kernel modules to put into the initramfs (a directory with lib/modules in it)',
      nonEmpty,
    )
    .option(
      '--disk <spec>',
      'a disk in xl\'s syntax: a file, block device or URL, then ",ro", ",overlay", ",overlay=FILE", ",format=qcow2", ",xvdb"',
      disks,
      [],
    )
    .option('--append <string>', "appended to the kernel's command line", '')
    .option('--memory <size>', 'memory of the guest, such as 512M or 2G', memorySize, DEFAULTS.memory)
    .option('--cpus <n>', 'number of CPUs', cpuCount, DEFAULTS.cpus)
    .addOption(
      new Option('--cpu <model>', 'CPU model').choices(CPU_MODELS.map(model => model.name)).default(DEFAULTS.cpu),
    )
    .option('--dump-jit', 'print compiled guest code beside its WebAssembly, to the log')
    .option('--no-jit', 'interpret all code instead of compiling what is hot (slower, for comparison)')
    .addOption(new Option('--clock <kind>', 'what time is').choices(['virtual', 'real']).default(clock))
    .addOption(
      new Option('--timeout <s>', `seconds after which a guest is stopped${limit}`)
        .argParser(seconds)
        .default(timeout, ''),
    );
}

export function addCheckOptions(command: Command): Command {
  return command
    .addOption(
      new Option('--modes <list>', `modes to boot in, of ${MODES.join(',')}`)
        .argParser(modeList)
        .default([...MODES], 'all'),
    )
    .addOption(
      new Option('--net <kind>', 'user: a network device, whose driver has to reach the router').choices([
        'user',
        'none',
      ]),
    )
    .option('--expect <regex>', 'a console line that is a pass (instead of the report of the built-in init)', pattern)
    .option('--jobs <n>', 'boots at the same time', integer('jobs', 1, 256), availableParallelism())
    .option('--ktap', 'print KTAP instead of a table')
    .option('--json <file>', 'write the results as JSON ("-": to standard output instead of the table)', nonEmpty)
    .option('--junit <file>', 'write the results as JUnit XML ("-": as above)', nonEmpty)
    .addOption(logsOption());
}

export function logsOption(): Option {
  return new Option('--logs <dir>', "write each guest's console and the hypervisor's log there").argParser(nonEmpty);
}

export function modeOption(): Option {
  return new Option('--mode <mode>', 'how to boot').choices([...MODES]);
}

export function cpuCount(text: string): number {
  return integer('CPUs', 1, MOST_CPUS)(text);
}

/** MiB from "512", "512M", "512MiB", "2G", "1048576K". */
export function memorySize(text: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*(?:([KMG])(?:i?B)?)?$/i.exec(text.trim());
  if (match === null) throw new InvalidArgumentError('Give a size such as 512M or 2G.');
  const unit = { K: 1 / 1024, M: 1, G: 1024 }[(match[2] ?? 'M').toUpperCase() as 'K' | 'M' | 'G'];
  const mib = Number(match[1]) * unit;
  if (mib < LEAST_MEMORY || mib > MOST_MEMORY || !Number.isInteger(mib)) {
    throw new InvalidArgumentError(`A guest has a whole number of MiB from ${LEAST_MEMORY}M to ${MOST_MEMORY}M.`);
  }
  return mib;
}

export function modeList(text: string): Mode[] {
  const names = text.split(',').map(name => name.trim());
  const unknown = names.find(name => !MODES.includes(name as Mode));
  if (unknown !== undefined) {
    throw new InvalidArgumentError(`There is no mode "${unknown}"; the modes are ${MODES.join(', ')}.`);
  }
  return MODES.filter(mode => names.includes(mode));
}

function integer(what: string, least: number, most: number) {
  return (text: string): number => {
    const value = Number(text);
    if (!/^\d+$/.test(text) || value < least || value > most) {
      throw new InvalidArgumentError(`The number of ${what} is from ${least} to ${most}.`);
    }
    return value;
  };
}

function seconds(text: string): number {
  const value = Number(text);
  if (text.trim() === '' || !(value > 0)) throw new InvalidArgumentError('Give a number of seconds above 0.');
  return value;
}

function pattern(text: string): RegExp {
  try {
    return new RegExp(text);
  } catch (error) {
    throw new InvalidArgumentError(error instanceof Error ? `${error.message}.` : 'It is no regular expression.');
  }
}

function disks(text: string, before: readonly DiskSpec[]): DiskSpec[] {
  try {
    return [...before, parseDisk(text)];
  } catch (error) {
    if (error instanceof DiskSpecError) throw new InvalidArgumentError(`${error.message}.`);
    throw error;
  }
}

function nonEmpty(text: string): string {
  if (text === '') throw new InvalidArgumentError('It is empty.');
  return text;
}
