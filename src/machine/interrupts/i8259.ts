// One 8259A interrupt controller (Intel 8259A data sheet, order 231468; the edge/level control register is the PC chipsets': 82371SB, 4.2.9).
// Initialisation words ICW1-ICW4, operation words OCW1-OCW3, all modes but those for 8085 processors.
import type { Line, Saveable } from '../chip.ts';

export interface I8259State {
  irr: number;
  isr: number;
  imr: number;
  lines: number;
  levelTriggered: number;
  base: number;
  /** The initialisation word that comes next, 2 to 4; 0 in operation. */
  expects: number;
  icw1: number;
  icw4: number;
  /** The level with the highest priority. */
  highest: number;
  readIsr: boolean;
  poll: boolean;
  specialMask: boolean;
  rotateOnAeoi: boolean;
}

const Icw1 = { icw4Needed: 0x01, single: 0x02, mark: 0x10 } as const;
const Icw4 = { autoEoi: 0x02, specialFullyNested: 0x10 } as const;
const OCW3_MARK = 0x08;
/** OCW2, bits 5 to 7: rotate, specific, EOI. */
const Ocw2 = { eoi: 1, specific: 2, rotate: 4 } as const;
/** What an acknowledge cycle finds when the request has gone. */
const SPURIOUS_LEVEL = 7;
const CASCADE = 2;

export class I8259 implements Saveable<I8259State> {
  private readonly output: Line;
  private readonly master: boolean;
  /** Levels that can be level-triggered. */
  private readonly levelMask: number;
  private state: I8259State = initial();

  /** @param output INT */
  constructor(options: { output: Line; master: boolean; levelMask: number }) {
    this.output = options.output;
    this.master = options.master;
    this.levelMask = options.levelMask;
  }

  /** Before any initialisation word: nothing is requested, all is masked. */
  reset(): void {
    this.state = initial();
    this.update();
  }

  /** IR0 to IR7. */
  input(level: number, high: boolean): void {
    const { state } = this;
    const bit = 1 << level;
    const rose = high && !(state.lines & bit);
    state.lines = high ? state.lines | bit : state.lines & ~bit;
    if (this.isLevel(bit)) state.irr = high ? state.irr | bit : state.irr & ~bit;
    // PC chipsets hold an edge until it is acknowledged, even if the line falls
    else if (rose) state.irr |= bit;
    this.update();
  }

  /** INTA: the vector; `level` is what a cascaded controller would be asked for. The spurious one where no request is left. */
  acknowledge(): { vector: number; level: number; spurious: boolean } {
    const level = this.requested();
    if (level < 0) {
      return { vector: this.state.base | SPURIOUS_LEVEL, level: SPURIOUS_LEVEL, spurious: true };
    }
    this.take(level);
    return { vector: this.state.base | level, level, spurious: false };
  }

  /** A0 = 0 and 1. */
  read(a0: number): number {
    const { state } = this;
    if (state.poll) {
      state.poll = false;
      const level = this.requested();
      if (level < 0) return SPURIOUS_LEVEL;
      this.take(level);
      return 0x80 | level;
    }
    if (a0) return state.imr;
    return state.readIsr ? state.isr : state.irr;
  }

  write(a0: number, value: number): void {
    const { state } = this;
    if (a0) this.writeData(value);
    else if (value & Icw1.mark) this.startInitialisation(value);
    else if (value & OCW3_MARK) {
      if (value & 2) state.readIsr = (value & 1) !== 0;
      state.poll = (value & 4) !== 0;
      if (value & 0x40) state.specialMask = (value & 0x20) !== 0;
    } else this.operate(value >>> 5, value & 7);
    this.update();
  }

  /** ELCR: a bit is a level-triggered input. */
  get levelTriggered(): number {
    return this.state.levelTriggered;
  }

  set levelTriggered(value: number) {
    const { state } = this;
    state.levelTriggered = value & this.levelMask;
    state.irr = (state.irr & ~state.levelTriggered) | (state.lines & state.levelTriggered);
    this.update();
  }

