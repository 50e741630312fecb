// The PC's keyboard controller: keyboard and mouse behind ports 0x60 and 0x64, and two lines that have nothing to do with them, A20 and
// the processor's reset. Source: IBM PS/2 Hardware Interface Technical Reference, "Keyboard and Auxiliary Device Controller".
import { byteSpace } from '../byte-registers.ts';
import type { Line, RegisterSpace, Saveable } from '../chip.ts';
import { type KeyboardState, Ps2Keyboard } from './ps2-keyboard.ts';
import { type MouseState, Ps2Mouse } from './ps2-mouse.ts';
import { ScanCodeTranslation } from './scan-codes.ts';

const STATUS_OUTPUT_FULL = 1;
const STATUS_SYSTEM = 4;
const STATUS_COMMAND = 8;
const STATUS_UNLOCKED = 0x10;
const STATUS_FROM_MOUSE = 0x20;

/** Bits of the command byte, RAM byte 0. */
const KEYBOARD_INTERRUPT = 1;
const MOUSE_INTERRUPT = 2;
const SYSTEM = 4;
const KEYBOARD_OFF = 0x10;
const MOUSE_OFF = 0x20;
const TRANSLATE = 0x40;

const READ_RAM = 0x20;
const WRITE_RAM = 0x60;
const RAM_SIZE = 0x20;
const MOUSE_DISABLE = 0xa7;
const MOUSE_ENABLE = 0xa8;
const MOUSE_TEST = 0xa9;
const SELF_TEST = 0xaa;
const KEYBOARD_TEST = 0xab;
const KEYBOARD_DISABLE = 0xad;
const KEYBOARD_ENABLE = 0xae;
const READ_INPUT_PORT = 0xc0;
const READ_OUTPUT_PORT = 0xd0;
const WRITE_OUTPUT_PORT = 0xd1;
const LOOP_KEYBOARD = 0xd2;
const LOOP_MOUSE = 0xd3;
const TO_MOUSE = 0xd4;
const TEST_INPUTS = 0xe0;
const PULSE = 0xf0;

const SELF_TEST_PASSED = 0x55;
const LINE_TEST_PASSED = 0;
/** No manufacturing jumper, no monochrome display, keyboard not locked. */
const INPUT_PORT = 0xb0;
const PORT_NO_RESET = 1;
const PORT_A20 = 2;
const PORT_KEYBOARD_FULL = 0x10;
const PORT_MOUSE_FULL = 0x20;
const PORT_HIGH = 0xcc;

/** A byte in the output buffer; what the controller itself says comes as the keyboard's. */
interface Output {
  byte: number;
  fromMouse: boolean;
}

export interface I8042Wires {
  /** IRQ 1 and IRQ 12. */
  keyboardInterrupt: Line;
  mouseInterrupt: Line;
  /** Pulls the processor's reset. */
  reset(): void;
  /** Whether address line 20 gets through. */
  a20: Line;
}

export interface I8042State {
  ram: Uint8Array;
  command: number | null;
  lastWasCommand: boolean;
  output: Output | null;
  lastByte: number;
  waiting: Output | null;
  a20: boolean;
  releasing: boolean;
  keyboard: KeyboardState;
  mouse: MouseState;
}

export class I8042 implements Saveable<I8042State> {
  readonly keyboard = new Ps2Keyboard();
  readonly mouse = new Ps2Mouse();
  private readonly wires: I8042Wires;
  private readonly translation = new ScanCodeTranslation();
  private ram = new Uint8Array(RAM_SIZE);
  private command: number | null = null;
  private lastWasCommand = false;
  private output: Output | null = null;
  /** What port 0x60 reads: the last byte stays there. */
  private lastByte = 0;
  /** The answer to a command to the controller itself, until there is room for it. */
  private waiting: Output | null = null;
  private a20 = true;

  constructor(wires: I8042Wires) {
    this.wires = wires;
    // as a PC's firmware leaves it for an operating system
    this.ram[0] = KEYBOARD_INTERRUPT | MOUSE_INTERRUPT | SYSTEM | TRANSLATE;
    this.keyboard.notify = () => this.fetch();
    this.mouse.notify = () => this.fetch();
  }

  /** Port 0x60. */
  readonly data: RegisterSpace = byteSpace(
    () => this.readData(),
    (_offset, byte) => {
      this.lastWasCommand = false;
      this.writeData(byte);
    },
  );

  /** Port 0x64: status and commands. */
  readonly control: RegisterSpace = byteSpace(
    () => this.status(),
    (_offset, byte) => {
      this.lastWasCommand = true;
      this.start(byte);
    },
  );

  save(): I8042State {
    const { command, lastWasCommand, output, lastByte, waiting, a20 } = this;
    return structuredClone({
      ram: this.ram,
      command,
      lastWasCommand,
      output,
      lastByte,
      waiting,
      a20,
      releasing: this.translation.releasing,
      keyboard: this.keyboard.save(),
      mouse: this.mouse.save(),
    });
  }

  load(state: I8042State): void {
    const { ram, command, lastWasCommand, output, lastByte, waiting, a20 } = structuredClone(state);
    Object.assign(this, { ram, command, lastWasCommand, output, lastByte, waiting, a20 });
    this.translation.releasing = state.releasing;
    this.keyboard.load(state.keyboard);
    this.mouse.load(state.mouse);
    this.wires.a20(a20);
    this.drive();
  }

