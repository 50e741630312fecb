// The page of hypercall stubs that an HVM guest asks for by an MSR and calls into: 128 stubs of 32 bytes.
// Source: Xen's xen/arch/x86/hvm/vmx/vmx.c and svm/svm.c (vmx_init_hypercall_page, svm_init_hypercall_page).
import type { CpuModel } from '../../cpu/models/model.ts';

const STUBS = 128;
const STUB_BYTES = 32;
const IRET = 23;
const FILLER = 0xcc; // int3
const RET = 0xc3;
const UD2 = [0x0f, 0x0b];
/** The instruction that leaves a virtual machine of the model. */
const CALL = { GenuineIntel: [0x0f, 0x01, 0xc1], AuthenticAMD: [0x0f, 0x01, 0xd9] } as const;

/** Fills the 4096 bytes given. The stubs are the same in every mode. */
export function writeHvmHypercallPage(page: Uint8Array, vendor: CpuModel['vendor']): void {
  page.fill(FILLER);
  for (let number = 0; number < STUBS; number++) {
    const code = number === IRET ? UD2 : [0xb8, number, 0, 0, 0, ...CALL[vendor], RET];
    page.set(code, number * STUB_BYTES);
  }
}
