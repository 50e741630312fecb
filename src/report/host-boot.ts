// Boots of the library's machines, as reports want them: one machine a boot.

import type { BlockSource } from '../backends/block/source.ts';
import { NO_SOCKETS } from '../backends/net/user/no-sockets.ts';
import { dumpRegion } from '../cpu/jit/dump.ts';
import { JIT_DEFAULTS, type JitOptions } from '../cpu/jit/jit.ts';
import {
  BuildError,
  Dom0Machine,
  type GuestDomain,
  type GuestOptions,
  Host,
  NativeMachine,
  ramForGuests,
} from '../index.ts';
import { control } from '../toolstack/control.ts';
import { assignVdevs, type DiskSpec } from '../toolstack/devices/disk-spec.ts';
import { type NetworkSetup, openNetworks } from '../toolstack/devices/network-setup.ts';
import { addP9Devices, type Share } from '../toolstack/devices/p9.ts';
import { yieldToEventLoop } from '../toolstack/event-loop.ts';
import type { GuestConsole } from '../toolstack/guest-console.ts';
import type { HostTracer } from '../toolstack/host.ts';
import type { Mode } from '../toolstack/image/modes.ts';
import { HostedDomain, type Machine } from '../toolstack/machine.ts';
import type {
  BootedConsole,
  BootedDomain,
  BootedGuest,
  BootRequest,
  DomainEnd,
  EndReason,
  GuestRequest,
} from './boot.ts';

/** What the kernel is told in each mode before what the user appends: where its console is. */
const CONSOLES: Readonly<Record<Mode, string>> = {
  native: 'console=ttyS0',
  dom0: 'console=hvc0',
  dom0pvh: 'console=hvc0',
  pv: 'console=hvc0',
  pvh: 'console=hvc0',
  pvhvm: 'console=ttyS0 console=hvc0',
};
/** A console for what happens before that one is there, and all messages on it. */
const EARLY_CONSOLES: Readonly<Record<Mode, string>> = {
  native: 'earlyprintk=ttyS0',
  dom0: 'earlyprintk=xen',
  dom0pvh: 'earlyprintk=xen',
  pv: 'earlyprintk=xen',
  pvh: 'earlyprintk=xen',
  pvhvm: 'earlyprintk=ttyS0',
};
/** How long input waits before it is offered to a full console again. Milliseconds. */
const RETRY_MS = 5;

/** Why a mode cannot be run by this version, or null where it can. */
export function notBuilt(mode: Mode): string | null {
  return mode in STARTERS ? null : 'not built yet';
}

/**
 * The kernel's command line: the console of the mode, then what the user wants. A kernel that is to be quiet says nothing unless it
 * is in trouble; no early console then, which knows no levels.
 */
export function commandLine(mode: Mode, append: readonly string[], quiet = false): string {
  const wantsQuiet = append.some(part => /(?:^|\s)quiet(?:\s|$)/.test(part));
  const early = wantsQuiet ? '' : quiet ? 'quiet' : EARLY_CONSOLES[mode];
  return [CONSOLES[mode], early, ...append].filter(part => part !== '').join(' ');
}

/** What a machine's devices lead to. */
export interface Surroundings {
  /** Rejects with a sentence for a person. */
  openDisk(spec: DiskSpec): Promise<BlockSource>;
  /** Network devices, and where they lead. */
  readonly networks?: NetworkSetup;
  /** Folders of the host, opened. */
  readonly shares?: readonly Share[];
  /** Told of what guests do, where there is Xen under them. */
  readonly tracer?: HostTracer | undefined;
}

/** Nothing but the machine: requests must not name disks. */
const NO_SURROUNDINGS: Surroundings = {
  openDisk: () => Promise.reject(new BuildError('there is nothing here to open disks with')),
};

/** A network device and a router that leads nowhere, so that nothing outside has a part in what is seen. */
const ROUTER_ALONE: NetworkSetup = { vifs: [{}], user: () => ({ sockets: NO_SOCKETS, isolated: true }) };

/** No device, until one is attached to a bridge that leads nowhere. */
const NO_NETWORKS: NetworkSetup = { vifs: [] };

interface OpenDisk {
  readonly spec: DiskSpec;
  readonly source: BlockSource;
}

