import { describe, expect, it } from 'vitest';
import { Exit } from '../../../src/cpu/exits.ts';
import { R, S, SEG } from '../../../src/cpu/layout.ts';
import { CODE, HANDLER, KERNEL_STACK, PvGuest, USER_GS, USER_STACK } from './pv-guest.ts';

const IF = 0x200n;
const XEN_VERSION = 17n;

describe('SYSCALL', () => {
  it('in kernel mode is a hypercall: result in rax, rcx and r11 destroyed', () => {
    const g = new PvGuest();
    g.cpu.gpr[R.rax] = XEN_VERSION;
    g.cpu.gpr[R.rdi] = 0n; // XENVER_version
    g.cpu.gpr[R.rbx] = 7n;
    g.syscall();
    expect(g.cpu.gpr[R.rax]).toBe(0x40011n);
    expect(g.cpu.rip).toBe(CODE + 2n);
    expect(g.cpu.gpr[R.rcx]).toBe(CODE + 2n);
    expect(g.cpu.gpr[R.r11]).toBe(IF | 2n);
    expect(g.cpu.gpr[R.rbx]).toBe(7n);
  });

  it('with an unknown number is -ENOSYS, also one that only looks small', () => {
    const g = new PvGuest();
    for (const number of [63n, 64n, 0xffffffffn, (1n << 32n) + XEN_VERSION, (1n << 64n) - 1n]) {
      g.cpu.gpr[R.rax] = number;
      g.syscall();
      expect(BigInt.asIntN(64, g.cpu.gpr[R.rax])).toBe(-38n);
    }
    expect(g.domain.shutdown).toBeNull();
  });

  it('in user mode enters the kernel’s callback with what the instruction would have saved', () => {
    const g = new PvGuest().enterUser();
    g.pv.callbacks.syscall = { cs: 0xe033, address: HANDLER, maskEvents: true };
    g.cpu.rflags = 0xa02n;
    g.syscall();
    expect(g.frame(7)).toEqual([CODE + 2n, 0xa02n, CODE + 2n, 0xe033n, (0xa02n & ~IF) | IF, USER_STACK, 0xe02bn]);
    expect(g.cpu.rip).toBe(HANDLER);
    expect(g.vcpu.info.upcallMask).toBe(true);
    expect(g.pv.inKernel).toBe(true);
  });

  it('masks events only if the callback was registered so', () => {
    const g = new PvGuest().enterUser();
    g.pv.callbacks.syscall = { cs: 0xe033, address: HANDLER, maskEvents: false };
    g.syscall();
    expect(g.vcpu.info.upcallMask).toBe(false);
  });

  it('without a callback does not exist: #UD at the instruction', () => {
    const g = new PvGuest().enterUser();
    g.handler(6);
    g.syscall();
    expect(g.frame(3)[2]).toBe(CODE);
    expect(g.cpu.rip).toBe(HANDLER);
  });

  it('from compatibility mode goes to syscall32 and shows e023', () => {
    const g = new PvGuest().enterUser();
    g.pv.callbacks.syscall = { cs: 0xe033, address: HANDLER, maskEvents: false };
    g.pv.callbacks.syscall32 = { cs: 0xe033, address: HANDLER + 16n, maskEvents: false };
    g.cpu.writeSegment(SEG.cs, { selector: 0x23, base: 0n, limit: 0xffffffff, attributes: 0xc0fb });
    g.syscall();
    expect(g.cpu.rip).toBe(HANDLER + 16n);
    expect(g.frame(4)[3]).toBe(0xe023n);
    expect([g.cs, g.cpu.readSegment(SEG.cs).attributes]).toEqual([0xe033, 0xa0fb]);
  });
});

