// One PCI function: identity, command register, base addresses, capabilities, interrupt pin. Devices have one, give it their registers, and
// signal through it; the bus that it is added to decodes its ranges and carries its signals.
import type { Saveable } from '../chip.ts';
import { type BarSpec, BaseAddress } from './base-address.ts';
import { ConfigSpace, PciRegister } from './config-space.ts';

/** Bits of the command register. */
export const PciCommand = { io: 1 << 0, memory: 1 << 1, busMaster: 1 << 2, intxDisable: 1 << 10 } as const;

export interface PciIdentity {
  readonly vendor: number;
  readonly device: number;
  readonly revision?: number;
  /** Class, subclass and programming interface: 0x010000 is a SCSI controller. */
  readonly classCode: number;
  readonly subsystemVendor?: number;
  readonly subsystem?: number;
  /** 1 to 4 for INTA# to INTD#; 0, the default, for no pin. */
  readonly interruptPin?: 0 | 1 | 2 | 3 | 4;
}

/** What a function needs of the bus that it stands on. */
export interface PciSlot {
  /** The command register or a base address has changed. */
  decode(): void;
  /** The level of the function's interrupt pin; true is asserted. */
  pin(level: boolean): void;
  /** A write of an interrupt message. */
  message(address: number, data: number): void;
  /** Whether a message with this data is sent although it is masked. */
  ignoresMask(data: number): boolean;
}

export interface PciFunctionState {
  config: Uint8Array;
  interrupt: boolean;
}

/** PCI Local Bus 3.0, 6.2.2: I/O, memory, bus master, parity error response, SERR#, interrupt disable. */
const COMMAND_WRITABLE = 0x547;
/** Errors that software clears. We report none, so they stay 0. */
const STATUS_CLEARABLE = 0xf900;
const STATUS_INTERRUPT = 1 << 3;

const NOWHERE: PciSlot = { decode: () => {}, pin: () => {}, message: () => {}, ignoresMask: () => false };

export class PciFunction implements Saveable<PciFunctionState> {
  readonly config = new ConfigSpace();
  readonly bars: BaseAddress[] = [];
  private slot = NOWHERE;
  private interrupt = false;

  constructor(identity: PciIdentity) {
    const { config } = this;
    const { view } = config;
    view.setUint16(PciRegister.vendor, identity.vendor, true);
    view.setUint16(PciRegister.device, identity.device, true);
    view.setUint32(PciRegister.revision, (identity.classCode << 8) | (identity.revision ?? 0), true);
    view.setUint16(PciRegister.subsystemVendor, identity.subsystemVendor ?? 0, true);
    view.setUint16(PciRegister.subsystem, identity.subsystem ?? 0, true);
    view.setUint8(PciRegister.interruptPin, identity.interruptPin ?? 0);
    config.allowWrites(PciRegister.command, 2, COMMAND_WRITABLE);
    config.clearByOnes(PciRegister.status, STATUS_CLEARABLE);
    config.allowWrites(PciRegister.interruptLine, 1, 0xff);
    config.watch(PciRegister.command, 2, () => {
      this.slot.decode();
      this.drivePin();
    });
  }

  /** Gives a range of registers to base address register `index`. Before the function is added to a bus. */
  addBar(index: number, spec: BarSpec): BaseAddress {
    const bar = new BaseAddress(this.config, index, spec);
    this.bars.push(bar);
    this.config.watch(bar.register, bar.registerLength, () => this.slot.decode());
    return bar;
  }

  /** @internal Called by the bus. */
  connect(slot: PciSlot): void {
    this.slot = slot;
  }

  get command(): number {
    return this.config.view.getUint16(PciRegister.command, true);
  }

  /** Whether it may reach memory by itself. Devices ask before DMA. */
  get isBusMaster(): boolean {
    return (this.command & PciCommand.busMaster) !== 0;
  }

  /** The interrupt pin: 1 to 4, or 0 for none. */
  get interruptPin(): number {
    return this.config.bytes[PciRegister.interruptPin];
  }

  /** Asserts or releases the interrupt that goes to the pin, unless software has disabled that. */
  setInterrupt(level: boolean): void {
    this.interrupt = level;
    this.drivePin();
  }

  /** Sends an interrupt message: a write to memory like any other, so bus masters only. */
  sendMessage(address: number, data: number): void {
    if (this.isBusMaster) this.slot.message(address, data);
  }

  /** Whether a message with this data is sent although software has masked it. */
  ignoresMask(data: number): boolean {
    return this.slot.ignoresMask(data);
  }

  private drivePin(): void {
    const { bytes } = this.config;
    bytes[PciRegister.status] =
      (bytes[PciRegister.status] & ~STATUS_INTERRUPT) | (this.interrupt ? STATUS_INTERRUPT : 0);
    this.slot.pin(this.interrupt && (this.command & PciCommand.intxDisable) === 0);
  }

  save(): PciFunctionState {
    return { config: this.config.save(), interrupt: this.interrupt };
  }

  load(state: PciFunctionState): void {
    this.interrupt = state.interrupt;
    this.config.load(state.config);
    this.slot.decode();
    this.drivePin();
  }
}