/** A machine's devices, to be made with it. */
interface Devices {
  readonly disks: readonly OpenDisk[];
  readonly networks: NetworkSetup | undefined;
  readonly shares: readonly Share[];
  readonly tracer: HostTracer | null;
}

type Starter = (request: BootRequest, log: (line: string) => void, devices: Devices) => Promise<Machine>;
function jitOf({ jit, dumpJit }: BootRequest, log: (line: string) => void): JitOptions | null {
  if (jit === false) return null;
  if (!dumpJit) return JIT_DEFAULTS;
  return {
    ...JIT_DEFAULTS,
    onCompile: (region, translated, memory) => {
      for (const line of dumpRegion(region, translated, memory)) log(line);
    },
  };
}

/** Starts each mode's machine; modes that are not here are not built yet. */
const STARTERS: Partial<Record<Mode, Starter>> = {
  native: async (request, log, { disks: opened, networks, shares }) => {
    const { image, initrd, commandLine: cmdline, memoryMiB, cpus, cpuModel: cpu, clock } = request;
    const disks = opened.map(({ source }) => source);
    return NativeMachine.create({
      image,
      initrd,
      cmdline,
      memoryMiB,
      cpus,
      cpu,
      clock,
      disks,
      networks,
      shares,
      jit: jitOf(request, log),
      log,
    });
  },
  dom0: (request, log, devices) => withDom0('pv', request, log, devices),
  dom0pvh: (request, log, devices) => withDom0('pvh', request, log, devices),
  pv: (request, log, devices) => hosted(request, log, devices, CREATORS.pv),
  pvh: (request, log, devices) => hosted(request, log, devices, CREATORS.pvh),
  pvhvm: (request, log, devices) => hosted(request, log, devices, CREATORS.pvhvm),
};

/** A machine with Dom0. */
async function withDom0(
  kind: 'pv' | 'pvh',
  request: BootRequest,
  log: (line: string) => void,
  { disks: opened, networks, shares, tracer }: Devices,
): Promise<Machine> {
  const { image, initrd, commandLine: cmdline, memoryMiB, cpus, cpuModel: cpu, clock, guests = [] } = request;
  const machine = await Dom0Machine.create({
    kind,
    image: { ...image, modules: null },
    initrd,
    cmdline,
    memoryMiB,
    guestMemoryMiB: guests.reduce((sum, guest) => sum + guest.memoryMiB + GUEST_EXTRA_MIB, 0),
    cpus,
    cpu,
    clock,
    disks: opened.map(({ source }) => source),
    networks,
    shares,
    jit: jitOf(request, log),
    log,
    tracer,
  });
  for (const guest of guests) startBeside(machine.host, guest);
  return machine;
}

type Creator = (host: Host, options: GuestOptions) => GuestDomain;

/** How a host makes a guest of each kind. */
const CREATORS: Readonly<Record<GuestRequest['mode'], Creator>> = {
  pv: (host, options) => host.createPvDomain(options),
  pvh: (host, options) => host.createPvhDomain(options),
  pvhvm: (host, options) => host.createPvHvmDomain(options),
};

/** What a guest has beside its memory at most: special pages, tables, libxl's slack. */
const GUEST_EXTRA_MIB = 4;

function startBeside(host: Host, { mode, commandLine: cmdline, cpus: vcpus, ...guest }: GuestRequest): void {
  CREATORS[mode](host, { ...guest, image: { ...guest.image, modules: null }, cmdline, vcpus });
}

/** Guests as the caller has them; one that stops goes away, as `on_poweroff = "destroy"` says. */
function guestsOf(host: Host): BootedGuest[] {
  const stopped = new Map<GuestDomain, EndReason>();
  const ended = new Map<GuestDomain, (end: DomainEnd) => void>();
  host.onGuestStopped = guest => {
    stopped.set(guest, guest.shutdown ?? 'unknown');
    host.destroy(guest);
  };
  host.onGuestGone = guest => ended.get(guest)?.({ reason: stopped.get(guest) ?? 'destroyed', crash: guest.crash });
  return [...host.domains.values()].map(guest => ({
    id: guest.id,
    name: guest.name,
    console: consoleOf(guest.console, () => guest.shutdown !== null),
    end: new Promise<DomainEnd>(resolve => ended.set(guest, resolve)),
    destroy: () => host.destroy(guest),
  }));
}

