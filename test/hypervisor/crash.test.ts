import { describe, expect, it } from 'vitest';
import { R } from '../../src/cpu/layout.ts';
import { crashDump } from '../../src/hypervisor/crash.ts';
import { hypercallLine } from '../../src/tracing/text.ts';
import { CODE, KERNEL_STACK, PvGuest } from './pv/pv-guest.ts';

/** A guest that has made a hypercall and then faults without a handler. */
function crashed(): PvGuest {
  const g = new PvGuest();
  g.guest.call('sched_op', 0);
  g.cpu.gpr[R.rax] = 0xabcn;
  g.cpu.gpr[R.r15] = 0xffffffff81000000n;
  g.cpu.gpr[R.rsp] = KERNEL_STACK - 24n;
  g.store(KERNEL_STACK - 24n, [1n, 0xffffffff81234567n, 3n]);
  g.cpu.rflags = 0x246n;
  g.exception(6);
  return g;
}

describe('a crash', () => {
  it('is logged as Xen does it', () => {
    const g = crashed();
    const at = g.host.log.findIndex(line => line.includes('crashed on cpu#0'));
    expect(g.host.log.slice(at - 1, at + 17)).toEqual(
      [
        '(XEN) domain_crash called from entry.S: create_bounce_frame',
        '(XEN) Domain 1 (vcpu#0) crashed on cpu#0:',
        '(XEN) ----[ Xen-4.17.7  x86_64  debug=n  Not tainted ]----',
        '(XEN) CPU:    0',
        `(XEN) RIP:    e033:[<${CODE.toString(16)}>]`,
        '(XEN) RFLAGS: 0000000000000246   EM: 0   CONTEXT: pv guest (d1v0)',
        '(XEN) rax: 0000000000000abc   rbx: 0000000000000000   rcx: 0000000000000000',
        '(XEN) rdx: 0000000000000000   rsi: 0000000000000000   rdi: 0000000000000000',
        `(XEN) rbp: 0000000000000000   rsp: ${(KERNEL_STACK - 24n).toString(16)}   r8:  0000000000000000`,
        '(XEN) r9:  0000000000000000   r10: 0000000000000000   r11: 0000000000000000',
        '(XEN) r12: 0000000000000000   r13: 0000000000000000   r14: 0000000000000000',
        '(XEN) r15: ffffffff81000000   cr0: 0000000080050033   cr4: 0000000000000660',
        `(XEN) cr3: ${(BigInt(g.pv.guestTable) << 12n).toString(16).padStart(16, '0')}   cr2: 0000000000000000`,
        '(XEN) fsb: 0000000000000000   gsb: ffff888000001000   gss: 00007f0000002000',
        '(XEN) ds: 0000   es: 0000   fs: 0000   gs: 0000   ss: e02b   cs: e033',
        `(XEN) Guest stack trace from rsp=${(KERNEL_STACK - 24n).toString(16)}:`,
        '(XEN)    0000000000000001 ffffffff81234567 0000000000000003',
      ].slice(0, 18),
    );
  });

  it('is kept as data, with the last hypercalls', () => {
    const { domain } = crashed();
    const record = domain.crashRecord!;
    expect(record.rip).toBe(CODE);
    expect(record.reason).toMatch(/no handler for exception 6 \(#UD\)/);
    expect(record.stack.slice(0, 3)).toEqual([1n, 0xffffffff81234567n, 3n]);
    expect(hypercallLine(record.hypercalls.at(-1)!)).toBe('d1v0 sched_op(yield, arg=NULL) = 0');
    expect(crashDump(record, 'pv')[0]).toBe('(XEN) Domain 1 (vcpu#0) crashed on cpu#0:');
  });

  it('that the guest itself reports is kept too, and has no dump', () => {
    const g = new PvGuest();
    g.guest.run();
    g.domain.shutDown(3);
    expect(g.domain.crashRecord?.reason).toBeNull();
    expect(g.domain.crashRecord?.rip).toBe(CODE);
    expect(g.host.log).toEqual([]);
  });

  it('with a stack that cannot be read says so', () => {
    const g = new PvGuest();
    g.cpu.gpr[R.rsp] = 0x1000n;
    g.exception(6);
    expect(g.host.log).toContain('(XEN)    Fault while accessing guest memory.');
  });

  it('shows errors of hypercalls by name', () => {
    const g = new PvGuest();
    g.guest.call('set_debugreg', 7, 1n << 13n);
    g.exception(6);
    expect(hypercallLine(g.domain.crashRecord!.hypercalls.at(-1)!)).toBe(
      'd1v0 set_debugreg(reg=7, value=0x2000) = -EPERM',
    );
  });
});