describe('SYSENTER', () => {
  it('is #UD on AMD', () => {
    const g = new PvGuest().enterUser();
    g.handler(6);
    g.pv.callbacks.sysenter = { cs: 0xe033, address: HANDLER + 16n, maskEvents: false };
    g.exit(Exit.sysenter);
    expect(g.cpu.rip).toBe(HANDLER);
  });

  it('on Intel shows neither RIP nor RSP', () => {
    const g = new PvGuest('skylake').enterUser();
    g.pv.callbacks.sysenter = { cs: 0xe033, address: HANDLER, maskEvents: false };
    g.cpu.rflags = 0x4202n; // NT does not keep it away
    g.exit(Exit.sysenter);
    expect(g.frame(7).slice(2)).toEqual([0n, 3n, 0x4202n, 0n, 0xe02bn]);
    expect(g.cpu.rflags & 0x4000n).toBe(0n);
  });

  it('without a callback is #GP(0)', () => {
    const g = new PvGuest('skylake').enterUser();
    g.handler(13);
    g.exit(Exit.sysenter);
    expect(g.frame(3)[2]).toBe(0n);
    expect(g.cpu.rip).toBe(HANDLER);
  });
});

describe('INT n', () => {
  it('needs DPL 1 from the kernel and 3 from user mode', () => {
    for (const [user, dpl, allowed] of [
      [false, 0, false],
      [false, 1, true],
      [false, 3, true],
      [true, 1, false],
      [true, 2, false],
      [true, 3, true],
    ] as const) {
      const g = user ? new PvGuest().enterUser() : new PvGuest();
      g.handler(0x20, dpl, HANDLER);
      g.handler(13, 0, HANDLER + 16n);
      g.softwareInterrupt(0x20);
      expect(g.cpu.rip).toBe(allowed ? HANDLER : HANDLER + 16n);
      const frame = g.frame(4);
      if (allowed) expect(frame[2]).toBe(CODE + 2n);
      else expect(frame.slice(2)).toEqual([0x20n * 8n + 2n, CODE]);
    }
  });

  it('3 and 4 have no check, and stand behind the instruction', () => {
    const g = new PvGuest().enterUser();
    g.handler(3, 0);
    g.softwareInterrupt(3, 1);
    expect(g.cpu.rip).toBe(HANDLER);
    expect(g.frame(3)[2]).toBe(CODE + 1n);
  });

  it('0x80 without a handler is #GP(0x402) at the instruction (XSA-259); with one its DPL is not looked at', () => {
    const g = new PvGuest().enterUser();
    g.handler(13);
    g.softwareInterrupt(0x80);
    expect(g.frame(4).slice(2)).toEqual([0x402n, CODE]);

    const h = new PvGuest().enterUser();
    h.handler(0x80, 0);
    h.softwareInterrupt(0x80);
    expect(h.frame(3)[2]).toBe(CODE + 2n);
  });
});

