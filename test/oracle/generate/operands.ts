// Makes a built instruction meaningful: points its memory operands at the case's data (or, now and then, where they must fault), its stack
// at a stack, its branch targets at code, and picks operand values that reach the interesting paths.
import iced from 'iced-x86';
import { type CaseInput, initialOf, type Mode, placeOf } from '../case.ts';
import { Flavor, Kind } from '../initial-state.ts';
import {
  backingOffset,
  CODE,
  CODE_BACKING,
  DATA,
  DATA_SIZE,
  FS_BASE,
  GS_BASE,
  HIGH_CODE,
  HIGH_DATA,
  LDT,
  Ldt,
  READ_ONLY,
} from '../places.ts';
import type { Prng } from '../prng.ts';
import { type Built, decodeAs, release } from './builder.ts';

const { MemorySize, MemorySizeExt, OpKind, Register, RegisterExt } = iced;

const RAX = 0;
const RCX = 1;
const RDX = 2;
const RBX = 3;
const RSP = 4;
const RBP = 5;
const RSI = 6;
const RDI = 7;

const wrap = (value: bigint, bits: number): bigint => BigInt.asUintN(bits, value);

/** Number 0-15 of a general register in any of its widths; AH-BH are 0-3. */
export function generalNumber(register: number): number {
  const n = RegisterExt.number(register);
  if (!RegisterExt.isGPR8(register)) return n;
  return register >= Register.AH && register <= Register.BH
    ? register - Register.AH
    : RegisterExt.number(RegisterExt.fullRegister(register));
}

/** A case while it is being made. */
export class Draft {
  readonly input: CaseInput;
  readonly built: Built;
  readonly name: string;
  readonly group: string;
  /** Linear address of the memory operand, once aimed. */
  address: bigint | null = null;
  private readonly set = new Map<number, bigint>();

  constructor(group: string, name: string, input: CaseInput, built: Built) {
    this.group = group;
    this.name = name;
    this.input = input;
    this.built = built;
  }

  get mode(): Mode {
    return this.input.mode;
  }
  get instruction(): iced.Instruction {
    return this.built.instruction;
  }

  assign(slot: number, value: bigint): void {
    this.set.set(slot, this.mode === 64 || slot >= 16 ? wrap(value, 64) : wrap(value, 32));
    this.input.registers = [...this.set];
  }

  isSet(slot: number): boolean {
    return this.set.has(slot);
  }

  /** The value that a general register will have. */
  value(register: number): bigint {
    return initialOf(this.group, this.input).gpr[register];
  }

  /** Keeps a register's upper bits where only its low `bits` count. */
  assignLow(register: number, value: bigint, bits: number): void {
    const old = this.value(register);
    this.assign(register, ((old >> BigInt(bits)) << BigInt(bits)) | wrap(value, bits));
  }

  window(linear: bigint, length: number, kind: number): void {
    const offset = backingOffset(linear);
    const room = Math.min(length, (offset < DATA_SIZE ? DATA_SIZE : CODE_BACKING) - offset);
    if (offset >= 0 && room > 0 && offset < CODE_BACKING) this.input.windows.push({ offset, length: room, kind });
  }

  patch(linear: bigint, bytes: Uint8Array): void {
    const offset = backingOffset(linear);
    const room = Math.min(bytes.length, (offset < DATA_SIZE ? DATA_SIZE : CODE_BACKING) - offset);
    if (offset >= 0 && room > 0 && offset < CODE_BACKING)
      this.input.patches.push({ offset, bytes: bytes.subarray(0, room) });
  }

  /** Initial memory, little endian. */
  memory(linear: bigint, size: number): bigint {
    const initial = initialOf(this.group, this.input);
    let value = 0n;
    for (let i = 0; i < size; i++) {
      const offset = backingOffset(linear + BigInt(i));
      let byte = 0;
      for (const p of initial.patches)
        if (offset >= p.offset && offset < p.offset + p.bytes.length) byte = p.bytes[offset - p.offset];
      value |= BigInt(byte) << BigInt(i * 8);
    }
    return value;
  }
}

