// A guest beside Dom0 on the command line: its kernel, and what it is made of.
import { type Command, Option } from 'commander';
import type { GuestRequest } from '../report/boot.ts';
import { commandLine } from '../report/host-boot.ts';
import { imageModes } from '../toolstack/image/modes.ts';
import { kernelSymbols } from '../toolstack/image/symbols.ts';
import { loadFiles } from './images.ts';
import { InitramfsSource } from './initramfs.ts';
import { cpuCount, DEFAULTS, memorySize } from './options.ts';
import { UsageError } from './usage-error.ts';

const GUEST_MODES = ['pv', 'pvh', 'pvhvm'] as const;

export interface GuestOptions {
  readonly guest?: readonly string[];
  readonly guestMode: GuestRequest['mode'];
  readonly guestMemory: number;
  readonly guestCpus: number;
  readonly guestInitrd?: string;
  readonly guestAppend: string;
}

export function addGuestOptions(command: Command): Command {
  return command
    .option('--dom0 <image...>', 'the same as an image with --mode dom0')
    .option('--guest <image...>', 'a kernel that is started as a guest beside Dom0 (Ctrl-a three times: whose input)')
    .addOption(new Option('--guest-mode <mode>', 'what kind of guest it is').choices(GUEST_MODES).default('pv'))
    .option('--guest-memory <size>', 'its memory', memorySize, DEFAULTS.guestMemory)
    .option('--guest-cpus <n>', 'its number of CPUs', cpuCount, DEFAULTS.cpus)
    .option('--guest-initrd <file>', 'its initramfs instead of the built-in one')
    .option('--guest-append <string>', "appended to its kernel's command line", '');
}

/** The guest that was asked for, or none. Rejects with UsageError, ImageError, FileError. */
export async function guestRequest(options: GuestOptions): Promise<GuestRequest | null> {
  const { guest, guestMode: mode, guestInitrd: initrd } = options;
  if (guest === undefined) return null;
  const { modules, ...image } = await loadFiles(guest);
  const { can, reason } = imageModes({ ...image, modules }, kernelSymbols(image.elf))[mode];
  if (!can) throw new UsageError(`${image.name} cannot boot as ${mode}: ${reason}`);
  const initramfs = new InitramfsSource({ initrd, modules: undefined }).for(image.elf.bits);
  return {
    image,
    mode,
    name: GUEST_NAME,
    cpus: options.guestCpus,
    memoryMiB: options.guestMemory,
    initrd: initramfs.bytes,
    commandLine: commandLine(mode, [initramfs.append, options.guestAppend]),
  };
}

/** What tools in Dom0 know it by. */
const GUEST_NAME = 'guest';