describe('iret', () => {
  const HYPERCALL_IRET = 23n;
  interface Frame {
    rax?: bigint;
    r11?: bigint;
    rcx?: bigint;
    flags?: bigint;
    rip?: bigint;
    cs?: bigint;
    rflags?: bigint;
    rsp?: bigint;
    ss?: bigint;
  }
  function iret(g: PvGuest, f: Frame = {}): void {
    const sp = KERNEL_STACK - 72n;
    g.store(sp, [
      f.rax ?? 1n,
      f.r11 ?? 2n,
      f.rcx ?? 3n,
      f.flags ?? 0n,
      f.rip ?? HANDLER,
      f.cs ?? 0xe033n,
      f.rflags ?? 0x202n,
      f.rsp ?? USER_STACK,
      f.ss ?? 0xe02bn,
    ]);
    g.cpu.gpr[R.rsp] = sp;
    g.cpu.gpr[R.rax] = HYPERCALL_IRET;
    g.syscall();
  }

  it('to user mode changes page table and GS and restores rax, rcx, r11', () => {
    const g = new PvGuest();
    g.giveUserTable();
    iret(g);
    expect(g.pv.inKernel).toBe(false);
    expect(g.host.processor.root).toBe(BigInt(g.pv.guestTableUser) << 12n);
    expect(g.gsBase).toBe(USER_GS);
    expect([g.cpu.rip, g.cpu.gpr[R.rsp]]).toEqual([HANDLER, USER_STACK]);
    expect([R.rax, R.r11, R.rcx].map(r => g.cpu.gpr[r])).toEqual([1n, 2n, 3n]);
    expect([g.cs, g.ss]).toEqual([0xe033, 0xe02b]);
  });

  it('to the kernel (RPL 0) stays there, and gives the selectors RPL 3', () => {
    const g = new PvGuest();
    iret(g, { cs: 0xe030n, ss: 0xe028n, rsp: KERNEL_STACK });
    expect(g.pv.inKernel).toBe(true);
    expect([g.cs, g.ss]).toEqual([0xe033, 0xe02b]);
  });

  it('takes the event mask from RFLAGS.IF alone, forces IF and strips IOPL, VM and NT', () => {
    const g = new PvGuest();
    iret(g, { cs: 0x1_0000_e030n, rflags: 0x27002n | 0x40n, rsp: KERNEL_STACK });
    expect(g.vcpu.info.upcallMask).toBe(true);
    expect(g.cpu.rflags).toBe(0x242n);
    iret(g, { cs: 0xe030n, rflags: 0x202n, rsp: KERNEL_STACK });
    expect(g.vcpu.info.upcallMask).toBe(false);
  });

  it('delivers events that its IF lets in', () => {
    const g = new PvGuest();
    g.pv.callbacks.event = { cs: 0xe033, address: HANDLER + 32n, maskEvents: true };
    g.vcpu.info.upcallMask = true;
    g.vcpu.info.upcallPending = true;
    iret(g, { cs: 0xe030n, rsp: KERNEL_STACK });
    expect(g.cpu.rip).toBe(HANDLER + 32n);
    expect(g.frame(4).slice(2)).toEqual([HANDLER, 0xe030n]);
  });

  it('with VGCF_in_syscall returns as SYSRET: rcx and r11 are RIP and RFLAGS, CS is e033 or e023', () => {
    const g = new PvGuest();
    g.giveUserTable();
    iret(g, { flags: 0x100n, cs: 0x33n, ss: 0x2bn });
    expect([g.cpu.gpr[R.rcx], g.cpu.gpr[R.r11]]).toEqual([HANDLER, 0x202n]);
    expect([g.cs, g.ss]).toEqual([0xe033, 0xe02b]);
    expect(g.pv.inKernel).toBe(false);

    const h = new PvGuest();
    h.giveUserTable();
    iret(h, { flags: 0x100n, cs: 0xe023n });
    expect(h.cs).toBe(0xe023);
    expect(h.cpu.readSegment(SEG.cs).attributes).toBe(0xc0fb);
  });

  it('to a RIP that is not canonical is the target’s #GP(0) (XSA-7)', () => {
    const g = new PvGuest();
    g.giveUserTable();
    g.handler(13);
    iret(g, { rip: 0x800000000000n, flags: 0x100n });
    expect(g.cpu.rip).toBe(HANDLER);
    expect(g.frame(5).slice(2)).toEqual([0n, 0x800000000000n, 0xe033n]);
  });

  it('to a selector that cannot be loaded is #GP(selector) in the target’s name', () => {
    const g = new PvGuest();
    g.giveUserTable();
    g.handler(13);
    iret(g, { cs: 0x4bn });
    expect(g.frame(5).slice(2)).toEqual([0x48n, HANDLER, 0x4bn]);
  });

  it('to user mode without a user page table crashes the domain', () => {
    const g = new PvGuest();
    iret(g);
    expect(g.crash).toMatch(/without a user page table/);
  });

  it('with a frame that cannot be read crashes the domain', () => {
    const g = new PvGuest();
    g.cpu.gpr[R.rsp] = 0x1000n;
    g.cpu.gpr[R.rax] = HYPERCALL_IRET;
    g.syscall();
    expect(g.crash).toMatch(/cannot be read/);
    const h = new PvGuest();
    h.cpu.gpr[R.rsp] = 0xffff800000000000n;
    h.cpu.gpr[R.rax] = HYPERCALL_IRET;
    h.syscall();
    expect(h.crash).toMatch(/cannot be read/);
  });

  it('ends a multicall (XSA-213)', () => {
    const g = new PvGuest();
    g.giveUserTable();
    const sp = KERNEL_STACK - 72n;
    g.store(sp, [5n, 0n, 0n, 0n, HANDLER, 0xe033n, 0x202n, USER_STACK, 0xe02bn]);
    const list = CODE + 0x800n;
    const entry = (op: bigint, arg: bigint): bigint[] => [op, 0x77n, arg, 0n, 0n, 0n, 0n, 0n];
    g.store(list, [...entry(XEN_VERSION, 0n), ...entry(HYPERCALL_IRET, 0n), ...entry(XEN_VERSION, 0n)]);
    g.cpu.gpr[R.rsp] = sp;
    g.cpu.gpr[R.rax] = 13n;
    g.cpu.gpr[R.rdi] = list;
    g.cpu.gpr[R.rsi] = 3n;
    g.syscall();
    expect(g.pv.inKernel).toBe(false);
    expect(g.cpu.gpr[R.rax]).toBe(5n);
    const results = [0, 1, 2].map(i => g.words(list + BigInt(i * 64 + 8), 1)[0]);
    expect(results).toEqual([0x40011n, 0x77n, 0x77n]);
  });

  it('unmasks NMIs', () => {
    const g = new PvGuest();
    g.pv.nmiMasked = true;
    iret(g, { cs: 0xe030n, rsp: KERNEL_STACK });
    expect(g.pv.nmiMasked).toBe(false);
  });
});