export function littleEndian(value: bigint, size: number): Uint8Array {
  return Uint8Array.from({ length: size }, (_, i) => Number((value >> BigInt(i * 8)) & 0xffn));
}

/** A linear address for a memory operand of `size` bytes: mostly good, sometimes at an edge. */
export function dataAddress(prng: Prng, mode: Mode, addressBits: number, size: number, alignment: number): bigint {
  const high = mode === 64 && addressBits === 64 && prng.oneIn(3);
  const base = high ? HIGH_DATA : DATA;
  const room = Math.max(size, 1);
  switch (prng.below(32)) {
    case 0: // across the two pages
      return base + 0x1000n - BigInt(prng.below(room) || 1);
    case 1: // reaching into what is not mapped
      return base + BigInt(DATA_SIZE) - BigInt(prng.below(room));
    case 2:
      return base + BigInt(READ_ONLY + 0x100 + prng.below(0x800) * 1);
    case 3: // not mapped, or not canonical
      if (mode === 64 && addressBits === 64 && prng.oneIn(2))
        return prng.pick([0x8000_0000_0000n, 0xffff_7fff_ffff_fff0n, 0xdead_beef_0000_1000n]);
      return base - BigInt(prng.below(0x800) + room);
    default: {
      const offset = 0x200 + prng.below(DATA_SIZE - 0x400 - room);
      return base + BigInt(alignment > 1 && prng.below(12) ? offset - (offset % alignment) : offset);
    }
  }
}

/** The segment's base as this case's descriptors have it; 16-bit code and stack segments keep theirs. */
function segmentBase(mode: Mode, register: number): bigint {
  if (mode === 64) return register === Register.FS ? FS_BASE : register === Register.GS ? GS_BASE : 0n;
  if (register === Register.FS) return BigInt(LDT[Ldt.fs >> 3].base);
  if (register === Register.GS) return BigInt(LDT[Ldt.gs >> 3].base);
  return register === Register.CS && mode === 16 ? CODE : 0n;
}

/** Makes the operand's effective address `linear`, by changing registers or the displacement; returns the address that it really got. */
export function aimMemory(d: Draft, prng: Prng, wanted: bigint): bigint | null {
  const i = d.instruction;
  const base = i.memoryBase;
  const index = i.memoryIndex;
  const bits = addressBitsOf(d);
  const segment = segmentBase(d.mode, i.memorySegment);
  const displacement = i.memoryDisplacementU64;
  let offset = wrap(wanted - segment, bits);
  if (bits === 16 && wanted - segment > 0xffffn) offset = BigInt(prng.below(0x10000)); // out of reach: it faults somewhere low
  if (bits === 16 && wanted < segment) offset = BigInt(prng.below(0x10000));
  if (i.isIpRelMemoryOperand || (base === Register.None && index === Register.None)) {
    const { displacementOffset: at, displacementSize: size } = d.built.constants;
    if (!d.built.constants.hasDisplacement) return null;
    const relative = i.isIpRelMemoryOperand ? offset - i.nextIP : offset;
    if (BigInt.asIntN(size * 8, relative) !== BigInt.asIntN(bits, relative)) return null;
    d.input.code.set(littleEndian(wrap(relative, size * 8), size), at);
    return wrap(segment + offset, 64);
  }
  const scale = BigInt(i.memoryIndexScale);
  if (base === Register.None || base === index) {
    const factor = base === Register.None ? scale : scale + 1n;
    const rest = wrap(offset - displacement, bits);
    const x = rest / factor;
    offset = wrap(x * factor + displacement, bits);
    d.assignLow(generalNumber(index), x, bits);
  } else {
    const scaled = index === Register.None ? 0n : wrap(d.value(generalNumber(index)), bits) * scale;
    d.assignLow(generalNumber(base), offset - displacement - scaled, bits);
  }
  return wrap(segment + offset, d.mode === 64 ? 64 : 32);
}

