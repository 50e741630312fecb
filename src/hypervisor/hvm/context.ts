// VCPUOP_initialise for HVM vCPUs: struct vcpu_hvm_context. Source: xen/arch/x86/hvm/domain.c, arch_set_info_hvm_guest().
import type { Of } from '../../abi/struct.ts';
import { VCPU_HVM_MODE, vcpuHvmContext } from '../../abi/xen/hvm.ts';
import { Cr0, Cr4, cr4Defined, Efer } from '../../cpu/helpers/control-registers.ts';
import { Attr } from '../../cpu/helpers/descriptors.ts';
import { R, S, SEG } from '../../cpu/layout.ts';
import type { CpuModel } from '../../cpu/models/model.ts';
import type { CpuState } from '../../cpu/state.ts';
import { XenError } from '../errors.ts';
import { isCanonical } from '../pv/selectors.ts';
import type { Vcpu } from '../vcpu.ts';

export type HvmContext = Of<typeof vcpuHvmContext>;

type SegmentName = 'cs' | 'ds' | 'ss' | 'es' | 'tr';
interface Segment {
  base: number;
  /** As in a descriptor: in pages where the attributes say so. */
  limit: number;
  /** Attributes as struct vcpu_hvm_x86_32 packs them: descriptor bits 40-47, then 52-55. */
  ar: number;
}

/** Bits of the attributes. */
const Ar = {
  type: 0xf,
  code: 8,
  readable: 2,
  writable: 2,
  s: 1 << 4,
  p: 1 << 7,
  g: 1 << 11,
  reserved: 0xf000,
} as const;
const dplOf = (ar: number): number => (ar >> 5) & 3;
const BUSY_TSS = 0xb;
const EFER_VALID = Efer.SCE | Efer.LME | Efer.LMA | Efer.NXE;
const FLAT_LIMIT = 0xffffffff;
const TSS_LIMIT = 0x67;

/** What VCPUOP_initialise does with the context that `pointer` has. Throws EFAULT, EEXIST, EINVAL. */
export function initialiseHvmVcpu(caller: Vcpu, target: Vcpu, pointer: bigint): void {
  const context = caller.guest.readStruct(pointer, vcpuHvmContext);
  if (target.isInitialised) throw new XenError('EEXIST');
  loadHvmContext(target, context);
}

/** Gives a vCPU that does not run its first registers. Throws EINVAL, having changed nothing. */
export function loadHvmContext(target: Vcpu, context: HvmContext): void {
  if (context.pad !== 0) throw new XenError('EINVAL');
  const state = target.stored;
  const { model } = target.domain.hypervisor.processor;
  if (context.mode === VCPU_HVM_MODE.bits32) load32(state, model, context.cpuRegs.x8632);
  else if (context.mode === VCPU_HVM_MODE.bits64) load64(state, model, context.cpuRegs.x8664);
  else throw new XenError('EINVAL');
  // The boot processor's TSC is everybody's.
  state.set(S.tscOffset, target.domain.vcpus[0].cpu.get(S.tscOffset));
  const { logical } = target.hvm!;
  logical.activity = 'running';
  target.isInitialised = true;
}

function load32(state: CpuState, model: CpuModel, r: HvmContext['cpuRegs']['x8632']): void {
  if (r.pad1 !== 0 || r.pad2.some(word => word !== 0)) throw new XenError('EINVAL');
  const segments: Record<SegmentName, Segment> = {
    cs: checked('cs', { base: r.csBase, limit: r.csLimit, ar: r.csAr }),
    ds: checked('ds', { base: r.dsBase, limit: r.dsLimit, ar: r.dsAr }),
    ss: checked('ss', { base: r.ssBase, limit: r.ssLimit, ar: r.ssAr }),
    es: checked('es', { base: r.esBase, limit: r.esLimit, ar: r.esAr }),
    tr: checked('tr', { base: r.trBase, limit: r.trLimit, ar: r.trAr }),
  };
  const { cs, ds, ss, es } = segments;
  const ring = dplOf(cs.ar);
  const fine =
    r.eip <= bytesOf(cs) &&
    dplOf(ss.ar) === ring &&
    [ds, es].every(({ ar }) => !(ar & Ar.p) || dplOf(ar) <= ring) &&
    !(r.efer & Efer.LMA && !(r.efer & Efer.LME));
  if (!fine) throw new XenError('EINVAL');
  const efer = withLma(r.efer);
  requireRegisters(model, BigInt(r.cr4), efer);
  const { eax, ecx, edx, ebx, esp, ebp, esi, edi } = r;
  [eax, ecx, edx, ebx, esp, ebp, esi, edi].forEach((value, i) => {
    state.gpr[i] = BigInt(value);
  });
  enter(state, BigInt(r.eip), BigInt(r.eflags), BigInt(r.cr0), BigInt(r.cr3), BigInt(r.cr4), efer);
  for (const [name, segment] of Object.entries(segments)) writeSegment(state, SEG[name as SegmentName], segment);
}

