// The run loop: vCPUs take turns on the one processor by instruction count, timers fire at exact instruction counts on the virtual clock,
// and idle time is skipped there. Two runs of the same guests are the same run.
import { Exit } from '../cpu/exits.ts';
import { S } from '../cpu/layout.ts';
import type { Hypervisor } from './hypervisor.ts';
import { selectAddressSpace } from './pv/address-space.ts';
import { initialisePvVcpu } from './pv/context.ts';
import { guestCpuid } from './pv/emulate.ts';
import { enterGuest, handleExit } from './pv/entry.ts';
import type { Vcpu } from './vcpu.ts';

/** Instructions of a turn where several vCPUs want to run. */
const SLICE = 50_000;
/** Instructions of one run() at most, so that the caller can look at its own clock now and then. */
const LONGEST_RUN = 1_000_000;
/** The same on a real clock, where a timer is due after an unknown number of instructions: well under a millisecond's worth. */
export const REAL_TIME_RUN = 30_000;

/** What leaving the guest costs in ticks of a virtual clock and of a turn, beside what Hypervisor.work counts. */
const EXIT_COST = 20;

/** Why step() returned. */
export type StepResult =
  /** Guests ran, or timers fired: call again. */
  | { kind: 'ran' }
  /** No vCPU can run before this system time (real clock): wait, or until something from outside wakes one. */
  | { kind: 'wait'; untilNs: bigint }
  /** No vCPU can ever run again unless something from outside wakes one. */
  | { kind: 'idle' };

const RAN: StepResult = { kind: 'ran' };
const IDLE: StepResult = { kind: 'idle' };

export class Scheduler {
  private readonly hypervisor: Hypervisor;
  /** Instructions retired by all vCPUs, up to the last exit. */
  retired = 0n;
  /** Ticks for what the hypervisor did for guests: a guest of nothing but hypercalls must not stop time for the others. */
  private charged = 0;
  /** The loaded vCPU's count of executed instructions, exact also in the middle of run(). */
  private readonly executed: () => bigint;
  /** That count at the start of the present run(), or -1 between runs. */
  private startedAt = -1n;
  /** The vCPU that had the last turn: the next one's turn comes after it. */
  private last: Vcpu | null = null;
  private sliceLeft = 0;

  private readonly longestRun: number;

  /** @param longestRun instructions after which timers are looked at, at the latest */
  constructor(hypervisor: Hypervisor, longestRun: number = LONGEST_RUN) {
    this.hypervisor = hypervisor;
    this.longestRun = longestRun;
    const { processor } = hypervisor;
    // What a processor counts by until it is told a clock.
    this.executed = processor.cycles;
    processor.cycles = () => hypervisor.clock.cycles();
    hypervisor.initialiseVcpu = initialisePvVcpu;
    processor.registers = {
      // A PV guest's RDMSR and WRMSR never get this far: they are privileged.
      rdmsr: () => 0n,
      wrmsr: () => {},
      cpuid: (leaf, subleaf) => guestCpuid(hypervisor.loaded!, leaf, subleaf),
    };
  }

  /** Instructions retired, exact also while the processor runs. */
  retiredNow(): bigint {
    return this.startedAt < 0n ? this.retired : this.retired + this.executed() - this.startedAt;
  }

  /** What a virtual clock ticks by: instructions, and the hypervisor's own work in their measure. */
  ticksNow(): bigint {
    return this.retiredNow() + BigInt(this.charged);
  }

  /** Lets guests run for about a million instructions, or to the next thing that ends a turn. */
  step(): StepResult {
    const { clock, hostEvents } = this.hypervisor;
    hostEvents.deliver();
    clock.fireDue();
    const vcpu = this.choose();
    if (!vcpu) return this.idle();
    this.turn(vcpu);
    return RAN;
  }

  private idle(): StepResult {
    const { clock, hostEvents } = this.hypervisor;
    if (!hostEvents.isEmpty) return RAN;
    this.unload();
    const deadline = clock.nextDeadline();
    if (deadline === null) return IDLE;
    return clock.advanceTo(deadline) ? RAN : { kind: 'wait', untilNs: deadline };
  }

