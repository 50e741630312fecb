// Networks of a guest on the command line: its devices, its way out, ports of this machine that lead into it.

import { closeSync, openSync, writeSync } from 'node:fs';
import { type Command, InvalidArgumentError } from 'commander';
import { withFile } from '../platform/node/files.ts';
import { connectFrameSocket } from '../platform/node/frame-socket.ts';
import { nodeSockets } from '../platform/node/sockets.ts';
import type { NetworkSetup } from '../toolstack/devices/network-setup.ts';
import { type PortForward, parseForward } from '../toolstack/devices/port-forward.ts';
import { parseVif, type VifSpec } from '../toolstack/devices/vif.ts';
import type { Io } from './io.ts';
import { UsageError } from './usage-error.ts';

export interface NetworkOptions {
  /** unix:PATH is a Unix socket that carries frames. */
  readonly net?: 'user' | 'none' | `unix:${string}`;
  readonly vif: readonly VifSpec[];
  readonly hostfwd: readonly PortForward[];
  readonly pcap?: string;
}

export function addNetworkOptions(command: Command): Command {
  return command
    .option(
      '--net <kind>',
      'the way out for network devices: user, none, or unix:PATH, a socket of passt or of QEMU (default: none, user with --hostfwd)',
      wayOut,
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

function wayOut(text: string): NonNullable<NetworkOptions['net']> {
  if (text === 'user' || text === 'none') return text;
  if (/^unix:./.test(text)) return text as `unix:${string}`;
  throw new InvalidArgumentError('It is user, none, or unix:PATH.');
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

/** What was asked for, and how to close what was opened for it. Where there is a way out there is a device. Rejects with a sentence. */
export async function networkSetup(
  options: NetworkOptions,
  io: Io,
): Promise<{ setup: NetworkSetup; close: () => void }> {
  const { vif, hostfwd, pcap } = options;
  const path = options.net?.startsWith('unix:') ? options.net.slice('unix:'.length) : null;
  if (path !== null && hostfwd.length > 0) throw new UsageError('--hostfwd needs --net user');
  const stream = path === null ? null : await connectFrameSocket(path);
  const isUser = options.net === 'user' || (options.net === undefined && hostfwd.length > 0);
  const vifs = vif.length > 0 || !(isUser || stream) ? vif : [{}];
  let file = pcap === undefined ? null : withFile(pcap, () => openSync(pcap, 'w'));
  return {
    setup: {
      vifs,
      ...(file === null ? {} : { capture: (bytes: Uint8Array) => void (file !== null && writeSync(file, bytes)) }),
      ...(stream ? { stream, onStreamEnd: (why: string) => io.err(`domzero: ${path}: ${why}\n`) } : {}),
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
