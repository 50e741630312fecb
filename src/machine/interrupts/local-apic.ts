// The local APIC of one logical processor: what it accepts, in which order its processor gets it, and what it sends (SDM Vol. 3A,
// chapter 11; AMD APM Vol. 2, chapter 16). Its registers have two faces, the page of xAPIC mode (processor-bus.ts) and the MSRs of x2APIC mode
// (x2apic.ts), over the one state here.
import type { ChipClock, Saveable } from '../chip.ts';
import { ApicBase } from './apic-base.ts';
import {
  ApicError,
  type ApicKind,
  COMMAND_BITS,
  Command,
  isRegister,
  LVT_TIMER_MODE_SHIFT,
  Reg,
  Shorthand,
  Svr,
  spuriousBits,
} from './apic-registers.ts';
import { ApicTimer, type ApicTimerState } from './apic-timer.ts';
import type { BusAgent, InterruptBus } from './interrupt-bus.ts';
import { Delivery, destinationOf8, EVERYONE, type InterruptMessage } from './interrupt-message.ts';
import { LocalVectors, type LocalVectorsState, type Pin } from './local-vectors.ts';
import { Requests, type RequestsState } from './requests.ts';

/** Inputs of the processor that the APIC belongs to. */
export interface ProcessorInputs {
  /** What pending() says may have changed. */
  changed(): void;
  nmi(): void;
  init(): void;
  /** A start-up message: execution begins at the physical address vector * 4096. */
  startUp(vector: number): void;
}

export interface LocalApicOptions {
  /** The initial (x2)APIC id. */
  id: number;
  bootstrap: boolean;
  kind: ApicKind;
  clock: ChipClock;
  /** The processor's time-stamp counter, as RDTSC gives it. */
  tsc: () => bigint;
  tscHz: bigint;
  processor: ProcessorInputs;
  bus: InterruptBus;
}

export interface LocalApicState {
  base: bigint;
  id: number;
  registers: Registers;
  requests: RequestsState;
  vectors: LocalVectorsState;
  timer: ApicTimerState;
}

/** What is a register and nothing more. */
interface Registers {
  logicalDestination: number;
  destinationFormat: number;
  spurious: number;
  /** Errors since the last write of the error status, and what that write made readable. */
  errors: number;
  errorStatus: number;
  command: number;
  commandHigh: number;
  /** An ExtINT message of an I/O APIC waits for its acknowledge cycle. */
  externalWaits: boolean;
}

/** LocalApic.pending(): an interrupt whose vector the 8259A gives in the acknowledge cycle. */
export const EXTERNAL_VECTOR = 256;

const FIRST_LEGAL_VECTOR = 16;
const FLAT = 0xf;

export class LocalApic implements BusAgent, Saveable<LocalApicState> {
  readonly kind: ApicKind;
  readonly initialId: number;
  readonly base: ApicBase;
  readonly timer: ApicTimer;
  private readonly processor: ProcessorInputs;
  private readonly bus: InterruptBus;
  private readonly requests = new Requests();
  private readonly vectors: LocalVectors;
  private registers: Registers = afterReset();
  private xapicId: number;

  constructor(options: LocalApicOptions) {
    const { processor, kind } = options;
    this.kind = kind;
    this.initialId = options.id;
    this.xapicId = options.id & 0xff;
    this.processor = processor;
    this.bus = options.bus;
    this.base = new ApicBase(kind, options.bootstrap, () => this.modeSwitched());
    this.vectors = new LocalVectors(kind, {
      vector: (vector, level) => this.acceptVector(vector, level),
      nmi: () => processor.nmi(),
      init: () => processor.init(),
    });
    this.timer = new ApicTimer({ ...options, expired: () => this.vectors.raise(Reg.lvtTimer) });
    options.bus.attach(this);
  }

  /** Power-up: also the base and the id. */
  reset(): void {
    this.base.reset();
    this.xapicId = this.initialId & 0xff;
    this.init();
  }