function consoleOf(console: GuestConsole, hasEnded: () => boolean): BootedConsole {
  return {
    onData: listener => void console.onOutput(listener),
    write: async bytes => {
      for (let rest = bytes; rest.length > 0 && !hasEnded(); ) {
        rest = rest.subarray(console.write(rest));
        if (rest.length > 0) await new Promise(resolve => setTimeout(resolve, RETRY_MS));
      }
    },
  };
}

/** A host with one guest. */
async function hosted(
  request: BootRequest,
  log: (line: string) => void,
  { disks, networks: setup = NO_NETWORKS, shares, tracer }: Devices,
  create: Creator,
): Promise<Machine> {
  const { image, initrd, commandLine: cmdline, memoryMiB, cpus: vcpus, cpuModel: cpu, clock } = request;
  const host = await Host.create({
    ramBytes: ramForGuests(memoryMiB),
    cpu,
    clock,
    jit: jitOf(request, log),
    log,
    tracer,
  });
  const guest = create(host, { image: { ...image, modules: null }, initrd, cmdline, memoryMiB, vcpus });
  const { scheduler, hypervisor } = host;
  const networks = openNetworks(setup, { clock: hypervisor.clock, scheduler, wake: () => host.wake() });
  const machine = new HostedDomain(host, guest, networks);
  const vdevs = assignVdevs(disks.map(({ spec }) => spec));
  disks.forEach(({ spec, source }, i) => {
    machine.devices.attachDisk({ ...spec, vdev: vdevs[i] }, source);
  });
  addP9Devices(shares, host, guest);
  for (const spec of setup.vifs) machine.devices.attachNetwork(spec);
  return machine;
}

async function openAll(specs: readonly DiskSpec[], { openDisk }: Surroundings): Promise<OpenDisk[]> {
  const disks: OpenDisk[] = [];
  try {
    for (const spec of specs) disks.push({ spec, source: await openDisk(spec) });
    return disks;
  } catch (error) {
    closeAll(disks);
    throw error;
  }
}

function closeAll(disks: readonly OpenDisk[]): void {
  for (const { source } of disks) source.close();
}

/** StartDomain: a machine of its own for every boot. Rejects with BuildError where it cannot be made. */
export async function startOnHost(
  request: BootRequest,
  surroundings: Surroundings = NO_SURROUNDINGS,
): Promise<BootedDomain> {
  const start = STARTERS[request.mode];
  if (!start) throw new BuildError(`mode ${request.mode} is not built yet`);
  const disks = await openAll(request.disks ?? [], surroundings);
  const logListeners: Array<(line: string) => void> = [];
  const log = (line: string) => {
    for (const listener of logListeners) listener(line);
  };
  const networks = surroundings.networks ?? (request.checked?.includes('network') ? ROUTER_ALONE : undefined);
  const { tracer = null, shares = [] } = surroundings;
  const machine = await start(request, log, { disks, networks, shares, tracer }).catch((error: unknown) => {
    closeAll(disks);
    throw error;
  });
  const abort = new AbortController();
  const destroy = (): void => abort.abort();
  let ended = false;

  async function run(): Promise<DomainEnd> {
    // Whoever was given the domain has its listeners in place before the first output.
    await yieldToEventLoop();
    const end = await machine.run({
      until: () => machine.shutdown !== null,
      signal: abort.signal,
      // On a real clock input may come.
      whenIdle: request.clock === 'real' ? 'wait' : 'return',
    });
    ended = true;
    closeAll(disks);
    const reason: EndReason = machine.shutdown ?? (end === 'aborted' ? 'destroyed' : 'idle');
    return { reason, crash: machine.crash };
  }

  const finished = run().finally(() => {
    tracer?.end();
    machine.close();
  });
  // Whoever waits hears of it; nobody may be waiting yet.
  finished.catch(() => {});
  return {
    console: consoleOf(machine.console, () => ended),
    ...(machine instanceof Dom0Machine ? { guests: guestsOf(machine.host) } : {}),
    onLog: listener => void logListeners.push(listener),
    get instructions() {
      return Number(machine.instructions);
    },
    wait: () => finished,
    inspect: () => machine.inspect(),
    destroy,
    control:
      machine instanceof HostedDomain
        ? line =>
            control({ guest: machine.guest, devices: machine.devices, openDisk: surroundings.openDisk, destroy }, line)
        : null,
  };
}