export function addressBitsOf(d: Draft): number {
  const i = d.instruction;
  const register = i.memoryBase !== Register.None ? i.memoryBase : i.memoryIndex;
  if (register !== Register.None) return RegisterExt.size(register) * 8;
  return i.memoryDisplSize * 8 || d.mode;
}

function kindOfMemory(size: number): number {
  switch (size) {
    case MemorySize.FpuEnv28:
      return Kind.env28;
    case MemorySize.FpuEnv14:
      return Kind.env14;
    case MemorySize.FpuState108:
      return Kind.state108;
    case MemorySize.FpuState94:
      return Kind.state94;
    case MemorySize.Fxsave_512Byte:
    case MemorySize.Fxsave64_512Byte:
      return Kind.fxsave;
    case MemorySize.Xsave:
    case MemorySize.Xsave64:
      return Kind.xsave;
    case MemorySize.Bcd:
      return Kind.bcd;
    default: {
      const name = MemorySize[size];
      if (name.endsWith('Float32')) return Kind.f32;
      if (name.endsWith('Float64')) return Kind.f64;
      return name === 'Float80' ? Kind.f80 : Kind.integer;
    }
  }
}

const XSAVE_SIZE = 576;

function sizeOfMemory(d: Draft): number {
  const size = d.instruction.memorySize;
  if (size === MemorySize.Xsave || size === MemorySize.Xsave64) return XSAVE_SIZE;
  return MemorySizeExt.size(size);
}

/** Packed operands of the older SSE forms must be aligned, so most are. */
function alignmentOf(d: Draft, size: number): number {
  const { name } = d;
  if (size === XSAVE_SIZE) return 64;
  if (size === 512 || name.startsWith('Cmpxchg16b')) return 16;
  return size === 16 ? 16 : d.input.flavor === Flavor.general ? 1 : Math.min(size, 8);
}

/** Code addresses to return or jump to, as the instruction's pointer size holds them. */
export function codeTarget(d: Draft, prng: Prng): bigint {
  const base = d.mode === 16 ? 0n : CODE;
  const near = base + 0x100n + BigInt(prng.below(0x600));
  switch (prng.below(10)) {
    case 0:
    case 1:
      return d.mode === 64 ? HIGH_CODE + 0x100n + BigInt(prng.below(0x600)) : near;
    case 2:
      return BigInt(prng.below(0x10000));
    case 3:
      return d.mode === 64 ? DATA + 0x123n : near + 0x3000n;
    default:
      return near;
  }
}

function aimStack(d: Draft, prng: Prng): bigint {
  const high = d.mode === 64 && prng.oneIn(3);
  const base = high ? HIGH_DATA : DATA;
  let top = base + 0x1000n + BigInt(prng.below(0x100) * 8 - 0x400);
  switch (prng.below(24)) {
    case 0:
      top += BigInt(prng.below(8));
      break;
    case 1: // a push faults
      top = base + BigInt(prng.below(2) * 2);
      break;
    case 2: // a pop faults
      top = base + BigInt(DATA_SIZE - prng.below(4) * 2);
      break;
    case 3:
      top = base + BigInt(READ_ONLY + 0x80);
      break;
    case 4:
      if (d.mode === 64) top = prng.pick([0x8000_0000_0000n, 0x8000_0000_0008n, 0xffff_7fff_ffff_fff8n]);
      break;
  }
  d.assign(RSP, top);
  return top;
}

const SELECTORS = [
  0,
  3,
  0x23,
  0x2b,
  0x33,
  0x2a,
  0x18,
  0x10,
  0x08,
  0x83,
  0xfff7,
  ...Object.values(Ldt),
  Ldt.fs & ~3,
  0x57,
];

