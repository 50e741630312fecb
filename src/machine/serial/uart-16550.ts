// A serial port of the PC: the 16550A UART with its FIFOs, and a peer at the other end of the cable that honours RTS.
// Source: National Semiconductor PC16550D data sheet; the PC gates the interrupt by OUT2.
import { ByteRegisters } from '../byte-registers.ts';
import type { ChipClock, Line, Saveable } from '../chip.ts';
import type { Timer } from '../time/timers.ts';

// Registers; with LCR.DLAB 0 and 1 are the divisor.
const DATA = 0;
const IER = 1;
const IIR_FCR = 2;
const LCR = 3;
const MCR = 4;
const LSR = 5;
const MSR = 6;
const SCRATCH = 7;

const IER_RECEIVED = 1;
const IER_TRANSMITTER_EMPTY = 2;
const IER_LINE_STATUS = 4;
const IER_MODEM = 8;
const IER_BITS = 0xf;

// Causes in IIR, highest priority first.
const IIR_LINE_STATUS = 6;
const IIR_RECEIVED = 4;
const IIR_TIMEOUT = 0xc;
const IIR_TRANSMITTER_EMPTY = 2;
const IIR_MODEM = 0;
const IIR_NONE = 1;
const IIR_FIFOS = 0xc0;

const FCR_ENABLE = 1;
const FCR_CLEAR_RECEIVER = 2;
const FCR_CLEAR_TRANSMITTER = 4;
/** Received bytes in the FIFO that raise the interrupt, by FCR bits 7:6. */
const TRIGGERS = [1, 4, 8, 14];
const FIFO_SIZE = 16;

const LCR_TWO_STOP_BITS = 4;
const LCR_PARITY = 8;
const LCR_DLAB = 0x80;

const MCR_DTR = 1;
const MCR_RTS = 2;
const MCR_OUT1 = 4;
const MCR_OUT2 = 8;
const MCR_LOOP = 0x10;
const MCR_BITS = 0x1f;

const LSR_DATA_READY = 1;
const LSR_OVERRUN = 2;
const LSR_FRAMING = 8;
const LSR_BREAK = 0x10;
const LSR_THR_EMPTY = 0x20;
const LSR_IDLE = 0x40;
const LSR_ERROR_IN_FIFO = 0x80;

const MSR_CTS = 0x10;
const MSR_DSR = 0x20;
const MSR_RI = 0x40;
const MSR_DCD = 0x80;

/** Hz of the PC's baud rate generator: 16 pulses a bit. */
const GENERATOR_HZ = 1_843_200;
const DIVISOR_AFTER_RESET = 12;

/** When transmitted bytes leave: at once, or a byte at a time as the baud rate has it. */
export type UartPace = 'instant' | 'baud';

/** What the peer drives of the modem's lines. */
export interface ModemInputs {
  cts: boolean;
  dsr: boolean;
  ri: boolean;
  dcd: boolean;
}

export interface UartState {
  ier: number;
  fcr: number;
  lcr: number;
  mcr: number;
  scratch: number;
  divisor: number;
  /** Errors that LSR shows until it is read. */
  errors: number;
  modemInputs: number;
  modemDeltas: number;
  /** Received bytes; bits 8 and up are the errors that came with one. */
  received: number[];
  transmitting: number[];
  /** What the shift register sends now; null when it is idle. */
  shifting: number | null;
  transmitterEmptied: boolean;
  timedOut: boolean;
  /** Input that the peer holds back until there is room. */
  input: Uint8Array;
  shiftDeadline: bigint | null;
  receiveDeadline: bigint | null;
  timeoutDeadline: bigint | null;
}

const initialState = (): UartState => ({
  ier: 0,
  fcr: 0,
  lcr: 0,
  mcr: 0,
  scratch: 0,
  divisor: DIVISOR_AFTER_RESET,
  errors: 0,
  modemInputs: MSR_CTS | MSR_DSR | MSR_DCD,
  modemDeltas: 0,
  received: [],
  transmitting: [],
  shifting: null,
  transmitterEmptied: false,
  timedOut: false,
  input: new Uint8Array(0),
  shiftDeadline: null,
  receiveDeadline: null,
  timeoutDeadline: null,
});

