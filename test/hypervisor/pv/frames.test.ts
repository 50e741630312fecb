import { describe, expect, it } from 'vitest';
import { R, SEG } from '../../../src/cpu/layout.ts';
import { VmAssist } from '../../../src/hypervisor/domain.ts';
import { bounce } from '../../../src/hypervisor/pv/bounce.ts';
import { enterGuest } from '../../../src/hypervisor/pv/entry.ts';
import { CODE, HANDLER, KERNEL_GS, KERNEL_STACK, PvGuest, USER_GS, USER_STACK } from './pv-guest.ts';

const IF = 0x200n;

describe('frame of an exception', () => {
  it('from the kernel: on its own stack, CS without RPL', () => {
    const g = new PvGuest();
    g.handler(6);
    g.cpu.gpr[R.rcx] = 0x1111n;
    g.cpu.gpr[R.r11] = 0x2222n;
    g.cpu.rflags = 0x246n;
    g.exception(6);
    expect(g.cpu.gpr[R.rsp]).toBe(KERNEL_STACK - 56n);
    expect(g.frame(7)).toEqual([0x1111n, 0x2222n, CODE, 0xe030n, 0x246n, KERNEL_STACK, 0xe02bn]);
    expect(g.cpu.rip).toBe(HANDLER);
    expect([g.cs, g.ss]).toEqual([0xe033, 0xe02b]);
    expect(g.pv.inKernel).toBe(true);
  });

  it('from user mode: on the kernel stack, with the user selectors, after the change of page table and GS', () => {
    const g = new PvGuest().enterUser();
    g.handler(13);
    g.exception(13, 0x18);
    expect(g.cpu.gpr[R.rsp]).toBe(KERNEL_STACK - 64n);
    expect(g.frame(8)).toEqual([0n, 0n, 0x18n, CODE, 0xe033n, IF | 2n, USER_STACK, 0xe02bn]);
    expect(g.pv.inKernel).toBe(true);
    expect(g.host.processor.root).toBe(BigInt(g.pv.guestTable) << 12n);
    expect(g.gsBase).toBe(KERNEL_GS);
  });

  it('is aligned to 16 bytes whatever the stack pointer was', () => {
    const g = new PvGuest();
    g.handler(6);
    g.cpu.gpr[R.rsp] = KERNEL_STACK - 3n;
    g.exception(6);
    expect(g.cpu.gpr[R.rsp]).toBe(KERNEL_STACK - 16n - 56n);
    expect(g.frame(7)[5]).toBe(KERNEL_STACK - 3n);
  });

  it('carries the saved event mask in bits 32-39 of the CS slot and its inverse in RFLAGS.IF', () => {
    const g = new PvGuest();
    g.handler(6);
    g.vcpu.info.upcallMask = true;
    g.exception(6);
    const frame = g.frame(7);
    expect(frame[3]).toBe(0x1_0000_e030n);
    expect(frame[4] & IF).toBe(0n);
    expect(g.cpu.rflags & IF).toBe(IF);
  });

  it('masks events on entry only where the trap table says so', () => {
    const g = new PvGuest();
    g.handler(6, 0);
    g.handler(13, 4);
    g.exception(6);
    expect(g.vcpu.info.upcallMask).toBe(false);
    g.exception(13, 0x10);
    expect(g.vcpu.info.upcallMask).toBe(true);
    expect(g.frame(8)[4]).toBe(0xe030n);
  });

  it('clears AC VM RF NT TF on entry, keeps DF, and shows them in the frame', () => {
    const g = new PvGuest();
    g.handler(6);
    g.cpu.rflags = 0x54702n; // AC RF NT IF DF(0x400) TF
    g.exception(6);
    expect(g.frame(7)[4]).toBe(0x54702n);
    expect(g.cpu.rflags).toBe(0x602n);
  });

  it('has no IOPL unless the architectural one was asked for', () => {
    const g = new PvGuest();
    g.handler(6);
    g.pv.iopl = 3;
    g.exception(6);
    expect((g.frame(7)[4] >> 12n) & 3n).toBe(0n);
    g.domain.vmAssist = 1n << BigInt(VmAssist.architecturalIopl);
    g.exception(6);
    expect((g.frame(7)[4] >> 12n) & 3n).toBe(3n);
  });
});

describe('page faults', () => {
  it('put the address into vcpu_info and the mode into the error code', () => {
    const kernel = new PvGuest();
    kernel.handler(14);
    kernel.exception(14, 6, 0xdead000n);
    expect(kernel.vcpu.info.cr2).toBe(0xdead000n);
    expect(kernel.frame(3)[2]).toBe(2n);

    const user = new PvGuest().enterUser();
    user.handler(14);
    user.exception(14, 4, 0xbeef000n);
    expect(user.vcpu.info.cr2).toBe(0xbeef000n);
    expect(user.frame(3)[2]).toBe(4n);
  });

  it('in Xen’s range are the guest’s own', () => {
    const g = new PvGuest();
    g.handler(14);
    g.exception(14, 5, 0xffff820000000000n);
    expect(g.cpu.rip).toBe(HANDLER);
    expect(g.vcpu.info.cr2).toBe(0xffff820000000000n);
  });

  it('of a descriptor read fault at the guest’s own LDT', () => {
    const g = new PvGuest();
    g.handler(14);
    g.pv.ldtBase = 0x700000000000n;
    g.pv.ldtEntries = 16;
    g.exception(14, 0, 0xffff820000010000n + 0x18n);
    expect(g.vcpu.info.cr2).toBe(0x700000000018n);
  });
});