/** Everything that the instruction's kind asks for. Returns false where the draft should be dropped. */
export function shape(d: Draft, prng: Prng): boolean {
  const { name, mode } = d;
  const i = d.instruction;
  const operands = Array.from({ length: i.opCount }, (_, n) => i.opKind(n));
  const registerOperand = (n: number): number => (operands[n] === OpKind.Register ? i.opRegister(n) : Register.None);

  const string = i.isStringInstruction && !name.includes('xmm'); // MOVSD and CMPSD are two instructions each
  if (string || name.startsWith('Maskmov')) return shapeString(d, prng);

  let stack: bigint | null = null;
  if (i.isStackInstruction || name.startsWith('Enter')) stack = aimStack(d, prng);
  // A far transfer to compatibility mode goes on with 32 bits of the stack pointer.
  if (stack !== null && stack >= 1n << 32n && /^(Retf|Iret|Call_m16|Jmp_m16)/.test(name)) {
    stack = DATA + 0x1000n + BigInt(prng.below(0x80) * 8);
    d.assign(RSP, stack);
  }
  if (/^(Leave|Enter)/.test(name))
    d.assign(RBP, (prng.oneIn(3) && mode === 64 ? HIGH_DATA : DATA) + 0x1000n + BigInt(prng.below(0x800)));

  if (name.startsWith('Enter') && prng.below(6)) {
    const { code } = d.input;
    code.set(
      [prng.below(256), prng.below(2), prng.below(3) ? prng.below(3) : 32 * prng.below(4) + prng.below(32)],
      code.length - 3,
    );
  }

  // Where the new privilege level's stack would be read is nobody's business, so parameters are few.
  if (/^Retf.*imm16/.test(name)) d.input.code.set([prng.below(32) * 8, 0], d.input.code.length - 2);

  // values that must be there before addresses are computed from them
  if (/_CL$/.test(name) && prng.below(4)) d.assignLow(RCX, BigInt(prng.below(72)), 8);
  if (/^(Div|Idiv)_/.test(name) && prng.below(3)) tameDividend(d, prng, registerOperand(0));
  if (/^Pcmp[ei]str/.test(name) && prng.below(5)) {
    d.assign(RAX, BigInt(prng.below(40) - 20));
    d.assign(RDX, BigInt(prng.below(40) - 20));
  }
  if (/^(X(save|rstor))/.test(name)) {
    d.assignLow(RAX, BigInt(prng.below(4)), 32);
    d.assignLow(RDX, 0n, 32);
  }
  if (/^Mov_Sreg/.test(name) || /^(Lar|Lsl|Ver[rw]|Arpl)/.test(name)) {
    const source = registerOperand(/^(Ver|Arpl)/.test(name) ? 0 : 1);
    if (source !== Register.None) d.assignLow(generalNumber(source), BigInt(prng.pick(SELECTORS)), 16);
  }
  if (/^Wr[fg]sbase/.test(name) && prng.below(3))
    d.assign(
      generalNumber(i.op0Register),
      prng.pick([0x7e00_1234_5678n, 0xffff_ffff_ffff_0000n, 0n, 0x8000_0000_0000n]),
    );
  if (name === 'Xgetbv') d.assignLow(RCX, BigInt(prng.below(4) ? 0 : 5), 32);
  const bitString = /^Bt[src]?_rm\d+_r\d+$/.test(name) && operands[0] === OpKind.Memory;
  if (bitString) {
    const size = RegisterExt.size(i.op1Register) * 8;
    d.assignLow(generalNumber(i.op1Register), BigInt(prng.below(4000) - 2000), size);
  }

  let address: bigint | null = null;
  const memory = operands.includes(OpKind.Memory);
  if (memory) {
    if (name.startsWith('Xlat')) {
      const target = dataAddress(prng, mode, mode, 1, 1);
      const al = d.value(RAX) & 0xffn;
      const bits = addressBitsOf(d);
      if (bits !== 16) d.assignLow(RBX, target - segmentBase(mode, i.memorySegment) - al, bits);
      d.window(target, 1, Kind.integer);
    } else {
      const size = sizeOfMemory(d);
      const base = i.memoryBase;
      const usesStackPointer = base !== Register.None && generalNumber(base) === RSP && RegisterExt.isGPR(base);
      let wanted = dataAddress(prng, mode, addressBitsOf(d), size, alignmentOf(d, size));
      if (bitString) wanted = (wanted > 0xffff_ffffn ? HIGH_DATA : DATA) + 0x1000n + BigInt(prng.below(0x100));
      // Pushes and pops through RSP: where the stack is, the operand is near.
      if (stack !== null && usesStackPointer) wanted = DATA + 0x1000n + BigInt(prng.below(0x400));
      address = aimMemory(d, prng, wanted);
      if (address === null) return false;
      d.address = address;
      if (stack !== null && usesStackPointer) stack = d.value(RSP);
      d.window(address, Math.max(size, 1), kindOfMemory(i.memorySize));
    }
  }

  if (/^Cmpxchg_/.test(name) && prng.oneIn(2)) {
    const size = memory ? MemorySizeExt.size(i.memorySize) : RegisterExt.size(i.op0Register);
    const target = memory ? d.memory(address!, size) : readRegister(d, i.op0Register);
    const base = i.memoryBase;
    const aliased =
      memory &&
      [base, i.memoryIndex].some(r => r !== Register.None && RegisterExt.isGPR(r) && generalNumber(r) === RAX);
    if (!aliased && !d.isSet(RAX)) d.assignLow(RAX, target, size * 8);
  }
  if (/^Cmpxchg(8|16)b/.test(name) && prng.oneIn(2)) {
    const bits = name.startsWith('Cmpxchg16') ? 64 : 32;
    const aliased = [i.memoryBase, i.memoryIndex].some(
      r => r !== Register.None && RegisterExt.isGPR(r) && [RAX, RDX].includes(generalNumber(r)),
    );
    if (!aliased) {
      const value = d.memory(address!, bits / 4);
      d.assignLow(RAX, value, bits);
      d.assignLow(RDX, value >> BigInt(bits), bits);
    }
  }

  // control transfers
  if (/^(Jmp|Call)_rm/.test(name)) {
    const target = codeTarget(d, prng);
    if (memory) d.patch(address!, littleEndian(wrap(target, 64), MemorySizeExt.size(i.memorySize)));
    else d.assignLow(generalNumber(i.op0Register), target, RegisterExt.size(i.op0Register) * 8);
  }
  if (/^Ret[nf]/.test(name) || /^Iret/.test(name)) return shapeReturn(d, prng, stack!);
  if (/^(Jmp|Call)_m16/.test(name) || /^L[defgs]s_/.test(name)) {
    const size = MemorySizeExt.size(i.memorySize) - 2;
    const code = /^[JC]/.test(name);
    const selector = code
      ? prng.pick([0x23, 0x33, 0x2b, 0, Ldt.code32, Ldt.conforming, Ldt.notPresent, Ldt.executeOnly, 0x10, 0x22])
      : prng.pick(SELECTORS);
    d.patch(
      address!,
      Uint8Array.from([...littleEndian(wrap(codeTarget(d, prng), 64), size), ...littleEndian(BigInt(selector), 2)]),
    );
  }
  if (/^(Jmp|Call)_ptr/.test(name)) {
    const size = d.built.constants.immediateSize;
    const at = d.built.constants.immediateOffset;
    const selector = prng.pick([0x23, 0x33, 0x2b, 0, Ldt.code32, Ldt.conforming, Ldt.notPresent, 0x10, 0x22]);
    d.input.code.set(littleEndian(wrap(codeTarget(d, prng), 64), size), at);
    d.input.code.set(littleEndian(BigInt(selector), 2), at + size);
  }
  if (/^Pop[wdq]?_[DEFGS]S$/.test(name) && stack !== null)
    d.patch(stack, littleEndian(BigInt(prng.pick(SELECTORS)), 8));
  if (/^Popf/.test(name) && stack !== null) d.patch(stack, littleEndian(prng.u64() & ~0x100n, 8));
  if (/^(Lar|Lsl|Ver[rw]|Mov_Sreg)/.test(name) && address !== null)
    d.patch(address, littleEndian(BigInt(prng.pick(SELECTORS)), 2));
  if (/^Bound/.test(name) && address !== null && prng.below(3)) {
    const size = MemorySizeExt.size(i.memorySize) / 2;
    const index = d.value(generalNumber(i.op0Register));
    const low = BigInt(prng.below(100) - 20);
    d.patch(
      address,
      littleEndian(
        wrap(((index - low) << 0n) | 0n, size * 8) |
          (wrap(index + 50n - BigInt(prng.below(90)), size * 8) << BigInt(size * 8)),
        size * 2,
      ),
    );
  }
  if (/^(Loop|J[er]?cxz)/.test(name) && prng.below(3))
    d.assign(
      RCX,
      BigInt(prng.below(3)) | (prng.oneIn(3) ? 0x1_0000n : 0n) | (prng.oneIn(3) && mode === 64 ? 1n << 40n : 0n),
    );
  if (/^Shift|^(Rol|Ror|Rcl|Rcr|Shl|Shr|Sal|Sar|Shld|Shrd)_.*imm8$/.test(name) && prng.below(3)) {
    d.input.code[d.input.code.length - 1] = prng.below(40);
  }
  if (/^Int_imm8/.test(name) && [0x80, 3, 4].includes(d.input.code[d.input.code.length - 1])) return false;
  if (/^Ldmxcsr/.test(name) && address !== null)
    d.patch(address, littleEndian(BigInt(prng.oneIn(6) ? prng.u32() : prng.u32() & 0xffff), 4));
  if (/^(Fldcw)/.test(name) && address !== null)
    d.patch(address, littleEndian(BigInt((prng.u32() & 0xf00) | (prng.below(3) ? 0x7f : prng.u32() & 0x3f)), 2));
  return true;
}

