import { beforeEach, describe, expect, it } from 'vitest';
import { Exit } from '../../src/cpu/exits.ts';
import { R, S } from '../../src/cpu/layout.ts';
import { EngineMemory } from '../../src/cpu/memory.ts';
import { CPU_MODELS } from '../../src/cpu/models/index.ts';
import type { Domain } from '../../src/hypervisor/domain.ts';
import { Hypervisor } from '../../src/hypervisor/hypervisor.ts';
import { resetPvRegisters } from '../../src/hypervisor/pv/context.ts';
import { scheduleGuests } from '../../src/hypervisor/schedule.ts';
import type { Vcpu } from '../../src/hypervisor/vcpu.ts';
import type { Scheduler } from '../../src/machine/schedule.ts';
import { Clock, VirtualTicks } from '../../src/machine/time/clock.ts';
import { FakeProcessor } from './fake-processor.ts';

const SCHED_OP = 29n;
const SCHEDOP = { yield: 0n, block: 1n } as const;

/** What a vCPU does with its fuel: how many instructions it executes, and why it stops. */
type Program = (fuel: number) => { ran: number; exit: number };

/** A host whose guests are programs in TypeScript. */
class ScriptedHost {
  readonly processor: FakeProcessor;
  readonly hypervisor: Hypervisor;
  readonly scheduler: Scheduler;
  readonly log: string[] = [];
  /** Turns in the order in which they were given: vCPU and instructions. */
  readonly turns: [string, number][] = [];
  private readonly programs = new Map<Vcpu, Program>();

  constructor() {
    this.processor = new FakeProcessor(new EngineMemory(1024 * 4096));
    Object.assign(this.processor, { model: CPU_MODELS[0], run: (fuel: number) => this.run(fuel) });
    let scheduler: Scheduler | null = null;
    const clock = new Clock(new VirtualTicks(() => scheduler?.ticksNow() ?? 0n));
    this.hypervisor = new Hypervisor({ processor: this.processor, clock, log: line => this.log.push(line) });
    this.scheduler = scheduler = scheduleGuests(this.hypervisor);
  }

  domain(id: number, ...programs: Program[]): Domain {
    const domain = this.hypervisor.createDomain({
      id,
      name: `d${id}`,
      abi: 'pv64',
      vcpus: programs.length,
      maxPages: 16,
    });
    domain.sharedInfoMfn = this.hypervisor.frames.allocateXen(id, true);
    const root = this.hypervisor.frames.allocateXen(id, false);
    programs.forEach((program, i) => {
      const vcpu = domain.vcpus[i];
      resetPvRegisters(vcpu);
      vcpu.info.at = this.hypervisor.memory.frameOffset(domain.sharedInfoMfn) + i * 64;
      vcpu.info.upcallMask = true;
      vcpu.pv.guestTable = root;
      vcpu.isInitialised = true;
      vcpu.isUp = true;
      vcpu.time.setPeriodic(0n);
      this.programs.set(vcpu, program);
    });
    return domain;
  }

  private run(fuel: number): number {
    const vcpu = this.hypervisor.loaded!;
    const { ran, exit } = this.programs.get(vcpu)!(fuel);
    const { live } = this.processor;
    live.set(S.retired, live.get(S.retired) + BigInt(ran));
    this.turns.push([String(vcpu), ran]);
    return exit;
  }

  /** A hypercall as a guest makes it. */
  hypercall(number: bigint, ...args: bigint[]): { ran: number; exit: number } {
    const { live } = this.processor;
    live.gpr[R.rax] = number;
    [R.rdi, R.rsi, R.rdx].forEach((register, i) => {
      live.gpr[register] = args[i] ?? 0n;
    });
    live.set(S.nextRip, live.rip + 2n);
    return { ran: 10, exit: Exit.syscall };
  }

  steps(n: number): void {
    for (let i = 0; i < n; i++) this.scheduler.step();
  }
}

const busy: Program = fuel => ({ ran: fuel, exit: Exit.fuel });

