// `domzero run`: one guest, with its console on this terminal or these pipes, until it ends.

import { readConsoleInput } from '../platform/node/console-input.ts';
import { type ControlSocket, listenForControl } from '../platform/node/control-socket.ts';
import { openDisk } from '../platform/node/disks.ts';
import type { BootedDomain } from '../report/boot.ts';
import { explain } from '../report/explanation.ts';
import { commandLine, notBuilt, startOnHost } from '../report/host-boot.ts';
import { runBoot } from '../report/run-boot.ts';
import type { Result } from '../report/verdict.ts';
import { imageModes, isDom0, MODES, type Mode } from '../toolstack/image/modes.ts';
import { kernelSymbols } from '../toolstack/image/symbols.ts';
import { openConsoleLog, openLogs } from './boot-logs.ts';
import { CommandOutput } from './command-output.ts';
import { DriverSource, devicesOf } from './drivers.ts';
import { guestRequest } from './guest-options.ts';
import { loadFiles } from './images.ts';
import { InitramfsSource } from './initramfs.ts';
import type { Io } from './io.ts';
import { networkSetup } from './network-options.ts';
import type { RunOptions } from './options.ts';
import { closeShares, mountShares, openShares } from './share-options.ts';
import { SharedTerminal } from './shared-terminal.ts';
import { openTrace } from './trace-options.ts';
import { UsageError } from './usage-error.ts';

const CRASHED = 255;
const TIMED_OUT = 124;
const TOOL_FAILED = 2;
/** A shell's way to say which signal ended a command. */
const SIGNAL_BASE = 128;

/** @param command what the built-in init runs instead of its report; empty for none. Resolves with the exit status. */
export async function run(
  paths: readonly string[],
  command: readonly string[],
  options: RunOptions,
  io: Io,
): Promise<number> {
  const { files, mode } = whatToRun(paths, options);
  if (options.trace && mode === 'native') {
    throw new UsageError(
      'a bare machine makes no hypercalls: a trace needs a mode with Xen (dom0, dom0pvh, pv, pvh, pvhvm)',
    );
  }
  const { modules, ...image } = await loadFiles(files);
  const why = notBuilt(mode);
  if (why !== null) throw new UsageError(`mode ${mode} is ${why}`);
  const { can, reason } = imageModes({ ...image, modules }, kernelSymbols(image.elf))[mode];
  if (!can) throw new UsageError(`${image.name} cannot boot as ${mode}: ${reason}`);

  const guest = await guestRequest(options);
  if (guest !== null && !isDom0(mode)) throw new UsageError(`--guest needs a Dom0 beside it, not mode ${mode}`);
  const hasCommand = command.length > 0;
  const { initrd, modules: directory } = options;
  const source = new InitramfsSource({ initrd, modules: directory, ...(hasCommand ? { command } : {}) });
  const network = await networkSetup(options, io);
  const shares = openShares(options.share);
  const trace = options.trace ? openTrace(options.trace, io) : null;
  const devices = devicesOf({
    disk: options.disk.length > 0,
    network: network.setup.vifs.length > 0,
    share: shares.length > 0,
  });
  const drivers = new DriverSource({ ...image, modules }, devices);
  const initramfs = source.for(image.elf.bits, await drivers.for(mode), mountShares(shares, mode));
  const request = {
    image,
    mode,
    cpuModel: options.cpu,
    cpus: options.cpus,
    memoryMiB: options.memory,
    initrd: initramfs.bytes,
    // A command's output is what is wanted, not the kernel's.
    commandLine: commandLine(mode, [initramfs.append, options.append], hasCommand),
    clock: options.clock,
    disks: options.disk,
    jit: options.jit,
    dumpJit: options.dumpJit,
    ...(guest === null ? {} : { guests: [guest] }),
  };
  const logs = options.logs === undefined ? null : openLogs(options.logs, `${image.name}-${mode}`);
  const guestLog =
    options.logs === undefined || guest === null
      ? null
      : openConsoleLog(options.logs, `${guest.image.name}-${guest.mode}`);
  const filter = hasCommand ? new CommandOutput(bytes => io.out(bytes)) : null;
  let left = false;
  let input: ReturnType<typeof readConsoleInput> | null = null;
  let socket: ControlSocket | null = null;
  const start = async () => {
    const domain: BootedDomain = await startOnHost(request, {
      openDisk,
      networks: network.setup,
      shares,
      tracer: trace?.recorder,
    });
    if (options.control !== undefined) socket = await openControl(options.control, domain);
    const terminal = shareTerminal(domain, filter, io);
    for (const { console } of domain.guests ?? []) console.onData(bytes => guestLog?.console(bytes));
    input = readConsoleInput(
      bytes => terminal.type(bytes),
      () => {
        left = true;
        domain.destroy();
      },
    );
    if (input.isTerminal) io.err('(Ctrl-] leaves)\r\n');
    return domain;
  };
  const observer = {
    console: (bytes: Uint8Array) => logs?.console(bytes),
    log: (line: string) => logs?.log(line),
  };
  try {
    const how = { goal: { kind: 'end' }, timeoutSeconds: options.timeout, reproduce: '', observer } as const;
    const result = await runBoot(request, start, how);
    filter?.flush();
    return left ? 0 : tell(result, hasCommand, io);
  } finally {
    (input as ReturnType<typeof readConsoleInput> | null)?.stop();
    (socket as ControlSocket | null)?.close();
    network.close();
    closeShares(shares);
    trace?.close();
    logs?.close();
    guestLog?.close();
  }
}

