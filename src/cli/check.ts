// `domzero check`: boots kernels in every mode and prints what became of them.

import { basename } from 'node:path';
import { writeFile } from '../platform/node/files.ts';
import type { BootImage } from '../report/boot.ts';
import { explain } from '../report/explanation.ts';
import { commandLine, notBuilt } from '../report/host-boot.ts';
import { formatJson } from '../report/json.ts';
import { formatJunit } from '../report/junit.ts';
import { formatKtap } from '../report/ktap.ts';
import { ProgressDisplay } from '../report/progress.ts';
import type { BootObserver, Goal } from '../report/run-boot.ts';
import { formatTable } from '../report/table.ts';
import { unrunResult } from '../report/unrun.ts';
import { exitStatus, type Result } from '../report/verdict.ts';
import { ImageError, type KernelImage } from '../toolstack/image/index.ts';
import { imageModes, type Mode } from '../toolstack/image/modes.ts';
import { kernelSymbols } from '../toolstack/image/symbols.ts';
import { openLogs } from './boot-logs.ts';
import { type Boot, bootInWorker } from './boot-worker.ts';
import { type DeviceChecks, deviceChecks } from './device-checks.ts';
import { groupFiles, type ImageFiles, loadFiles } from './images.ts';
import { InitramfsSource } from './initramfs.ts';
import type { Io } from './io.ts';
import type { CheckOptions } from './options.ts';
import { reproduceCommand } from './reproduce.ts';
import { Slots } from './slots.ts';
import { toolVersion } from './tool-version.ts';
import { UsageError } from './usage-error.ts';

/** Resolves with the exit status. Rejects for bad input, before anything is booted where that can be seen then. */
export async function check(
  paths: readonly string[],
  options: CheckOptions,
  io: Io,
  boot: Boot = bootInWorker,
): Promise<number> {
  const toStandardOutput = [options.ktap === true, options.json === '-', options.junit === '-'].filter(Boolean);
  if (toStandardOutput.length > 1) throw new UsageError('only one format can go to standard output');
  const groups = groupFiles(paths);
  const matrix = new Matrix(
    options,
    new InitramfsSource({ initrd: options.initrd, modules: options.modules }),
    io,
    boot,
  );
  let unreadable = false;
  for (const files of groups) {
    try {
      await matrix.add(files);
    } catch (error) {
      // One file that is no kernel does not keep the others from being checked.
      if (!(error instanceof ImageError) || groups.length === 1) throw error;
      io.err(`domzero: ${error.message}\n`);
      unreadable = true;
    }
  }
  const results = await matrix.finish();
  report(results, options, io);
  const status = exitStatus(results);
  return unreadable && status !== 1 ? 2 : status;
}

function report(results: readonly Result[], options: CheckOptions, io: Io): void {
  const write = (target: string | undefined, text: () => string) => {
    if (target === '-') io.out(text());
    else if (target !== undefined) writeFile(target, text());
  };
  write(options.json, () => formatJson(results, toolVersion()));
  write(options.junit, () => formatJunit(results));
  if (options.ktap) io.out(formatKtap(results));
  if (options.ktap || options.json === '-' || options.junit === '-') return;
  io.out(`${formatTable(results, io.colour)}\n`);
  for (const result of results) {
    const lines = explain(result);
    if (lines.length > 0) io.out(`\n${lines.join('\n')}\n`);
  }
}

/** Kernels times modes, some at a time; results keep the order of the command line. */
class Matrix {
  private readonly options: CheckOptions;
  private readonly initramfs: InitramfsSource;
  private readonly boot: Boot;
  private readonly slots: Slots;
  private readonly progress: ProgressDisplay | null;
  private readonly results: Array<Promise<Result>> = [];

  constructor(options: CheckOptions, initramfs: InitramfsSource, io: Io, boot: Boot) {
    this.options = options;
    this.initramfs = initramfs;
    this.boot = boot;
    this.slots = new Slots(options.jobs);
    this.progress =
      io.progressColumns() === null
        ? null
        : new ProgressDisplay(
            text => io.err(text),
            () => io.progressColumns() ?? 80,
          );
  }

