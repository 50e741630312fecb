// All that a vCPU has of time: its periodic, singleshot and poll timers, its run states, and the areas that it registered for them.
// Source: xen/include/public/vcpu.h; behaviour of xen/common/sched.
import { vcpuRunstateInfo } from '../../abi/xen/vcpu.ts';
import { S } from '../../cpu/layout.ts';
import type { Timer } from '../../machine/time/timers.ts';
import { XenError } from '../errors.ts';
import { Virq } from '../events/virq.ts';
import { unblock } from '../events/wake.ts';
import type { Vcpu } from '../vcpu.ts';
import { changeRunstate, newRunstate, Runstate, type RunstateRecord, runstateAt } from './runstate.ts';
import { TIME_INFO_SIZE, writeTimeInfo } from './time-info.ts';

const MS = 1_000_000n;
/** PV guests have a ticker of 100 Hz until they stop it. */
const DEFAULT_PERIOD = 10n * MS;
/** A timeout farther away than this (about 13 days) is an old kernel's overflow. */
const FAR_FUTURE = 1n << 50n;
/** Such a guest has work to do now, or no timer at all: it is told a little later. */
const FAR_FUTURE_DELAY = 100n * MS;

export class VcpuTime {
  /** Period of the ticker in ns; 0 = stopped. */
  period: bigint;
  private lastTick: bigint;
  private readonly periodic: Timer;
  private readonly singleshot: Timer;
  private readonly poll: Timer;
  readonly runstate: RunstateRecord;
  /** Guest address of the registered runstate area; 0 = none. */
  private runstateArea = 0n;
  /** Guest address of the second vcpu_time_info; 0 = none. */
  private timeArea = 0n;
  /** An area could not be written while the guest was in its user mode. */
  private areasStale = false;
  private readonly vcpu: Vcpu;

  constructor(vcpu: Vcpu) {
    const { clock } = vcpu.domain.hypervisor;
    this.vcpu = vcpu;
    this.period = vcpu.domain.isPv ? DEFAULT_PERIOD : 0n;
    this.lastTick = clock.nowNs();
    this.runstate = newRunstate(this.lastTick);
    this.periodic = clock.timer(() => this.tick());
    this.singleshot = clock.timer(() => this.raise());
    this.poll = clock.timer(() => {
      if (vcpu.pollPort !== 0) unblock(vcpu);
    });
  }

  private get now(): bigint {
    return this.vcpu.domain.hypervisor.clock.nowNs();
  }

  // The run loop's part.

  /** The vCPU has been loaded on the processor and is about to run. */
  scheduledIn(): void {
    changeRunstate(this.runstate, Runstate.running, this.now);
    if (this.period !== 0n) this.tick();
    this.updateTimeInfo(false);
    this.writeRunstateArea();
  }

  /** The vCPU is about to leave the processor, still loaded. Its ticker stands still while it does not run, as on Xen. */
  scheduledOut(): void {
    this.periodic.stop();
    changeRunstate(this.runstate, this.idleState(), this.now);
    this.writeRunstateArea();
  }

  /** The guest has entered its kernel mode: writes what could not be written in user mode. */
  enteredKernel(): void {
    if (!this.areasStale) return;
    this.areasStale = false;
    this.writeTimeArea();
    this.writeRunstateArea();
  }

  /** The block or poll has ended. */
  unblocked(): void {
    this.poll.stop();
    this.wake();
  }

  /** VCPUOP_up, VCPUOP_down or a pause has changed what a vCPU that is not running waits for. */
  wake(): void {
    if (this.runstate.state !== Runstate.running) changeRunstate(this.runstate, this.idleState(), this.now);
  }

  /** Stops all timers: the domain goes away. */
  destroy(): void {
    this.periodic.stop();
    this.singleshot.stop();
    this.poll.stop();
    this.period = 0n;
    this.runstateArea = 0n;
    this.timeArea = 0n;
  }

  // Timers.

  /** Sets the ticker's period in ns; 0 stops it. */
  setPeriodic(period: bigint): void {
    this.periodic.stop();
    this.period = period;
    this.lastTick = this.now;
    if (period !== 0n && this.runstate.state === Runstate.running) this.periodic.set(this.lastTick + period);
  }

