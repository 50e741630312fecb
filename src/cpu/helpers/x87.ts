// The x87 unit's instructions on the state block (SDM Vol. 1, chapter 8); what they compute is float/'s business.
import { GuestFault, Vector } from '../exits.ts';
import { Flag } from '../flags.ts';
import {
  environmentSize,
  executeMemory,
  executeRegister,
  fldenv,
  fnsave,
  fnstenv,
  frstor,
  UNDEFINED_OPCODE,
  type X87State,
} from '../float/x87.ts';
import { ModeBit, S } from '../layout.ts';
import type { CpuState } from '../state.ts';
import { requireAlignment } from './alignment.ts';
import type { Helper, HelperCore } from './core.ts';
import { requireWritable, writeWhole } from './whole-store.ts';

const FPR_SHIFT = 4;

/** The x87's registers in a state block. */
export class X87Registers implements X87State {
  private readonly state: CpuState;
  private readonly view: DataView;
  /** The scratch area, where memory operands come and go. */
  readonly operand: DataView;

  constructor(state: CpuState) {
    this.state = state;
    this.view = state.view;
    this.operand = new DataView(state.bytes.buffer, state.bytes.byteOffset + S.scratch, 16);
  }

  get fcw(): number {
    return this.view.getUint16(S.fcw, true);
  }
  set fcw(value: number) {
    this.view.setUint16(S.fcw, value, true);
  }
  get fsw(): number {
    return this.view.getUint16(S.fsw, true);
  }
  set fsw(value: number) {
    this.view.setUint16(S.fsw, value, true);
  }
  get ftw(): number {
    return this.view.getUint8(S.ftw);
  }
  set ftw(value: number) {
    this.view.setUint8(S.ftw, value);
  }
  get fop(): number {
    return this.view.getUint16(S.fop, true);
  }
  set fop(value: number) {
    this.view.setUint16(S.fop, value, true);
  }
  get fip(): bigint {
    return this.state.get(S.fip);
  }
  set fip(value: bigint) {
    this.state.set(S.fip, value);
  }
  get fcs(): number {
    return this.view.getUint16(S.fcs, true);
  }
  set fcs(value: number) {
    this.view.setUint16(S.fcs, value, true);
  }
  get fdp(): bigint {
    return this.state.get(S.fdp);
  }
  set fdp(value: bigint) {
    this.state.set(S.fdp, value);
  }
  get fds(): number {
    return this.view.getUint16(S.fds, true);
  }
  set fds(value: number) {
    this.view.setUint16(S.fds, value, true);
  }
  mantissa(register: number): bigint {
    return this.view.getBigUint64(S.fpr + (register << FPR_SHIFT), true);
  }
  signExp(register: number): number {
    return this.view.getUint16(S.fpr + (register << FPR_SHIFT) + 8, true);
  }
  setRegister(register: number, signExp: number, mantissa: bigint): void {
    this.view.setBigUint64(S.fpr + (register << FPR_SHIFT), mantissa, true);
    this.view.setUint16(S.fpr + (register << FPR_SHIFT) + 8, signExp, true);
  }
}

const registers = new WeakMap<CpuState, X87Registers>();

export function x87Of(state: CpuState): X87Registers {
  let x87 = registers.get(state);
  if (!x87) {
    x87 = new X87Registers(state);
    registers.set(state, x87);
  }
  return x87;
}

/** RFLAGS bits that FCMOVcc looks at and FCOMI sets. */
const CONDITIONS = BigInt(Flag.CF | Flag.PF | Flag.ZF);

/** D8-DF with a register operand or none: args escape byte, ModRM byte. Returns the RFLAGS bits of FCOMI and its family. */
function x87Register({ state }: HelperCore, esc: bigint, modrm: bigint): bigint {
  const eflags = Number(state.rflags & CONDITIONS);
  const result = executeRegister(x87Of(state), Number(esc), Number(modrm), eflags);
  if (result === UNDEFINED_OPCODE) throw new GuestFault(Vector.UD);
  return result < 0 ? 0n : BigInt(result);
}

/** D8-DF with a memory operand that stands in the scratch area, or is left there. Returns 1 if there is something to write. */
function x87Memory({ state }: HelperCore, esc: bigint, reg: bigint): bigint {
  const x87 = x87Of(state);
  return executeMemory(x87, Number(esc), Number(reg), x87.operand) ? 1n : 0n;
}

/** The environment has linear addresses in place of selectors in real and virtual-8086 mode. */
function layoutOf(state: CpuState, width: bigint): { wide: boolean; real: boolean } {
  const mode = state.get32(S.mode);
  return { wide: width !== 16n, real: !(mode & ModeBit.protected) || (mode & ModeBit.v86) !== 0 };
}

/** Images are as long words, or words where the operand size is 16 bits. */
const unitOf = (width: bigint): bigint => (width === 16n ? 2n : 4n);

function readImage(core: HelperCore, width: bigint, linear: bigint, image: Uint8Array): void {
  core.readLinear(linear, image);
  requireAlignment(core, linear, unitOf(width), () => {});
}

/** Stores an image that the instruction clears or masks behind: a fault in writing it must leave the registers alone. */
function storeImage(core: HelperCore, width: bigint, linear: bigint, make: () => Uint8Array): void {
  const before = core.state.bytes.slice(S.fpr, S.mxcsr);
  const image = make();
  try {
    requireAlignment(core, linear, unitOf(width), () => requireWritable(core, linear, image.length));
    writeWhole(core, linear, image);
  } catch (fault) {
    core.state.bytes.set(before, S.fpr);
    throw fault;
  }
}

export const x87Helpers: Record<string, Helper> = {
  x87Register,
  x87Memory,
  fnstenv(core, width, linear) {
    storeImage(core, width, linear, () => fnstenv(x87Of(core.state), layoutOf(core.state, width)));
  },
  fnsave(core, width, linear) {
    storeImage(core, width, linear, () => fnsave(x87Of(core.state), layoutOf(core.state, width)));
  },
  fldenv(core, width, linear) {
    const layout = layoutOf(core.state, width);
    const image = new Uint8Array(environmentSize(layout.wide));
    readImage(core, width, linear, image);
    fldenv(x87Of(core.state), layout, image);
  },
  frstor(core, width, linear) {
    const layout = layoutOf(core.state, width);
    const image = new Uint8Array(environmentSize(layout.wide) + 80);
    readImage(core, width, linear, image);
    frstor(x87Of(core.state), layout, image);
  },
};
