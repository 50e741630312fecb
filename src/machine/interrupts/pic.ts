// The PC's pair of 8259As: the slave's INT is IR2 of the master. Ports 0x20, 0xa0 and the trigger modes at 0x4d0 (82371SB, 4.2).
import type { AccessSize, Line, RegisterSpace, Saveable } from '../chip.ts';
import { I8259, type I8259State } from './i8259.ts';
import type { InterruptAcknowledger } from './interrupt-bus.ts';

export interface PicState {
  master: I8259State;
  slave: I8259State;
}

const CASCADE = 2;
/** Timer, keyboard and cascade; clock and coprocessor: always edges. */
const MASTER_LEVEL_MASK = 0xf8;
const SLAVE_LEVEL_MASK = 0xde;

/** Interrupt requests 0 to 15; 2 is the cascade and cannot be driven. */
export class Pic implements InterruptAcknowledger, Saveable<PicState> {
  private readonly master: I8259;
  private readonly slave: I8259;
  /** Ports 0x20 and 0x21; 0xa0 and 0xa1; 0x4d0 and 0x4d1. */
  readonly masterPorts: RegisterSpace;
  readonly slavePorts: RegisterSpace;
  readonly triggerPorts: RegisterSpace;

  /** @param output INTR of the master */
  constructor(output: Line) {
    this.master = new I8259({ output, master: true, levelMask: MASTER_LEVEL_MASK });
    this.slave = new I8259({
      output: level => this.master.input(CASCADE, level),
      master: false,
      levelMask: SLAVE_LEVEL_MASK,
    });
    this.masterPorts = portsOf(this.master);
    this.slavePorts = portsOf(this.slave);
    this.triggerPorts = bytes(
      offset => (offset ? this.slave : this.master).levelTriggered,
      (offset, value) => {
        (offset ? this.slave : this.master).levelTriggered = value;
      },
    );
  }

  reset(): void {
    this.slave.reset();
    this.master.reset();
  }

  input(irq: number, level: boolean): void {
    if (irq === CASCADE) return;
    if (irq < 8) this.master.input(irq, level);
    else this.slave.input(irq - 8, level);
  }

  /** Both INTA cycles: the vector. */
  acknowledge(): number {
    const { vector, level, spurious } = this.master.acknowledge();
    return level === CASCADE && !spurious ? this.slave.acknowledge().vector : vector;
  }

  save(): PicState {
    return { master: this.master.save(), slave: this.slave.save() };
  }

  load(state: PicState): void {
    this.slave.load(state.slave);
    this.master.load(state.master);
  }
}

const portsOf = (chip: I8259): RegisterSpace =>
  bytes(
    offset => chip.read(offset),
    (offset, value) => chip.write(offset, value),
  );

/** Wide accesses are bytes one after the other. */
function bytes(read: (offset: number) => number, write: (offset: number, value: number) => void): RegisterSpace {
  return {
    read(offset: number, size: AccessSize): number {
      let value = 0;
      for (let i = 0; i < size; i++) value |= read((offset + i) & 1) << (8 * i);
      return value >>> 0;
    },
    write(offset: number, size: AccessSize, value: number): void {
      for (let i = 0; i < size; i++) write((offset + i) & 1, (value >>> (8 * i)) & 0xff);
    },
  };
}