function readRegister(d: Draft, register: number): bigint {
  const value = d.value(generalNumber(register));
  if (register >= Register.AH && register <= Register.BH) return (value >> 8n) & 0xffn;
  return wrap(value, RegisterExt.size(register) * 8);
}

/** A dividend whose quotient mostly fits. */
function tameDividend(d: Draft, prng: Prng, divisor: number): void {
  const size = divisor === Register.None ? MemorySizeExt.size(d.instruction.memorySize) : RegisterExt.size(divisor);
  const negative = prng.oneIn(2) && d.name.startsWith('Idiv');
  if (size === 1) d.assignLow(RAX, negative ? BigInt(-prng.below(300)) : BigInt(prng.below(600)), 16);
  else if (negative) {
    d.assignLow(RDX, -1n, size * 8);
    d.assignLow(RAX, -BigInt(prng.u32() >>> prng.below(32)), size * 8);
  } else d.assignLow(RDX, BigInt(prng.below(3)), size * 8);
}

function shapeString(d: Draft, prng: Prng): boolean {
  const i = d.instruction;
  const { name, mode } = d;
  const masked = name.startsWith('Maskmov');
  const kinds = Array.from({ length: i.opCount }, (_, n) => i.opKind(n));
  const bits = kinds.some(k => k === OpKind.MemorySegSI || k === OpKind.MemorySegDI || k === OpKind.MemoryESDI)
    ? 16
    : kinds.some(k => k === OpKind.MemorySegESI || k === OpKind.MemorySegEDI || k === OpKind.MemoryESEDI)
      ? 32
      : 64;
  const size = masked ? (name.includes('xmm') ? 16 : 8) : MemorySizeExt.size(i.memorySize) || 1;
  const repeated = i.hasRepPrefix || i.hasRepePrefix || i.hasRepnePrefix;
  const down = prng.oneIn(3);
  const count = prng.below(repeated ? 7 : 2);
  const aim = (register: number, segment: number): bigint => {
    let linear = dataAddress(prng, mode, bits, size, 1);
    if (prng.below(3) === 0) linear = DATA + BigInt(0x800 + prng.below(0x40));
    const offset = wrap(linear - segmentBase(mode, segment), bits);
    // With a narrower address size the bits above are free, but for a repeat that ends at once.
    if (count > 0 && bits === 32 && prng.oneIn(2)) d.assignLow(register, offset, bits);
    else d.assign(register, offset);
    return linear;
  };
  const source = kinds.some(k => k === OpKind.MemorySegSI || k === OpKind.MemorySegESI || k === OpKind.MemorySegRSI);
  const from = source ? aim(RSI, i.memorySegment) : -1n;
  const toSegment = masked ? i.memorySegment : Register.ES;
  const to =
    masked ||
    kinds.some(
      k => (k >= OpKind.MemorySegDI && k <= OpKind.MemorySegRDI) || (k >= OpKind.MemoryESDI && k <= OpKind.MemoryESRDI),
    )
      ? aim(RDI, toSegment)
      : -1n;
  if (!masked) {
    if (repeated) d.assign(RCX, BigInt(count));
    d.assign(16, (initialOf(d.group, d.input).rflags & ~0x400n) | (down ? 0x400n : 0n));
  }
  const compare = /^(Cmps|Scas)/.test(name);
  const kind = compare ? Kind.repetitive : Kind.integer;
  const length = size * 7;
  const around = (linear: bigint): bigint => (down ? linear - BigInt(length - size) : linear);
  if (from >= 0n) d.window(around(from), length, kind);
  if (to >= 0n && compare) d.window(around(to), length, kind);
  if (compare && from >= 0n && prng.oneIn(2)) {
    const same = Uint8Array.from({ length }, (_, k) => Number(d.memory(around(from) + BigInt(k), 1)));
    if (prng.oneIn(2)) same[prng.below(length)] ^= 1;
    d.patch(around(to), same);
  }
  if (/^Scas/.test(name) && prng.below(3)) d.assignLow(RAX, d.memory(to, size), size * 8);
  return true;
}