describe('multicall', () => {
  it('gives every entry its result and refuses to nest', () => {
    const g = new PvGuest();
    const list = CODE + 0x800n;
    g.store(list, [
      XEN_VERSION,
      9n,
      0n,
      0n,
      0n,
      0n,
      0n,
      0n,
      13n,
      9n,
      list,
      1n,
      0n,
      0n,
      0n,
      0n,
      63n,
      9n,
      0n,
      0n,
      0n,
      0n,
      0n,
      0n,
    ]);
    expect(g.guest.call('multicall', list, 3)).toBe(0);
    expect([8n, 72n, 136n].map(at => BigInt.asIntN(64, g.words(list + at, 1)[0]))).toEqual([0x40011n, -22n, -38n]);
  });

  it('knows no call whose number only looks small', () => {
    const g = new PvGuest();
    const list = CODE + 0x800n;
    g.store(list, [(1n << 32n) + XEN_VERSION, 9n, 0n, 0n, 0n, 0n, 0n, 0n]);
    expect(g.guest.call('multicall', list, 1)).toBe(0);
    expect(BigInt.asIntN(64, g.words(list + 8n, 1)[0])).toBe(-38n);
  });

  it('stops with -EFAULT where the list cannot be read', () => {
    const g = new PvGuest();
    expect(g.guest.try('multicall', 0x1000, 1)).toBe('-EFAULT');
  });

  it('of any length is done in pieces', () => {
    const g = new PvGuest();
    // The list is longer than what one piece does; its entries are -ENOSYS and share their pages.
    const list = g.guest.va(16);
    for (let i = 0; i < 1000; i++) g.store(list + BigInt(i * 64), [63n, 0n, 0n, 0n, 0n, 0n, 0n, 0n]);
    g.cpu.gpr[R.rax] = 13n;
    g.cpu.gpr[R.rdi] = list;
    g.cpu.gpr[R.rsi] = 1000n;
    const rip = g.cpu.rip;
    g.syscall();
    expect(g.cpu.rip).toBe(rip);
    expect(g.cpu.gpr[R.rax]).toBe(13n);
    g.syscall();
    expect(g.cpu.rip).toBe(rip + 2n);
    expect(g.cpu.gpr[R.rax]).toBe(0n);
    expect(BigInt.asIntN(64, g.words(list + 999n * 64n + 8n, 1)[0])).toBe(-38n);
  });
});

