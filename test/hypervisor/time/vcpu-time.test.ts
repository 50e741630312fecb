import { beforeEach, describe, expect, it } from 'vitest';
import { SCHEDOP, schedPoll, schedWatchdog } from '../../../src/abi/xen/sched.ts';
import * as abi from '../../../src/abi/xen/vcpu.ts';
import { VCPUOP } from '../../../src/abi/xen/vcpu.ts';
import type { Domain } from '../../../src/hypervisor/domain.ts';
import { writeWallclock } from '../../../src/hypervisor/time/time-info.ts';
import type { Vcpu } from '../../../src/hypervisor/vcpu.ts';
import { FakeHost } from '../fake-host.ts';

const SET_TIMER_OP = 15;
const VCPU_OP = 24;
const SCHED_OP = 29;
const MS = 1_000_000;
const EINVAL = -22;

let host: FakeHost;
let domain: Domain;
let vcpu: Vcpu;
let port: number;

/** The number of timer events since the last look. */
function ticks(): number {
  const channel = domain.events.channelAt(port)!;
  const pending = domain.events.isPending(channel);
  const byte = host.memory.frameOffset(domain.sharedInfoMfn) + 2048 + (port >> 3);
  host.memory.u8[byte] &= ~(1 << (port & 7));
  return pending ? 1 : 0;
}

function vcpuOp(cmd: number, id: number, pointer: bigint): number {
  return host.call(vcpu, VCPU_OP, cmd, id, pointer);
}

beforeEach(() => {
  host = new FakeHost();
  domain = host.domain({ vcpus: 2 });
  vcpu = domain.vcpus[0];
  port = domain.events.bindVirq(0, 0);
  host.load(vcpu);
  vcpu.time.scheduledIn();
  ticks();
});

describe('the ticker', () => {
  it('runs at 100 Hz from the start, until it is stopped', () => {
    host.pass(9 * MS);
    expect(ticks()).toBe(0);
    host.pass(1 * MS);
    expect(ticks()).toBe(1);
    host.pass(10 * MS);
    expect(ticks()).toBe(1);
    expect(vcpuOp(VCPUOP.stop_periodic_timer, 0, 0n)).toBe(0);
    host.pass(100 * MS);
    expect(ticks()).toBe(0);
  });

  it('stands still while the vCPU does not run', () => {
    vcpu.isBlocked = true;
    vcpu.time.scheduledOut();
    host.pass(500 * MS);
    expect(ticks()).toBe(0);
    vcpu.isBlocked = false;
    vcpu.time.scheduledIn();
    expect(ticks()).toBe(1); // one for the time that was missed
  });

  it('refuses periods below a millisecond or beyond what timers hold', () => {
    const page = host.frame(domain);
    const set = (ns: bigint): number => {
      host.memory.view.setBigUint64(host.memory.frameOffset(page), ns, true);
      return vcpuOp(VCPUOP.set_periodic_timer, 0, host.address(page));
    };
    expect(set(999_999n)).toBe(EINVAL);
    expect(set(1n << 62n)).toBe(EINVAL);
    expect(set(0n)).toBe(EINVAL);
    expect(set(1_000_000n)).toBe(0);
    host.pass(1 * MS);
    expect(ticks()).toBe(1);
  });
});

describe('the singleshot timer', () => {
  beforeEach(() => vcpu.time.setPeriodic(0n));

  function set(ns: bigint, id = 0): number {
    const page = host.frame(domain);
    host.memory.view.setBigUint64(host.memory.frameOffset(page), BigInt.asUintN(64, ns), true);
    return vcpuOp(VCPUOP.set_singleshot_timer, id, host.address(page));
  }

  it('fires once at its time', () => {
    expect(set(host.clock.nowNs() + 5n)).toBe(0);
    host.pass(4);
    expect(ticks()).toBe(0);
    host.pass(1);
    expect(ticks()).toBe(1);
    host.pass(1000 * MS);
    expect(ticks()).toBe(0);
  });

  it('fires at once when the time is past, and succeeds', () => {
    host.pass(100);
    expect(set(50n)).toBe(0);
    expect(ticks()).toBe(1);
  });

  it('is only for the vCPU itself', () => {
    expect(set(5n, 1)).toBe(EINVAL);
    expect(vcpuOp(VCPUOP.stop_singleshot_timer, 1, 0n)).toBe(EINVAL);
  });

  it('is set and stopped by set_timer_op too, which takes 0 for stop', () => {
    expect(host.call(vcpu, SET_TIMER_OP, 1000)).toBe(0);
    expect(host.call(vcpu, SET_TIMER_OP, 0)).toBe(0);
    host.pass(2000);
    expect(ticks()).toBe(0);
    host.call(vcpu, SET_TIMER_OP, 3000);
    host.pass(1000);
    expect(ticks()).toBe(1);
  });

  it('takes an absurd time for a short one in set_timer_op', () => {
    for (const timeout of [() => -1n, () => 1n << 62n, () => host.clock.nowNs() + (1n << 50n)]) {
      host.call(vcpu, SET_TIMER_OP, timeout());
      host.pass(99 * MS);
      expect(ticks()).toBe(0);
      host.pass(1 * MS);
      expect(ticks()).toBe(1);
    }
  });

  it('one set for the past by set_timer_op fires with the next timers', () => {
    host.pass(1000);
    host.call(vcpu, SET_TIMER_OP, 1);
    host.pass(0);
    expect(ticks()).toBe(1);
  });
});

