import { describe, expect, it } from 'vitest';
import { Uart16550, type UartPace } from '../../../src/machine/serial/uart-16550.ts';
import { ManualClock } from '../manual-clock.ts';

const [DATA, IER, IIR, LCR, MCR, LSR, MSR, SCRATCH] = [0, 1, 2, 3, 4, 5, 6, 7];
const FCR = IIR;
const DTR_RTS_OUT2 = 0x0b;
const text = (bytes: number[]): string => String.fromCharCode(...bytes);
const ascii = (s: string): Uint8Array => Uint8Array.from(s, c => c.charCodeAt(0));

function uart(pace: UartPace = 'instant') {
  const clock = new ManualClock();
  const sent: number[] = [];
  const wire = { irq: false };
  const chip = new Uart16550(
    clock,
    level => {
      wire.irq = level;
    },
    byte => sent.push(byte),
    pace,
  );
  const set = (register: number, value: number) => chip.write(register, 1, value);
  const get = (register: number) => chip.read(register, 1);
  return { clock, chip, sent, wire, set, get };
}

/** 115200 baud, 8N1, FIFOs on: what Linux sets for a console. */
function opened(pace: UartPace = 'instant') {
  const u = uart(pace);
  u.set(LCR, 0x83);
  u.set(DATA, 1);
  u.set(IER, 0);
  u.set(LCR, 3);
  u.set(FCR, 0x81);
  u.set(MCR, DTR_RTS_OUT2);
  u.get(MSR);
  u.clock.pass(100_000);
  return u;
}

