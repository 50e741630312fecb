// An AT keyboard with 102 keys. Source: IBM PS/2 Hardware Interface Technical Reference, "Keyboards (101- and 102-key)".
import type { Saveable } from '../chip.ts';
import { ACK, Ps2Device, type Ps2State, RESEND, SELF_TEST_PASSED } from './ps2-device.ts';
import { breakCode, type Key, makeCode } from './scan-codes.ts';

const SET_LEDS = 0xed;
const ECHO = 0xee;
const SCAN_CODE_SET = 0xf0;
const IDENTIFY = 0xf2;
const TYPEMATIC = 0xf3;
const ENABLE = 0xf4;
const DISABLE = 0xf5;
const DEFAULTS = 0xf6;
const RESEND_COMMAND = 0xfe;
const RESET = 0xff;
const ID = [0xab, 0x83];
const LEDS = 7;
/** The only set that it has: controllers translate it to set 1, and of set 3 nobody made use. */
const SET_2 = 2;
/** 10.9 characters a second after half a second. */
const DEFAULT_TYPEMATIC = 0x2b;

export interface KeyboardState extends Ps2State {
  leds: number;
  typematic: number;
  scanning: boolean;
}

export class Ps2Keyboard extends Ps2Device implements Saveable<KeyboardState> {
  /** Scroll lock, num lock, caps lock, from bit 0. */
  leds = 0;
  private typematic = DEFAULT_TYPEMATIC;
  private scanning = true;

  /** Somebody presses a key, or lets go of it. */
  press(key: Key): void {
    if (this.scanning) this.send(...makeCode(key));
  }

  release(key: Key): void {
    if (this.scanning) this.send(...breakCode(key));
  }

  receive(byte: number): void {
    const { command } = this;
    this.command = null;
    // arguments are below 0x80: anything else is a command instead
    if (command !== null && byte < 0x80) this.argument(command, byte);
    else this.start(byte);
  }

  save(): KeyboardState {
    const { leds, typematic, scanning } = this;
    return { ...this.saveLink(), leds, typematic, scanning };
  }

  load(state: KeyboardState): void {
    this.loadLink(state);
    this.leds = state.leds;
    this.typematic = state.typematic;
    this.scanning = state.scanning;
  }

  private start(byte: number): void {
    switch (byte) {
      case SET_LEDS:
      case SCAN_CODE_SET:
      case TYPEMATIC:
        this.command = byte;
        this.send(ACK);
        break;
      case ECHO:
        this.send(ECHO);
        break;
      case IDENTIFY:
        this.send(ACK, ...ID);
        break;
      case ENABLE:
        this.queue = [];
        this.scanning = true;
        this.send(ACK);
        break;
      case DISABLE:
      case DEFAULTS:
        this.defaults();
        this.scanning = byte === DEFAULTS;
        this.send(ACK);
        break;
      case RESEND_COMMAND:
        this.resend();
        break;
      case RESET:
        this.defaults();
        this.leds = 0;
        this.scanning = true;
        this.send(ACK, SELF_TEST_PASSED);
        break;
      default:
        this.send(RESEND);
    }
  }

  private argument(command: number, byte: number): void {
    if (command === SET_LEDS) this.leds = byte & LEDS;
    else if (command === TYPEMATIC) this.typematic = byte;
    else if (byte === 0) {
      this.send(ACK, SET_2);
      return;
    } else if (byte !== SET_2) {
      this.send(RESEND);
      return;
    }
    this.send(ACK);
  }

  private defaults(): void {
    this.queue = [];
    this.typematic = DEFAULT_TYPEMATIC;
  }
}
