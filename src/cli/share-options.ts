// Folders of this machine for a guest, on the command line.

import type { Command } from 'commander';
import { openSharedFolder } from '../platform/node/shared-folder.ts';
import type { Share } from '../toolstack/devices/p9.ts';
import { assignTags, parseShare, type ShareSpec } from '../toolstack/devices/share-spec.ts';
import { deviceBus, type Mode } from '../toolstack/image/modes.ts';
import type { Action } from '../toolstack/init/script.ts';
import { collect } from './network-options.ts';

export interface ShareOptions {
  readonly share: readonly ShareSpec[];
}

export function addShareOptions(command: Command): Command {
  return command.option(
    '--share <folder>',
    'a folder of this machine, by 9p: a path, then ",rw" to let the guest write; or xl\'s syntax',
    collect(parseShare),
    [],
  );
}

/** Throws FileError and DeviceSpecError. Whoever opened them closes them. */
export function openShares(specs: readonly ShareSpec[]): Share[] {
  const tags = assignTags(specs);
  const shares: Share[] = [];
  try {
    for (const [i, { path, isReadOnly }] of specs.entries()) {
      shares.push({ folder: openSharedFolder(path), tag: tags[i], path, isReadOnly });
    }
    return shares;
  } catch (error) {
    closeShares(shares);
    throw error;
  }
}

export function closeShares(shares: readonly Share[]): void {
  for (const { folder } of shares) folder.close();
}

/** The built-in init has them at /TAG. */
export function mountShares(shares: readonly Share[], mode: Mode): Action[] {
  const transport = deviceBus(mode);
  return shares.map(({ tag }) => ({
    do: 'mount',
    type: '9p',
    source: tag,
    directory: `/${tag}`,
    options: `trans=${transport},version=9p2000.L,msize=262144`,
  }));
}