describe('Uart16550', () => {
  it('is after a reset as the data sheet says', () => {
    const { get } = uart();
    expect([IER, IIR, LCR, MCR, LSR].map(get)).toEqual([0, 1, 0, 0, 0x60]);
    expect(get(MSR)).toBe(0xb0);
  });

  it("passes the steps of Linux's autoconfig for a 16550A", () => {
    const { set, get } = uart();
    set(IER, 0);
    expect(get(IER)).toBe(0);
    set(IER, 0x0f);
    expect(get(IER)).toBe(0x0f);
    set(IER, 0x4f);
    expect(get(IER)).toBe(0x0f);
    set(IER, 0);
    set(MCR, 0x1a);
    expect(get(MSR) & 0xf0).toBe(0x90);
    set(MCR, 0);
    set(FCR, 1);
    expect(get(IIR) >> 6).toBe(3);
    set(FCR, 0x21);
    expect(get(IIR) & 0x20).toBe(0);
    set(SCRATCH, 0xa5);
    expect(get(SCRATCH)).toBe(0xa5);
  });

  it('sends at once where it is told to, and says each time that the transmitter is empty', () => {
    const { set, get, sent, wire } = opened();
    for (const c of ascii('hello')) set(DATA, c);
    expect(text(sent)).toBe('hello');
    expect(get(LSR) & 0x60).toBe(0x60);
    expect(wire.irq).toBe(false);
    set(IER, 2);
    expect(wire.irq).toBe(true);
    expect(get(IIR)).toBe(0xc2);
    expect(wire.irq).toBe(false);
    expect(get(IIR)).toBe(0xc1);
    set(DATA, 33);
    expect(get(IIR)).toBe(0xc2);
  });

  it('interrupts again when the transmitter interrupt is enabled again', () => {
    const { set, get } = opened();
    set(IER, 2);
    get(IIR);
    set(IER, 0);
    set(IER, 2);
    expect(get(IIR) & 0xf).toBe(2);
  });

  it('sends at the baud rate where it is told to', () => {
    const { clock, set, get, sent, wire } = opened('baud');
    const character = 86_806;
    set(IER, 2);
    get(IIR);
    for (let i = 0; i < 17; i++) set(DATA, 48 + i);
    // one is in the shift register, sixteen fill the FIFO
    expect(get(LSR) & 0x60).toBe(0);
    set(DATA, 99);
    clock.pass(character - 1);
    expect(sent.length).toBe(0);
    clock.pass(2);
    expect(sent.length).toBe(1);
    clock.pass(15 * character);
    expect(sent.length).toBe(16);
    expect(get(LSR) & 0x60).toBe(0x20);
    expect(wire.irq).toBe(true);
    clock.pass(character);
    expect(sent).toEqual(Array.from({ length: 17 }, (_, i) => 48 + i));
    expect(get(LSR) & 0x60).toBe(0x60);
  });

  it('holds input back until the guest asks for it by RTS, and loses none', () => {
    const { chip, set, get } = opened();
    set(MCR, 0);
    const line = 'a line that is longer than any FIFO of this chip\n'.repeat(20);
    chip.receive(ascii(line));
    expect(get(LSR) & 1).toBe(0);
    set(MCR, DTR_RTS_OUT2);
    let got = '';
    while (get(LSR) & 1) got += text([get(DATA)]);
    expect(got).toBe(line);
    expect(get(LSR) & 2).toBe(0);
  });

  it('loses nothing that was typed ahead to a driver that clears the receiver and reads it once more', () => {
    const { chip, clock, set, get } = opened();
    set(FCR, 0);
    chip.receive(ascii('typed ahead'));
    // the steps of Linux's 8250 driver when the port is opened
    for (const control of [1, 7, 0]) set(FCR, control);
    get(LSR);
    get(DATA);
    set(FCR, 0x81);
    set(IER, 1);
    clock.pass(1_000_000);
    let got = '';
    while (get(LSR) & 1) got += text([get(DATA)]);
    expect(got).toBe('typed ahead');
  });

  it('interrupts at the trigger level, and below it after four characters of silence', () => {
    const { chip, clock, set, get, wire } = opened();
    set(IER, 1);
    chip.receive(ascii('1234567'));
    expect(wire.irq).toBe(false);
    clock.pass(4 * 86_806 - 10);
    expect(wire.irq).toBe(false);
    clock.pass(20);
    expect(wire.irq).toBe(true);
    expect(get(IIR)).toBe(0xcc);
    expect(get(DATA)).toBe(0x31);
    expect(wire.irq).toBe(false);
    chip.receive(ascii('89'));
    expect(get(IIR)).toBe(0xc4);
    get(DATA);
    expect(get(IIR)).toBe(0xc1);
  });

  it('interrupts for every byte without FIFOs', () => {
    const { chip, clock, set, get, wire } = opened();
    set(FCR, 0);
    clock.pass(100_000);
    set(IER, 1);
    chip.receive(ascii('ab'));
    expect(get(IIR)).toBe(4);
    expect(get(DATA)).toBe(0x61);
    expect(wire.irq).toBe(true);
    expect(get(DATA)).toBe(0x62);
    expect(wire.irq).toBe(false);
  });

  it('loops back: data, modem lines, overruns', () => {
    const { set, get, sent, wire } = opened();
    set(MCR, 0x1f);
    expect(get(MSR)).toBe(0xf0);
    set(MCR, 0x1b);
    // the end of ringing, and nothing else
    expect(get(MSR)).toBe(0xb4);
    set(IER, 4);
    for (let i = 0; i < 17; i++) set(DATA, i);
    expect(get(IIR)).toBe(0xc6);
    // OUT2 is off at the pin while looped back
    expect(wire.irq).toBe(false);
    expect(get(LSR) & 3).toBe(3);
    expect(get(LSR) & 3).toBe(1);
    expect(Array.from({ length: 16 }, () => get(DATA))).toEqual(Array.from({ length: 16 }, (_, i) => i));
    expect(get(LSR) & 1).toBe(0);
    expect(sent).toEqual([]);
  });

  it('orders causes by priority', () => {
    const { chip, set, get } = opened();
    set(IER, 0xf);
    chip.setModemInputs({ cts: false, dsr: true, ri: false, dcd: true });
    chip.receiveBreak();
    chip.receive(ascii('1234567'));
    expect(get(IIR)).toBe(0xc6);
    expect(get(LSR)).toBe(0xf9);
    expect(get(IIR)).toBe(0xc4);
    expect(get(LSR)).toBe(0x61);
    for (let i = 0; i < 8; i++) get(DATA);
    expect(get(IIR)).toBe(0xc2);
    expect(get(IIR)).toBe(0xc0);
    expect(get(MSR)).toBe(0xa1);
    expect(get(IIR)).toBe(0xc1);
  });

  it('goes on from a saved state', () => {
    const before = opened('baud');
    before.set(IER, 3);
    for (const c of ascii('xyz')) before.set(DATA, c);
    before.chip.receive(ascii('in'));
    before.clock.pass(100_000);
    const after = uart('baud');
    after.clock.pass(before.clock.nowNs());
    after.chip.load(before.chip.save());
    for (const u of [before, after]) u.clock.pass(2_000_000);
    expect(text(before.sent)).toBe('xyz');
    expect(text(after.sent)).toBe('yz');
    expect(after.wire).toEqual(before.wire);
    for (const u of [before, after]) expect(text([u.get(DATA), u.get(DATA)])).toBe('in');
    expect(after.chip.save()).toEqual(before.chip.save());
  });
});
