// What travels between I/O APICs, devices that signal by messages, and local APICs (SDM Vol. 3A, 11.6.1 and 11.11).

/** Encoded alike in interrupt commands, local vector table, redirection entries and message data. */
export const Delivery = {
  fixed: 0,
  lowestPriority: 1,
  smi: 2,
  nmi: 4,
  init: 5,
  startUp: 6,
  extInt: 7,
} as const;

/** Physical destination: every processor. Where ids have 8 bits, their 0xff becomes this. */
export const EVERYONE = 0xffffffff;

export interface InterruptMessage {
  /** 0-255; the page number for a start-up. */
  readonly vector: number;
  /** One of Delivery; other values are reserved and reach nobody. */
  readonly delivery: number;
  /** Level-triggered: the interrupt is at an end when its EOI has been broadcast. */
  readonly level: boolean;
  /** An APIC id, EVERYONE, or with `logical` a set of processors. */
  readonly destination: number;
  readonly logical: boolean;
}

const MSI_WINDOW = 0xfee00000;
const MSI_WINDOW_END = 0xfef00000;
const MSI_REDIRECTION_HINT = 1 << 3;
const MSI_LOGICAL = 1 << 2;
const MSI_LEVEL_ASSERT = 1 << 14;
const MSI_TRIGGER_LEVEL = 1 << 15;

/** 8-bit physical destinations have their own "everyone". */
export function destinationOf8(id: number, logical: boolean): number {
  return !logical && id === 0xff ? EVERYONE : id;
}

/** Whether a device's write to this address is a message (SDM Vol. 3A, 11.11.1). */
export const isMsi = (address: number): boolean => address >= MSI_WINDOW && address < MSI_WINDOW_END;

/** The message that a device writes as an address and data; null for a de-assertion, which is none. */
export function messageOfMsi(address: number, data: number): InterruptMessage | null {
  const low = address >>> 0;
  const logical = (low & MSI_LOGICAL) !== 0;
  const level = (data & MSI_TRIGGER_LEVEL) !== 0;
  if (level && !(data & MSI_LEVEL_ASSERT)) return null;
  const delivery = (data >>> 8) & 7;
  const redirected = logical && (low & MSI_REDIRECTION_HINT) !== 0 && delivery === Delivery.fixed;
  return {
    vector: data & 0xff,
    delivery: redirected ? Delivery.lowestPriority : delivery,
    level,
    destination: destinationOf8((low >>> 12) & 0xff, logical),
    logical,
  };
}
