// Port 0x61, system control port B: the gate of the 8254's channel 2, the speaker, and two signals that boot code times itself by.
// Source: Intel ICH9 data sheet, NMI_SC.
import { ByteRegisters } from '../byte-registers.ts';
import type { ChipClock, Saveable } from '../chip.ts';
import type { Pit8254 } from './pit-8254.ts';

const GATE2 = 1;
const WRITABLE = 0xf;
const REFRESH_SHIFT = 4;
const OUTPUT2 = 0x20;
/** The memory refresh of the first PCs: the bit toggles at this interval. */
const REFRESH_NS = 15_085n;

export interface SystemControlState {
  /** Gate, speaker, and the two enables of NMI sources that nothing drives here. */
  control: number;
}

export class SystemControlPort extends ByteRegisters implements Saveable<SystemControlState> {
  private readonly clock: Pick<ChipClock, 'nowNs'>;
  private readonly pit: Pit8254;
  private control = 0;

  constructor(clock: Pick<ChipClock, 'nowNs'>, pit: Pit8254) {
    super();
    this.clock = clock;
    this.pit = pit;
  }

  readByte(): number {
    const refresh = Number((this.clock.nowNs() / REFRESH_NS) & 1n) << REFRESH_SHIFT;
    return this.control | refresh | (this.pit.output2 ? OUTPUT2 : 0);
  }

  writeByte(_offset: number, value: number): void {
    this.control = value & WRITABLE;
    this.pit.setGate2((value & GATE2) !== 0);
  }

  save(): SystemControlState {
    return { control: this.control };
  }

  load(state: SystemControlState): void {
    this.control = state.control;
  }
}
