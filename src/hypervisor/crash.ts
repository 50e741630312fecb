// A domain's crash: Xen's register dump for the log, line for line, and the same as data for reports.
// Source of the form: xen/arch/x86/x86_64/traps.c (_show_registers), traps.c (show_guest_stack), mm: show_page_walk; __domain_crash.
import { type CrashRegister, registersOf, stackOf } from '../machine/processor/registers.ts';
import type { Domain } from './domain.ts';
import { type HypercallRecord, lastHypercalls } from './hypercalls/trace.ts';
import { XEN_VERSION } from './hypervisor.ts';
import { readControlRegister } from './pv/control-registers.ts';
import type { Vcpu } from './vcpu.ts';

const WORDS_A_LINE = 4;

export type { CrashRegister } from '../machine/processor/registers.ts';

/** What there was to see when a domain crashed. */
export interface CrashRecord {
  /** Null on a bare machine. */
  domain: number | null;
  vcpu: number;
  /** Our words for why; null where the guest itself reported a crash (SCHEDOP_shutdown). */
  reason: string | null;
  registers: Record<CrashRegister, bigint>;
  rip: bigint;
  /** Events were masked. */
  eventMask: boolean;
  inKernel: boolean;
  /** Words from rsp on, up to the end of what can be read. */
  stack: bigint[];
  /** The domain's last hypercalls, oldest first. */
  hypercalls: HypercallRecord[];
}

/** The state of a vCPU for a crash report. Its memory can be read only while it is the loaded one. */
export function captureCrash(vcpu: Vcpu, reason: string | null): CrashRecord {
  const { cpu, pv, domain, info } = vcpu;
  const registers = registersOf(cpu);
  if (domain.isPv) {
    Object.assign(registers, {
      cr0: readControlRegister(vcpu, 0),
      cr2: info.cr2,
      cr3: pageTableRoot(vcpu),
      cr4: readControlRegister(vcpu, 4),
    });
  }
  return {
    domain: domain.id,
    vcpu: vcpu.id,
    reason,
    registers,
    rip: cpu.rip,
    eventMask: info.upcallMask,
    inKernel: domain.isPv ? pv.inKernel : cpu.cpl === 0,
    stack: vcpu.isLoaded ? stackOf(domain.hypervisor.processor, domain.isPv || cpu.cpl === 3) : [],
    hypercalls: lastHypercalls(domain),
  };
}

/** The page table that a PV guest's present mode runs on. */
function pageTableRoot({ pv }: Vcpu): bigint {
  return BigInt(pv.inKernel ? pv.guestTable : pv.guestTableUser) << 12n;
}

const hex16 = (value: bigint): string => value.toString(16).padStart(16, '0');
const hex4 = (value: bigint): string => value.toString(16).padStart(4, '0');

/** Xen's dump, a line an element, each with `(XEN) `. */
export function crashDump(record: CrashRecord, kind: 'pv' | 'hvm'): string[] {
  const r = record.registers;
  const pair = (name: CrashRegister): string => `${`${name}:`.padEnd(4)} ${hex16(r[name])}`;
  const row = (...names: CrashRegister[]): string => names.map(pair).join('   ');
  const version = `Xen-${XEN_VERSION.major}.${XEN_VERSION.minor}${XEN_VERSION.extra}`;
  const lines = [
    `Domain ${record.domain} (vcpu#${record.vcpu}) crashed on cpu#0:`,
    `----[ ${version}  x86_64  debug=n  Not tainted ]----`,
    'CPU:    0',
    `RIP:    ${hex4(r.cs)}:[<${hex16(r.rip)}>]`,
    `RFLAGS: ${hex16(r.rflags)}   EM: ${record.eventMask ? 1 : 0}   CONTEXT: ${kind} guest (d${record.domain}v${record.vcpu})`,
    row('rax', 'rbx', 'rcx'),
    row('rdx', 'rsi', 'rdi'),
    row('rbp', 'rsp', 'r8'),
    row('r9', 'r10', 'r11'),
    row('r12', 'r13', 'r14'),
    row('r15', 'cr0', 'cr4'),
    row('cr3', 'cr2'),
    row('fsb', 'gsb', 'gss'),
    (['ds', 'es', 'fs', 'gs', 'ss', 'cs'] as const).map(name => `${name}: ${hex4(r[name])}`).join('   '),
    `Guest stack trace from rsp=${hex16(r.rsp)}:`,
    ...stackLines(record.stack),
  ];
  return lines.map(line => `(XEN) ${line}`);
}

function stackLines(stack: bigint[]): string[] {
  if (stack.length === 0) return ['   Fault while accessing guest memory.'];
  const lines: string[] = [];
  for (let i = 0; i < stack.length; i += WORDS_A_LINE) {
    lines.push(
      `   ${stack
        .slice(i, i + WORDS_A_LINE)
        .map(hex16)
        .join(' ')}`,
    );
  }
  return lines;
}

/** The guest's page tables above a linear address, for the log of a page fault that it has no handler for. */
export function pageWalk(vcpu: Vcpu, linear: bigint): string[] {
  const { hypervisor } = vcpu.domain;
  const { memory, frames, m2p } = hypervisor;
  const lines = [`(XEN) Pagetable walk from ${hex16(linear)}:`];
  let table = Number(pageTableRoot(vcpu) >> 12n);
  for (let level = 4; level >= 1; level--) {
    if (!frames.isRam(table)) break;
    const index = Number((linear >> BigInt(12 + 9 * (level - 1))) & 0x1ffn);
    const entry = memory.view.getBigUint64(memory.frameOffset(table) + index * 8, true);
    const next = Number((entry >> 12n) & 0xffffffffffn);
    const present = (entry & 1n) !== 0n;
    const gfn = present && frames.isRam(next) ? m2p.get(next) : 0xffffffffffffffffn;
    lines.push(`(XEN)  L${level}[0x${index.toString(16).padStart(3, '0')}] = ${hex16(entry)} ${hex16(gfn)}`);
    if (!present || (level > 1 && entry & 0x80n)) break;
    table = next;
  }
  return lines;
}

/** Logs and keeps a crash that the hypervisor caused. `where` is the part of it that gave up. */
export function reportCrash(domain: Domain, reason: string, where: string): CrashRecord | null {
  const { hypervisor } = domain;
  const vcpu = hypervisor.loaded?.domain === domain ? hypervisor.loaded : null;
  hypervisor.log(`(XEN) ${vcpu ?? `d${domain.id}`} ${reason}`);
  hypervisor.log(`(XEN) domain_crash called from ${where}`);
  if (!vcpu) {
    hypervisor.log(`(XEN) Domain ${domain.id} reported crashed by domain 32767 on cpu#0:`);
    return null;
  }
  const record = captureCrash(vcpu, reason);
  for (const line of crashDump(record, domain.isPv ? 'pv' : 'hvm')) hypervisor.log(line);
  return record;
}
