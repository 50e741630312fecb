// The page of hypercall stubs that a kernel with the HYPERCALL_PAGE note calls into: 128 stubs of 32 bytes.
// Source: Xen's xen/arch/x86/pv/hypercall.c (64-bit guests).

const STUBS = 128;
const STUB_BYTES = 32;
const IRET = 23;
const FILLER = 0xcc; // int3

const PUSH_RCX = 0x51;
const PUSH_RAX = 0x50;
const POP_RCX = 0x59;
const RET = 0xc3;
const PUSH_R11 = [0x41, 0x53];
const POP_R11 = [0x41, 0x5b];
const SYSCALL = [0x0f, 0x05];
const movEax = (value: number): number[] => [0xb8, value, 0, 0, 0];

/** Fills the 4096 bytes given. */
export function writeHypercallPage64(page: Uint8Array): void {
  page.fill(FILLER);
  for (let number = 0; number < STUBS; number++) {
    const code =
      number === IRET
        ? [PUSH_RCX, ...PUSH_R11, PUSH_RAX, ...movEax(number), ...SYSCALL]
        : [PUSH_RCX, ...PUSH_R11, ...movEax(number), ...SYSCALL, ...POP_R11, POP_RCX, RET];
    page.set(code, number * STUB_BYTES);
  }
}
