// Small HVM guests for tests, written like the PV ones: steps, each a thing that the guest does and what it must get for it. A PVH domain
// enters them in 32-bit protected mode; they go on in long mode, with their memory and the upper end of the first 4 GiB mapped one to one.
//
//   const guest = new HvmGuest('mapper');
//   guest.tries('to call from user mode', fromUserMode(hypercall('xen_version', 0))).gets('-EPERM');

import { XEN_ELFNOTE } from '../../src/abi/xen/elfnote.ts';
import { HVMOP, xenHvmParam } from '../../src/abi/xen/hvm.ts';
import { DOMID_SELF } from '../../src/hypervisor/domain-ids.ts';
import {
  type Assembler,
  addr,
  al,
  ax,
  byte,
  cr0,
  cr3,
  cr4,
  dword,
  type ElfNote,
  eax,
  ebx,
  ecx,
  edx,
  mem,
  qword,
  rax,
  rcx,
  rdi,
  rdx,
  rsi,
  rsp,
  word,
} from '../../src/toolstack/init/assembler/assembler.ts';
import { PvGuest } from './pv-guest.ts';
import { GUEST_BASE, shutdown } from './runtime.ts';
import { type Computed, code, computed, evaluate, hvmPrograms, hypercall, record, type Value } from './value.ts';

const SELECTOR = { code: 0x08, data: 0x10, userCode: 0x18, userData: 0x20, tss: 0x28 } as const;
const EXCEPTIONS = 32;
/** Exceptions that push an error code: SDM Vol. 3A, 6.13. */
const WITH_CODE: ReadonlySet<number> = new Set([8, 10, 11, 12, 13, 14, 17, 21]);
const HAS_CODE = 1 << 8;
/** Leaves user mode for the step's end. */
const BACK_VECTOR = 0x80;
/** What event upcalls come by: they are counted. */
export const UPCALL_VECTOR = 0x50;

const CR4_PAE_FXSR_XMM = 0x620;
const CR0_PG_WP_NE = 0x80010020;
const EFER = 0xc0000080;
const EFER_LME_NXE = 0x900;
const STACK_BYTES = 16 * 1024;
const PRESENT_WRITABLE_USER = 7;
const LARGE = 0x80;
/** GiB of the address space that have mappings, each by pages of 2 MiB: RAM, and what stands below 4 GiB. */
const MAPPED_GIB = [0, 3];

export class HvmGuest<World> extends PvGuest<World> {
  protected override writeStart(a: Assembler): void {
    hvmPrograms.add(a);
    writeLongModeEntry(a);
  }

  protected override writeRuntime(a: Assembler): void {
    writeRuntime(a);
  }

  protected override notes(): ElfNote[] {
    const descriptor = new Uint8Array(4);
    // The entry is the program's first instruction.
    new DataView(descriptor.buffer).setUint32(0, GUEST_BASE, true);
    return [{ name: 'Xen', type: XEN_ELFNOTE.PHYS32_ENTRY, descriptor }];
  }
}

function writeLongModeEntry(a: Assembler): void {
  a.bits(32).label('start').cld();
  a.mov(dword('start_info'), ebx);
  a.lgdt(mem('gdt_pointer'));
  a.mov(eax, cr4).or(eax, CR4_PAE_FXSR_XMM).mov(cr4, eax);
  a.mov(eax, addr('pml4')).mov(cr3, eax);
  a.mov(ecx, EFER).rdmsr().or(eax, EFER_LME_NXE).wrmsr();
  a.mov(eax, cr0).or(eax, CR0_PG_WP_NE).mov(cr0, eax);
  // jmp 0x08:long_mode
  a.db(0xea).dd(addr('long_mode')).dw(SELECTOR.code);
  a.bits(64).label('long_mode');
  a.mov(eax, SELECTOR.data);
  a.db(0x8e, 0xd8).db(0x8e, 0xc0).db(0x8e, 0xd0); // mov ds, es, ss, eax
  a.lea(rsp, mem('stack_top'));
  // The task state segment's descriptor and the gates have their addresses in pieces.
  a.lea(rax, mem('tss'))
    .mov(word('gdt', SELECTOR.tss + 2), ax)
    .shr(rax, 16)
    .mov(byte('gdt', SELECTOR.tss + 4), al);
  a.lea(rax, mem('stack_top')).mov(qword('tss', 4), rax);
  a.mov(eax, SELECTOR.tss).ltr(ax);
  a.lea(rsi, mem('handlers')).lea(rdi, mem('idt')).mov(ecx, 256);
  a.label('next_gate').mov(rax, qword(rsi)).test(rax, rax).je('no_gate');
  a.mov(edx, eax)
    .and(edx, 0xffff)
    .or(edx, SELECTOR.code << 16)
    .mov(dword(rdi), edx);
  // Present, 64-bit interrupt gate, for everyone: user mode has to come back.
  a.mov(edx, eax).and(edx, 0xffff0000).or(edx, 0xee00).mov(dword(rdi, 4), edx);
  a.shr(rax, 32).mov(dword(rdi, 8), eax);
  a.label('no_gate').add(rsi, 8).add(rdi, 16).dec(ecx).jne('next_gate');
  a.lidt(mem('idt_pointer'));
}

