// Table registers and questions about descriptors: LGDT LIDT LLDT LTR, SGDT SIDT SLDT STR SMSW, LAR LSL VERR VERW (SDM Vol. 2).
import { GuestFault, Vector } from '../exits.ts';
import { Flag } from '../flags.ts';
import { S, SEG, SEG_FIELD } from '../layout.ts';
import type { SystemCore, SystemHelper } from './core.ts';
import {
  type Descriptor,
  dpl,
  inLong64,
  inLongMode,
  isCanonical,
  isCode,
  isConforming,
  isNull,
  isPresent,
  isReadable,
  isSystem,
  isWritableData,
  lookupDescriptor,
  markBusy,
  readDescriptor,
  readUpperHalf,
  rplOf,
  SystemType,
  selectorFault,
  systemType,
} from './descriptors.ts';
import { fieldAt, setSegment } from './segment-registers.ts';

const CR4_UMIP = 1n << 11n;
/** Bit 63 of what LAR and LSL give: the selector may be looked at. */
const VISIBLE = 1n << 63n;
const LEGACY_LAR = [1, 2, 3, 4, 5, 9, 11, 12];
const LONG_LAR = [2, 9, 11, 12];
const LEGACY_LSL = [1, 2, 3, 9, 11];
const LONG_LSL = [2, 9, 11];
/** The manuals leave bits 16-19 open; processors give those of the limit. */
const ACCESS_RIGHTS = 0x00ffff00;

function refuseByUmip({ state }: SystemCore): void {
  if (state.cpl !== 0 && state.get(S.cr4) & CR4_UMIP) throw new GuestFault(Vector.GP, 0);
}

const tableBytes = (core: SystemCore): number => (inLong64(core.state) ? 10 : 6);

function storeTable(core: SystemCore, index: number, linear: bigint): void {
  refuseByUmip(core);
  const { limit, base } = core.state.readSegment(index);
  const image = new Uint8Array(10);
  const view = new DataView(image.buffer);
  view.setUint16(0, limit, true);
  view.setBigUint64(2, base, true);
  core.writeLinear(linear, image.subarray(0, tableBytes(core)));
}

function loadTable(core: SystemCore, index: number, width: bigint, linear: bigint): void {
  const { state } = core;
  const image = new Uint8Array(10);
  core.readLinear(linear, image.subarray(0, tableBytes(core)));
  const view = new DataView(image.buffer);
  const long64 = inLong64(state);
  const base = long64 ? view.getBigUint64(2, true) : BigInt(view.getUint32(2, true) & (width === 16n ? 0xffffff : -1));
  if (long64 && !isCanonical(base)) throw new GuestFault(Vector.GP, 0);
  setSegment(state, index, {
    selector: 0,
    base: BigInt.asUintN(64, long64 ? base : base & 0xffffffffn),
    limit: view.getUint16(0, true),
    attributes: 0,
  });
}

/** A system descriptor of the GDT for LLDT and LTR. */
function tableDescriptor(core: SystemCore, selector: number, types: readonly number[]): Descriptor {
  if (selector & 4) throw selectorFault(Vector.GP, selector);
  const d = readDescriptor(core, selector);
  if (!types.includes(systemType(d))) throw selectorFault(Vector.GP, selector);
  return d;
}

/** Base of a system segment: 64 bits in long mode. */
function systemBase(core: SystemCore, d: Descriptor): bigint {
  if (!inLongMode(core.state)) return d.base;
  const base = d.base | (readUpperHalf(core, d) << 32n);
  if (!isCanonical(base)) throw selectorFault(Vector.GP, d.selector);
  return base;
}

function lldt(core: SystemCore, selector: number): void {
  const { state } = core;
  if (isNull(selector)) {
    setSegment(state, SEG.ldtr, { selector, base: 0n, limit: 0, attributes: 0 });
    return;
  }
  const d = tableDescriptor(core, selector, [SystemType.ldt]);
  if (!isPresent(d)) throw selectorFault(Vector.NP, selector);
  const base = systemBase(core, d);
  setSegment(state, SEG.ldtr, { selector, base, limit: d.limit, attributes: d.attributes });
}

function ltr(core: SystemCore, selector: number): void {
  if (isNull(selector)) throw new GuestFault(Vector.GP, 0);
  const types: number[] = inLongMode(core.state) ? [SystemType.tss] : [SystemType.tss, SystemType.tss16];
  const d = tableDescriptor(core, selector, types);
  if (!isPresent(d)) throw selectorFault(Vector.NP, selector);
  const base = systemBase(core, d);
  markBusy(core, d, true);
  setSegment(core.state, SEG.tr, { selector, base, limit: d.limit, attributes: d.attributes });
}

/** The descriptor of a selector that CPL and RPL may look at, or null. */
function visible(core: SystemCore, selectorValue: bigint): Descriptor | null {
  const selector = Number(selectorValue & 0xffffn);
  if (isNull(selector)) return null;
  const d = lookupDescriptor(core, selector);
  if (!d) return null;
  if (isCode(d) && isConforming(d)) return d;
  return Math.max(core.state.cpl, rplOf(selector)) <= dpl(d) ? d : null;
}

function visibleOf(
  core: SystemCore,
  selector: bigint,
  long: readonly number[],
  legacy: readonly number[],
): Descriptor | null {
  const d = visible(core, selector);
  if (!d || !isSystem(d)) return d;
  return (inLongMode(core.state) ? long : legacy).includes(systemType(d)) ? d : null;
}

function setZf({ state }: SystemCore, zf: boolean): void {
  const without = state.rflags & ~BigInt(Flag.ZF);
  state.rflags = zf ? without | BigInt(Flag.ZF) : without;
}

export const descriptorTableHelpers: Record<string, SystemHelper> = {
  sgdt: (core, _width, linear) => storeTable(core, SEG.gdtr, linear),
  sidt: (core, _width, linear) => storeTable(core, SEG.idtr, linear),
  lgdt: (core, width, linear) => loadTable(core, SEG.gdtr, width, linear),
  lidt: (core, width, linear) => loadTable(core, SEG.idtr, width, linear),
  lldt: (core, _width, selector) => lldt(core, Number(selector & 0xffffn)),
  ltr: (core, _width, selector) => ltr(core, Number(selector & 0xffffn)),
  sldt: core => {
    refuseByUmip(core);
    return BigInt(core.state.view.getUint16(fieldAt(SEG.ldtr, SEG_FIELD.selector), true));
  },
  str: core => {
    refuseByUmip(core);
    return BigInt(core.state.view.getUint16(fieldAt(SEG.tr, SEG_FIELD.selector), true));
  },
  smsw: core => {
    refuseByUmip(core);
    return core.state.get(S.cr0);
  },
  lar: (core, selector) => {
    const d = visibleOf(core, selector, LONG_LAR, LEGACY_LAR);
    return d ? VISIBLE | BigInt(d.high & ACCESS_RIGHTS) : 0n;
  },
  lsl: (core, selector) => {
    const d = visibleOf(core, selector, LONG_LSL, LEGACY_LSL);
    return d ? VISIBLE | BigInt(d.limit) : 0n;
  },
  verr: (core, _width, selector) => {
    const d = visible(core, selector);
    setZf(core, d !== null && isReadable(d));
  },
  verw: (core, _width, selector) => {
    const d = visible(core, selector);
    setZf(core, d !== null && isWritableData(d));
  },
};
