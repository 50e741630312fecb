// Segment descriptors as they stand in the GDT and LDT, read and marked through linear memory with supervisor rights
// (SDM Vol. 3A, 3.4.5, 3.5 and 5.8; 64-bit system descriptors: 3.5.2).
import { GuestFault, Vector } from '../exits.ts';
import { ModeBit, S, SEG } from '../layout.ts';
import type { CpuState } from '../state.ts';
import type { SystemCore } from './core.ts';

/** Attribute bits, in the layout of SEG_FIELD.attributes (descriptor bits 40-47 and 52-55). */
export const Attr = {
  accessed: 0x01,
  /** Data: writable. Code: readable. */
  writable: 0x02,
  /** Data: expand-down. Code: conforming. */
  conforming: 0x04,
  code: 0x08,
  /** Code or data, not a system descriptor. */
  nonSystem: 0x10,
  present: 0x80,
  long: 0x2000,
  big: 0x4000,
  granular: 0x8000,
} as const;

/** Types of system descriptors (SDM Vol. 3A, table 3-2); the 32-bit ones are the 64-bit ones in long mode. */
export const SystemType = {
  tss16: 1,
  ldt: 2,
  busyTss16: 3,
  callGate16: 4,
  taskGate: 5,
  interruptGate16: 6,
  trapGate16: 7,
  tss: 9,
  busyTss: 11,
  callGate: 12,
  interruptGate: 14,
  trapGate: 15,
} as const;

/** Descriptor tables, TSS and stacks of inner rings are accessed with supervisor rights whatever CPL is. */
export const SUPERVISOR_READ = { write: false, user: false } as const;
export const SUPERVISOR_WRITE = { write: true, user: false } as const;

/** A descriptor, with where it was read from. */
export interface Descriptor {
  selector: number;
  /** Linear address of its first byte. */
  at: bigint;
  base: bigint;
  /** In bytes, granularity applied. */
  limit: number;
  attributes: number;
  /** Its two words as they are, for gates. */
  low: number;
  high: number;
}

export const dpl = (d: { attributes: number }): number => (d.attributes >> 5) & 3;
export const isPresent = (d: { attributes: number }): boolean => (d.attributes & Attr.present) !== 0;
export const isSystem = (d: { attributes: number }): boolean => (d.attributes & Attr.nonSystem) === 0;
/** Type of a system descriptor, or -1 for code and data. */
export const systemType = (d: { attributes: number }): number => (isSystem(d) ? d.attributes & 15 : -1);
const CODE = Attr.nonSystem | Attr.code;
export const isCode = (d: { attributes: number }): boolean => (d.attributes & CODE) === CODE;
export const isConforming = (d: { attributes: number }): boolean => (d.attributes & Attr.conforming) !== 0;
export const isWritableData = (d: { attributes: number }): boolean =>
  (d.attributes & (CODE | Attr.writable)) === (Attr.nonSystem | Attr.writable);
/** Data, or code that can be read. */
export const isReadable = (d: { attributes: number }): boolean =>
  !isSystem(d) && (d.attributes & (Attr.code | Attr.writable)) !== Attr.code;

export const isNull = (selector: number): boolean => (selector & 0xfffc) === 0;
export const rplOf = (selector: number): number => selector & 3;

export const inLong64 = (state: CpuState): boolean => (state.get32(S.mode) & ModeBit.long64) !== 0;
export const inLongMode = (state: CpuState): boolean => (state.get32(S.mode) & ModeBit.longActive) !== 0;
export const inV86 = (state: CpuState): boolean => (state.get32(S.mode) & ModeBit.v86) !== 0;
/** Protected mode proper: neither real nor virtual-8086. */
export const inProtected = (state: CpuState): boolean =>
  (state.get32(S.mode) & (ModeBit.protected | ModeBit.v86)) === ModeBit.protected;

/** A fault whose error code names a selector. @param ext 1 where an event from outside the program was being delivered */
export function selectorFault(vector: number, selector: number, ext = 0): GuestFault {
  return new GuestFault(vector, (selector & 0xfffc) | ext);
}