describe('blocking and polling', () => {
  it('a block lets events in, and returns at once when one is pending', () => {
    vcpu.info.upcallMask = true;
    vcpu.info.upcallPending = false;
    expect(host.call(vcpu, SCHED_OP, SCHEDOP.block)).toBe(0);
    expect(vcpu.info.upcallMask).toBe(false);
    expect(vcpu.isBlocked).toBe(true);
    vcpu.isBlocked = false;
    vcpu.info.upcallPending = true;
    host.call(vcpu, SCHED_OP, SCHEDOP.block);
    expect(vcpu.isBlocked).toBe(false);
  });

  it('an event ends the block', () => {
    vcpu.info.upcallPending = false;
    vcpu.info.pendingSel = 0n;
    host.call(vcpu, SCHED_OP, SCHEDOP.block);
    expect(vcpu.isBlocked).toBe(true);
    domain.events.sendVcpuVirq(0, 0);
    expect(vcpu.isBlocked).toBe(false);
    host.call(vcpu, SCHED_OP, SCHEDOP.block);
    expect(vcpu.isBlocked).toBe(false); // upcall pending now
  });

  function poll(ports: number[], timeout: bigint): number {
    const page = host.frame(domain);
    const at = host.memory.frameOffset(page);
    ports.forEach((p, i) => {
      host.memory.view.setUint32(at + 4 * i, p, true);
    });
    const [rc] = host.op(vcpu, SCHED_OP, SCHEDOP.poll, schedPoll, {
      ports: host.address(page),
      nrPorts: ports.length,
      timeout,
    });
    return rc;
  }

  it('poll waits for its port, or its timeout', () => {
    vcpu.info.upcallMask = true;
    const other = domain.events.bindIpi(0);
    expect(poll([port], 0n)).toBe(0);
    expect(vcpu.isBlocked).toBe(true);
    expect(vcpu.pollPort).toBe(port);
    vcpu.info.upcallPending = true; // as if already told, so that only the poll can wake it
    domain.events.send(other);
    expect(vcpu.isBlocked).toBe(true);
    domain.events.sendVcpuVirq(0, 0);
    expect(vcpu.isBlocked).toBe(false);
    expect(vcpu.pollPort).toBe(0);
    expect(poll([port], 0n)).toBe(0); // still pending: no wait
    expect(vcpu.isBlocked).toBe(false);
    ticks();
    expect(poll([other, port], host.clock.nowNs() + 100n)).toBe(0); // `other` is pending
    expect(vcpu.isBlocked).toBe(false);
  });

  it('a timeout ends the poll, one in the past at once (XSA-221)', () => {
    expect(poll([port], host.clock.nowNs() + 100n)).toBe(0);
    host.pass(99);
    expect(vcpu.isBlocked).toBe(true);
    host.pass(1);
    expect(vcpu.isBlocked).toBe(false);
    expect(poll([port], 1n)).toBe(0);
    host.pass(0);
    expect(vcpu.isBlocked).toBe(false);
  });

  it('port 0 can be polled like several: any event ends it', () => {
    expect(poll([0], host.clock.nowNs() + 100n)).toBe(0);
    host.pass(100);
    expect(vcpu.isBlocked).toBe(false);
  });

  it('refuses too many ports, ports that cannot be, and bad pointers', () => {
    expect(poll(new Array(129).fill(port), 0n)).toBe(EINVAL);
    expect(poll([100_000], 0n)).toBe(EINVAL);
    expect(vcpu.isBlocked).toBe(false);
    const [rc] = host.op(vcpu, SCHED_OP, SCHEDOP.poll, schedPoll, { ports: 0xffff_8000_0000_0000n, nrPorts: 1 });
    expect(rc).toBe(-14);
  });
});

