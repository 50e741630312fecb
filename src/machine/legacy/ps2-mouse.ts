// A PS/2 mouse with two buttons, a wheel and a third button on it, as Microsoft's IntelliMouse: who sets the rates 200, 100, 80 in turn
// learns of the wheel. Source: IBM PS/2 Hardware Interface Technical Reference, "Mouse"; the wheel's protocol is Microsoft's.
import type { Saveable } from '../chip.ts';
import { ACK, Ps2Device, type Ps2State, RESEND, SELF_TEST_PASSED } from './ps2-device.ts';

const SCALE_1_1 = 0xe6;
const SCALE_2_1 = 0xe7;
const SET_RESOLUTION = 0xe8;
const STATUS = 0xe9;
const STREAM = 0xea;
const READ_DATA = 0xeb;
const END_WRAP = 0xec;
const WRAP = 0xee;
const REMOTE = 0xf0;
const IDENTIFY = 0xf2;
const SET_RATE = 0xf3;
const ENABLE = 0xf4;
const DISABLE = 0xf5;
const DEFAULTS = 0xf6;
const RESEND_COMMAND = 0xfe;
const RESET = 0xff;

const ID_PLAIN = 0;
const ID_WHEEL = 3;
const KNOCK = [200, 100, 80];

const SETTINGS = { resolution: 2, rate: 100, scale2: false, remote: false, reporting: false };

interface MouseSettings {
  resolution: number;
  rate: number;
  scale2: boolean;
  remote: boolean;
  reporting: boolean;
}

export interface MouseState extends Ps2State {
  settings: MouseSettings;
  wrap: boolean;
  wheel: boolean;
  rates: number[];
  buttons: number;
  motion: { x: number; y: number; wheel: number };
}

export class Ps2Mouse extends Ps2Device implements Saveable<MouseState> {
  private settings: MouseSettings = { ...SETTINGS };
  private wrap = false;
  private wheel = false;
  private rates: number[] = [];
  private buttons = 0;
  private motion = { x: 0, y: 0, wheel: 0 };

  /** Somebody moves it, x to the right and y upwards; buttons: 1 left, 2 right, 4 middle. */
  move(x: number, y: number, buttons: number, wheel = 0): void {
    this.motion = { x: this.motion.x + x, y: this.motion.y + y, wheel: this.motion.wheel + wheel };
    this.buttons = buttons & 7;
    if (this.settings.reporting && !this.settings.remote) this.report();
  }

  receive(byte: number): void {
    const { command } = this;
    this.command = null;
    if (this.wrap && byte !== RESET && byte !== END_WRAP) this.send(byte);
    else if (command === null) this.start(byte);
    else {
      if (command === SET_RATE) this.setRate(byte);
      else this.settings.resolution = byte & 3;
      this.send(ACK);
    }
  }

  save(): MouseState {
    const { settings, wrap, wheel, rates, buttons, motion } = this;
    return structuredClone({ ...this.saveLink(), settings, wrap, wheel, rates, buttons, motion });
  }

  load(state: MouseState): void {
    this.loadLink(state);
    const { settings, wrap, wheel, rates, buttons, motion } = structuredClone(state);
    Object.assign(this, { settings, wrap, wheel, rates, buttons, motion });
  }

  private start(byte: number): void {
    const { settings } = this;
    switch (byte) {
      case SCALE_1_1:
      case SCALE_2_1:
        settings.scale2 = byte === SCALE_2_1;
        break;
      case SET_RESOLUTION:
      case SET_RATE:
        this.command = byte;
        break;
      case STATUS:
        this.send(ACK, this.statusByte(), settings.resolution, settings.rate);
        return;
      case READ_DATA:
        this.send(ACK);
        this.report();
        return;
      case STREAM:
      case REMOTE:
        settings.remote = byte === REMOTE;
        break;
      case END_WRAP:
      case WRAP:
        this.wrap = byte === WRAP;
        break;
      case IDENTIFY:
        this.send(ACK, this.wheel ? ID_WHEEL : ID_PLAIN);
        return;
      case ENABLE:
      case DISABLE:
        settings.reporting = byte === ENABLE;
        break;
      case DEFAULTS:
        this.defaults();
        break;
      case RESEND_COMMAND:
        this.resend();
        return;
      case RESET:
        this.defaults();
        this.wrap = false;
        this.wheel = false;
        this.send(ACK, SELF_TEST_PASSED, ID_PLAIN);
        return;
      default:
        this.send(RESEND);
        return;
    }
    this.send(ACK);
  }

  private setRate(rate: number): void {
    this.settings.rate = rate;
    this.rates = [...this.rates, rate].slice(-KNOCK.length);
    if (KNOCK.every((knock, i) => this.rates[i] === knock)) this.wheel = true;
  }

  private defaults(): void {
    this.settings = { ...SETTINGS };
    this.rates = [];
    this.queue = [];
    this.motion = { x: 0, y: 0, wheel: 0 };
  }

  private statusByte(): number {
    const { remote, reporting, scale2 } = this.settings;
    const middle = (this.buttons & 4) >> 1;
    const buttons = ((this.buttons & 1) << 2) | middle | ((this.buttons & 2) >> 1);
    return (remote ? 0x40 : 0) | (reporting ? 0x20 : 0) | (scale2 ? 0x10 : 0) | buttons;
  }

  /** A packet of movement; what does not fit into one is told in the next. */
  private report(): void {
    const part = (n: number, limit: number): number => Math.max(-limit, Math.min(limit - 1, Math.trunc(n)));
    const x = part(this.motion.x, 256);
    const y = part(this.motion.y, 256);
    const wheel = part(this.motion.wheel, 8);
    this.motion = { x: this.motion.x - x, y: this.motion.y - y, wheel: 0 };
    const head = 8 | this.buttons | (x < 0 ? 0x10 : 0) | (y < 0 ? 0x20 : 0);
    const packet = [head, x & 0xff, y & 0xff];
    this.send(...packet, ...(this.wheel ? [wheel & 0xff] : []));
  }
}
