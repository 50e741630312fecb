// vCPUs of HVM domains: contexts, going up and down, and how they are told of events.
import { beforeEach, describe, expect, it } from 'vitest';
import {
  HVM_PARAM,
  HVMOP,
  VCPU_HVM_MODE,
  vcpuHvmContext,
  xenHvmEvtchnUpcallVector,
  xenHvmParam,
} from '../../../src/abi/xen/hvm.ts';
import { VCPUOP } from '../../../src/abi/xen/vcpu.ts';
import { R, S, SEG } from '../../../src/cpu/layout.ts';
import { DOMID_SELF } from '../../../src/hypervisor/domain-ids.ts';
import { markEventsPending } from '../../../src/hypervisor/events/wake.ts';
import { connectProcessors } from '../../../src/hypervisor/hvm/hvm-vcpu.ts';
import { scheduleGuests } from '../../../src/hypervisor/schedule.ts';
import { InterruptBus } from '../../../src/machine/interrupts/interrupt-bus.ts';
import { TestHost } from '../harness.ts';
import { HvmGuest } from './hvm-guest.ts';

const SPURIOUS = 0xf0;
const APIC_ENABLED = 0x1ff;

let host: TestHost;
let guest: HvmGuest;
beforeEach(() => {
  host = new TestHost();
  guest = new HvmGuest(host, { vcpus: 3 });
  scheduleGuests(host.hypervisor);
  const { bus } = host.processor;
  connectProcessors(guest.domain, { bus, interrupts: new InterruptBus() });
  guest.domain.vcpus[0].isUp = true;
  guest.setMode(64);
});

const FLAT = {
  csLimit: 0xffffffff, dsLimit: 0xffffffff, ssLimit: 0xffffffff, esLimit: 0xffffffff, trLimit: 0x67,
  csAr: 0xc9b, dsAr: 0xc93, ssAr: 0xc93, esAr: 0xc93, trAr: 0x8b,
}; // biome-ignore format: a register file

type Regs32 = ReturnType<typeof vcpuHvmContext.zero>['cpuRegs']['x8632'];
type Regs64 = ReturnType<typeof vcpuHvmContext.zero>['cpuRegs']['x8664'];

function initialise32(vcpu: number, regs: Partial<Regs32>): string {
  const context = vcpuHvmContext.zero();
  const x8632 = { ...context.cpuRegs.x8632, ...FLAT, ...regs };
  const cpuRegs = { x8632 } as typeof context.cpuRegs;
  return guest.try('vcpu_op', VCPUOP.initialise, vcpu, guest.put(vcpuHvmContext, [{ ...context, cpuRegs }]));
}

function initialise64(vcpu: number, regs: Partial<Regs64>, mode: number = VCPU_HVM_MODE.bits64): string {
  const context = vcpuHvmContext.zero();
  const x8664 = { ...context.cpuRegs.x8664, cr0: 0x80000001n, cr4: 0x20n, efer: 0x100n, ...regs };
  const cpuRegs = { x8664 } as typeof context.cpuRegs;
  return guest.try('vcpu_op', VCPUOP.initialise, vcpu, guest.put(vcpuHvmContext, [{ ...context, mode, cpuRegs }]));
}