  /** Reads a kernel when there is room for a boot, and queues its modes. */
  async add(files: ImageFiles): Promise<void> {
    await this.slots.free();
    const { modules, ...image } = await this.load(files);
    const able = imageModes({ ...image, modules }, kernelSymbols(image.elf));
    const reasons = this.options.modes.map(mode => {
      const { can, reason } = able[mode];
      return { mode, why: can ? notBuilt(mode) : reason };
    });
    const last = reasons.findLast(({ why }) => why === null)?.mode;
    for (const { mode, why } of reasons) {
      if (why === null)
        await this.start(files, image, mode, await this.devices({ ...image, modules }, mode), mode === last);
      else this.results.push(Promise.resolve(this.skip(files, image, mode, why)));
    }
  }

  private devices(image: KernelImage, mode: Mode): Promise<DeviceChecks> {
    const { disk, net } = this.options;
    return deviceChecks(image, mode, { disks: disk, net, hasReport: this.goal().kind === 'report' });
  }

  private async load(files: ImageFiles): Promise<KernelImage> {
    const id = this.results.length;
    this.progress?.update(id, basename(files[0]), { stage: null, instructions: 0, wallSeconds: 0 });
    try {
      return await loadFiles(files);
    } finally {
      this.progress?.finish(id);
    }
  }

  async finish(): Promise<Result[]> {
    const results = await Promise.all(this.results);
    this.progress?.clear();
    return results;
  }

  private skip(files: ImageFiles, image: BootImage, mode: Mode, why: string): Result {
    const { cpu, cpus, memory } = this.options;
    const reproduce = reproduceCommand(files, mode, this.options);
    return unrunResult({ image, mode, cpuModel: cpu, cpus, memoryMiB: memory }, 'skip', why, reproduce);
  }

  private async start(
    files: ImageFiles,
    image: BootImage,
    mode: Mode,
    devices: DeviceChecks,
    isLast: boolean,
  ): Promise<void> {
    const { options } = this;
    const initramfs = this.initramfs.for(image.elf.bits, devices.modules, devices.actions);
    const release = await this.slots.take();
    const id = this.results.length;
    const name = `${image.release || image.name} ${mode}`;
    const logs = options.logs === undefined ? null : openLogs(options.logs, `${image.name}-${mode}`);
    const observer: BootObserver = {
      console: bytes => logs?.console(bytes),
      log: line => logs?.log(line),
      progress: progress => this.progress?.update(id, name, progress),
    };
    const request = {
      image,
      mode,
      cpuModel: options.cpu,
      cpus: options.cpus,
      memoryMiB: options.memory,
      initrd: initramfs.bytes,
      commandLine: commandLine(mode, [initramfs.append, options.append]),
      clock: options.clock,
      disks: devices.disks,
      checked: devices.checked,
      ...(options.net === undefined ? {} : { net: options.net }),
      jit: options.jit,
      dumpJit: options.dumpJit,
    };
    const how = {
      goal: this.goal(),
      timeoutSeconds: options.timeout,
      reproduce: reproduceCommand(files, mode, options),
      observer,
    };
    const running = this.boot(request, how, isLast ? buffersOf(image) : []).finally(() => {
      logs?.close();
      this.progress?.finish(id);
      release();
    });
    this.results.push(running);
  }

  private goal(): Goal {
    const { initrd, expect } = this.options;
    if (expect !== undefined) return { kind: 'output', expect };
    return initrd === undefined ? { kind: 'report' } : { kind: 'output', expect: null };
  }
}

/** What of an image is large. */
function buffersOf({ elf, bzImage }: BootImage): ArrayBuffer[] {
  const buffers = new Set([elf.bytes, ...(bzImage === null ? [] : [bzImage])].map(bytes => bytes.buffer));
  // A buffer of Node's small-allocation pool or a shared one cannot be moved.
  return [...buffers].filter(buffer => buffer instanceof ArrayBuffer).filter(buffer => buffer.byteLength > 1 << 20);
}
