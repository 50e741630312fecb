// The built-in initramfs: init and the few directories and nodes it starts from, as an archive that Linux unpacks.
import { CpioWriter } from '../../util/cpio.ts';
import { COMMAND_FILE, initProgram } from './init.ts';

export interface InitramfsOptions {
  /** Run this instead of reporting on the machine: a path, or a name to look for in /bin, /sbin and /usr's. */
  command?: readonly string[];
  /**
   * Where init stands; the kernel starts /init unless its command line says `rdinit=`. Default '/init'.
   * The archive may follow a user's own (in one file, one after the other): later entries replace earlier ones.
   */
  path?: string;
}

/** @throws RangeError for a command that cannot be written down: none of its words, or a NUL in one. */
export function builtinInitramfs(options: InitramfsOptions = {}): Uint8Array {
  const path = options.path ?? '/init';
  const archive = new CpioWriter();
  const directories = new Set(['dev', 'proc', 'sys']);
  for (const file of options.command ? [path, COMMAND_FILE] : [path]) {
    const parts = file.split('/').filter(part => part !== '');
    parts.slice(0, -1).forEach((_, i) => {
      directories.add(parts.slice(0, i + 1).join('/'));
    });
  }
  for (const directory of directories) archive.directory(directory);
  // The kernel opens /dev/console for init before anything is mounted.
  archive.device('dev/console', 'character', 5, 1).device('dev/null', 'character', 1, 3, { mode: 0o666 });
  archive.file(path, initProgram(), { mode: 0o755 });
  if (options.command) archive.file(COMMAND_FILE, encodeCommand(options.command));
  return archive.finish();
}

function encodeCommand(command: readonly string[]): Uint8Array {
  if (command.length === 0 || command[0] === '') throw new RangeError('the command is empty');
  if (command.some(word => word.includes('\0'))) throw new RangeError('a command cannot hold NUL characters');
  return new TextEncoder().encode(command.map(word => `${word}\0`).join(''));
}
