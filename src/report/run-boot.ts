// Runs one boot to its verdict: starts the machine, watches its console, ends it when there is nothing more to wait for.

import { kernelSymbols } from '../toolstack/image/symbols.ts';
import { ReportParser } from '../toolstack/init/report-parser.ts';
import type { BootedDomain, BootRequest, CrashRecord, DomainEnd, StartDomain } from './boot.ts';
import { LineSplitter, Tail, withoutTimestamp } from './console-lines.ts';
import { crashReport } from './crash-report.ts';
import { judge } from './judge.ts';
import { PanicFinder } from './panic.ts';
import { StageTracker } from './stages.ts';
import type { Result, Stage, StageName } from './verdict.ts';

/** What is to be seen for a pass. */
export type Goal =
  /** The built-in init's report, and a clean end. */
  | { readonly kind: 'report' }
  /** Output of a user's own initramfs; where a pattern is given, a line of the console that matches it. */
  | { readonly kind: 'output'; readonly expect: RegExp | null }
  /** That the guest ends by itself. */
  | { readonly kind: 'end' };

export interface Progress {
  readonly stage: StageName | null;
  readonly instructions: number;
  readonly wallSeconds: number;
}

export interface BootObserver {
  console?(bytes: Uint8Array): void;
  /** A line of the hypervisor's log. */
  log?(line: string): void;
  progress?(progress: Progress): void;
}

export interface BootOptions {
  readonly goal: Goal;
  /** Seconds of the wall clock; Infinity for none. */
  readonly timeoutSeconds: number;
  /** The command that does the same again. */
  readonly reproduce: string;
  readonly observer?: BootObserver;
}

const CONSOLE_TAIL = 40;
const LOG_TAIL = 100;
const PROGRESS_MS = 200;
/** Seconds that fit into a timer's 31 bits of milliseconds: longer is for ever. */
const LONGEST_TIMER = 2_147_483;

/** Why the boot was ended from here, where it was. */
export type Stopped = 'reached' | 'timeout' | 'panicked' | null;

/** Never rejects: what goes wrong with the tool is a result too, with the verdict `error`. */
export async function runBoot(request: BootRequest, start: StartDomain, options: BootOptions): Promise<Result> {
  const watch = new Watch(request, options);
  let domain: BootedDomain;
  try {
    domain = await start(request);
  } catch (error) {
    return watch.result({ kind: 'error', message: messageOf(error) });
  }
  return watch.follow(domain);
}

export type Outcome =
  | { readonly kind: 'error'; readonly message: string }
  | { readonly kind: 'ended'; readonly end: DomainEnd; readonly stopped: Stopped };

class Watch {
  private readonly request: BootRequest;
  private readonly options: BootOptions;
  private readonly startedAt = performance.now();
  private readonly stages: StageTracker;
  private readonly parser = new ReportParser();
  private readonly panic = new PanicFinder();
  private readonly tail = new Tail(CONSOLE_TAIL);
  private readonly log = new Tail(LOG_TAIL);
  private readonly lines: LineSplitter;
  private domain: BootedDomain | null = null;
  private bootLine: string | null = null;
  private expected = false;
  private stopped: Stopped = null;
  private lastSeen: CrashRecord | null = null;

  constructor(request: BootRequest, options: BootOptions) {
    this.request = request;
    this.options = options;
    this.stages = new StageTracker(
      () => this.meter(),
      () => this.tell(),
    );
    this.lines = new LineSplitter(line => this.line(line));
  }

