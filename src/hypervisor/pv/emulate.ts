// Emulation of privileged instructions for a PV guest: it runs at CPL 3, so each of them raises #GP(0) and comes here.
// Source: xen/arch/x86/pv/emul-priv-op.c and emul-inv-op.c (the forced emulation prefix).
import { GuestFault, Vector } from '../../cpu/exits.ts';
import { Flag } from '../../cpu/flags.ts';
import { R, S, SEG } from '../../cpu/layout.ts';
import type { CpuidResult } from '../cpuid/policy.ts';
import { XenError } from '../errors.ts';
import type { Vcpu } from '../vcpu.ts';
import { readControlRegister, setTaskSwitched, writeControlRegister } from './control-registers.ts';
import { pvCpuid, pvHasFeature } from './cpuid.ts';
import { getDebugRegister, matchIoBreakpoints, mergeDr6, setDebugRegister } from './debug-registers.ts';
import { decodePrivileged, forcedEmulationPrefix, NEED_MORE, type PrivilegedInstruction } from './decode.ts';
import { queueFault } from './exceptions.ts';
import { ioplAllows, portsAllowed } from './iopl.ts';
import { readMsr, writeMsr } from './msr.ts';
import { isDefault32, isLong64 } from './segments.ts';

const MAX_LENGTH = 15;
/** Elements of a repeated INS or OUTS that one exit does; the instruction then runs again. */
const MAX_REPEATS = 1024;
const CR4_TSD = 4n;
const CR4_OSXSAVE = 1n << 18n;
const DR6_SINGLE_STEP = 1n << 14n;
const TF = BigInt(Flag.TF);
const RF = BigInt(Flag.RF);
const DF = BigInt(Flag.DF);
const LOW32 = 0xffffffffn;

/** done: go on after it. again: RIP stays. fault: the guest gets its #GP(0). */
type Outcome = 'done' | 'again' | 'fault';

/**
 * Emulates the instruction at RIP. False: it is none that Xen emulates, or not allowed to this mode; the guest gets its #GP(0).
 * Faults of its memory operands are queued for the guest.
 */
export function emulatePrivileged(vcpu: Vcpu): boolean {
  const { cpu } = vcpu;
  const rip = cpu.rip;
  let instruction: PrivilegedInstruction | null;
  try {
    instruction = fetchAndDecode(vcpu);
  } catch (error) {
    if (!(error instanceof GuestFault)) throw error;
    queueFault(vcpu, error);
    return true;
  }
  if (!instruction) return false;
  if (instruction.lock) {
    queueFault(vcpu, new GuestFault(Vector.UD));
    return true;
  }
  let hits = 0n;
  const onPort = (port: number, size: number): void => {
    hits |= matchIoBreakpoints(vcpu, port, size);
  };
  let outcome: Outcome;
  try {
    outcome = execute(vcpu, instruction, onPort);
  } catch (error) {
    if (!(error instanceof GuestFault)) throw error;
    queueFault(vcpu, error);
    return true;
  }
  if (outcome === 'fault') return false;
  if (outcome === 'again') return true;
  const next = rip + BigInt(instruction.length);
  cpu.rip = isLong64(cpu) ? BigInt.asUintN(64, next) : next & LOW32;
  const flags = cpu.rflags;
  if (flags & RF) cpu.rflags = flags & ~RF;
  if (flags & TF) hits |= DR6_SINGLE_STEP;
  if (hits) {
    mergeDr6(vcpu, hits);
    queueFault(vcpu, new GuestFault(Vector.DB));
  }
  return true;
}

function fetchAndDecode(vcpu: Vcpu): PrivilegedInstruction | null {
  const { cpu } = vcpu;
  const long64 = isLong64(cpu);
  const linear = long64 ? cpu.rip : (cpu.readSegment(SEG.cs).base + cpu.rip) & LOW32;
  const code = { long64, default32: isDefault32(cpu) };
  // The next page is read only where the instruction reaches into it: it may be missing.
  const onPage = Math.min(MAX_LENGTH, 4096 - Number(linear & 0xfffn));
  let decoded = decodePrivileged(readCode(vcpu, linear, onPage), code);
  if (decoded === NEED_MORE && onPage < MAX_LENGTH)
    decoded = decodePrivileged(readCode(vcpu, linear, MAX_LENGTH), code);
  return decoded === NEED_MORE ? null : decoded;
}

