// A bare PC with a kernel in its RAM: no hypervisor, the kernel has the machine's processors and chips to itself.

import { AwaitedSource } from '../backends/block/awaited-source.ts';
import type { BlockSource } from '../backends/block/source.ts';
import type { JitOptions } from '../cpu/jit/jit.ts';
import { EngineMemory } from '../cpu/memory.ts';
import type { CpuModel } from '../cpu/models/model.ts';
import { createProcessor } from '../cpu/processor.ts';
import type { CrashRecord } from '../hypervisor/crash.ts';
import { PCI_HOLE } from '../machine/board.ts';
import { HostEvents } from '../machine/host-events.ts';
import { DebugExit } from '../machine/legacy/debug-ports.ts';
import { layOutMemory } from '../machine/memory-layout.ts';
import { Pc } from '../machine/pc.ts';
import { registersOf, stackOf } from '../machine/processor/registers.ts';
import { RealTimeRunLength } from '../machine/run-length.ts';
import { Scheduler } from '../machine/schedule.ts';
import type { Clock } from '../machine/time/clock.ts';
import { VirtioBlock } from '../machine/virtio/block.ts';
import { VirtioConsole } from '../machine/virtio/console.ts';
import type { VirtioMachine } from '../machine/virtio/device.ts';
import { addVirtio } from '../machine/virtio/pci-device.ts';
import { VirtioRng } from '../machine/virtio/rng.ts';
import { BuildError } from './builder/error.ts';
import { enterLinux, type LinuxEntry, loadLinux } from './builder/linux-boot.ts';
import { type ClockOptions, makeClock } from './clock.ts';
import { modelByName } from './cpu-model.ts';
import { addCards, type NetworkSetup, openNetworks } from './devices/network-setup.ts';
import type { Networks } from './devices/networks.ts';
import { addP9Cards, type Share } from './devices/p9.ts';
import { Wakeable } from './event-loop.ts';
import { GuestConsole } from './guest-console.ts';
import type { ShutdownName } from './guest-domain.ts';
import type { KernelImage } from './image/kernel.ts';
import type { Machine } from './machine.ts';
import { type RunEnd, type RunOptions, runMachine } from './run-machine.ts';

export interface NativeMachineOptions extends ClockOptions {
  image: Pick<KernelImage, 'name' | 'elf' | 'boot' | 'bzImage'>;
  initrd?: Uint8Array | null;
  cmdline?: string;
  memoryMiB: number;
  cpus?: number;
  /** A processor model or its name; default: the first of CPU_MODELS. */
  cpu?: CpuModel | string;
  /** Where to enter a bzImage: see LinuxBootOptions. */
  entry?: LinuxEntry['mode'];
  /** How hot code is compiled; null: everything is interpreted. Guests see no difference. */
  jit?: JitOptions | null;
  /** Disks, virtio-blk devices in this order. */
  disks?: readonly BlockSource[];
  /** Network cards, virtio-net devices in this order, and where they lead. */
  networks?: NetworkSetup | undefined;
  /** Folders, virtio-9p devices. */
  shares?: readonly Share[];
  /** Devices beside the usual ones. */
  extras?: ExtraDevices;
  /** What the machine has to say beside the console: why it ended, devices that gave up on a guest. */
  log?: (line: string) => void;
}

export interface ExtraDevices {
  /** virtio-rng: on a virtual clock it gives the same numbers in every run, on a real one those of the surroundings. */
  rng?: boolean;
  /** A second console, by virtio: NativeMachine.virtioConsole. */
  console?: boolean;
  /** Port of an isa-debug-exit device: a write of n ends the machine with NativeMachine.exitCode 2 n + 1, as QEMU does. */
  debugExit?: number;
}

const MIB = 1 << 20;
const MAX_CPUS = 128;
const INPUT_ROOM = 4096;

export class NativeMachine implements Machine {
  /** The first serial port. */
  readonly console: GuestConsole;
  /** The second console, where there is one. */
  readonly virtioConsole: GuestConsole | null = null;
  /** What was written to the isa-debug-exit device, as QEMU's exit status would be; null where nothing was. */
  exitCode: number | null = null;
  readonly pc: Pc;
  readonly scheduler: Scheduler;
  private readonly clock: Clock;
  private readonly sleeper = new Wakeable();
  private readonly log: (line: string) => void;
  private readonly disks: readonly AwaitedSource[];
  private ended: ShutdownName | null = null;
  private crashed: CrashRecord | null = null;
  private networks: Networks | null = null;

  /** Throws BuildError, with one sentence for the user, where the kernel cannot be started like this. */
  static async create(options: NativeMachineOptions): Promise<NativeMachine> {
    return new NativeMachine(options);
  }