/** A stack frame for near and far returns and IRET. */
function shapeReturn(d: Draft, prng: Prng, stack: bigint): boolean {
  const { name, mode } = d;
  const size = /w(_imm16)?$/.test(name) ? 2 : /q(_imm16)?$/.test(name) ? 8 : 4;
  const words: bigint[] = [codeTarget(d, prng)];
  if (!name.startsWith('Retn')) {
    const selector = prng.below(4)
      ? mode === 64
        ? 0x33
        : prng.pick([0x23, Ldt.code32])
      : prng.pick([
          0x23,
          0x33,
          Ldt.conforming,
          Ldt.notPresent,
          0,
          0x10,
          0x22,
          0x2b,
          Ldt.executeOnly,
          mode === 64 ? 0x23 : Ldt.code16,
        ]);
    words.push(BigInt(selector));
  }
  if (name.startsWith('Iret')) {
    words.push(prng.u64() & 0x244dd5n & (size === 2 ? 0xffffn : ~0n) & ~0x100n);
    if (mode === 64)
      words.push(
        stack + 0x40n,
        BigInt(prng.below(6) ? 0x2b : prng.pick([0, 0x23, 0x18, 0x2a, Ldt.fs, Ldt.notPresent, Ldt.readOnly])),
      );
  }
  const bytes = words.flatMap(w => [...littleEndian(wrap(w, size * 8), size)]);
  d.patch(stack, Uint8Array.from(bytes));
  return true;
}

/** Decodes the code as it now is: shape() may have changed displacement or immediate. Null where it became something else. */
export function redecode(d: Draft): Built | null {
  const again = decodeAs(
    d.instruction.code,
    d.input.code,
    d.mode,
    placeOf(d.input.place) - (d.mode === 16 ? CODE : 0n),
  );
  if (again && again.bytes.length === d.input.code.length) return again;
  if (again) release(again);
  return null;
}
