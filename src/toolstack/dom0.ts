// A machine whose kernel runs as Dom0: the hypervisor on a board, and on it the initial domain, which drives the board's devices.
import { AwaitedSource } from '../backends/block/awaited-source.ts';
import type { BlockSource } from '../backends/block/source.ts';
import type { CrashRecord } from '../hypervisor/crash.ts';
import { captureCrash } from '../hypervisor/crash.ts';
import type { Domain } from '../hypervisor/domain.ts';
import { runnerOf } from '../hypervisor/schedule.ts';
import { PM_TIMER } from '../machine/acpi/pm.ts';
import { AT, Board, type BoardOptions, PCI_HOLE } from '../machine/board.ts';
import { OWN_PLAN } from '../machine/board-plan.ts';
import { layOutMemory, type MemoryLayout } from '../machine/memory-layout.ts';
import { PhysicalMemory } from '../machine/physical-memory.ts';
import { firmwareRanges } from '../machine/processor/mtrr.ts';
import { VirtioBlock } from '../machine/virtio/block.ts';
import { addVirtio } from '../machine/virtio/pci-device.ts';
import { buildDom0Pvh } from './builder/dom0-pvh.ts';
import { BuildError } from './builder/error.ts';
import { buildPv } from './builder/pv.ts';
import type { ClockOptions } from './clock.ts';
import { addCards, type NetworkSetup, openNetworks } from './devices/network-setup.ts';
import type { Networks } from './devices/networks.ts';
import { addP9Cards, type Share } from './devices/p9.ts';
import { GuestConsole } from './guest-console.ts';
import type { ShutdownName } from './guest-domain.ts';
import { Host, type HostOptions, ramForGuests } from './host.ts';
import type { KernelImage } from './image/kernel.ts';
import type { Machine } from './machine.ts';
import type { RunEnd, RunOptions } from './run-machine.ts';

export interface Dom0Options extends ClockOptions, Pick<HostOptions, 'cpu' | 'jit' | 'log' | 'tracer'> {
  image: KernelImage;
  initrd?: Uint8Array | null;
  cmdline?: string;
  /** Xen's dom0=pv or dom0=pvh. Default: pv. */
  kind?: 'pv' | 'pvh';
  /** Xen's dom0_mem, in MiB. */
  memoryMiB: number;
  /** Memory of guests beside it, in MiB. */
  guestMemoryMiB?: number;
  /** The machine's disks, virtio-blk devices in this order. */
  disks?: readonly BlockSource[];
  /** The machine's network cards, virtio-net devices in this order, and where they lead. */
  networks?: NetworkSetup | undefined;
  /** Folders, the machine's virtio-9p devices. */
  shares?: readonly Share[];
  /** Processors of the machine, and vCPUs of Dom0. */
  cpus?: number;
  /**
   * Who serves XenStore: the host, from the start; or nobody until Dom0 starts a daemon of its own, as on genuine Xen. Default: the host. A PVH
   * kernel has no way to be told of a daemon elsewhere: it waits for its own.
   */
  xenstore?: 'host' | 'dom0';
}

const MIB = 1 << 20;
const PAGES_PER_MIB = 256;
const FRAME = 4096;
const MAX_CPUS = 128;
/** The first MiB and the firmware's tables, which are nobody's RAM. */
const FIRST_MIB_FRAMES = 0x100;
const RESERVED_MIB = 2;
const LAST_FRAME = 2 ** 40 - 1;
const TYPE_RESERVED = 2;

export class Dom0Machine implements Machine {
  /** The hypervisor's console, which Dom0 shares. */
  readonly console: GuestConsole;
  readonly host: Host;
  readonly domain: Domain;
  readonly board: Board;
  private ended: ShutdownName | null = null;
  private networks: Networks | null = null;

  /** Throws BuildError, with one sentence for the user, where the kernel cannot be started like this. */
  static async create(options: Dom0Options): Promise<Dom0Machine> {
    const { memoryMiB, guestMemoryMiB = 0, cpus = 1 } = options;
    if (!Number.isInteger(cpus) || cpus < 1 || cpus > MAX_CPUS) {
      throw new BuildError(`a machine has 1 to ${MAX_CPUS} processors, not ${cpus}`);
    }
    const ramBytes = ramForGuests(memoryMiB + guestMemoryMiB) + RESERVED_MIB * MIB;
    if (ramBytes > PCI_HOLE.holeStart) {
      throw new BuildError(
        `a host with Dom0 has at most ${PCI_HOLE.holeStart / MIB} MiB of memory for all its domains`,
      );
    }
    const layout = layOutMemory({ ramBytes, ...PCI_HOLE });
    // The board ends this machine, which does not exist yet.
    let machine: Dom0Machine | null = null;
    let board: Board | null = null;
    const host = await Host.create({
      ...options,
      ramBytes,
      machine: parts => {
        board = new Board({
          ...parts,
          layout,
          serialOutput: () => {},
          end: how => machine?.end(how),
        } satisfies BoardOptions);
        return xenMachine(board, layout, cpus, how => machine?.end(how));
      },
    });
    machine = new Dom0Machine(host, board!, layout, options);
    return machine;
  }