  /** What INIT leaves: everything but the base register and the id is as after power-up (SDM Vol. 3A, 11.4.7.3). */
  init(): void {
    this.requests.clear();
    this.vectors.reset();
    this.timer.reset();
    this.registers = afterReset();
    this.processor.changed();
  }

  /** Firmware's "virtual wire" set-up of the bootstrap processor: the 8259A's interrupts come through LINT0, NMI through LINT1. */
  enterVirtualWireMode(): void {
    this.writeRegister(Reg.spurious, Svr.enabled | Svr.vector);
    this.writeRegister(Reg.lvtLint0, Delivery.extInt << 8);
    this.writeRegister(Reg.lvtLint1, Delivery.nmi << 8);
  }

  // ---- towards the processor

  /** The vector that the processor gets next, EXTERNAL_VECTOR for one that the 8259A knows, -1 for none. */
  pending(): number {
    if (!this.base.enabled) return this.vectors.level(0) ? EXTERNAL_VECTOR : -1;
    if (this.registers.externalWaits || this.vectors.externalInterrupt) return EXTERNAL_VECTOR;
    return this.requests.next();
  }

  /** The processor takes an interrupt: its vector, which is in service from now on; the spurious one where there is none any more. */
  acknowledge(): number {
    const vector = this.pending();
    if (vector < 0) return this.registers.spurious & Svr.vector;
    if (vector === EXTERNAL_VECTOR) {
      this.registers.externalWaits = false;
      return this.bus.acknowledge();
    }
    this.requests.take(vector);
    this.processor.changed();
    return vector;
  }

  /** CR8: the class of the task priority. */
  get cr8(): number {
    return this.requests.taskPriority >> 4;
  }

  set cr8(priority: number) {
    this.requests.taskPriority = (priority & 15) << 4;
    this.processor.changed();
  }

  // ---- what arrives

  get id(): number {
    return this.base.x2apic ? this.initialId : this.xapicId;
  }

  get acceptsVectors(): boolean {
    return this.base.enabled && (this.registers.spurious & Svr.enabled) !== 0;
  }

  get processorPriority(): number {
    return this.requests.processorPriority;
  }

  isMeant(destination: number, logical: boolean): boolean {
    if (!this.base.enabled) return false;
    if (destination === EVERYONE) return true;
    if (!logical) return destination === this.id;
    const own = this.logicalDestination;
    if (this.base.x2apic) return destination >>> 16 === own >>> 16 && (destination & own & 0xffff) !== 0;
    if (destination >>> 8) return false;
    const mine = own >>> 24;
    if (this.registers.destinationFormat === FLAT) return (destination & mine) !== 0;
    return destination === 0xff || (destination >> 4 === mine >> 4 && (destination & mine & 15) !== 0);
  }

  accept(message: InterruptMessage): boolean {
    if (!this.base.enabled) return false;
    switch (message.delivery) {
      case Delivery.fixed:
      case Delivery.lowestPriority:
        return this.acceptVector(message.vector, message.level);
      case Delivery.nmi:
        this.processor.nmi();
        return true;
      case Delivery.init:
        this.processor.init();
        return true;
      case Delivery.startUp:
        this.processor.startUp(message.vector);
        return true;
      case Delivery.extInt:
        this.registers.externalWaits = true;
        this.processor.changed();
        return true;
      default:
        return false;
    }
  }

  /** An edge-triggered interrupt from inside of the processor or from the hypervisor under it. */
  inject(vector: number): void {
    this.acceptVector(vector, false);
  }

  /** A performance counter of the processor has overflowed. */
  performanceOverflow(): void {
    this.vectors.raise(Reg.lvtPerformance);
  }

  lint(pin: Pin, level: boolean): void {
    if (!this.vectors.setLevel(pin, level)) return;
    if (this.base.enabled) this.vectors.offerPin(pin);
    // without an APIC the pins are the processor's INTR and NMI
    else if (pin === 1 && level) this.processor.nmi();
    this.processor.changed();
  }