describe('a context', () => {
  it('of 32 bits is taken once', () => {
    expect(initialise32(1, { eip: 0x1000, ebx: 0xb0b, cr0: 1 })).toBe('0');
    const { stored } = guest.domain.vcpus[1];
    expect([stored.rip, stored.gpr[R.rbx], stored.get(S.cr0)]).toEqual([0x1000n, 0xb0bn, 0x11n]);
    expect(stored.readSegment(SEG.cs)).toMatchObject({ base: 0n, limit: 0xffffffff });
    expect(initialise32(1, { eip: 0x1000 })).toBe('-EEXIST');
    expect(initialise32(9, {})).toBe('-ENOENT');
  });

  it('of 64 bits starts in long mode', () => {
    expect(initialise64(1, { rip: 0xffffffff81000000n, cr3: 0x5000n })).toBe('0');
    const { stored } = guest.domain.vcpus[1];
    expect([stored.rip, stored.get(S.cr3), stored.get(S.efer)]).toEqual([0xffffffff81000000n, 0x5000n, 0x500n]);
  });

  it('that no processor could have is refused, and nothing has changed', () => {
    for (const wrong of [
      { csAr: 0xc93 }, // data
      { csAr: 0xc1b }, // not present
      { ssAr: 0xc9b }, // code
      { ssAr: 0xcf3 }, // another ring than the code's
      { dsAr: 0xcf3 }, // the same
      { trAr: 0x83 }, // a 16-bit task
      { csAr: 0 },
      { csAr: 0x1c9b }, // reserved bits
      { csAr: 0x49b, csLimit: 0xfff, eip: 0x1000 },
      { efer: 0x400n }, // long mode active and not enabled
      { cr4: 0x2000 }, // VMX
      { pad1: 1 },
    ]) {
      expect(
        initialise32(1, wrong),
        JSON.stringify(wrong, (_, v) => (typeof v === 'bigint' ? `${v}` : v)),
      ).toBe('-EINVAL');
    }
    for (const wrong of [{ rip: 1n << 47n }, { cr0: 1n }, { cr4: 0n }, { efer: 0n }, { efer: 0x1100n }]) {
      expect(initialise64(1, wrong)).toBe('-EINVAL');
    }
    expect(initialise64(1, {}, 2)).toBe('-EINVAL');
    expect(guest.domain.vcpus[1].isInitialised).toBe(false);
    expect(initialise32(1, { dsAr: 0, esAr: 0 })).toBe('0');
  });
});

it('goes up only with a context', () => {
  expect(guest.try('vcpu_op', VCPUOP.up, 1)).toBe('-EINVAL');
  expect(initialise32(1, {})).toBe('0');
  expect(guest.call('vcpu_op', VCPUOP.is_up, 1)).toBe(0);
  expect(guest.try('vcpu_op', VCPUOP.up, 1)).toBe('0');
  expect(guest.call('vcpu_op', VCPUOP.is_up, 1)).toBe(1);
});

it('starts by INIT and a Start-Up IPI like any processor', () => {
  const [boot, second] = guest.domain.vcpus;
  const destination = second.hvm!.apic.initialId;
  boot.hvm!.apic.writeRegister(SPURIOUS, APIC_ENABLED);
  const send = (command: number): void => {
    boot.hvm!.apic.writeRegister(0x310, destination << 24);
    boot.hvm!.apic.writeRegister(0x300, command);
  };
  send(0x4500);
  expect(second.isUp).toBe(false);
  send(0x4608);
  expect([second.isUp, second.isInitialised, second.hvm!.logical.isRunnable]).toEqual([true, true, true]);
  expect(second.stored.readSegment(SEG.cs).base).toBe(0x8000n);
  send(0x4500);
  expect(guest.call('vcpu_op', VCPUOP.is_up, 1)).toBe(0);
});

it('waits for a Start-Up IPI after an INIT, the boot processor too', () => {
  const [boot, second] = guest.domain.vcpus;
  expect(initialise32(1, {})).toBe('0');
  expect(guest.try('vcpu_op', VCPUOP.up, 1)).toBe('0');
  const { apic } = second.hvm!;
  apic.writeRegister(SPURIOUS, APIC_ENABLED);
  boot.isInitialised = true;
  apic.writeRegister(0x310, 0);
  apic.writeRegister(0x300, 0x4500);
  expect([boot.isUp, boot.hvm!.logical.isRunnable]).toEqual([false, false]);
  apic.writeRegister(0x300, 0x4609);
  expect([boot.isUp, boot.hvm!.logical.isRunnable, boot.stored.readSegment(SEG.cs).base]).toEqual([
    true,
    true,
    0x9000n,
  ]);
});

