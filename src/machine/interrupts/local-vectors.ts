// A local APIC's local vector table: what its timer, its sensors and its two pins cause (SDM Vol. 3A, 11.5.1).
import type { Saveable } from '../chip.ts';
import { type ApicKind, Lvt, lvtBits, Reg } from './apic-registers.ts';
import { Delivery } from './interrupt-message.ts';

export type Pin = 0 | 1;

/** Where an entry's interrupt goes. */
export interface LocalTargets {
  /** Whether it was accepted. */
  vector(vector: number, level: boolean): boolean;
  nmi(): void;
  init(): void;
}

export interface LocalVectorsState {
  entries: [register: number, value: number][];
  pins: boolean[];
}

const deliveryOf = (entry: number): number => (entry >>> 8) & 7;
const REGISTER_OF_PIN = [Reg.lvtLint0, Reg.lvtLint1] as const;

export class LocalVectors implements Saveable<LocalVectorsState> {
  private readonly bits: ReadonlyMap<number, number>;
  private readonly targets: LocalTargets;
  private readonly entries = new Map<number, number>();
  /** Levels of LINT0 and LINT1. */
  private readonly pins = [false, false];

  constructor(kind: ApicKind, targets: LocalTargets) {
    this.bits = lvtBits(kind);
    this.targets = targets;
    this.reset();
  }

  reset(): void {
    for (const register of this.bits.keys()) this.entries.set(register, Lvt.masked);
  }

  has(register: number): boolean {
    return this.bits.has(register);
  }

  /** An entry by its register, which must be there. */
  read(register: number): number {
    return this.entries.get(register)!;
  }

  /** @param masked of an APIC that is switched off by software no entry can be unmasked */
  write(register: number, value: number, masked: boolean): void {
    let entry = value & this.bits.get(register)!;
    if (masked) entry |= Lvt.masked;
    // the remote IRR ends with the level trigger
    if (entry & Lvt.level) entry |= this.read(register) & Lvt.remoteIrr;
    this.entries.set(register, entry);
    if (register === Reg.lvtLint0 && entry & Lvt.level && deliveryOf(entry) === Delivery.fixed) this.offerPin(0);
  }

  maskAll(): void {
    for (const [register, entry] of this.entries) this.entries.set(register, entry | Lvt.masked);
  }

  /** The source of an entry has something. */
  raise(register: number): void {
    const entry = this.read(register);
    if (entry & Lvt.masked) return;
    const delivery = this.bits.get(register)! & Lvt.delivery ? deliveryOf(entry) : Delivery.fixed;
    if (delivery === Delivery.fixed) this.raiseVector(register, entry);
    else if (delivery === Delivery.nmi) this.targets.nmi();
    else if (delivery === Delivery.init) this.targets.init();
  }

  level(pin: Pin): boolean {
    return this.pins[pin];
  }

  /** Returns whether it is a change. */
  setLevel(pin: Pin, level: boolean): boolean {
    const changed = this.pins[pin] !== level;
    this.pins[pin] = level;
    return changed;
  }

  /** Raises a pin's entry where the pin is asserted. */
  offerPin(pin: Pin): void {
    if (this.isAsserted(pin)) this.raise(REGISTER_OF_PIN[pin]);
  }

  /** A pin is the 8259A's and asks for an acknowledge cycle. */
  get externalInterrupt(): boolean {
    return this.isExternal(0) || this.isExternal(1);
  }

  /** The end of a level-triggered interrupt. */
  ended(vector: number): void {
    const entry = this.read(Reg.lvtLint0);
    if (!(entry & Lvt.remoteIrr) || (entry & Lvt.vector) !== vector) return;
    this.entries.set(Reg.lvtLint0, entry & ~Lvt.remoteIrr);
    this.offerPin(0);
  }

  save(): LocalVectorsState {
    return { entries: [...this.entries], pins: [...this.pins] };
  }

  load(state: LocalVectorsState): void {
    for (const [register, value] of state.entries) if (this.has(register)) this.entries.set(register, value);
    this.pins.splice(0, 2, ...state.pins);
  }

  private raiseVector(register: number, entry: number): void {
    // only LINT0 can be level-triggered
    const level = register === Reg.lvtLint0 && (entry & Lvt.level) !== 0;
    if (level && entry & Lvt.remoteIrr) return;
    if (this.targets.vector(entry & Lvt.vector, level) && level) this.entries.set(register, entry | Lvt.remoteIrr);
  }

  private isAsserted(pin: Pin): boolean {
    return this.pins[pin] !== ((this.read(REGISTER_OF_PIN[pin]) & Lvt.activeLow) !== 0);
  }

  private isExternal(pin: Pin): boolean {
    const entry = this.read(REGISTER_OF_PIN[pin]);
    return deliveryOf(entry) === Delivery.extInt && !(entry & Lvt.masked) && this.isAsserted(pin);
  }
}
