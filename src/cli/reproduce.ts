// The command line that does one boot again.

import type { Mode } from '../toolstack/image/modes.ts';
import { type CheckOptions, DEFAULTS } from './options.ts';

export function reproduceCommand(files: readonly string[], mode: Mode, options: CheckOptions): string {
  const words = ['domzero', 'check', ...files, '--modes', mode];
  const add = (name: string, value: string | number | undefined, standard?: string | number) => {
    if (value !== undefined && value !== standard) words.push(`--${name}`, String(value));
  };
  add('initrd', options.initrd);
  add('modules', options.modules);
  for (const { text } of options.disk) add('disk', text);
  add('net', options.net);
  add('append', options.append, '');
  add('memory', `${options.memory}M`, `${DEFAULTS.memory}M`);
  add('cpus', options.cpus, DEFAULTS.cpus);
  add('cpu', options.cpu, DEFAULTS.cpu);
  add('clock', options.clock, 'virtual');
  if (!options.jit) words.push('--no-jit');
  add('expect', options.expect?.source);
  return words.map(quoted).join(' ');
}

/** As a shell reads it. */
function quoted(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}