  private status(): number {
    const { output } = this;
    return (
      (output ? STATUS_OUTPUT_FULL : 0) |
      (this.ram[0] & SYSTEM ? STATUS_SYSTEM : 0) |
      (this.lastWasCommand ? STATUS_COMMAND : 0) |
      STATUS_UNLOCKED |
      (output?.fromMouse ? STATUS_FROM_MOUSE : 0)
    );
  }

  private start(command: number): void {
    this.command = null;
    if (command >= READ_RAM && command < READ_RAM + RAM_SIZE) {
      this.answer(this.ram[command - READ_RAM]);
      return;
    }
    if (command >= WRITE_RAM && command < WRITE_RAM + RAM_SIZE) {
      this.command = command;
      return;
    }
    if (command >= PULSE) {
      if (!(command & PORT_NO_RESET)) this.wires.reset();
      return;
    }
    switch (command) {
      case MOUSE_DISABLE:
        this.setCommandByte(this.ram[0] | MOUSE_OFF);
        break;
      case MOUSE_ENABLE:
        this.setCommandByte(this.ram[0] & ~MOUSE_OFF);
        break;
      case KEYBOARD_DISABLE:
        this.setCommandByte(this.ram[0] | KEYBOARD_OFF);
        break;
      case KEYBOARD_ENABLE:
        this.setCommandByte(this.ram[0] & ~KEYBOARD_OFF);
        break;
      case MOUSE_TEST:
      case KEYBOARD_TEST:
        this.answer(LINE_TEST_PASSED);
        break;
      case SELF_TEST:
        this.setCommandByte(this.ram[0] | SYSTEM);
        this.answer(SELF_TEST_PASSED);
        break;
      case READ_INPUT_PORT:
        this.answer(INPUT_PORT);
        break;
      case READ_OUTPUT_PORT:
        this.answer(this.outputPort());
        break;
      case TEST_INPUTS:
        this.answer(0);
        break;
      case WRITE_OUTPUT_PORT:
      case LOOP_KEYBOARD:
      case LOOP_MOUSE:
      case TO_MOUSE:
        this.command = command;
        break;
    }
  }

  private readData(): number {
    const byte = this.lastByte;
    if (this.output) {
      this.output = null;
      // the line falls before the next byte raises it: one edge a byte
      this.drive();
      this.fetch();
    }
    return byte;
  }

  private writeData(byte: number): void {
    const { command } = this;
    this.command = null;
    if (command === null) {
      // talking to the keyboard switches its line on
      this.setCommandByte(this.ram[0] & ~KEYBOARD_OFF);
      this.keyboard.receive(byte);
    } else if (command === TO_MOUSE) {
      this.setCommandByte(this.ram[0] & ~MOUSE_OFF);
      this.mouse.receive(byte);
    } else if (command === LOOP_KEYBOARD) this.answer(byte);
    else if (command === LOOP_MOUSE) this.answer(byte, true);
    else if (command === WRITE_OUTPUT_PORT) this.setOutputPort(byte);
    else if (command === WRITE_RAM) this.setCommandByte(byte);
    else this.ram[command - WRITE_RAM] = byte;
  }

  private setCommandByte(value: number): void {
    this.ram[0] = value;
    this.fetch();
    this.drive();
  }

  private outputPort(): number {
    const full = this.output?.fromMouse ? PORT_MOUSE_FULL : PORT_KEYBOARD_FULL;
    return PORT_HIGH | PORT_NO_RESET | (this.a20 ? PORT_A20 : 0) | (this.output ? full : 0);
  }

  private setOutputPort(value: number): void {
    this.a20 = (value & PORT_A20) !== 0;
    this.wires.a20(this.a20);
    if (!(value & PORT_NO_RESET)) this.wires.reset();
  }

  /** An answer of the controller goes before what the devices have to say. An earlier one that nobody read is forgotten. */
  private answer(byte: number, fromMouse = false): void {
    this.waiting = { byte, fromMouse };
    this.fetch();
  }

  /** Fills the output buffer where it is empty. */
  private fetch(): void {
    if (this.output) return;
    this.output = this.waiting ?? this.fromDevices();
    this.waiting = null;
    if (this.output) this.lastByte = this.output.byte;
    this.drive();
  }

  private fromDevices(): Output | null {
    const commandByte = this.ram[0];
    while (!(commandByte & KEYBOARD_OFF) && this.keyboard.pending) {
      const code = this.keyboard.take();
      const byte = commandByte & TRANSLATE ? this.translation.translate(code) : code;
      if (byte !== null) return { byte, fromMouse: false };
    }
    if (!(commandByte & MOUSE_OFF) && this.mouse.pending) return { byte: this.mouse.take(), fromMouse: true };
    return null;
  }

  private drive(): void {
    const { output } = this;
    const commandByte = this.ram[0];
    this.wires.keyboardInterrupt(output !== null && !output.fromMouse && (commandByte & KEYBOARD_INTERRUPT) !== 0);
    this.wires.mouseInterrupt(output !== null && output.fromMouse && (commandByte & MOUSE_INTERRUPT) !== 0);
  }
}