function load64(state: CpuState, model: CpuModel, r: HvmContext['cpuRegs']['x8664']): void {
  const fine = isCanonical(r.rip) && r.cr0 & Cr0.PG && r.cr4 & Cr4.PAE && r.efer & Efer.LME;
  if (!fine) throw new XenError('EINVAL');
  const efer = withLma(r.efer);
  requireRegisters(model, r.cr4, efer);
  const { rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi } = r;
  [rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi].forEach((value, i) => {
    state.gpr[i] = value;
  });
  enter(state, r.rip, r.rflags, r.cr0, r.cr3, r.cr4, efer);
  const data = { base: 0, limit: FLAT_LIMIT, ar: 0xc93 };
  writeSegment(state, SEG.cs, { base: 0, limit: FLAT_LIMIT, ar: 0xa9b });
  for (const segment of [SEG.ds, SEG.es, SEG.ss]) writeSegment(state, segment, data);
  writeSegment(state, SEG.tr, { base: 0, limit: TSS_LIMIT, ar: 0x8b });
}

const withLma = (efer: bigint): bigint => (efer & Efer.LME ? efer | Efer.LMA : efer);

function requireRegisters(model: CpuModel, cr4: bigint, efer: bigint): void {
  if (cr4 & ~cr4Defined(model) || efer & ~EFER_VALID) throw new XenError('EINVAL');
}

function enter(
  state: CpuState,
  rip: bigint,
  rflags: bigint,
  cr0: bigint,
  cr3: bigint,
  cr4: bigint,
  efer: bigint,
): void {
  for (let i: number = R.r8; i <= R.r15; i++) state.gpr[i] = 0n;
  state.rip = rip;
  state.rflags = rflags;
  state.set(S.cr0, cr0 | Cr0.ET);
  state.set(S.cr3, cr3);
  state.set(S.cr4, cr4);
  state.set(S.efer, efer);
}

/** check_segment(): accessed and busy bits are set, and what no descriptor would say is refused. */
function checked(name: SegmentName, segment: Segment): Segment {
  let { ar } = segment;
  if (ar & Ar.p) ar |= name === 'tr' ? 2 : 1;
  const bad = (): never => {
    throw new XenError('EINVAL');
  };
  if (ar & Ar.reserved) bad();
  if (ar === 0) return name === 'ds' || name === 'es' ? { ...segment, ar } : bad();
  if (name === 'tr' ? ar & Ar.s || (ar & Ar.type) !== BUSY_TSS : !(ar & Ar.s)) bad();
  if (!(ar & Ar.p)) bad();
  const code = (ar & Ar.code) !== 0;
  if (name === 'cs' && !code) bad();
  if (name === 'ss' && (code || !(ar & Ar.writable))) bad();
  if ((name === 'ds' || name === 'es') && code && !(ar & Ar.readable)) bad();
  return { ...segment, ar };
}

function bytesOf({ limit, ar }: Segment): number {
  return ar & Ar.g ? Math.min(limit * 4096 + 4095, FLAT_LIMIT) : limit;
}

/** The register's cached descriptor, in which the limit counts bytes, as hardware keeps it; granularity follows from that. */
function writeSegment(state: CpuState, index: number, { base, limit, ar }: Segment): void {
  const granular = limit > 0xfffff ? Attr.granular : 0;
  const attributes = (ar & 0xff) | ((ar & 0x700) << 4) | granular;
  state.writeSegment(index, { selector: 0, base: BigInt(base), limit, attributes });
}