describe('run states', () => {
  it('add up to the time that has passed', () => {
    host.pass(100);
    vcpu.isBlocked = true;
    vcpu.time.scheduledOut();
    host.pass(50);
    vcpu.isBlocked = false;
    vcpu.time.wake();
    host.pass(7);
    vcpu.time.scheduledIn();
    host.pass(3);
    const { state, time } = vcpu.time.runstateNow();
    expect(state).toBe(0);
    expect(time).toEqual([103n, 7n, 50n, 0n]);
  });

  it('are written to the registered area on every switch; a faulting area is ignored', () => {
    const page = host.frame(domain);
    const pointer = host.frame(domain);
    host.memory.view.setBigUint64(host.memory.frameOffset(pointer), host.address(page, 8), true);
    expect(vcpuOp(VCPUOP.register_runstate_memory_area, 0, host.address(pointer))).toBe(0);
    const read = () =>
      abi.vcpuRunstateInfo.read(host.memory.view, host.memory.frameOffset(page) + 8, 64) as { state: number };
    expect(read().state).toBe(0);
    vcpu.isBlocked = true;
    vcpu.time.scheduledOut();
    expect(read().state).toBe(2);
    host.faulting.add(host.address(page));
    vcpu.isBlocked = false;
    expect(() => vcpu.time.scheduledIn()).not.toThrow();
    expect(read().state).toBe(2);
  });

  it('a 64-bit guest in its user mode gets them when it is back in its kernel', () => {
    const page = host.frame(domain);
    vcpu.time.registerRunstateArea(host.address(page), vcpu);
    vcpu.pv.inKernel = false;
    vcpu.isBlocked = true;
    vcpu.time.scheduledOut();
    expect(host.memory.view.getInt32(host.memory.frameOffset(page), true)).toBe(0);
    vcpu.isBlocked = false;
    vcpu.time.scheduledIn();
    host.pass(5);
    vcpu.pv.inKernel = true;
    vcpu.time.enteredKernel();
    const time = host.memory.view.getBigUint64(host.memory.frameOffset(page) + 8, true);
    expect(time).toBe(vcpu.time.runstate.stateEntryTime);
  });
});

describe('what guests compute time from', () => {
  it('gives system time for the TSC, with an even version', () => {
    host = new FakeHost(2_400_000_000n);
    domain = host.domain();
    vcpu = host.load(domain.vcpus[0]);
    vcpu.time.scheduledIn();
    host.pass(123_456_789);
    const { view } = host.memory;
    const at = vcpu.info.timeAt;
    expect(view.getUint32(at, true) % 2).toBe(0);
    expect(view.getUint32(at, true)).toBeGreaterThan(0);
    let delta = host.clock.cycles() - view.getBigUint64(at + 8, true);
    const shift = view.getInt8(at + 28);
    delta = shift >= 0 ? delta << BigInt(shift) : delta >> BigInt(-shift);
    const ns = view.getBigUint64(at + 16, true) + ((delta * BigInt(view.getUint32(at + 24, true))) >> 32n);
    expect(ns).toBe(host.clock.nowNs());
  });

  it('changes its version when it moves to a registered vcpu_info, and reaches the second area', () => {
    const { view } = host.memory;
    const before = view.getUint32(vcpu.info.timeAt, true);
    const area = host.frame(domain);
    vcpu.time.registerTimeArea(host.address(area), vcpu);
    expect(view.getUint32(vcpu.info.timeAt, true)).toBe(before + 2);
    expect([...host.bytes(area).subarray(0, 32)]).toEqual([
      ...host.memory.u8.subarray(vcpu.info.timeAt, vcpu.info.timeAt + 32),
    ]);
  });

  it('wall clock: version even, seconds in 64 bits', () => {
    host.clock.wallClockAtBoot = (5n << 32n) * 1_000_000_000n + 17_000_000_123n;
    writeWallclock(domain);
    const { view } = host.memory;
    const at = host.memory.frameOffset(domain.sharedInfoMfn) + 3072;
    expect([0, 4, 8, 12].map(o => view.getUint32(at + o, true))).toEqual([2, 17, 123, 5]);
  });
});

describe('watchdogs', () => {
  const set = (id: number, timeout: number): number =>
    host.op(vcpu, SCHED_OP, SCHEDOP.watchdog, schedWatchdog, { id, timeout })[0];

  it('stop a domain that does not answer', () => {
    expect(set(0, 5)).toBe(1);
    expect(set(0, 50)).toBe(2);
    expect(set(0, 5)).toBe(-28);
    expect(set(3, 5)).toBe(EINVAL);
    host.pass(4_000 * MS);
    expect(set(1, 5)).toBe(0);
    host.pass(4_000 * MS);
    expect(domain.shutdown).toBeNull();
    host.pass(1_000 * MS);
    expect(domain.shutdown).toEqual({ code: 4 });
  });

  it('can be given back', () => {
    expect(set(1, 0)).toBe(EINVAL);
    set(0, 1);
    expect(set(1, 0)).toBe(0);
    host.pass(10_000 * MS);
    expect(domain.shutdown).toBeNull();
  });
});