describe('upcalls', () => {
  const setVector = (vcpu: number, vector: number): string =>
    guest.op('hvm_op', HVMOP.set_evtchn_upcall_vector, xenHvmEvtchnUpcallVector, { vcpu, vector });
  const setVia = (value: bigint): string =>
    guest.op('hvm_op', HVMOP.set_param, xenHvmParam, {
      domid: DOMID_SELF,
      pad: 0,
      index: HVM_PARAM.callback_irq,
      value,
    });

  it('come as edges through a local APIC that is on', () => {
    const [vcpu] = guest.domain.vcpus;
    const { apic } = vcpu.hvm!;
    apic.writeRegister(SPURIOUS, APIC_ENABLED);
    expect(setVector(0, 0xf3)).toBe('0');
    // Told at once, in case something was lost before.
    expect(apic.acknowledge()).toBe(0xf3);
    apic.writeRegister(0xb0, 0);
    markEventsPending(vcpu);
    expect(apic.pending()).toBe(0xf3);
  });

  it('that came while the local APIC was off come when it is on', () => {
    const [vcpu] = guest.domain.vcpus;
    const { apic } = vcpu.hvm!;
    expect(setVector(0, 0xf3)).toBe('0');
    markEventsPending(vcpu);
    expect(apic.pending()).toBe(-1);
    apic.writeRegister(SPURIOUS, APIC_ENABLED);
    expect(apic.pending()).toBe(0xf3);
  });

  it('by the callback vector last until the guest clears its flag, whatever its mask and its local APIC say', () => {
    const [vcpu] = guest.domain.vcpus;
    const { upcalls } = guest.hvm;
    expect(setVia((2n << 56n) | 0x40n)).toBe('0');
    expect(upcalls.pendingVector(vcpu)).toBe(-1);
    markEventsPending(vcpu);
    expect([vcpu.info.upcallMask, upcalls.pendingVector(vcpu)]).toEqual([true, 0x40]);
    vcpu.info.upcallPending = false;
    expect(upcalls.pendingVector(vcpu)).toBe(-1);
  });

  it('by a line raise it and lower it with vCPU 0’s flag', () => {
    const [vcpu] = guest.domain.vcpus;
    const { upcalls } = guest.hvm;
    const seen: string[] = [];
    upcalls.lines = {
      gsis: 24,
      gsi: (gsi, level) => void seen.push(`gsi ${gsi} ${level}`),
      pciIntx: (device, pin, level) => void seen.push(`${device}.${pin} ${level}`),
    };
    expect(setVia(9n)).toBe('0');
    markEventsPending(vcpu);
    // It moves with its wire.
    expect(setVia((1n << 56n) | (3n << 11n) | 1n)).toBe('0');
    upcalls.guestRuns();
    vcpu.info.upcallPending = false;
    upcalls.guestRuns();
    expect(seen).toEqual(['gsi 9 true', 'gsi 9 false', '3.1 true', '3.1 false']);
    // GSI 0 and numbers beyond the last are no wire.
    expect([setVia(0n), setVia(24n), setVia(9n << 56n)]).toEqual(['0', '0', '0']);
    markEventsPending(vcpu);
    expect(seen).toHaveLength(4);
  });

  it('latch how wide a long is in shared_info', () => {
    expect(guest.hvm.sharedInfoWidth).toBe(64);
    guest.setMode(32);
    expect(setVia(1n)).toBe('0');
    expect([guest.hvm.sharedInfoWidth, guest.domain.width]).toEqual([32, 32]);
  });
});

it('shows the guest’s own TSC in its time info', () => {
  const [vcpu] = guest.domain.vcpus;
  const { view } = host.memory;
  const stamp = (): bigint => view.getBigUint64(vcpu.info.timeAt + 8, true);
  vcpu.cpu.set(S.tscOffset, 0x123456789n);
  vcpu.time.scheduledIn();
  expect(stamp()).toBe(0x123456789n);
});