export function isCanonical(address: bigint): boolean {
  const top = address >> 47n;
  return top === 0n || top === 0x1ffffn;
}

const buffer = new Uint8Array(16);
const view = new DataView(buffer.buffer);

/** Unsigned little-endian integers from linear memory with supervisor rights. */
export function readSystem(core: SystemCore, linear: bigint, bytes: 2 | 4 | 8): bigint {
  core.readLinear(linear, buffer.subarray(0, bytes), SUPERVISOR_READ);
  if (bytes === 8) return view.getBigUint64(0, true);
  return BigInt(bytes === 4 ? view.getUint32(0, true) : view.getUint16(0, true));
}

export function writeSystem(core: SystemCore, linear: bigint, bytes: 1 | 2 | 4 | 8, value: bigint): void {
  view.setBigUint64(0, value, true);
  core.writeLinear(linear, buffer.subarray(0, bytes), SUPERVISOR_WRITE);
}

/** Linear address of a selector's descriptor, or null where its table has not got so many bytes there. */
function placeOf(state: CpuState, selector: number, bytes: number): bigint | null {
  const local = (selector & 4) !== 0;
  const table = state.readSegment(local ? SEG.ldtr : SEG.gdtr);
  if (local && !isPresent(table)) return null;
  const at = selector & 0xfff8;
  return at + bytes - 1 > table.limit ? null : table.base + BigInt(at);
}

/** The descriptor of a selector that is not null, or null beyond its table's limit. May throw #PF. */
export function lookupDescriptor(core: SystemCore, selector: number): Descriptor | null {
  const at = placeOf(core.state, selector, 8);
  if (at === null) return null;
  core.readLinear(at, buffer.subarray(0, 8), SUPERVISOR_READ);
  const low = view.getUint32(0, true);
  const high = view.getUint32(4, true);
  const attributes = (high >>> 8) & 0xf0ff;
  const limit = (low & 0xffff) | (high & 0xf0000);
  return {
    selector,
    at,
    base: BigInt(((low >>> 16) | ((high & 0xff) << 16) | (high & 0xff000000)) >>> 0),
    limit: attributes & Attr.granular ? ((limit << 12) | 0xfff) >>> 0 : limit,
    attributes,
    low,
    high,
  };
}

/** As lookupDescriptor; beyond the table's limit it throws `vector` with the selector. */
export function readDescriptor(core: SystemCore, selector: number, vector: number = Vector.GP, ext = 0): Descriptor {
  const d = lookupDescriptor(core, selector);
  if (!d) throw selectorFault(vector, selector, ext);
  return d;
}

/** The second half of a 16-byte system descriptor of long mode: bits 32-63 of its base or offset. Its type field must be 0. */
export function readUpperHalf(core: SystemCore, d: Descriptor, vector: number = Vector.GP, ext = 0): bigint {
  if (placeOf(core.state, d.selector, 16) === null) throw selectorFault(vector, d.selector, ext);
  core.readLinear(d.at + 8n, buffer.subarray(0, 8), SUPERVISOR_READ);
  if (view.getUint32(4, true) & 0x1f00) throw selectorFault(vector, d.selector, ext);
  return BigInt(view.getUint32(0, true));
}

/** Sets the accessed bit in the table where it is clear, and in the descriptor given. May throw #PF. */
export function markAccessed(core: SystemCore, d: Descriptor): void {
  if (d.attributes & Attr.accessed) return;
  d.attributes |= Attr.accessed;
  writeSystem(core, d.at + 5n, 1, BigInt(d.attributes & 0xff));
}

/** Sets or clears the busy bit of a TSS descriptor in the GDT. */
export function markBusy(core: SystemCore, d: { at: bigint; attributes: number }, busy: boolean): void {
  const attributes = busy ? d.attributes | 2 : d.attributes & ~2;
  writeSystem(core, d.at + 5n, 1, BigInt(attributes & 0xff));
  d.attributes = attributes;
}
