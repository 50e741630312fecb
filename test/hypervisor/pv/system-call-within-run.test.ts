// System calls that are dealt with in the middle of run() come to the same as those for which it is left.
import { describe, expect, it } from 'vitest';
import { R, S, SEG } from '../../../src/cpu/layout.ts';
import { systemCallWithinRun } from '../../../src/hypervisor/pv/entry.ts';
import { CODE, HANDLER, KERNEL_STACK, PvGuest, USER_STACK } from './pv-guest.ts';

const HYPERCALL_IRET = 23n;
const XEN_VERSION = 17n;
const FRAME = KERNEL_STACK - 72n;

/** All that a system call may change. */
function stateOf(g: PvGuest) {
  const { cpu, pv, vcpu, host } = g;
  const { inKernel, nmiMasked, iopl, pendingTrap } = pv;
  return {
    registers: [...cpu.gpr],
    rip: cpu.rip,
    rflags: cpu.rflags,
    segments: [SEG.cs, SEG.ss, SEG.ds, SEG.gs].map(index => cpu.readSegment(index)),
    bases: [cpu.get(S.kernelGsBase), cpu.get(S.cr3), host.processor.root],
    mode: { inKernel, nmiMasked, iopl, pendingTrap },
    mask: vcpu.info.upcallMask,
    stack: g.words(KERNEL_STACK - 128n, 16),
  };
}

/** The same guest twice: at a SYSCALL, with run() left for it and without. */
function both(prepare: (g: PvGuest) => void) {
  const [left, within] = [new PvGuest(), new PvGuest()];
  for (const g of [left, within]) {
    prepare(g);
    g.cpu.set(S.nextRip, g.cpu.rip + 2n);
    g.cpu.set(S.cr3, g.host.processor.root);
  }
  let stops = 0;
  within.host.processor.stop = () => {
    stops++;
  };
  const before = stateOf(within);
  const taken = systemCallWithinRun(within.vcpu);
  if (taken) left.syscall();
  return { left, within, before, taken, stops };
}

function inUser(g: PvGuest): void {
  g.enterUser();
  g.pv.callbacks.syscall = { cs: 0xe033, address: HANDLER, maskEvents: true };
  g.cpu.rflags = 0xa46n;
}

/** The kernel is about to return by the iret hypercall, from the frame of these words. */
const returning =
  (flags: bigint, cs: bigint, rflags = 0x202n, rip = CODE) =>
  (g: PvGuest): void => {
    g.giveUserTable();
    g.store(FRAME, [1n, 2n, 3n, flags, rip, cs, rflags, USER_STACK, 0xe02bn]);
    g.cpu.gpr[R.rsp] = FRAME;
    g.cpu.gpr[R.rax] = HYPERCALL_IRET;
  };

describe('SYSCALL within run()', () => {
  it('of user mode enters the kernel', () => {
    const { left, within, taken, stops } = both(inUser);
    expect([taken, stops]).toEqual([true, 0]);
    expect(stateOf(within)).toEqual(stateOf(left));
    expect(within.cpu.rip).toBe(HANDLER);
  });

  for (const [what, prepare] of Object.entries({
    'to user mode': returning(0n, 0xe033n),
    'to user mode, as SYSRET': returning(0x100n, 0x33n),
    'to compatibility mode, as SYSRET': returning(0x100n, 0xe023n),
    'to the kernel': returning(0n, 0xe030n),
    'with events masked': returning(0n, 0xe030n, 0x2n),
    'to a selector that does not exist': returning(0n, 0xbadbn),
    'to an address that is not canonical': returning(0x100n, 0x33n, 0x202n, 1n << 50n),
  })) {
    it(`by iret returns ${what}`, () => {
      const { left, within, taken, stops } = both(g => {
        prepare(g);
        g.handler(13);
      });
      expect(taken).toBe(true);
      if (within.pv.pendingTrap) {
        // the fault of the return is delivered between two run()s
        expect(stops).toBe(1);
        return;
      }
      expect(stops).toBe(0);
      expect(stateOf(within)).toEqual(stateOf(left));
    });
  }

  it('ends run() where the return lets an event or an NMI in', () => {
    const event = both(g => {
      returning(0n, 0xe030n)(g);
      g.vcpu.info.upcallMask = true;
      g.vcpu.info.upcallPending = true;
      g.pv.callbacks.event = { cs: 0xe033, address: HANDLER, maskEvents: true };
    });
    expect([event.taken, event.stops]).toEqual([true, 1]);
    const nmi = both(g => {
      returning(0n, 0xe030n)(g);
      g.pv.nmiMasked = g.pv.nmiPending = true;
    });
    expect([nmi.taken, nmi.stops]).toEqual([true, 1]);
  });

  it('tells a tracer of the return as of every hypercall', () => {
    const seen: string[] = [];
    both(g => {
      returning(0n, 0xe033n)(g);
      const nothing = () => {};
      g.host.hypervisor.tracer = {
        hypercall: (_vcpu, record) => seen.push(`${record.name} ${record.result}`),
        channel: nothing,
        upcall: nothing,
        grant: nothing,
        scheduling: nothing,
      };
    });
    expect(seen).toEqual(['iret 0', 'iret 0']);
  });

  for (const [what, prepare] of Object.entries<(g: PvGuest) => void>({
    'another hypercall': g => {
      g.cpu.gpr[R.rax] = XEN_VERSION;
    },
    'a number that only looks like iret': g => {
      returning(0n, 0xe033n)(g);
      g.cpu.gpr[R.rax] = HYPERCALL_IRET | (1n << 32n);
    },
    'single steps': g => {
      inUser(g);
      g.cpu.rflags = 0x302n;
    },
    'compatibility mode': g => {
      inUser(g);
      g.cpu.writeSegment(SEG.cs, { selector: 0x23, base: 0n, limit: 0xffffffff, attributes: 0xc0fb });
    },
    'a kernel without a callback': g => {
      g.enterUser();
    },
    'a kernel stack in Xen’s hole': g => {
      inUser(g);
      g.pv.kernelSp = 0xffff_8000_0000_1000n;
    },
    'a kernel stack that is not mapped': g => {
      inUser(g);
      g.pv.kernelSp = 0x10_0000n;
    },
    'an iret frame that is not mapped': g => {
      returning(0n, 0xe033n)(g);
      g.cpu.gpr[R.rsp] = 0x10_0000n;
    },
    'an iret frame in Xen’s hole': g => {
      returning(0n, 0xe033n)(g);
      g.cpu.gpr[R.rsp] = 0xffff_8200_0000_0000n;
    },
    'an iret to user mode without a table': g => {
      g.store(FRAME, [0n, 0n, 0n, 0n, CODE, 0xe033n, 0x202n, USER_STACK, 0xe02bn]);
      g.cpu.gpr[R.rsp] = FRAME;
      g.cpu.gpr[R.rax] = HYPERCALL_IRET;
    },
  })) {
    it(`leaves ${what} to the run loop, with nothing changed`, () => {
      const { within, before, taken, stops } = both(prepare);
      expect([taken, stops]).toEqual([false, 0]);
      expect(stateOf(within)).toEqual(before);
      expect(within.domain.shutdown).toBeNull();
    });
  }
});