/** Code bytes; read as data, since the processor has already fetched them as code. */
function readCode(vcpu: Vcpu, linear: bigint, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  vcpu.domain.hypervisor.processor.readLinear(linear, bytes, { write: false, user: true });
  return bytes;
}

function execute(vcpu: Vcpu, i: PrivilegedInstruction, onPort: (port: number, size: number) => void): Outcome {
  switch (i.op) {
    case 'in':
    case 'out':
      return portAccess(vcpu, i, onPort);
    case 'ins':
    case 'outs':
      return stringPortAccess(vcpu, i, onPort);
    case 'cli':
    case 'sti':
      // Nothing happens: the event mask is not RFLAGS.IF, and a guest could not be stopped from restoring IF with POPF anyway.
      return ioplAllows(vcpu) ? 'done' : 'fault';
    case 'cpuid': {
      writeCpuid(vcpu, guestCpuid(vcpu, eax(vcpu), ecx(vcpu)));
      return 'done';
    }
    case 'rdtsc':
    case 'rdtscp':
      return readTsc(vcpu, i.op === 'rdtscp');
  }
  // All others are for ring 0, which the guest's kernel counts as.
  return vcpu.pv.inKernel ? executeKernel(vcpu, i) : 'fault';
}

function executeKernel(vcpu: Vcpu, i: PrivilegedInstruction): Outcome {
  const { cpu } = vcpu;
  const mask = isLong64(cpu) ? (1n << 64n) - 1n : LOW32;
  switch (i.op) {
    case 'clts':
      setTaskSwitched(vcpu, false);
      return 'done';
    case 'wbinvd':
      return 'done';
    case 'readCr': {
      const value = readControlRegister(vcpu, i.register);
      if (value === null) return 'fault';
      cpu.gpr[i.general] = value & mask;
      return 'done';
    }
    case 'writeCr':
      return writeControlRegister(vcpu, i.register, cpu.gpr[i.general] & mask) ? 'done' : 'fault';
    case 'readDr':
    case 'writeDr':
      return debugRegister(vcpu, i, mask);
    case 'rdmsr':
      return rdmsr(vcpu);
    case 'wrmsr': {
      const value = ((cpu.gpr[R.rdx] & LOW32) << 32n) | (cpu.gpr[R.rax] & LOW32);
      return writeMsr(vcpu, ecx(vcpu), value) ? 'done' : 'fault';
    }
    case 'xsetbv':
      return xsetbv(vcpu);
    default:
      return 'fault';
  }
}

const eax = (vcpu: Vcpu): number => Number(vcpu.cpu.gpr[R.rax] & LOW32);
const ecx = (vcpu: Vcpu): number => Number(vcpu.cpu.gpr[R.rcx] & LOW32);

function writePair(vcpu: Vcpu, value: bigint): void {
  const { gpr } = vcpu.cpu;
  gpr[R.rax] = value & LOW32;
  gpr[R.rdx] = (value >> 32n) & LOW32;
}

function debugRegister(vcpu: Vcpu, i: PrivilegedInstruction, mask: bigint): Outcome {
  const { gpr } = vcpu.cpu;
  try {
    if (i.op === 'readDr') gpr[i.general] = getDebugRegister(vcpu, i.register) & mask;
    else setDebugRegister(vcpu, i.register, gpr[i.general] & mask);
    return 'done';
  } catch (error) {
    if (error instanceof XenError) return 'fault';
    throw error;
  }
}

function rdmsr(vcpu: Vcpu): Outcome {
  const index = ecx(vcpu);
  const value = readMsr(vcpu, index);
  if (value !== null) {
    writePair(vcpu, value);
    return 'done';
  }
  if (vcpu.pv.traps[Vector.GP].address !== 0n) return 'fault';
  // A kernel this early cannot take the fault; it is given 0 instead.
  vcpu.domain.hypervisor.log(`(XEN) ${vcpu} faking RDMSR 0x${index.toString(16).padStart(8, '0')}`);
  writePair(vcpu, 0n);
  return 'done';
}