  private constructor(host: Host, board: Board, layout: MemoryLayout, options: Dom0Options) {
    const { image, memoryMiB, cpus = 1, cmdline = '', initrd = null, xenstore = 'host', kind = 'pv' } = options;
    const { hypervisor } = host;
    this.host = host;
    this.board = board;
    const pages = memoryMiB * PAGES_PER_MIB;
    this.domain = hypervisor.createDomain({
      id: 0,
      name: 'Domain-0',
      abi: kind === 'pv' ? 'pv64' : 'hvm',
      vcpus: cpus,
      // As on genuine Xen Dom0 may have all that there is.
      maxPages: 0xffffffff,
      isPrivileged: true,
      drivesHardware: true,
    });
    const devices = {
      memory: kind === 'pv' ? board.physical : translated(this.domain),
      later: (work: () => void) => hypervisor.hostEvents.raise(work),
      log: hypervisor.log,
    };
    for (const source of options.disks ?? []) {
      const disk = new AwaitedSource(source, () => host.wake());
      host.scheduler.outside.add(() => disk.isBusy);
      addVirtio(board.pci, new VirtioBlock(devices, { source: disk }));
    }
    if (options.networks) {
      const { clock } = hypervisor;
      this.networks = openNetworks(options.networks, { clock, scheduler: host.scheduler, wake: () => host.wake() });
      addCards(this.networks, options.networks.vifs, board.pci, devices);
    }
    addP9Cards(options.shares ?? [], board.pci, devices);
    board.runFirmware(Array.from({ length: cpus }, (_, id) => id));
    hypervisor.machineMemoryMap = [
      ...layout.map.map(({ address, size, type }) => ({ address: BigInt(address), size: BigInt(size), type })),
      ...OWN_FRAMES.map(([first, last]) => ({
        address: BigInt(first * FRAME),
        size: BigInt((last - first + 1) * FRAME),
        type: TYPE_RESERVED,
      })),
    ].sort((a, b) => Number(a.address - b.address));
    this.console = new GuestConsole(() => host.wake());
    this.console.connect(hypervisor.console);
    hypervisor.onConsoleOutput = (_domain, bytes) => this.console.print(bytes);

    if (kind === 'pvh') {
      buildDom0Pvh(this.domain, { image, initrd, cmdline, pages, board });
      return;
    }
    this.domain.ioMemory = allBut(OWN_FRAMES);
    const storePort = xenstore === 'host' ? this.domain.events.allocUnbound(0) : null;
    const { storeMfn } = buildPv(this.domain, { image, initrd, cmdline, pages, storePort, consolePort: null });
    if (storePort !== null) host.store.introduce(0, storeMfn, storePort);
  }

  get shutdown(): ShutdownName | null {
    return this.ended;
  }

  get crash(): CrashRecord | null {
    return this.domain.crashRecord;
  }

  get instructions(): bigint {
    return this.host.instructions;
  }

  run(options?: RunOptions): Promise<RunEnd> {
    return this.host.run(options);
  }

  close(): void {
    this.networks?.close();
  }

  /** Takes Dom0 away, which genuine Xen does not do, and leaves the machine on: its guests go on, since what serves them is the host. */
  destroyDomain(): void {
    this.host.destroyControlDomain(this.domain);
  }

  inspect(): CrashRecord {
    const { hypervisor, scheduler } = this.host;
    const vcpu = hypervisor.loaded ?? this.domain.vcpus[0];
    if (this.ended === null) scheduler.load(runnerOf(vcpu));
    return captureCrash(vcpu, null);
  }

  private end(how: 'poweroff' | 'reboot' | 'crash'): void {
    this.ended ??= this.domain.crashRecord ? 'crash' : how;
    this.domain.pauseCount++;
  }
}

/** What Xen's serial port interrupts by. */
const COM1_GSI = 4;

/** Frames of chips that are Xen's alone: the I/O APIC and the local APICs, whose page is also where messages go. */
const OWN_FRAMES: readonly (readonly [first: number, last: number])[] = [
  [AT.ioApic / FRAME, AT.ioApic / FRAME],
  [AT.localApic / FRAME, AT.localApic / FRAME + 0xff],
];

function allBut(frames: typeof OWN_FRAMES): [number, number][] {
  const ranges: [number, number][] = [];
  let next = 0;
  for (const [first, last] of frames) {
    ranges.push([next, first - 1]);
    next = last + 1;
  }
  ranges.push([next, LAST_FRAME]);
  return ranges;
}

/** Memory as devices reach it by addresses of a domain's own: what an IOMMU with the domain's tables does. */
function translated(domain: Domain): PhysicalMemory {
  const { memory, processor } = domain.hypervisor;
  return new PhysicalMemory(memory, domain.hvm!.physmap.map, (mfn, offset, length) =>
    processor.wroteFrame(mfn, offset, length),
  );
}

/** What the hypervisor has of the board. */
function xenMachine(board: Board, layout: MemoryLayout, cpus: number, end: (how: 'poweroff' | 'reboot') => void) {
  const PM_TIMER_PORT = OWN_PLAN.pm + PM_TIMER;
  return {
    bus: board.bus,
    pci: board.pci,
    interrupts: board.interrupts,
    ioApic: board.wiring.ioApic,
    ioApicAddress: AT.ioApic,
    ecamAddress: OWN_PLAN.ecam,
    processors: cpus,
    // Xen's console and its clock source.
    ownPorts: [
      [AT.com1, AT.com1 + 7],
      [PM_TIMER_PORT, PM_TIMER_PORT + 3],
    ] as const,
    memoryTypes: firmwareRanges(PCI_HOLE.holeStart),
    ownGsis: [COM1_GSI],
    ownFrames: OWN_FRAMES,
    reservedFrames: [
      [0, FIRST_MIB_FRAMES],
      [layout.acpi.address / FRAME, layout.acpi.size / FRAME],
    ] as const,
    powerOff: () => end('poweroff'),
    reset: () => end('reboot'),
  };
}
