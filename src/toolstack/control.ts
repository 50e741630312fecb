// Commands to a domain that runs, in xl's words without the domain's name: docs/man/xl.1.pod. A line is a command; what follows its first word is one
// argument, since the descriptions of devices have spaces and commas in them.
import type { BlockSource } from '../backends/block/source.ts';
import { type DiskSpec, DiskSpecError, parseDisk } from './devices/disk-spec.ts';
import type { GuestDevices } from './devices/guest-devices.ts';
import { DeviceSpecError } from './devices/spec-error.ts';
import { parseVif } from './devices/vif.ts';
import type { GuestDomain } from './guest-domain.ts';

/** What a command gives: plain data. */
export type ControlResult =
  | { readonly ok: true; readonly result: unknown }
  | { readonly ok: false; readonly error: string };

export interface ControlOptions {
  readonly guest: GuestDomain;
  readonly devices: GuestDevices;
  /** Rejects with a sentence for a person. */
  readonly openDisk: (spec: DiskSpec) => Promise<BlockSource>;
  /** Ends the machine at once. */
  readonly destroy: () => void;
}

type Command = (options: ControlOptions, argument: string) => unknown;

const COMMANDS: Readonly<Record<string, Command>> = {
  'block-attach': async ({ devices, openDisk }, text) => {
    const spec = parseDisk(text);
    const source = await openDisk(spec);
    try {
      return { vdev: devices.attachDisk(spec, source).name };
    } catch (error) {
      source.close();
      throw error;
    }
  },
  'block-detach': ({ devices }, vdev) => devices.detachDisk(vdev),
  'block-list': ({ devices }) => devices.disks,
  'block-resize': ({ devices }, vdev) => ({ size: devices.resizeDisk(vdev) }),
  'network-attach': ({ devices }, text) => ({ index: devices.attachNetwork(parseVif(text)) }),
  'network-detach': ({ devices }, which) => devices.detachNetwork(which),
  'network-list': ({ devices }) => devices.networks,
  shutdown: ({ guest }) => guest.requestShutdown('poweroff'),
  reboot: ({ guest }) => guest.requestShutdown('reboot'),
  destroy: ({ destroy }) => destroy(),
};

export const CONTROL_COMMANDS = Object.keys(COMMANDS);

/** Never rejects for what a person gave wrongly. */
export async function control(options: ControlOptions, line: string): Promise<ControlResult> {
  const [, name, argument] = /^\s*(\S*)\s*(.*?)\s*$/s.exec(line)!;
  if (!Object.hasOwn(COMMANDS, name)) {
    return { ok: false, error: `there is no command "${name}"; the commands are ${CONTROL_COMMANDS.join(', ')}` };
  }
  try {
    return { ok: true, result: (await COMMANDS[name](options, argument)) ?? null };
  } catch (error) {
    const isPersons = error instanceof DiskSpecError || error instanceof DeviceSpecError;
    const isFiles = error instanceof Error && error.name === 'FileError';
    if (isPersons || isFiles) return { ok: false, error: error.message };
    throw error;
  }
}
