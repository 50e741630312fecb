// The FXSAVE image in which a vCPU's FPU state is handed over. Layout: SDM Vol. 1, table 10-2 (FXSAVE64 form).
import { S } from '../../cpu/layout.ts';
import type { CpuState } from '../../cpu/state.ts';

const FCW_DEFAULT = 0x37f;
const MXCSR_DEFAULT = 0x1f80;
const MXCSR_MASK = 0xffff;
const XMM_BYTES = 16;

/** The state after FNINIT, and SSE's after reset. */
export function resetFpu(cpu: CpuState): void {
  cpu.view.setUint16(S.fcw, FCW_DEFAULT, true);
  cpu.set32(S.mxcsr, MXCSR_DEFAULT);
}

/** Takes over an FXSAVE image of 512 bytes. Bits that MXCSR does not have are dropped. */
export function loadFxsave(cpu: CpuState, image: Uint8Array): void {
  const view = new DataView(image.buffer, image.byteOffset, image.length);
  const status = view.getUint16(2, true);
  cpu.view.setUint16(S.fcw, view.getUint16(0, true), true);
  cpu.view.setUint16(S.fsw, status, true);
  cpu.view.setUint8(S.ftw, image[4]);
  cpu.view.setUint16(S.fop, view.getUint16(6, true), true);
  cpu.set(S.fip, view.getBigUint64(8, true));
  cpu.set(S.fdp, view.getBigUint64(16, true));
  cpu.set32(S.mxcsr, view.getUint32(24, true) & MXCSR_MASK);
  const top = (status >> 11) & 7;
  for (let i = 0; i < 8; i++) {
    // The image has ST(i), the state block physical registers.
    cpu.bytes.set(image.subarray(32 + i * 16, 32 + i * 16 + 10), S.fpr + ((top + i) & 7) * 16);
  }
  for (let i = 0; i < 16; i++) {
    const from = 160 + i * XMM_BYTES;
    cpu.bytes.set(image.subarray(from, from + XMM_BYTES), S.xmm + i * 32);
  }
}