async function openControl(path: string, { control, destroy }: BootedDomain): Promise<ControlSocket> {
  try {
    if (control === null)
      throw new UsageError('a machine without a hypervisor of ours has no --control: its devices are fixed');
    return await listenForControl(path, control);
  } catch (error) {
    destroy();
    throw error;
  }
}

/** The kernel's files and how it boots: as arguments with --mode, or by --dom0. Throws UsageError. */
function whatToRun(paths: readonly string[], { dom0, mode }: RunOptions): { files: readonly string[]; mode: Mode } {
  if (dom0 === undefined) {
    if (paths.length === 0) throw new UsageError('which kernel? (an image with --mode, or --dom0)');
    if (mode === undefined) throw new UsageError(`which mode? (--mode ${MODES.join('|')})`);
    return { files: paths, mode };
  }
  if (paths.length > 0) throw new UsageError('a kernel is named by --dom0 or as an argument, not both');
  if (mode !== undefined && !isDom0(mode)) throw new UsageError(`--dom0 is not for mode ${mode}`);
  return { files: dom0, mode: mode ?? 'dom0' };
}

/** Dom0 and its guests on this terminal; where the output of a command is wanted, that of Dom0's alone. */
function shareTerminal({ console, guests = [] }: BootedDomain, filter: CommandOutput | null, io: Io): SharedTerminal {
  const own = { id: 0, ...console };
  const notice = (text: string): void => io.err(text);
  if (filter !== null) return new SharedTerminal([own], bytes => filter.push(bytes), notice);
  const domains = guests.map(({ id, console: { onData, write } }) => ({ id, onData, write }));
  const terminal = new SharedTerminal([own, ...domains], bytes => io.out(bytes), notice);
  for (const { id, name, end } of guests) {
    void end.then(({ reason }) => {
      terminal.remove(id);
      io.err(`domzero: domain ${id} (${name}) has ended: ${reason}\r\n`);
    });
  }
  return terminal;
}

/** What cannot be seen on the console goes to stderr; gives the exit status. */
function tell(result: Result, consoleHidden: boolean, io: Io): number {
  const { verdict, guest } = result;
  if (verdict === 'error') io.err(`domzero: ${result.reason}\n`);
  else if (verdict !== 'pass') {
    const lines = explain(consoleHidden ? result : { ...result, consoleTail: [] });
    io.err(`\n${lines.join('\n')}\n`);
  }
  if (verdict === 'error') return TOOL_FAILED;
  if (verdict === 'timeout') return TIMED_OUT;
  if (verdict === 'crash' || verdict === 'fail') return CRASHED;
  if (guest?.exitSignal != null) return SIGNAL_BASE + guest.exitSignal;
  return guest?.exitStatus ?? 0;
}