  /** The vCPU whose turn it is: the present one while its slice lasts, then the next runnable one in order of domain and id. */
  private choose(): Vcpu | null {
    const all: Vcpu[] = [];
    for (const domain of this.hypervisor.domains.values()) all.push(...domain.vcpus);
    const at = this.last ? all.indexOf(this.last) : -1;
    if (at >= 0 && this.sliceLeft > 0 && isRunnable(all[at]) && !all[at].mustYield) return all[at];
    for (let i = 1; i <= all.length; i++) {
      const vcpu = all[(at + i) % all.length];
      if (!isRunnable(vcpu)) continue;
      vcpu.mustYield = false;
      this.sliceLeft = SLICE;
      this.last = vcpu;
      return vcpu;
    }
    return null;
  }

  /** Runs a vCPU until its slice is used up, it stops being runnable, or the caller should look around. */
  private turn(vcpu: Vcpu): void {
    const { hypervisor } = this;
    const { processor, clock, hostEvents } = hypervisor;
    try {
      this.load(vcpu);
      let budget = this.longestRun;
      while (budget > 0 && isRunnable(vcpu) && !vcpu.mustYield) {
        if (!enterGuest(vcpu)) break;
        const slice = this.othersWait(vcpu) ? Math.max(this.sliceLeft, 1) : this.longestRun;
        const fuel = Math.min(budget, slice, this.untilDeadline());
        const before = processor.live.get(S.retired);
        this.startedAt = before;
        const exit = processor.run(fuel);
        this.startedAt = -1n;
        // Every exit costs something, or a guest that only faults would stop the clock.
        const ran = Math.max(1, Number(processor.live.get(S.retired) - before));
        this.retired += BigInt(ran);
        let spent = ran;
        if (exit !== Exit.fuel) {
          const workBefore = hypervisor.work;
          handleExit(vcpu, exit);
          const cost = EXIT_COST + hypervisor.work - workBefore;
          this.charged += cost;
          spent += cost;
        }
        budget -= spent;
        this.sliceLeft -= spent;
        if (!hostEvents.isEmpty) hostEvents.deliver();
        clock.fireDue();
        if (this.sliceLeft <= 0) {
          if (this.othersWait(vcpu)) break;
          this.sliceLeft = SLICE;
        }
      }
    } catch (error) {
      this.startedAt = -1n;
      hypervisor.bug(vcpu.domain, error);
    }
  }

  private untilDeadline(): number {
    const { clock } = this.hypervisor;
    const deadline = clock.nextDeadline();
    if (deadline === null) return this.longestRun;
    const ticks = clock.ticksUntil(deadline);
    return ticks > BigInt(this.longestRun) ? this.longestRun : Math.max(1, Number(ticks));
  }

  private othersWait(vcpu: Vcpu): boolean {
    for (const domain of this.hypervisor.domains.values()) {
      for (const other of domain.vcpus) if (other !== vcpu && isRunnable(other)) return true;
    }
    return false;
  }

  /** Puts a vCPU's registers and address space on the processor. */
  load(vcpu: Vcpu): void {
    const { hypervisor } = this;
    if (hypervisor.loaded === vcpu) {
      vcpu.time.scheduledIn();
      return;
    }
    this.unload();
    hypervisor.processor.load(vcpu.stored);
    hypervisor.loaded = vcpu;
    selectAddressSpace(vcpu);
    vcpu.time.scheduledIn();
  }

  /** Takes the present vCPU off the processor. */
  unload(): void {
    const { hypervisor } = this;
    const vcpu = hypervisor.loaded;
    if (!vcpu) return;
    vcpu.time.scheduledOut();
    hypervisor.processor.store(vcpu.stored);
    hypervisor.loaded = null;
  }
}

function isRunnable(vcpu: Vcpu): boolean {
  const { domain } = vcpu;
  return (
    vcpu.isInitialised && vcpu.isUp && !vcpu.isBlocked && !domain.shutdown && !domain.isDying && domain.pauseCount === 0
  );
}