  /** VCPUOP_set_singleshot_timer: absolute ns, unsigned. One in the past fires at once. */
  setSingleshot(timeout: bigint): void {
    if (timeout < this.now) {
      this.singleshot.stop();
      this.raise();
    } else {
      this.singleshot.set(BigInt.asIntN(64, timeout));
    }
  }

  stopSingleshot(): void {
    this.singleshot.stop();
  }

  /** The set_timer_op hypercall: absolute ns, signed; 0 stops the timer. */
  setTimerOp(timeout: bigint): void {
    const { now } = this;
    if (timeout === 0n) this.singleshot.stop();
    else if (timeout < 0n || timeout - now >= FAR_FUTURE) this.singleshot.set(now + FAR_FUTURE_DELAY);
    else this.singleshot.set(timeout);
  }

  /** SCHEDOP_poll's timeout: absolute ns. */
  setPollTimeout(timeout: bigint): void {
    this.poll.set(BigInt.asIntN(64, timeout));
  }

  private tick(): void {
    const { now } = this;
    let next = this.lastTick + this.period;
    if (now >= next) {
      this.raise();
      this.lastTick = now;
      next = now + this.period;
    }
    this.periodic.set(next);
  }

  private raise(): void {
    this.vcpu.domain.events.sendVcpuVirq(this.vcpu.id, Virq.timer);
  }

  // Run states and areas.

  /** VCPUOP_get_runstate_info. */
  runstateNow(): RunstateRecord {
    return runstateAt(this.runstate, this.now);
  }

  /** VCPUOP_register_runstate_memory_area, called by `caller` in whose address space the address is. */
  registerRunstateArea(address: bigint, caller: Vcpu): void {
    const { width } = this.vcpu.domain;
    caller.guest.check(address, vcpuRunstateInfo.size(width));
    this.runstateArea = address;
    const record = this.vcpu === caller ? this.runstate : this.runstateNow();
    // An area that cannot be written now is tried again whenever the vCPU runs.
    quietly(() => caller.guest.writeStruct(address, vcpuRunstateInfo, record, width));
  }

  /** VCPUOP_register_vcpu_time_memory_area. */
  registerTimeArea(address: bigint, caller: Vcpu): void {
    caller.guest.check(address, TIME_INFO_SIZE);
    this.timeArea = address;
    this.updateTimeInfo(true, caller);
  }

  /** Brings the vcpu_time_info up to date; `force` where it has moved. */
  updateTimeInfo(force: boolean, through: Vcpu = this.vcpu): void {
    const { info, domain } = this.vcpu;
    const { clock, memory } = domain.hypervisor;
    if (!info.exists) return;
    // An HVM guest may set its TSC; a PV guest's is the host's.
    const tscOffset = domain.isPv ? 0n : this.vcpu.cpu.get(S.tscOffset);
    if (writeTimeInfo(memory.view, info.timeAt, clock, tscOffset, force)) this.writeTimeArea(through);
  }

  private idleState(): number {
    const { vcpu } = this;
    if (!vcpu.isUp || vcpu.domain.shutdown || vcpu.domain.pauseCount > 0) return Runstate.offline;
    return vcpu.isBlocked ? Runstate.blocked : Runstate.runnable;
  }

  private writeRunstateArea(): void {
    if (this.runstateArea === 0n || !this.canWrite()) return;
    const { guest, domain } = this.vcpu;
    quietly(() => guest.writeStruct(this.runstateArea, vcpuRunstateInfo, this.runstate, domain.width));
  }

  private writeTimeArea(through: Vcpu = this.vcpu): void {
    if (this.timeArea === 0n || !this.canWrite(through)) return;
    const { memory } = this.vcpu.domain.hypervisor;
    const at = this.vcpu.info.timeAt;
    quietly(() => through.guest.write(this.timeArea, memory.u8.slice(at, at + TIME_INFO_SIZE)));
  }

  /** Areas are kernel addresses: a 64-bit PV guest in its user mode has them not mapped. */
  private canWrite(through: Vcpu = this.vcpu): boolean {
    if (!through.isLoaded) return false;
    if (through.domain.abi !== 'pv64' || through.pv.inKernel) return true;
    this.areasStale = true;
    return false;
  }
}

/** A guest whose area is gone is not told: Xen ignores such faults. */
function quietly(write: () => void): void {
  try {
    write();
  } catch (error) {
    if (!(error instanceof XenError)) throw error;
  }
}