describe('the run loop', () => {
  let host: ScriptedHost;
  beforeEach(() => {
    host = new ScriptedHost();
  });
  const block: Program = () => host.hypercall(SCHED_OP, SCHEDOP.block);

  it('gives vCPUs of all domains equal turns in the order of their numbers', () => {
    host.domain(1, busy, busy);
    host.domain(2, busy);
    host.steps(6);
    expect(host.turns.map(turn => turn[0])).toEqual(['d1v0', 'd1v1', 'd2v0', 'd1v0', 'd1v1', 'd2v0']);
    expect(new Set(host.turns.map(turn => turn[1])).size).toBe(1);
    expect(host.scheduler.retired).toBe(BigInt(6 * host.turns[0][1]));
  });

  it('is the same run when it is run again', () => {
    const turns = (): [string, number][] => {
      const h = new ScriptedHost();
      let n = 0;
      const odd: Program = fuel => ({ ran: Math.min(fuel, 1 + ((n += 7919) % 30000)), exit: Exit.fuel });
      h.domain(1, odd, odd, busy);
      h.steps(50);
      return h.turns;
    };
    expect(turns()).toEqual(turns());
  });

  it('passes a vCPU that yields, and comes back to it when there is no other', () => {
    const yielding: Program = () => host.hypercall(SCHED_OP, SCHEDOP.yield);
    host.domain(1, yielding);
    host.steps(3);
    expect(host.turns.map(turn => turn[0])).toEqual(['d1v0', 'd1v0', 'd1v0']);
    host.domain(2, busy);
    host.steps(2);
    expect(host.turns.slice(-2).map(turn => turn[0])).toEqual(['d2v0', 'd1v0']);
  });

  it('skips idle time to the next timer and fires it', () => {
    const domain = host.domain(1, block);
    let fired = 0n;
    host.hypervisor.clock.at(5_000_000n, now => {
      fired = now;
      domain.shutDown(0);
    });
    host.steps(1);
    expect(domain.vcpus[0].isBlocked).toBe(true);
    expect(host.scheduler.step()).toEqual({ kind: 'ran' });
    host.steps(1);
    expect(fired).toBeGreaterThanOrEqual(5_000_000n);
    expect(fired).toBeLessThan(5_000_010n);
    expect(host.scheduler.retired).toBe(10n);
  });

  it('says so when nothing can ever run again', () => {
    host.domain(1, block);
    host.steps(1);
    expect(host.scheduler.step()).toEqual({ kind: 'idle' });
    expect(host.hypervisor.loaded).toBeNull();
  });

  it('ends a run exactly where a timer is due', () => {
    host.domain(1, busy);
    const times: bigint[] = [];
    for (const ns of [1000n, 1500n, 70_001n]) host.hypervisor.clock.at(ns, () => times.push(host.scheduler.retired));
    host.steps(3);
    expect(times).toEqual([1000n, 1500n, 70_001n]);
  });

  it('wakes a blocked vCPU by its timer, with the upcall delivered', () => {
    const domain = host.domain(1, block);
    const [vcpu] = domain.vcpus;
    host.steps(1);
    vcpu.time.setSingleshot(1_000_000n);
    const port = domain.events.bindVirq(0, 0);
    expect(port).toBeGreaterThan(0);
    // There is no callback to enter, which shows that it was tried.
    host.steps(4);
    expect(domain.crashReason).toMatch(/no handler/);
  });

  it('counts something for every exit, so that a guest that only faults does not stop time', () => {
    host.domain(1, () => ({ ran: 0, exit: Exit.stopped }));
    host.steps(1);
    expect(host.scheduler.retired).toBeGreaterThan(0n);
  });

  it('charges hypercalls, so that a guest of nothing else gets no longer turns and does not stop time', () => {
    let calls = 0;
    host.domain(1, () => {
      calls++;
      return host.hypercall(17n, 0n);
    });
    host.domain(2, busy);
    const { clock } = host.hypervisor;
    host.steps(1);
    expect(calls).toBeLessThan(1000);
    expect(clock.cycles()).toBeGreaterThan(40_000n);
    expect(host.scheduler.retired).toBe(BigInt(calls * 10));
    host.steps(1);
    expect(host.turns.at(-1)![0]).toBe('d2v0');
  });

  it('stops a domain for our own mistakes, and goes on with the others', () => {
    const broken = host.domain(1, () => {
      throw new Error('planted');
    });
    const other = host.domain(2, busy);
    host.steps(4);
    expect(broken.shutdown).toEqual({ code: 3 });
    expect(other.shutdown).toBeNull();
    expect(host.log.some(line => line.includes('planted'))).toBe(true);
    expect(host.turns.at(-1)![0]).toBe('d2v0');
  });

  it('leaves paused and stopped domains alone', () => {
    const paused = host.domain(1, busy);
    const stopped = host.domain(2, busy);
    host.domain(3, busy);
    paused.pauseCount = 1;
    stopped.shutDown(0);
    host.steps(3);
    expect(new Set(host.turns.map(turn => turn[0]))).toEqual(new Set(['d3v0']));
  });

  it('delivers events to backends between the guest’s instructions', () => {
    const seen: number[] = [];
    host.domain(1, fuel => {
      if (seen.length === 0) host.hypervisor.hostEvents.raise(() => seen.push(host.turns.length));
      return busy(Math.min(fuel, 100));
    });
    host.steps(1);
    expect(seen).toEqual([1]);
  });
});
