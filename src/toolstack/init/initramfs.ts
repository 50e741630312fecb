// The built-in initramfs: init and the few directories and nodes it starts from, as an archive that Linux unpacks.
import { CpioWriter } from '../../util/cpio.ts';
import { COMMAND_FILE, initProgram } from './init.ts';
import { type Action, encodeScript, SCRIPT_FILE } from './script.ts';

export interface InitramfsOptions {
  /** Of the kernel that starts it. */
  bits: 32 | 64;
  /** Run this instead of reporting on the machine: a path, or a name to look for in /bin, /sbin and /usr's. */
  command?: readonly string[];
  /** Kernel modules to load before that, in this order; the name of a file is the end of its path. */
  modules?: ReadonlyArray<{ readonly path: string; readonly bytes: Uint8Array }>;
  /** What to do then. */
  actions?: readonly Action[];
  /** Files for that, by their absolute paths. */
  files?: ReadonlyMap<string, Uint8Array>;
  /**
   * Where init stands; the kernel starts /init unless its command line says `rdinit=`. Default '/init'.
   * The archive may follow a user's own (in one file, one after the other): later entries replace earlier ones.
   */
  path?: string;
}

const MODULE_DIRECTORY = '/.domzero/modules';

/** @throws RangeError for a command that cannot be written down: none of its words, or a NUL in one; and for such an action. */
export function builtinInitramfs(options: InitramfsOptions): Uint8Array {
  const { bits, command, modules = [], path = '/init' } = options;
  const contents = new Map(options.files ?? []).set(path, initProgram(bits));
  if (command) contents.set(COMMAND_FILE, encodeCommand(command));
  const actions: Action[] = [];
  for (const module of modules) {
    const file = `${MODULE_DIRECTORY}/${module.path.replace(/^.*\//, '')}`;
    contents.set(file, module.bytes);
    actions.push({ do: 'module', path: file });
  }
  actions.push(...(options.actions ?? []));
  if (actions.length > 0) contents.set(SCRIPT_FILE, new TextEncoder().encode(encodeScript(actions)));

  const archive = new CpioWriter();
  const directories = new Set(['dev', 'proc', 'sys']);
  for (const file of contents.keys()) {
    const parts = file.split('/').filter(part => part !== '');
    parts.slice(0, -1).forEach((_, i) => {
      directories.add(parts.slice(0, i + 1).join('/'));
    });
  }
  for (const directory of directories) archive.directory(directory);
  // The kernel opens /dev/console for init before anything is mounted.
  archive.device('dev/console', 'character', 5, 1).device('dev/null', 'character', 1, 3, { mode: 0o666 });
  for (const [file, bytes] of contents) archive.file(file, bytes, { mode: file === path ? 0o755 : 0o644 });
  return archive.finish();
}

function encodeCommand(command: readonly string[]): Uint8Array {
  if (command.length === 0 || command[0] === '') throw new RangeError('the command is empty');
  if (command.some(word => word.includes('\0'))) throw new RangeError('a command cannot hold NUL characters');
  return new TextEncoder().encode(command.map(word => `${word}\0`).join(''));
}