  private constructor(options: NativeMachineOptions) {
    const { image, memoryMiB, cpus = 1, cmdline = '', initrd = null } = options;
    if (!Number.isInteger(cpus) || cpus < 1 || cpus > MAX_CPUS) {
      throw new BuildError(`a machine has 1 to ${MAX_CPUS} processors, not ${cpus}`);
    }
    this.log = options.log ?? (() => {});
    this.console = new GuestConsole(() => this.sleeper.wake());
    this.disks = (options.disks ?? []).map(source => new AwaitedSource(source, () => this.sleeper.wake()));
    const model = modelByName(options.cpu);
    const ramBytes = memoryMiB * MIB;
    const memory = new EngineMemory(ramBytes);
    const processor = createProcessor(memory, model, options.jit);
    const { clock, attach } = makeClock(options, model);
    this.clock = clock;
    const hostEvents = new HostEvents();
    this.pc = new Pc({
      processor,
      memory,
      clock,
      layout: layOutMemory({ ramBytes, ...PCI_HOLE }),
      cpus,
      serialOutput: byte => this.print(byte),
      end: (how, why) => this.end(how, why),
    });
    this.console.connect({ write: bytes => this.type(bytes) });
    const { pc } = this;
    this.scheduler = new Scheduler(
      { processor, clock, hostEvents, work: 0, runners: () => pc.processors },
      options.clock === 'real' ? new RealTimeRunLength(clock) : undefined,
    );
    attach(this.scheduler);
    pc.bus.onAccess = () => this.scheduler.deviceAccessed();
    for (const disk of this.disks) this.scheduler.outside.add(() => disk.isBusy);
    const devices = { memory: pc.physical, later: (work: () => void) => hostEvents.raise(work), log: this.log };
    for (const source of this.disks) addVirtio(pc.pci, new VirtioBlock(devices, { source }));
    if (options.networks) {
      this.networks = openNetworks(options.networks, {
        clock,
        scheduler: this.scheduler,
        wake: () => this.sleeper.wake(),
      });
      addCards(this.networks, options.networks.vifs, pc.pci, devices);
    }
    addP9Cards(options.shares ?? [], pc.pci, devices);
    const { rng, console: hasConsole, debugExit } = options.extras ?? {};
    if (rng) addVirtio(pc.pci, new VirtioRng(devices, options.clock === 'real' ? randomBytes : repeatableBytes()));
    if (hasConsole) this.virtioConsole = this.addConsole(devices);
    if (debugExit !== undefined) pc.bus.ports.attach(debugExit, 4, new DebugExit(code => this.debugExit(code)));
    pc.runFirmware(pc.localApics.map(apic => apic.initialId));
    const entry = loadLinux(pc.physical, {
      ...{ image, initrd, cmdline, entry: options.entry },
      ...{ map: pc.memoryMap, rsdp: pc.rsdp },
    });
    enterLinux(pc.processors[0].cpu, entry);
  }

  get shutdown(): ShutdownName | null {
    return this.ended;
  }

  get crash(): CrashRecord | null {
    return this.crashed;
  }

  get instructions(): bigint {
    return this.scheduler.retiredNow();
  }

  async run(options: RunOptions = {}): Promise<RunEnd> {
    const { scheduler, clock, sleeper } = this;
    const until = () => {
      this.flush();
      return options.until?.() ?? false;
    };
    const end = await runMachine({ scheduler, clock, sleeper }, { ...options, until });
    this.flush();
    return end;
  }

  close(): void {
    this.networks?.close();
  }

  inspect(): CrashRecord | null {
    const { processors } = this.pc;
    const shown = processors.find(({ isLoaded }) => isLoaded) ?? processors[0];
    if (this.ended === null) this.scheduler.load(shown);
    return this.record(shown.id, null);
  }

  private record(id: number, reason: string | null): CrashRecord {
    const { cpu, isLoaded } = this.pc.processors[id];
    return {
      domain: null,
      vcpu: id,
      reason,
      registers: registersOf(cpu),
      rip: cpu.rip,
      eventMask: false,
      inKernel: cpu.cpl === 0,
      stack: isLoaded ? stackOf(this.pc.processor, cpu.cpl === 3) : [],
      hypercalls: [],
    };
  }

  private end(how: 'poweroff' | 'reboot' | 'crash', why: string): void {
    if (this.ended !== null) return;
    this.log(`domzero: ${why}`);
    if (how === 'crash') {
      const shown = this.pc.processors.find(({ isLoaded }) => isLoaded);
      if (shown) this.crashed = this.record(shown.id, why);
    }
    this.ended = how;
    for (const processor of this.pc.processors) processor.stop();
  }

  private addConsole(devices: VirtioMachine): GuestConsole {
    const console = new GuestConsole(() => this.sleeper.wake());
    const device = new VirtioConsole(devices, { output: bytes => console.print(bytes) });
    addVirtio(this.pc.pci, device);
    console.connect({
      write: bytes => {
        const taken = bytes.subarray(0, Math.max(0, INPUT_ROOM - device.waitingInput));
        device.receive(taken);
        return taken.length;
      },
    });
    return console;
  }

  private debugExit(code: number): void {
    this.exitCode ??= code;
    this.end('poweroff', `isa-debug-exit with ${code}`);
  }

  // ---- the serial port

  /** What was sent since the last flush. */
  private readonly sent: number[] = [];

  private print(byte: number): void {
    this.sent.push(byte);
    // A line at a time, and what is left every few milliseconds: a prompt has no end of line.
    if (byte === 10 || this.sent.length >= INPUT_ROOM) this.flush();
  }

  private flush(): void {
    if (this.sent.length === 0) return;
    this.console.print(Uint8Array.from(this.sent));
    this.sent.length = 0;
  }

  private type(bytes: Uint8Array): number {
    const taken = bytes.subarray(0, Math.max(0, INPUT_ROOM - this.pc.uart.waitingInput));
    this.pc.uart.receive(taken);
    return taken.length;
  }
}

function randomBytes(into: Uint8Array): void {
  // In pieces: the surroundings give at most 64 KiB at once.
  for (let at = 0; at < into.length; at += 65536) {
    into.set(crypto.getRandomValues(new Uint8Array(Math.min(65536, into.length - at))), at);
  }
}

/** Numbers that are the same in every run: a counter through the finalizer of MurmurHash3. */
function repeatableBytes(): (into: Uint8Array) => void {
  let counter = 0;
  return into => {
    for (let i = 0; i < into.length; i++) {
      let x = ++counter;
      x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
      x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
      into[i] = x ^ (x >>> 16);
    }
  };
}
