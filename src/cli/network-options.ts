// Networks of a guest on the command line: its devices, its way out, ports of this machine that lead into it.

import { closeSync, openSync, writeSync } from 'node:fs';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { withFile } from '../platform/node/files.ts';
import { nodeSockets } from '../platform/node/sockets.ts';
import type { NetworkSetup } from '../toolstack/devices/network-setup.ts';
import { type PortForward, parseForward } from '../toolstack/devices/port-forward.ts';
import { parseVif, type VifSpec } from '../toolstack/devices/vif.ts';
import type { Io } from './io.ts';

export interface NetworkOptions {
  readonly net?: 'user' | 'none';
  readonly vif: readonly VifSpec[];
  readonly hostfwd: readonly PortForward[];
  readonly pcap?: string;
}

export function addNetworkOptions(command: Command): Command {
  return command
    .addOption(
      new Option('--net <kind>', 'the way out for network devices (default: none, user with --hostfwd)').choices([
        'user',
        'none',
      ]),
    )
    .option('--vif <config>', "a network device, such as 'mac=00:16:3e:01:02:03,bridge=xenbr0'", collect(parseVif), [])
    .option(
      '--hostfwd <ports>',
      'a port of this machine that leads into the guest, such as tcp:127.0.0.1:2222-:22',
      collect(parseForward),
      [],
    )
    .option('--pcap <file>', 'write what the network devices carry there', (file: string) => file);
}

/** An option that can be given several times; what is wrong with its text is a sentence of `parse`. */
export function collect<T>(parse: (text: string) => T): (text: string, before: readonly T[]) => readonly T[] {
  return (text, before) => {
    try {
      return [...before, parse(text)];
    } catch (error) {
      throw new InvalidArgumentError(error instanceof Error ? `${error.message}.` : String(error));
    }
  };
}

/** What was asked for, and how to close what was opened for it. Where there is a way out there is a device. */
export function networkSetup(options: NetworkOptions, io: Io): { setup: NetworkSetup; close: () => void } {
  const { vif, hostfwd, pcap } = options;
  const isUser = options.net === 'user' || (options.net === undefined && hostfwd.length > 0);
  const vifs = vif.length > 0 || !isUser ? vif : [{}];
  let file = pcap === undefined ? null : withFile(pcap, () => openSync(pcap, 'w'));
  return {
    setup: {
      vifs,
      ...(file === null ? {} : { capture: (bytes: Uint8Array) => void (file !== null && writeSync(file, bytes)) }),
      ...(isUser ? { user: (wake: () => void) => ({ sockets: nodeSockets(wake), ...forwarding(hostfwd, io) }) } : {}),
    },
    close: () => {
      if (file !== null) closeSync(file);
      file = null;
    },
  };
}

function forwarding(forwards: readonly PortForward[], io: Io) {
  const named = ({ protocol, hostAddress = '127.0.0.1' }: PortForward, port: number): string =>
    `${protocol} ${hostAddress}:${port}`;
  return {
    forwards,
    onListening: (forward: PortForward, port: number) => {
      // The user knows those that they chose.
      if (forward.hostPort === 0) io.err(`domzero: ${named(forward, port)} leads to port ${forward.guestPort}\n`);
    },
    onForwardFailed: (forward: PortForward, message: string) =>
      io.err(`domzero: ${named(forward, forward.hostPort)} cannot be had: ${message}\n`),
  };
}
