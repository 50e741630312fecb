// The local APIC's registers: their places, and which bits of them exist (SDM Vol. 3A, table 11-1, table 11-6 and the figures of chapter 11).
import { featureBit } from '../../cpu/models/features.ts';
import type { CpuModel } from '../../cpu/models/model.ts';

/** Offsets in the page of registers; MSR numbers of x2APIC are 0x800 + offset / 16. */
export const Reg = {
  id: 0x20,
  version: 0x30,
  taskPriority: 0x80,
  arbitrationPriority: 0x90,
  processorPriority: 0xa0,
  eoi: 0xb0,
  remoteRead: 0xc0,
  logicalDestination: 0xd0,
  destinationFormat: 0xe0,
  spurious: 0xf0,
  isr: 0x100,
  tmr: 0x180,
  irr: 0x200,
  errorStatus: 0x280,
  lvtCmci: 0x2f0,
  command: 0x300,
  commandHigh: 0x310,
  lvtTimer: 0x320,
  lvtThermal: 0x330,
  lvtPerformance: 0x340,
  lvtLint0: 0x350,
  lvtLint1: 0x360,
  lvtError: 0x370,
  initialCount: 0x380,
  currentCount: 0x390,
  divide: 0x3e0,
  selfIpi: 0x3f0,
} as const;

/** Bits of the local vector table. */
export const Lvt = {
  vector: 0xff,
  delivery: 0x700,
  /** Delivery status, which never shows: delivery takes no time. */
  pending: 1 << 12,
  activeLow: 1 << 13,
  remoteIrr: 1 << 14,
  level: 1 << 15,
  masked: 1 << 16,
} as const;
/** Two bits from here: see TimerMode. */
export const LVT_TIMER_MODE_SHIFT = 17;

export const Svr = { vector: 0xff, enabled: 1 << 8, focus: 1 << 9, noEoiBroadcast: 1 << 12 } as const;

/** Error status. */
export const ApicError = { sendIllegalVector: 0x20, receiveIllegalVector: 0x40, illegalRegister: 0x80 } as const;

/** Interrupt command, low half. Bit 12, the delivery status, reads 0: messages arrive at once. */
export const COMMAND_BITS = 0xccfff & ~(1 << 12);
export const Command = { logical: 1 << 11, assert: 1 << 14, level: 1 << 15 } as const;
/** Bits 18 and 19 of the command. */
export const Shorthand = { none: 0, self: 1, everyone: 2, others: 3 } as const;

/** What differs between the APICs of processor models. */
export interface ApicKind {
  /** The version register. */
  version: number;
  x2apic: boolean;
  tscDeadline: boolean;
  physicalAddressBits: number;
}

const VERSION_EOI_SUPPRESSION = 1 << 24;
const MAX_LVT_SHIFT = 16;

/** Has the LVT entry for corrected machine checks. */
export const hasCmci = (kind: ApicKind): boolean => ((kind.version >>> MAX_LVT_SHIFT) & 0xff) >= 6;
const hasEoiSuppression = (kind: ApicKind): boolean => (kind.version & VERSION_EOI_SUPPRESSION) !== 0;

/** Bits of the spurious-interrupt vector register that can be written. */
export const spuriousBits = (kind: ApicKind): number =>
  Svr.vector | Svr.enabled | Svr.focus | (hasEoiSuppression(kind) ? Svr.noEoiBroadcast : 0);

const TSC_DEADLINE_BIT = 24;

/** The APIC of a model: Intel's has an entry for corrected machine checks and can leave out EOI broadcasts, AMD's has neither. */
export function apicKindOf(model: CpuModel): ApicKind {
  const [leaf, , , x2apicBit] = featureBit('x2apic');
  const ecx = model.leaves.find(row => row.leaf === leaf)?.ecx ?? 0;
  return {
    version: model.vendor === 'GenuineIntel' ? 0x01060015 : 0x00050010,
    x2apic: ((ecx >>> x2apicBit) & 1) === 1,
    tscDeadline: ((ecx >>> TSC_DEADLINE_BIT) & 1) === 1,
    physicalAddressBits: model.physicalAddressBits,
  };
}

/** Bits that can be written, by LVT register. */
export function lvtBits(kind: ApicKind): ReadonlyMap<number, number> {
  const vectorOnly = Lvt.vector | Lvt.masked;
  const delivering = vectorOnly | Lvt.delivery;
  const pin = delivering | Lvt.activeLow | Lvt.level;
  const timerModes = kind.tscDeadline ? 3 : 1;
  return new Map<number, number>([
    [Reg.lvtTimer, vectorOnly | (timerModes << LVT_TIMER_MODE_SHIFT)],
    [Reg.lvtThermal, delivering],
    [Reg.lvtPerformance, delivering],
    [Reg.lvtLint0, pin],
    [Reg.lvtLint1, pin],
    [Reg.lvtError, vectorOnly],
    ...(hasCmci(kind) ? [[Reg.lvtCmci, delivering] as const] : []),
  ]);
}

/** Registers that every kind has in both modes, the local vector table aside. */
const ALWAYS: ReadonlySet<number> = new Set([
  ...Object.values(Reg).filter(offset => offset !== Reg.selfIpi && offset !== Reg.lvtCmci),
  ...[Reg.isr, Reg.tmr, Reg.irr].flatMap(first => Array.from({ length: 8 }, (_, i) => first + 16 * i)),
]);

export const isRegister = (offset: number): boolean => ALWAYS.has(offset);
