// What a processor's registers are after power-up, RESET and INIT, and after a Start-Up IPI (SDM Vol. 3A, 10.1.1, table 10-1, and 9.4.4).
import { Attr, SystemType } from '../../cpu/helpers/descriptors.ts';
import { R, S, SEG } from '../../cpu/layout.ts';
import type { CpuModel } from '../../cpu/models/model.ts';
import type { CpuState } from '../../cpu/state.ts';

const LIMIT_64K = 0xffff;
const REAL_SEGMENT = Attr.present | Attr.nonSystem | Attr.writable | Attr.accessed;
const RESET_CR0 = 0x60000010n;
/** CD and NW survive an INIT, the other bits become those of a reset. */
const CR0_KEPT_BY_INIT = 0x60000000n;
const RESET_PAT = 0x0007040600070406n;
const RESET_MXCSR = 0x1f80;
const RESET_FCW = 0x40;

/** What INIT changes; power-up changes more. */
function resetCommon(state: CpuState, model: CpuModel): void {
  state.gpr.fill(0n);
  state.gpr[R.rdx] = BigInt(model.leaves.find(({ leaf }) => leaf === 1)?.eax ?? 0);
  state.rflags = 2n;
  state.rip = 0xfff0n;
  state.writeSegment(SEG.cs, {
    selector: 0xf000,
    base: 0xffff0000n,
    limit: LIMIT_64K,
    attributes: REAL_SEGMENT | Attr.code,
  });
  for (const segment of [SEG.ds, SEG.es, SEG.ss, SEG.fs, SEG.gs]) {
    state.writeSegment(segment, { selector: 0, base: 0n, limit: LIMIT_64K, attributes: REAL_SEGMENT });
  }
  const table = { selector: 0, base: 0n, limit: LIMIT_64K };
  state.writeSegment(SEG.gdtr, { ...table, attributes: 0 });
  state.writeSegment(SEG.idtr, { ...table, attributes: 0 });
  state.writeSegment(SEG.ldtr, { ...table, attributes: Attr.present | SystemType.ldt });
  state.writeSegment(SEG.tr, { ...table, attributes: Attr.present | SystemType.busyTss });
  for (const register of [S.cr2, S.cr3, S.cr4, S.cr8, S.efer]) state.set(register, 0n);
  for (let i = 0; i < 4; i++) state.set(S.dr + i * 8, 0n);
  state.set(S.dr + 6 * 8, 0xffff0ff0n);
  state.set(S.dr + 7 * 8, 0x400n);
  for (const word of [S.shadow, S.pending, S.nmiBlocked, S.cpl, S.pv]) state.set32(word, 0);
}

/** Power-up or RESET. The count of retired instructions and the offset of the TSC are the caller's business. */
export function resetProcessor(state: CpuState, model: CpuModel): void {
  const retired = state.get(S.retired);
  state.bytes.fill(0);
  state.set(S.retired, retired);
  resetCommon(state, model);
  state.set(S.cr0, RESET_CR0);
  state.set(S.pat, RESET_PAT);
  state.set(S.xcr0, 1n);
  state.view.setUint16(S.fcw, RESET_FCW, true);
  state.view.setUint8(S.ftw, 0xff);
  state.set32(S.mxcsr, RESET_MXCSR);
}

/** INIT: FPU, vector registers, MSRs, TSC and the cache bits of CR0 keep their values. */
export function initProcessor(state: CpuState, model: CpuModel): void {
  const cr0 = state.get(S.cr0);
  resetCommon(state, model);
  state.set(S.cr0, (cr0 & CR0_KEPT_BY_INIT) | 0x10n);
}

/** Start-Up IPI: real mode at the page that the vector names. */
export function startUpAt(state: CpuState, vector: number): void {
  state.writeSegment(SEG.cs, {
    selector: vector << 8,
    base: BigInt(vector) << 12n,
    limit: LIMIT_64K,
    attributes: REAL_SEGMENT | Attr.code,
  });
  state.rip = 0n;
}
