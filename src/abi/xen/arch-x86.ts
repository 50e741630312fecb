// xen/include/public/arch-x86/xen.h, xen-x86_64.h, xen-x86_32.h: what of the ABI is x86's own.
import { array, bytes, perAbi, struct, u8, u16, u32, ulong } from '../struct.ts';

export const archVcpuInfo = perAbi(
  struct('arch_vcpu_info', { cr2: u32, pad: array(u32, 5) }),
  struct('arch_vcpu_info', { cr2: ulong, pad: ulong }),
);

const archSharedFields = {
  maxPfn: ulong,
  pfnToMfnFrameListList: ulong,
  nmiReason: ulong,
  p2mCr3: ulong,
  p2mVaddr: ulong,
  p2mGeneration: ulong,
};
export const archSharedInfo = perAbi(
  struct('arch_shared_info', { ...archSharedFields, wcSecHi: u32 }),
  struct('arch_shared_info', archSharedFields),
);

/** An entry of set_trap_table; address 0 ends the array. flags: bits 0-1 DPL, bit 2 mask events. */
export const trapInfo = struct('trap_info', { vector: u8, flags: u8, cs: u16, address: ulong });
export const TI = { dplMask: 3, maskEvents: 4 } as const;

export const cpuUserRegs64 = struct('cpu_user_regs', {
  r15: ulong, r14: ulong, r13: ulong, r12: ulong, rbp: ulong, rbx: ulong, r11: ulong, r10: ulong, r9: ulong, r8: ulong,
  rax: ulong, rcx: ulong, rdx: ulong, rsi: ulong, rdi: ulong, errorCode: u32, entryVector: u32, rip: ulong, cs: u16,
  pad0: array(u16, 1), savedUpcallMask: u8, pad1: bytes(3), rflags: ulong, rsp: ulong, ss: u16, pad2: array(u16, 3),
  es: u16, pad3: array(u16, 3), ds: u16, pad4: array(u16, 3), fs: u16, pad5: array(u16, 3), gs: u16, pad6: array(u16, 3),
}); // biome-ignore format: registers
export const cpuUserRegs32 = struct('cpu_user_regs', {
  ebx: u32, ecx: u32, edx: u32, esi: u32, edi: u32, ebp: u32, eax: u32, errorCode: u16, entryVector: u16, eip: u32, cs: u16,
  savedUpcallMask: u8, pad0: u8, eflags: u32, esp: u32, ss: u16, pad1: u16, es: u16, pad2: u16, ds: u16, pad3: u16,
  fs: u16, pad4: u16, gs: u16, pad5: u16,
}); // biome-ignore format: registers
export const cpuUserRegs = perAbi(cpuUserRegs32, cpuUserRegs64);

/** vcpu_guest_context.flags. */
export const VGCF = {
  i387Valid: 1,
  inKernel: 4,
  failsafeDisablesEvents: 8,
  syscallDisablesEvents: 16,
  online: 32,
  /** In the frame of the iret hypercall: return as SYSRET does. */
  inSyscall: 0x100,
} as const;

const contextHead = { fpuCtxt: bytes(512), flags: ulong };
const contextMiddle = {
  trapCtxt: array(trapInfo, 256),
  ldtBase: ulong,
  ldtEnts: ulong,
  gdtFrames: array(ulong, 16),
  gdtEnts: ulong,
  kernelSs: ulong,
  kernelSp: ulong,
  ctrlreg: array(ulong, 8),
  debugreg: array(ulong, 8),
};
export const vcpuGuestContext64 = struct('vcpu_guest_context', {
  ...contextHead,
  userRegs: cpuUserRegs64,
  ...contextMiddle,
  eventCallbackEip: ulong,
  failsafeCallbackEip: ulong,
  syscallCallbackEip: ulong,
  vmAssist: ulong,
  fsBase: ulong,
  gsBaseKernel: ulong,
  gsBaseUser: ulong,
});
export const vcpuGuestContext32 = struct('vcpu_guest_context', {
  ...contextHead,
  userRegs: cpuUserRegs32,
  ...contextMiddle,
  eventCallbackCs: ulong,
  eventCallbackEip: ulong,
  failsafeCallbackCs: ulong,
  failsafeCallbackEip: ulong,
  vmAssist: ulong,
});
export const vcpuGuestContext = perAbi(vcpuGuestContext32, vcpuGuestContext64);

/** Context of an HVM vCPU that VCPUOP_initialise starts: arch-x86/hvm/hvm_vcpu.h. */
export const VCPU_HVM_MODE = { x86_32: 0, x86_64: 1 } as const;