describe('virtual processor hypercalls', () => {
  it('set_trap_table merges up to address 0, fixes RPLs and clears with null', () => {
    const g = new PvGuest();
    const table = CODE + 0x800n;
    const row = (vector: bigint, flags: bigint, cs: bigint): bigint => vector | (flags << 8n) | (cs << 16n);
    g.store(table, [row(13n, 4n, 0xe030n), HANDLER, row(3n, 3n, 0xe033n), HANDLER + 1n, 0n, 0n]);
    g.handler(6);
    expect(g.guest.call('set_trap_table', table)).toBe(0);
    expect(g.pv.traps[13]).toEqual({ cs: 0xe033, flags: 4, address: HANDLER });
    expect(g.pv.traps[3].flags).toBe(3);
    expect(g.pv.traps[6].address).toBe(HANDLER);
    g.store(table, [row(13n, 4n, 0xe030n), 0x800000000000n, 0n, 0n]);
    expect(g.guest.try('set_trap_table', table)).toBe('-EINVAL');
    expect(g.guest.call('set_trap_table', 0)).toBe(0);
    expect(g.pv.traps.every(trap => trap.address === 0n)).toBe(true);
  });

  it('callback_op knows its types', () => {
    const g = new PvGuest();
    const register = (type: number, address = HANDLER, flags = 0): string => {
      g.store(CODE + 0x800n, [BigInt(type) | (BigInt(flags) << 16n), address]);
      return g.guest.try('callback_op', 0, CODE + 0x800n);
    };
    const unregister = (type: number): string => {
      g.store(CODE + 0x800n, [BigInt(type)]);
      return g.guest.try('callback_op', 1, CODE + 0x800n);
    };
    expect([0, 1, 2, 4, 5, 7].map(type => register(type))).toEqual(['0', '0', '0', '0', '0', '0']);
    expect([3, 6, 8].map(type => register(type))).toEqual(['-ENOSYS', '-ENOSYS', '-ENOSYS']);
    expect(register(0, 0x800000000000n)).toBe('-EINVAL');
    register(2, HANDLER, 1);
    expect(g.pv.callbacks.syscall).toEqual({ cs: 0xe033, address: HANDLER, maskEvents: true });
    expect(g.pv.traps[2]).toEqual({ cs: 0xe033, flags: 4, address: HANDLER });
    expect([0, 1, 2, 5, 7, 4, 9].map(unregister)).toEqual(
      ['-EINVAL', '-EINVAL', '-EINVAL', '-EINVAL', '-EINVAL', '0', '-ENOSYS'],
    ); // biome-ignore format: by type
    expect(g.pv.traps[2].address).toBe(0n);
  });

  it('set_segment_base reaches FS, the kernel’s and the user’s GS', () => {
    const g = new PvGuest();
    expect([0, 1, 2].map(which => g.guest.call('set_segment_base', which, 0x1000 * (which + 1)))).toEqual([0, 0, 0]);
    expect(g.cpu.get(S.segments + SEG.fs * 32)).toBe(0x1000n);
    expect(g.cpu.get(S.kernelGsBase)).toBe(0x2000n);
    expect(g.gsBase).toBe(0x3000n);
    expect(g.guest.try('set_segment_base', 0, 0x800000000000n)).toBe('-EINVAL');
    expect(g.guest.try('set_segment_base', 4, 0n)).toBe('-EINVAL');
  });
});
