// A test guest's user mode: a page table of its own that shows all of the guest's memory, entered by the iret hypercall and left by
// SYSCALL (with a value in RAX) or by an exception.
import { HYPERCALL } from '../../src/abi/xen/xen.ts';
import { type Assembler, addr, eax, mem, qword, rax, rcx, rsp } from '../../src/toolstack/init/assembler/assembler.ts';
import { mmuext, remap } from './calls.ts';
import type { PvGuest } from './pv-guest.ts';
import { FLAT_CS, registerCallback } from './runtime.ts';
import { type Computed, code, computed, entry, entryVa, mfnOf, READ_ONLY, read, store } from './value.ts';

export const FLAT_SS = 0xe02b;
/** Interrupts on, and the bit that is always set. */
export const RFLAGS = 0x202;
const STACK_BYTES = 4096;

/** Where iret returns to. */
export interface Target {
  cs?: number;
  ss?: number;
  rflags?: number;
  /** Leave RCX and R11 as SYSRET does. */
  flags?: number;
}

/** The iret hypercall to a label (or to the address in RAX) with a stack. */
export function returnTo(label: string | null, stack: string, target: Target = {}): Computed {
  return computed(a => {
    if (label !== null) a.lea(rax, mem(label));
    a.lea(rcx, mem(stack))
      .push(target.ss ?? FLAT_SS)
      .push(rcx);
    a.push(target.rflags ?? RFLAGS)
      .push(target.cs ?? FLAT_CS)
      .push(rax);
    a.push(target.flags ?? 0)
      .push(0)
      .push(0)
      .push(0)
      .mov(eax, HYPERCALL.iret)
      .syscall();
  });
}

/** Sets a guest's user mode up, as steps; the value runs code in it. */
export function withUserMode<W>(g: PvGuest<W>): (emit: (a: Assembler) => void, target?: Target) => Computed {
  const root = g.page(1, 'user_root');
  g.aside(a => void a.section('bss').align(4096).reserve(STACK_BYTES).label('user_stack').reserve(16).section('text'));
  g.aside(a => {
    // The frame stands on the kernel's stack: the step that was under way ends with the user's RAX.
    a.label('from_user').mov(rsp, qword('resume_rsp')).jmp(qword('resume'));
  });
  g.does(store(root, read(entryVa(0, 4))));
  g.prepares('to make a page table for its user mode', remap(root, entry(mfnOf(root), READ_ONLY)));
  g.prepares('to pin it', mmuext('pin_l4_table', mfnOf(root)));
  g.prepares('to give it to its user mode', mmuext('new_user_baseptr', mfnOf(root)));
  g.prepares('to take system calls', registerCallback('syscall', addr('from_user')));
  return (emit, target = {}) =>
    code(a => {
      const label = a.unique('user');
      g.aside(b => emit(b.label(label)));
      returnTo(label, 'user_stack', target).emit(a);
    });
}