  save(): I8259State {
    return { ...this.state };
  }

  load(state: I8259State): void {
    this.state = { ...state };
    this.update();
  }

  private isLevel(bit: number): boolean {
    return (this.state.levelTriggered & bit) !== 0;
  }

  private startInitialisation(icw1: number): void {
    const { state } = this;
    Object.assign(state, {
      icw1,
      icw4: 0,
      expects: 2,
      imr: 0,
      isr: 0,
      highest: 0,
      readIsr: false,
      poll: false,
      specialMask: false,
      rotateOnAeoi: false,
    });
    // edges have to come again, levels are still there
    state.irr = state.lines & state.levelTriggered;
  }

  private writeData(value: number): void {
    const { state } = this;
    switch (state.expects) {
      case 2:
        state.base = value & 0xf8;
        state.expects = state.icw1 & Icw1.single ? this.afterCascade() : 3;
        break;
      case 3:
        // who is cascaded where is wired, not chosen
        state.expects = this.afterCascade();
        break;
      case 4:
        state.icw4 = value;
        state.expects = 0;
        break;
      default:
        state.imr = value;
    }
  }

  private afterCascade(): number {
    return this.state.icw1 & Icw1.icw4Needed ? 4 : 0;
  }

  /** OCW2. */
  private operate(command: number, level: number): void {
    const { state } = this;
    if (command & Ocw2.eoi) {
      const ended = command & Ocw2.specific ? level : this.highestInService();
      if (ended < 0) return;
      state.isr &= ~(1 << ended);
      if (command & Ocw2.rotate) state.highest = (ended + 1) & 7;
    } else if (command === (Ocw2.rotate | Ocw2.specific)) state.highest = (level + 1) & 7;
    else if (command === Ocw2.rotate) state.rotateOnAeoi = true;
    else if (command === 0) state.rotateOnAeoi = false;
  }

  /** What a non-specific EOI ends: in special mask mode, masked levels are left out. */
  private highestInService(): number {
    const { isr, imr, specialMask } = this.state;
    return this.first(specialMask ? isr & ~imr : isr);
  }

  /** The member with the highest priority; -1 of none. */
  private first(levels: number): number {
    for (let i = 0; i < 8; i++) {
      const level = (this.state.highest + i) & 7;
      if (levels & (1 << level)) return level;
    }
    return -1;
  }

  /** The level that INT stands for; -1: none that is above what is in service. */
  private requested(): number {
    const { state } = this;
    if (state.expects) return -1;
    const level = this.first(state.irr & ~state.imr);
    if (level < 0) return -1;
    let inService = state.specialMask ? state.isr & ~state.imr : state.isr;
    // a master lets further requests of a slave through while one is in service
    if (this.master && state.icw4 & Icw4.specialFullyNested) inService &= ~(1 << CASCADE);
    const busy = this.first(inService);
    if (busy < 0) return level;
    const rank = (l: number): number => (l - state.highest) & 7;
    return rank(level) < rank(busy) ? level : -1;
  }

  private take(level: number): void {
    const { state } = this;
    const bit = 1 << level;
    if (!this.isLevel(bit)) state.irr &= ~bit;
    if (!(state.icw4 & Icw4.autoEoi)) state.isr |= bit;
    else if (state.rotateOnAeoi) state.highest = (level + 1) & 7;
    // INT falls with the acknowledge cycle: a further request is a new edge
    this.output(false);
    this.update();
  }

  private update(): void {
    this.output(this.requested() >= 0);
  }
}

function initial(): I8259State {
  return {
    irr: 0,
    isr: 0,
    imr: 0xff,
    lines: 0,
    levelTriggered: 0,
    base: 0,
    expects: 0,
    icw1: 0,
    icw4: 0,
    highest: 0,
    readIsr: false,
    poll: false,
    specialMask: false,
    rotateOnAeoi: false,
  };
}