  private acceptVector(vector: number, level: boolean): boolean {
    if (!this.acceptsVectors) return false;
    if (vector < FIRST_LEGAL_VECTOR) this.raiseError(ApicError.receiveIllegalVector);
    else {
      this.requests.add(vector, level);
      this.processor.changed();
    }
    return true;
  }

  /** Errors may raise errors (an illegal vector for the error interrupt), once each. */
  private raiseError(error: number): void {
    if (this.registers.errors & error) return;
    this.registers.errors |= error;
    this.vectors.raise(Reg.lvtError);
  }

  private endOfInterrupt(): void {
    const vector = this.requests.end();
    if (vector < 0 || !this.requests.tmr.has(vector)) return;
    if (!(this.registers.spurious & Svr.noEoiBroadcast)) this.bus.endOfInterrupt(vector);
    this.vectors.ended(vector);
  }

  // ---- what is sent

  private send(command: number, destination: number): void {
    const delivery = (command >>> 8) & 7;
    const vector = command & 0xff;
    if (!SENDABLE.includes(delivery)) return;
    // the INIT level de-assert of old, which only concerned arbitration
    if (delivery === Delivery.init && command & Command.level && !(command & Command.assert)) return;
    const usesVector = delivery === Delivery.fixed || delivery === Delivery.lowestPriority;
    if (usesVector && vector < FIRST_LEGAL_VECTOR) this.raiseError(ApicError.sendIllegalVector);
    const logical = (command & Command.logical) !== 0;
    const message = { vector, delivery, level: false, destination, logical };
    switch ((command >>> 18) & 3) {
      case Shorthand.self:
        if (delivery === Delivery.fixed) this.accept(message);
        break;
      case Shorthand.everyone:
        // only interrupts with vectors may go to the sender too
        this.bus.broadcast(message, usesVector ? undefined : this);
        break;
      case Shorthand.others:
        this.bus.broadcast(message, this);
        break;
      default:
        this.bus.deliver(message);
    }
  }

  // ---- registers

  /** Whether there is a register here in the current mode. */
  hasRegister(offset: number): boolean {
    if (offset === Reg.selfIpi) return this.base.x2apic;
    return this.vectors.has(offset) || isRegister(offset);
  }

  /** 32 bits at a multiple of 16; what is not there reads 0 and is an error. */
  readRegister(offset: number): number {
    const { requests, registers, timer } = this;
    if (this.vectors.has(offset)) return this.vectors.read(offset);
    switch (offset) {
      case Reg.id:
        return (this.base.x2apic ? this.initialId : this.xapicId << 24) >>> 0;
      case Reg.version:
        return this.kind.version >>> 0;
      case Reg.taskPriority:
        return requests.taskPriority;
      case Reg.arbitrationPriority:
        return requests.arbitrationPriority;
      case Reg.processorPriority:
        return requests.processorPriority;
      case Reg.logicalDestination:
        return this.logicalDestination;
      case Reg.destinationFormat:
        return ((registers.destinationFormat << 28) | 0x0fffffff) >>> 0;
      case Reg.spurious:
        return registers.spurious;
      case Reg.errorStatus:
        return registers.errorStatus;
      case Reg.command:
        return registers.command;
      case Reg.commandHigh:
        return registers.commandHigh >>> 0;
      case Reg.initialCount:
        return timer.initialCount;
      case Reg.currentCount:
        return timer.currentCount;
      case Reg.divide:
        return timer.divide;
    }
    const word = (offset >> 4) & 7;
    if (offset >= Reg.isr && offset < Reg.tmr) return requests.isr.word(word);
    if (offset >= Reg.tmr && offset < Reg.irr) return requests.tmr.word(word);
    if (offset >= Reg.irr && offset < Reg.errorStatus) return requests.irr.word(word);
    if (!this.hasRegister(offset)) this.raiseError(ApicError.illegalRegister);
    return 0;
  }

