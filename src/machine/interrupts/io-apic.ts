// An I/O APIC: lines become messages (82093AA data sheet, order 290566; the EOI register and version 0x20: Intel ICH9 data sheet, 13.5).
import type { AccessSize, RegisterSpace, Saveable } from '../chip.ts';
import type { InterruptBus } from './interrupt-bus.ts';
import { Delivery, destinationOf8 } from './interrupt-message.ts';

export interface IoApicState {
  id: number;
  select: number;
  /** Electrical levels of the pins. */
  levels: boolean[];
  entries: { low: number; high: number }[];
}

/** Offsets in its 4 KiB. */
const Offset = { select: 0x00, window: 0x10, eoi: 0x40 } as const;
/** What the select register selects. */
const Index = { id: 0, version: 1, arbitration: 2, firstEntry: 0x10 } as const;

/** A redirection entry's low half. */
const Rte = {
  vector: 0xff,
  logical: 1 << 11,
  deliveryStatus: 1 << 12,
  activeLow: 1 << 13,
  remoteIrr: 1 << 14,
  level: 1 << 15,
  masked: 1 << 16,
} as const;
const RTE_WRITABLE = 0x1afff & ~Rte.deliveryStatus & ~Rte.remoteIrr;
const ID_MASK = 0x0f000000;

export interface IoApicModel {
  /** Redirection entries: 24 of the original, more of others. */
  readonly pins: number;
  /** The version register's low byte: 0x11 has no EOI register, 0x20 has. */
  readonly version: 0x11 | 0x20;
  /** Levels at its pins are electrical, and entries say which asserts; otherwise a high level does, whatever they say. */
  readonly heedsPolarity: boolean;
}

export interface IoApicOptions extends Partial<IoApicModel> {
  bus: InterruptBus;
}

export class IoApic implements RegisterSpace, Saveable<IoApicState> {
  readonly pins: number;
  private readonly bus: InterruptBus;
  private readonly version: number;
  private readonly heedsPolarity: boolean;
  private readonly state: IoApicState;

  constructor({ bus, pins = 24, version = 0x20, heedsPolarity = true }: IoApicOptions) {
    this.bus = bus;
    this.pins = pins;
    this.version = version;
    this.heedsPolarity = heedsPolarity;
    this.state = {
      id: 0,
      select: 0,
      levels: Array.from({ length: pins }, () => false),
      entries: Array.from({ length: pins }, () => ({ low: Rte.masked, high: 0 })),
    };
    bus.onEoi(vector => this.endOfInterrupt(vector));
  }

  reset(): void {
    this.state.id = 0;
    this.state.select = 0;
    for (const entry of this.state.entries) Object.assign(entry, { low: Rte.masked, high: 0 });
  }

  /** A pin's electrical level: whether that asserts it is for its polarity to say. */
  input(pin: number, level: boolean): void {
    const { levels, entries } = this.state;
    if (levels[pin] === level || pin >= this.pins) return;
    levels[pin] = level;
    if (!this.isAsserted(pin)) return;
    // an edge that is masked is lost
    if (entries[pin].low & Rte.level) this.offerLevel(pin);
    else if (!(entries[pin].low & Rte.masked)) this.send(pin);
  }

  read(offset: number, size: AccessSize): number {
    const within = offset & 3;
    if (within + size > 4) return 0;
    return this.readRegister(offset & 0xffc) >>> (8 * within);
  }

  /** Registers take 32 bits at once; of narrower accesses the rest is zero. */
  write(offset: number, _size: AccessSize, value: number): void {
    switch (offset) {
      case Offset.select:
        this.state.select = value & 0xff;
        break;
      case Offset.window:
        this.writeSelected(value);
        break;
      case Offset.eoi:
        if (this.version >= 0x20) this.endOfInterrupt(value & 0xff);
        break;
    }
  }

  save(): IoApicState {
    return structuredClone(this.state);
  }

  load(state: IoApicState): void {
    Object.assign(this.state, structuredClone(state));
  }

  private readRegister(offset: number): number {
    if (offset === Offset.select) return this.state.select;
    return offset === Offset.window ? this.readSelected() : 0;
  }

  private readSelected(): number {
    const { select, id } = this.state;
    switch (select) {
      case Index.id:
      case Index.arbitration:
        return id;
      case Index.version:
        return ((this.pins - 1) << 16) | this.version;
    }
    const pin = (select - Index.firstEntry) >> 1;
    if (select < Index.firstEntry || pin >= this.pins) return 0;
    const { low, high } = this.state.entries[pin];
    if (select & 1) return high >>> 0;
    return low | (this.isHeld(pin) ? Rte.deliveryStatus : 0);
  }

  private writeSelected(value: number): void {
    const { state } = this;
    const { select } = state;
    if (select === Index.id) state.id = value & ID_MASK;
    const pin = (select - Index.firstEntry) >> 1;
    if (select < Index.firstEntry || pin >= this.pins) return;
    const entry = state.entries[pin];
    if (select & 1) {
      entry.high = value & 0xff000000;
      return;
    }
    const kept = value & Rte.level ? entry.low & Rte.remoteIrr : 0;
    entry.low = (value & RTE_WRITABLE) | kept;
    if (entry.low & Rte.level) this.offerLevel(pin);
  }

  private isAsserted(pin: number): boolean {
    const activeLow = this.heedsPolarity && (this.state.entries[pin].low & Rte.activeLow) !== 0;
    return this.state.levels[pin] !== activeLow;
  }

  /** A level that no processor has accepted yet. */
  private isHeld(pin: number): boolean {
    const { low } = this.state.entries[pin];
    return (low & (Rte.level | Rte.remoteIrr | Rte.masked)) === Rte.level && this.isAsserted(pin);
  }

  /** A level stays with its processor, and is not sent again, from being accepted until its EOI. */
  private offerLevel(pin: number): void {
    if (!this.isHeld(pin)) return;
    const entry = this.state.entries[pin];
    const delivery = (entry.low >>> 8) & 7;
    const hasEoi = delivery === Delivery.fixed || delivery === Delivery.lowestPriority;
    // set before it is sent, so that an EOI that comes at once is not lost
    if (hasEoi) entry.low |= Rte.remoteIrr;
    if (!this.send(pin)) entry.low &= ~Rte.remoteIrr;
  }

  private send(pin: number): boolean {
    const { low, high } = this.state.entries[pin];
    const logical = (low & Rte.logical) !== 0;
    return this.bus.deliver({
      vector: low & Rte.vector,
      delivery: (low >>> 8) & 7,
      level: (low & Rte.level) !== 0,
      destination: destinationOf8(high >>> 24, logical),
      logical,
    });
  }

  private endOfInterrupt(vector: number): void {
    this.state.entries.forEach((entry, pin) => {
      if (!(entry.low & Rte.remoteIrr) || (entry.low & Rte.vector) !== vector) return;
      entry.low &= ~Rte.remoteIrr;
      this.offerLevel(pin);
    });
  }
}