export class Uart16550 extends ByteRegisters implements Saveable<UartState> {
  private s = initialState();
  private readonly clock: ChipClock;
  private readonly interrupt: Line;
  private readonly output: (byte: number) => void;
  private readonly instant: boolean;
  private readonly shiftTimer: Timer;
  private readonly receiveTimer: Timer;
  private readonly timeoutTimer: Timer;

  /** @param output gets each transmitted byte. */
  constructor(clock: ChipClock, interrupt: Line, output: (byte: number) => void, pace: UartPace = 'instant') {
    super();
    this.clock = clock;
    this.interrupt = interrupt;
    this.output = output;
    this.instant = pace === 'instant';
    this.shiftTimer = clock.timer(() => this.shifted());
    this.receiveTimer = clock.timer(() => this.arrived());
    this.timeoutTimer = clock.timer(() => this.timeOut());
  }

  /**
   * The cable's other end sends bytes. They wait there while RTS is off or the receiver is full, and what the guest clears unread it sends
   * again, so none is lost: a driver clears the receiver when the port is opened, and somebody may have typed ahead.
   */
  receive(bytes: Uint8Array): void {
    this.s.input = joined(this.s.input, bytes);
    this.pull();
    this.update();
  }

  /** Bytes of receive() that the other end still holds back. */
  get waitingInput(): number {
    return this.s.input.length;
  }

  /** The other end sends a break: what Linux takes for SysRq on a console. */
  receiveBreak(): void {
    if (!(this.s.mcr & MCR_LOOP)) this.push((LSR_BREAK | LSR_FRAMING) << 8);
    this.update();
  }

  setModemInputs(lines: ModemInputs): void {
    const before = this.modemStatus();
    this.s.modemInputs =
      (lines.cts ? MSR_CTS : 0) | (lines.dsr ? MSR_DSR : 0) | (lines.ri ? MSR_RI : 0) | (lines.dcd ? MSR_DCD : 0);
    this.noteModemChange(before);
    this.update();
  }

  /** Data terminal ready and request to send, as the other end sees them. */
  get dtr(): boolean {
    return (this.s.mcr & (MCR_DTR | MCR_LOOP)) === MCR_DTR;
  }

  get rts(): boolean {
    return (this.s.mcr & (MCR_RTS | MCR_LOOP)) === MCR_RTS;
  }

  /** The pin MR. What the other end has sent stays there. */
  reset(): void {
    const { input, modemInputs } = this.s;
    this.load({ ...initialState(), input, modemInputs });
  }

  readByte(offset: number): number {
    const { s } = this;
    const dlab = (s.lcr & LCR_DLAB) !== 0;
    switch (offset) {
      case DATA:
        return dlab ? s.divisor & 0xff : this.readData();
      case IER:
        return dlab ? s.divisor >> 8 : s.ier;
      case IIR_FCR: {
        const cause = this.cause();
        if (cause === IIR_TRANSMITTER_EMPTY) {
          s.transmitterEmptied = false;
          this.update();
        }
        return cause | (this.fifos ? IIR_FIFOS : 0);
      }
      case LCR:
        return s.lcr;
      case MCR:
        return s.mcr;
      case LSR: {
        const status = this.lineStatus();
        s.errors = 0;
        this.update();
        return status;
      }
      case MSR: {
        const status = this.modemStatus() | s.modemDeltas;
        s.modemDeltas = 0;
        this.update();
        return status;
      }
      default:
        return s.scratch;
    }
  }

  writeByte(offset: number, value: number): void {
    const { s } = this;
    const dlab = (s.lcr & LCR_DLAB) !== 0;
    switch (offset) {
      case DATA:
        if (dlab) s.divisor = (s.divisor & 0xff00) | value;
        else this.transmit(value);
        break;
      case IER:
        if (dlab) s.divisor = (s.divisor & 0xff) | (value << 8);
        else this.enableInterrupts(value & IER_BITS);
        break;
      case IIR_FCR:
        this.controlFifos(value);
        break;
      case LCR:
        s.lcr = value;
        break;
      case MCR: {
        const before = this.modemStatus();
        s.mcr = value & MCR_BITS;
        this.noteModemChange(before);
        this.pull();
        break;
      }
      case SCRATCH:
        s.scratch = value;
        break;
      default:
        // LSR and MSR are written in factory tests alone
        return;
    }
    this.update();
  }