function readTsc(vcpu: Vcpu, withAux: boolean): Outcome {
  const { cpu, pv, domain } = vcpu;
  if (withAux && !pvHasFeature(domain.hypervisor.processor.model, 'rdtscp')) throw new GuestFault(Vector.UD);
  if (pv.cr4 & CR4_TSD && !pv.inKernel) return 'fault';
  writePair(vcpu, BigInt.asUintN(64, domain.hypervisor.processor.cycles() + cpu.get(S.tscOffset)));
  if (withAux) cpu.gpr[R.rcx] = cpu.get(S.tscAux) & LOW32;
  return 'done';
}

const XCR0_X87 = 1n;
const XCR0_SSE = 2n;
const XCR0_YMM = 4n;

function xsetbv(vcpu: Vcpu): Outcome {
  const { cpu, pv, domain } = vcpu;
  const { model } = domain.hypervisor.processor;
  if (!pvHasFeature(model, 'xsave') || !(pv.cr4 & CR4_OSXSAVE)) throw new GuestFault(Vector.UD);
  const value = ((cpu.gpr[R.rdx] & LOW32) << 32n) | (cpu.gpr[R.rax] & LOW32);
  const possible = pvCpuid(model, cpuidContext(vcpu, false), 0xd, 0);
  const supported = (BigInt(possible.edx) << 32n) | BigInt(possible.eax);
  if (ecx(vcpu) !== 0 || !(value & XCR0_X87) || value & ~supported) return 'fault';
  if (value & XCR0_YMM && !(value & XCR0_SSE)) return 'fault';
  cpu.set(S.xcr0, value);
  domain.hypervisor.processor.modeChanged();
  return 'done';
}

function portAccess(vcpu: Vcpu, i: PrivilegedInstruction, onPort: (port: number, size: number) => void): Outcome {
  const { cpu, domain } = vcpu;
  const port = i.port ?? Number(cpu.gpr[R.rdx] & 0xffffn);
  if (!portsAllowed(vcpu, port, i.size)) return 'fault';
  onPort(port, i.size);
  const rax = cpu.gpr[R.rax];
  if (i.op === 'out') {
    domain.ports.write(port, i.size, Number(rax & LOW32) & sizeMask(i.size));
    return 'done';
  }
  const value = BigInt(domain.ports.read(port, i.size));
  cpu.gpr[R.rax] = i.size === 4 ? value : (rax & ~BigInt(sizeMask(i.size))) | value;
  return 'done';
}

const sizeMask = (size: number): number => (size === 4 ? 0xffffffff : (1 << (size * 8)) - 1);

/** INS and OUTS; registers are written after each element, so a page fault leaves the rest to do. */
function stringPortAccess(vcpu: Vcpu, i: PrivilegedInstruction, onPort: (port: number, size: number) => void): Outcome {
  const { cpu, domain } = vcpu;
  const { processor } = domain.hypervisor;
  const port = Number(cpu.gpr[R.rdx] & 0xffffn);
  if (!portsAllowed(vcpu, port, i.size)) return 'fault';
  const addressMask = (1n << BigInt(i.addressSize * 8)) - 1n;
  const pointer = i.op === 'ins' ? R.rdi : R.rsi;
  const step = BigInt(cpu.rflags & DF ? -i.size : i.size);
  const element = new Uint8Array(i.size);
  for (let n = 0; n < MAX_REPEATS; n++) {
    const count = cpu.gpr[R.rcx] & addressMask;
    if (i.repeat && count === 0n) return 'done';
    const offset = cpu.gpr[pointer] & addressMask;
    const linear = operandAddress(vcpu, i, offset);
    if (i.op === 'ins') {
      // The store must be possible before the port is read, since reading has effects.
      processor.translate(linear, { write: true, user: true });
      processor.translate(linear + BigInt(i.size - 1), { write: true, user: true });
      onPort(port, i.size);
      const value = domain.ports.read(port, i.size);
      for (let b = 0; b < i.size; b++) element[b] = value >>> (8 * b);
      processor.writeLinear(linear, element, { write: true, user: true });
    } else {
      processor.readLinear(linear, element, { write: false, user: true });
      onPort(port, i.size);
      domain.ports.write(port, i.size, element.reduce((word, byte, b) => word | (byte << (8 * b)), 0) >>> 0);
    }
    writeMasked(vcpu, pointer, offset + step, i.addressSize);
    if (!i.repeat) return 'done';
    writeMasked(vcpu, R.rcx, count - 1n, i.addressSize);
  }
  return 'again';
}