  /** Bits that cannot be written are left out. */
  writeRegister(offset: number, value: number): void {
    const { registers } = this;
    switch (offset) {
      case Reg.id:
        if (!this.base.x2apic) this.xapicId = value >>> 24;
        break;
      case Reg.taskPriority:
        this.requests.taskPriority = value & 0xff;
        break;
      case Reg.eoi:
        this.endOfInterrupt();
        break;
      case Reg.logicalDestination:
        registers.logicalDestination = value & 0xff000000;
        break;
      case Reg.destinationFormat:
        registers.destinationFormat = value >>> 28;
        break;
      case Reg.spurious:
        registers.spurious = value & spuriousBits(this.kind);
        if (!(registers.spurious & Svr.enabled)) this.vectors.maskAll();
        break;
      case Reg.errorStatus:
        registers.errorStatus = registers.errors;
        registers.errors = 0;
        break;
      case Reg.command:
        registers.command = value & COMMAND_BITS;
        this.send(value, destinationOf8(registers.commandHigh >>> 24, (value & Command.logical) !== 0));
        break;
      case Reg.commandHigh:
        registers.commandHigh = value & 0xff000000;
        break;
      case Reg.initialCount:
        this.timer.setInitialCount(value >>> 0);
        break;
      case Reg.divide:
        this.timer.setDivide(value);
        break;
      default:
        if (this.vectors.has(offset)) this.writeVector(offset, value);
        else if (!this.hasRegister(offset)) this.raiseError(ApicError.illegalRegister);
    }
    this.processor.changed();
  }

  /** The interrupt command of x2APIC mode: 32 bits of command and 32 of destination at once. */
  writeCommand(command: number, destination: number): void {
    this.registers.command = command & COMMAND_BITS;
    this.registers.commandHigh = destination;
    this.send(command, destination >>> 0);
  }

  /** The self-IPI register of x2APIC mode. */
  writeSelfIpi(vector: number): void {
    this.send((Shorthand.self << 18) | (vector & 0xff), 0);
  }

  private get logicalDestination(): number {
    if (!this.base.x2apic) return this.registers.logicalDestination >>> 0;
    return (((this.initialId >>> 4) << 16) | (1 << (this.initialId & 15))) >>> 0;
  }

  private writeVector(register: number, value: number): void {
    this.vectors.write(register, value, !(this.registers.spurious & Svr.enabled));
    if (register === Reg.lvtTimer) this.timer.setMode((this.vectors.read(register) >>> LVT_TIMER_MODE_SHIFT) & 3);
  }

  /** The base register was written: an APIC that is switched off forgets everything. */
  private modeSwitched(): void {
    if (this.base.enabled) this.processor.changed();
    else this.init();
  }

  // ---- state

  save(): LocalApicState {
    return {
      base: this.base.value,
      id: this.xapicId,
      registers: { ...this.registers },
      requests: this.requests.save(),
      vectors: this.vectors.save(),
      timer: this.timer.save(),
    };
  }

  load(state: LocalApicState): void {
    this.base.load(state.base);
    this.xapicId = state.id;
    this.registers = { ...state.registers };
    this.requests.load(state.requests);
    this.vectors.load(state.vectors);
    this.timer.load(state.timer);
    this.processor.changed();
  }
}

/** Delivery modes that an interrupt command may ask for and that do something here. */
const SENDABLE: readonly number[] = [
  Delivery.fixed,
  Delivery.lowestPriority,
  Delivery.nmi,
  Delivery.init,
  Delivery.startUp,
];

function afterReset(): Registers {
  return {
    logicalDestination: 0,
    destinationFormat: FLAT,
    spurious: Svr.vector,
    errors: 0,
    errorStatus: 0,
    command: 0,
    commandHigh: 0,
    externalWaits: false,
  };
}