function writeRuntime(a: Assembler): void {
  a.label('finish');
  evaluate(a, shutdown('poweroff'));
  a.ud2();
  writeHandlers(a);
  writeTables(a);
  a.section('bss').align(4096).label('idt').reserve(4096);
  a.reserve(STACK_BYTES).label('user_stack_top').reserve(STACK_BYTES).label('stack_top').reserve(4096);
  a.section('text');
}

function writeHandlers(a: Assembler): void {
  for (let vector = 0; vector < EXCEPTIONS; vector++) {
    const hasCode = WITH_CODE.has(vector);
    a.label(`trap_${vector}`);
    a.mov(qword('trap_vector'), vector | (hasCode ? HAS_CODE : 0));
    a.jmp(hasCode ? 'trap_with_code' : 'trap');
  }
  a.label('trap_with_code').mov(rax, qword(rsp)).mov(qword('trap_code'), rax);
  a.add(rsp, 8).jmp('trap_common');
  a.label('trap').mov(qword('trap_code'), 0);
  a.label('trap_common').cld();
  a.mov(rcx, qword('resume')).test(rcx, rcx).je('lost');
  a.mov(eax, dword('trap_vector')).bts(rax, 31).shl(rax, 32);
  a.mov(edx, dword('trap_code')).or(rax, rdx);
  a.mov(rsp, qword('resume_rsp')).jmp(rcx);
  // An exception that no step expects.
  a.label('lost');
  evaluate(a, shutdown('crash'));
  a.ud2();
  a.label('back').mov(rcx, qword('resume')).mov(rsp, qword('resume_rsp')).jmp(rcx);
  a.label('upcall').push(rax).inc(qword('upcalls')).pop(rax).iretq();

  a.section('data').align(8).label('handlers');
  for (let vector = 0; vector < 256; vector++) {
    if (vector < EXCEPTIONS) a.dq(addr(`trap_${vector}`));
    else a.dq(vector === BACK_VECTOR ? addr('back') : vector === UPCALL_VECTOR ? addr('upcall') : 0);
  }
  for (const name of ['trap_vector', 'trap_code', 'resume', 'resume_rsp', 'steps', 'start_info', 'upcalls']) {
    a.label(name).dq(0);
  }
  a.section('text');
}

function writeTables(a: Assembler): void {
  a.section('data').align(16).label('gdt').dq(0);
  a.dq(0x00af9b000000ffffn, 0x00cf93000000ffffn, 0x00affb000000ffffn, 0x00cff3000000ffffn);
  a.dq(0x0000890000000067n, 0);
  a.label('gdt_pointer')
    .dw(SELECTOR.tss + 15)
    .dd(addr('gdt'))
    .dd(0);
  a.align(8).label('idt_pointer').dw(4095).dq(addr('idt'));
  a.align(16).label('tss').reserve(104);
  a.align(4096).label('pml4').dq(addr('pdpt', PRESENT_WRITABLE_USER)).reserve(4088);
  a.label('pdpt');
  for (let gib = 0; gib < 512; gib++) {
    a.dq(MAPPED_GIB.includes(gib) ? addr(`directory_${gib}`, PRESENT_WRITABLE_USER) : 0);
  }
  for (const gib of MAPPED_GIB) {
    a.label(`directory_${gib}`);
    for (let i = 0; i < 512; i++) a.dq((BigInt(gib * 512 + i) << 21n) | BigInt(LARGE | PRESENT_WRITABLE_USER));
  }
  a.section('text');
}

/** Does it at CPL 3; its value is RAX there. */
export const fromUserMode = (what: Value): Computed =>
  computed(a => {
    const there = a.unique('user');
    a.lea(rax, mem('user_stack_top'));
    a.push(SELECTOR.userData | 3)
      .push(rax)
      .push(0x2)
      .push(SELECTOR.userCode | 3);
    a.lea(rax, mem(there)).push(rax).iretq().label(there);
    evaluate(a, what);
    a.int(BACK_VECTOR);
  });

/** What a parameter of the guest's own is. */
export const getParam = (index: number): Computed =>
  computed(a => {
    const label = a.unique('param');
    evaluate(a, hypercall('hvm_op', HVMOP.get_param, record(xenHvmParam, { domid: DOMID_SELF, index }, label)));
    a.mov(rax, qword(label, xenHvmParam.offset('value', 64)));
  });

/** Sets one. */
export const setParam = (index: number, value: Value): Computed =>
  hypercall('hvm_op', HVMOP.set_param, record(xenHvmParam, { domid: DOMID_SELF, index, value }));

/** Writes a model-specific register; 0. */
export const wrmsr = (index: number, value: bigint): Computed =>
  code(a =>
    a
      .mov(ecx, index)
      .mov(eax, Number(value & 0xffffffffn))
      .mov(edx, Number(value >> 32n))
      .wrmsr()
      .xor(eax, eax),
  );

/** Instructions that must not fault; the value is 0. */
export const instructions = (emit: (a: Assembler) => void): Computed =>
  code(a => {
    emit(a);
    a.xor(eax, eax);
  });