  async follow(domain: BootedDomain): Promise<Result> {
    this.stages.reach('loaded');
    this.domain = domain;
    domain.console.onData(bytes => this.output(bytes));
    domain.onLog(line => {
      this.log.push(line);
      this.options.observer?.log?.(line);
    });
    const ticker = setInterval(() => this.tell(), PROGRESS_MS);
    const { timeoutSeconds } = this.options;
    const alarm =
      timeoutSeconds < LONGEST_TIMER ? setTimeout(() => this.stop('timeout'), timeoutSeconds * 1000) : undefined;
    try {
      const end = await domain.wait();
      this.lines.flush();
      if (domain.instructions > 0) this.started();
      if (end.reason === 'poweroff') this.stages.reach('powered off');
      if (this.stopped === null && this.isSilent) this.lastSeen = domain.inspect();
      return this.result({ kind: 'ended', end, stopped: this.stopped });
    } catch (error) {
      return this.result({ kind: 'error', message: messageOf(error) });
    } finally {
      clearInterval(ticker);
      clearTimeout(alarm);
    }
  }

  result(outcome: Outcome): Result {
    const { request, options, stages } = this;
    const { report } = this.parser;
    const end = outcome.kind === 'ended' ? outcome.end : null;
    const record = end?.crash ?? this.lastSeen;
    const isCrash = end?.reason === 'crash' || end?.reason === 'watchdog' || this.panic.panic !== null;
    const explained =
      isCrash || this.lastSeen !== null || end?.reason === 'idle'
        ? crashReport(record, this.panic, this.log.lines, () => kernelSymbols(request.image.elf))
        : null;
    const { verdict, reason } = judge(outcome, {
      request,
      options,
      stages: stages.reached,
      report,
      bootLine: this.bootLine,
      expected: this.expected,
      crash: explained,
      panic: this.panic.panic,
    });
    return {
      image: request.image.name,
      sha256: request.image.sha256,
      version: request.image.release,
      mode: request.mode,
      verdict,
      reason,
      cpuModel: request.cpuModel,
      memoryMiB: request.memoryMiB,
      cpus: request.cpus,
      ...this.meter(),
      stages: stages.reached,
      guest: report.protocol === null ? null : report,
      consoleTail: this.tail.lines,
      crash: explained,
      reproduce: options.reproduce,
    };
  }

  /** The guest has ended without what it was started for: a kernel that powers off before init, say. */
  private get isSilent(): boolean {
    const { goal } = this.options;
    if (goal.kind === 'end') return false;
    return goal.kind === 'report' ? this.parser.report.protocol === null : true;
  }

  private meter(): Omit<Stage, 'name'> {
    const wallSeconds = Math.round(performance.now() - this.startedAt) / 1000;
    return { instructions: this.domain?.instructions ?? 0, wallSeconds };
  }

  private tell(): void {
    const meter = this.meter();
    if (meter.instructions > 0) this.started();
    this.options.observer?.progress?.({ stage: this.stages.current, ...meter });
  }

  /** Seen sooner or later by the wall clock; what it is, its first instruction, does not depend on that. */
  private started(): void {
    this.stages.reach('started', 0);
  }

  private output(bytes: Uint8Array): void {
    this.options.observer?.console?.(bytes);
    this.started();
    for (const body of this.parser.push(bytes)) {
      if (body !== '') this.stages.reach('userspace');
    }
    this.lines.push(bytes);
    if (this.parser.finished) this.stages.reach('report');
    const { goal } = this.options;
    if (goal.kind === 'output' && (goal.expect === null ? this.stages.has('userspace') : this.expected)) {
      this.stop('reached');
    } else if (this.panic.isOver) {
      this.stop('panicked');
    }
  }

  private line(line: string): void {
    this.tail.push(line);
    this.panic.push(line);
    this.stages.line(line);
    this.bootLine ??= /^Booting paravirtualized kernel on (.*)$/.exec(withoutTimestamp(line) ?? line)?.[1] ?? null;
    const { goal } = this.options;
    if (goal.kind === 'output' && goal.expect?.test(line)) this.expected = true;
  }

  private stop(why: NonNullable<Stopped>): void {
    if (this.stopped !== null || this.domain === null) return;
    this.stopped = why;
    // Where it hangs is worth as much as where it crashed.
    if (why !== 'reached') this.lastSeen = this.domain.inspect();
    this.domain.destroy();
  }
}

const messageOf = (error: unknown) => (error instanceof Error ? error.message : String(error));