  save(): UartState {
    return structuredClone({
      ...this.s,
      shiftDeadline: this.shiftTimer.deadline,
      receiveDeadline: this.receiveTimer.deadline,
      timeoutDeadline: this.timeoutTimer.deadline,
    });
  }

  load(state: UartState): void {
    this.s = structuredClone(state);
    const timers: [Timer, bigint | null][] = [
      [this.shiftTimer, state.shiftDeadline],
      [this.receiveTimer, state.receiveDeadline],
      [this.timeoutTimer, state.timeoutDeadline],
    ];
    for (const [timer, deadline] of timers) {
      if (deadline === null) timer.stop();
      else timer.set(deadline);
    }
    this.update();
  }

  private get fifos(): boolean {
    return (this.s.fcr & FCR_ENABLE) !== 0;
  }

  private get capacity(): number {
    return this.fifos ? FIFO_SIZE : 1;
  }

  /** Time of a character on the line in ns: start bit, data, parity, stop bits. */
  private characterNs(): bigint {
    const { lcr, divisor } = this.s;
    const data = 5 + (lcr & 3);
    const stop = lcr & LCR_TWO_STOP_BITS ? (data === 5 ? 1.5 : 2) : 1;
    const bits = 1 + data + (lcr & LCR_PARITY ? 1 : 0) + stop;
    return BigInt(Math.round((bits * 16 * (divisor || 0x10000) * 1e9) / GENERATOR_HZ));
  }

  private enableInterrupts(value: number): void {
    const { s } = this;
    // enabling it while the transmitter is empty interrupts at once: drivers start transmission that way
    if (value & ~s.ier & IER_TRANSMITTER_EMPTY && s.transmitting.length === 0) s.transmitterEmptied = true;
    s.ier = value;
  }

  private controlFifos(value: number): void {
    const { s } = this;
    const toggled = (value ^ s.fcr) & FCR_ENABLE;
    // the other bits count only where FIFOs are being enabled or stay so
    s.fcr = value & FCR_ENABLE ? value & 0xc1 : 0;
    if (toggled || value & FCR_CLEAR_RECEIVER) this.clearReceiver();
    if ((toggled || value & FCR_CLEAR_TRANSMITTER) && s.transmitting.length > 0) {
      s.transmitting = [];
      s.transmitterEmptied = true;
    }
    this.pull();
  }

  private clearReceiver(): void {
    const { s } = this;
    // characters with an error are not the peer's
    const unread = s.mcr & MCR_LOOP ? [] : s.received.filter(entry => entry <= 0xff);
    if (unread.length > 0) s.input = joined(Uint8Array.from(unread), s.input);
    s.received = [];
    s.timedOut = false;
    this.timeoutTimer.stop();
    // the next character is on the line for its time: drivers read the empty receiver once more, to be sure
    this.receiveTimer.set(this.clock.nowNs() + this.characterNs());
  }

  private transmit(byte: number): void {
    const { s } = this;
    s.transmitterEmptied = false;
    if (this.instant) {
      this.send(byte);
      s.transmitterEmptied = true;
      return;
    }
    if (s.transmitting.length === this.capacity) {
      // the holding register is written over; a full FIFO drops the byte
      if (!this.fifos) s.transmitting[0] = byte;
      return;
    }
    s.transmitting.push(byte);
    if (s.shifting === null) this.shiftNext();
  }

  private shiftNext(): void {
    const { s } = this;
    const next = s.transmitting.shift();
    s.shifting = next ?? null;
    if (next === undefined) return;
    this.shiftTimer.set(this.clock.nowNs() + this.characterNs());
    if (s.transmitting.length === 0) s.transmitterEmptied = true;
  }

  private shifted(): void {
    if (this.s.shifting !== null) this.send(this.s.shifting);
    this.shiftNext();
    this.update();
  }

  private send(byte: number): void {
    if (this.s.mcr & MCR_LOOP) this.push(byte);
    else this.output(byte);
  }