describe('what a guest cannot be told', () => {
  it('no handler: the domain crashes with Xen’s words', () => {
    const g = new PvGuest();
    g.exception(14, 2, 0x1000n);
    expect(g.domain.shutdown).toEqual({ code: 3 });
    expect(g.host.log).toContain('(XEN) d1v0 Unhandled: vec 14, #PF[0000]'.replace('0000', '0002'));
    expect(g.host.log.some(line => line.startsWith('(XEN) Pagetable walk from 0000000000001000:'))).toBe(true);
    expect(g.host.log).toContain('(XEN) Domain 1 (vcpu#0) crashed on cpu#0:');
  });

  it('a stack in the hypervisor’s hole', () => {
    const g = new PvGuest();
    g.handler(6);
    g.cpu.gpr[R.rsp] = 0xffff800000001000n;
    g.exception(6);
    expect(g.crash).toMatch(/hypervisor area/);
  });

  it('a stack that is not mapped', () => {
    const g = new PvGuest();
    g.handler(6);
    g.cpu.gpr[R.rsp] = 0x5000n;
    g.exception(6);
    expect(g.crash).toMatch(/cannot be written/);
    expect(g.domain.crashRecord?.registers.rsp).toBe(0x5000n);
  });
});

describe('delivery', () => {
  it('gives the exception first, then the NMI, then the event', () => {
    const g = new PvGuest();
    g.handler(6, 0, HANDLER);
    g.handler(2, 4, HANDLER + 0x100n);
    g.pv.callbacks.event = { cs: 0xe033, address: HANDLER + 0x200n, maskEvents: true };
    g.vcpu.info.upcallPending = true;
    g.pv.nmiPending = true;
    g.exception(6);
    // The NMI masks events, so that the upcall waits for it to return.
    expect(g.cpu.rip).toBe(HANDLER + 0x100n);
    expect(g.frame(7)[2]).toBe(HANDLER);
    expect(g.pv.nmiMasked).toBe(true);
    g.vcpu.info.upcallMask = false;
    enterGuest(g.vcpu);
    expect(g.cpu.rip).toBe(HANDLER + 0x200n);
    expect(g.vcpu.info.upcallMask).toBe(true);
    expect(g.frame(7)[3]).toBe(0xe030n);
  });

  it('holds an NMI back while one is being handled', () => {
    const g = new PvGuest();
    g.handler(2, 4);
    g.pv.nmiMasked = true;
    g.pv.nmiPending = true;
    enterGuest(g.vcpu);
    expect(g.cpu.rip).toBe(CODE);
    expect(g.pv.nmiPending).toBe(true);
  });

  it('an event from user mode enters the kernel', () => {
    const g = new PvGuest().enterUser();
    g.pv.callbacks.event = { cs: 0xe033, address: HANDLER, maskEvents: true };
    g.vcpu.info.upcallPending = true;
    enterGuest(g.vcpu);
    expect(g.frame(7)).toEqual([0n, 0n, CODE, 0xe033n, IF | 2n, USER_STACK, 0xe02bn]);
    expect(g.cpu.get(0x2d8)).toBe(USER_GS);
  });

  it('#NM clears the virtual TS, or the guest would never get past it', () => {
    const g = new PvGuest();
    g.handler(7);
    g.guest.call('fpu_taskswitch', 1);
    expect(g.pv.taskSwitched).toBe(true);
    expect(g.cpu.get(0x240) & 8n).toBe(8n);
    g.exception(7);
    expect(g.pv.taskSwitched).toBe(false);
    expect(g.cpu.get(0x240) & 8n).toBe(0n);
  });

  it('#DB leaves its reason in DR6', () => {
    const g = new PvGuest();
    g.handler(1);
    g.exception(1, null, 0x4001n);
    expect(g.guest.call('get_debugreg', 6)).toBe(0xffff0ff0 + 0x4001);
  });

  it('the failsafe frame has the data selectors between r11 and RIP', () => {
    const g = new PvGuest();
    const attributes = 0xc0f3;
    g.cpu.writeSegment(SEG.ds, { selector: 0x2b, base: 0n, limit: 0, attributes });
    g.cpu.writeSegment(SEG.es, { selector: 0x33, base: 0n, limit: 0, attributes });
    g.cpu.writeSegment(SEG.fs, { selector: 0x3b, base: 0n, limit: 0, attributes });
    g.cpu.writeSegment(SEG.gs, { selector: 0x43, base: 0n, limit: 0, attributes });
    bounce(g.vcpu, { address: HANDLER, maskEvents: false, errorCode: null, withSegments: true });
    expect(g.frame(11)).toEqual([
      0n, 0n, 0x2bn, 0x33n, 0x3bn, 0x43n, CODE, 0xe030n, IF | 2n, KERNEL_STACK, 0xe02bn,
    ]); // biome-ignore format: a frame
  });
});