function writeMasked(vcpu: Vcpu, register: number, value: bigint, size: 2 | 4 | 8): void {
  const { gpr } = vcpu.cpu;
  if (size === 2) gpr[register] = (gpr[register] & ~0xffffn) | (value & 0xffffn);
  else gpr[register] = BigInt.asUintN(size * 8, value);
}

function operandAddress(vcpu: Vcpu, i: PrivilegedInstruction, offset: bigint): bigint {
  const { cpu } = vcpu;
  const index = i.op === 'ins' ? SEG.es : (i.segment ?? SEG.ds);
  const segment = cpu.readSegment(index);
  if (isLong64(cpu)) {
    return BigInt.asUintN(64, index === SEG.fs || index === SEG.gs ? segment.base + offset : offset);
  }
  if (offset + BigInt(i.size) > BigInt(segment.limit) + 1n) throw new GuestFault(Vector.GP, 0);
  return (segment.base + offset) & LOW32;
}

function cpuidContext(vcpu: Vcpu, osxsaveLeak: boolean): Parameters<typeof pvCpuid>[1] {
  const { hypervisor } = vcpu.domain;
  return {
    osxsave: osxsaveLeak || (vcpu.pv.cr4 & CR4_OSXSAVE) !== 0n,
    xcr0: vcpu.cpu.get(S.xcr0),
    tscKHz: Number(hypervisor.clock.tscHz / 1000n),
    invariantTsc: vcpu.domain.drivesHardware,
    maxMfn: hypervisor.frames.count - 1,
  };
}

/** CPUID as executed by the guest. */
export function guestCpuid(vcpu: Vcpu, leaf: number, subleaf: number): CpuidResult {
  return pvCpuid(vcpu.domain.hypervisor.processor.model, cpuidContext(vcpu, false), leaf, subleaf);
}

function writeCpuid(vcpu: Vcpu, result: CpuidResult): void {
  const { gpr } = vcpu.cpu;
  gpr[R.rax] = BigInt(result.eax >>> 0);
  gpr[R.rbx] = BigInt(result.ebx >>> 0);
  gpr[R.rcx] = BigInt(result.ecx >>> 0);
  gpr[R.rdx] = BigInt(result.edx >>> 0);
}

/** After #UD: "ud2; .ascii "xen"; cpuid" asks for Xen's CPUID. False: it is not that. */
export function emulateForcedCpuid(vcpu: Vcpu): boolean {
  const { cpu, pv } = vcpu;
  const linear = isLong64(cpu) ? cpu.rip : (cpu.readSegment(SEG.cs).base + cpu.rip) & LOW32;
  let bytes: Uint8Array;
  try {
    bytes = readCode(vcpu, linear, 7);
  } catch (error) {
    if (error instanceof GuestFault) return false;
    throw error;
  }
  const prefix = forcedEmulationPrefix(bytes);
  if (prefix === 0 || bytes[prefix] !== 0x0f || bytes[prefix + 1] !== 0xa2) return false;
  const { model } = vcpu.domain.hypervisor.processor;
  // A kernel that asks this way sees OSXSAVE, whatever its CR4 says: old ones take XSAVE for disabled otherwise.
  writeCpuid(vcpu, pvCpuid(model, cpuidContext(vcpu, pv.inKernel), eax(vcpu), ecx(vcpu)));
  cpu.rip = BigInt.asUintN(64, cpu.rip + BigInt(prefix + 2));
  const flags = cpu.rflags;
  if (flags & RF) cpu.rflags = flags & ~RF;
  return true;
}