  /** A character arrives at the receiver, wanted or not. */
  private push(entry: number): void {
    const { s } = this;
    if (s.received.length === this.capacity) {
      s.errors |= LSR_OVERRUN;
      // without a FIFO the newer byte replaces the older
      if (this.fifos) return;
      s.received = [];
    }
    s.received.push(entry);
    this.showErrors();
    this.restartTimeout();
  }

  /** The errors of a character appear when it comes to the top of the FIFO. */
  private showErrors(): void {
    const { s } = this;
    if (s.received.length === 0) return;
    s.errors |= s.received[0] >> 8;
    s.received[0] &= 0xff;
  }

  private readData(): number {
    const { s } = this;
    const byte = s.received.shift() ?? 0;
    this.showErrors();
    this.restartTimeout();
    this.pull();
    this.update();
    return byte;
  }

  private get canPull(): boolean {
    return this.s.input.length > 0 && this.rts && this.s.received.length < this.capacity;
  }

  /** Lets the peer send what there is room for. */
  private pull(): void {
    if (this.receiveTimer.deadline !== null) return;
    if (this.instant) while (this.canPull) this.pullOne();
    else if (this.canPull) this.receiveTimer.set(this.clock.nowNs() + this.characterNs());
  }

  private pullOne(): void {
    const byte = this.s.input[0];
    this.s.input = this.s.input.subarray(1);
    this.push(byte);
  }

  private arrived(): void {
    if (this.canPull) this.pullOne();
    this.pull();
    this.update();
  }

  /** Four characters' time without any arriving or being read, and bytes below the trigger level are announced too. */
  private restartTimeout(): void {
    this.s.timedOut = false;
    if (this.fifos && this.s.received.length > 0) this.timeoutTimer.set(this.clock.nowNs() + 4n * this.characterNs());
    else this.timeoutTimer.stop();
  }

  private timeOut(): void {
    this.s.timedOut = this.s.received.length > 0;
    this.update();
  }

  private lineStatus(): number {
    const { s } = this;
    const erroneous =
      this.fifos && ((s.errors & (LSR_BREAK | LSR_FRAMING)) !== 0 || s.received.some(entry => entry > 0xff));
    return (
      (s.received.length > 0 ? LSR_DATA_READY : 0) |
      s.errors |
      (s.transmitting.length === 0 ? LSR_THR_EMPTY : 0) |
      (s.transmitting.length === 0 && s.shifting === null ? LSR_IDLE : 0) |
      (erroneous ? LSR_ERROR_IN_FIFO : 0)
    );
  }

  /** The modem's lines; looped back, they are the UART's own outputs. */
  private modemStatus(): number {
    const { mcr } = this.s;
    if (!(mcr & MCR_LOOP)) return this.s.modemInputs;
    return (
      (mcr & MCR_RTS ? MSR_CTS : 0) |
      (mcr & MCR_DTR ? MSR_DSR : 0) |
      (mcr & MCR_OUT1 ? MSR_RI : 0) |
      (mcr & MCR_OUT2 ? MSR_DCD : 0)
    );
  }

  private noteModemChange(before: number): void {
    const now = this.modemStatus();
    const changed = before ^ now;
    // of the ring indicator only the end of ringing counts
    this.s.modemDeltas |= ((changed & ~MSR_RI) | (changed & before & MSR_RI)) >> 4;
  }

  private cause(): number {
    const { s } = this;
    if (s.ier & IER_LINE_STATUS && s.errors) return IIR_LINE_STATUS;
    if (s.ier & IER_RECEIVED) {
      if (s.received.length >= (this.fifos ? TRIGGERS[s.fcr >> 6] : 1)) return IIR_RECEIVED;
      if (s.timedOut) return IIR_TIMEOUT;
    }
    if (s.ier & IER_TRANSMITTER_EMPTY && s.transmitterEmptied) return IIR_TRANSMITTER_EMPTY;
    if (s.ier & IER_MODEM && s.modemDeltas) return IIR_MODEM;
    return IIR_NONE;
  }

  private update(): void {
    const wired = (this.s.mcr & (MCR_OUT2 | MCR_LOOP)) === MCR_OUT2;
    this.interrupt(wired && this.cause() !== IIR_NONE);
  }
}

function joined(a: Uint8Array, b: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(a.length + b.length);
  bytes.set(a);
  bytes.set(b, a.length);
  return bytes;
}
