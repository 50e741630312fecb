import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { PvConsole } from '../../../src/backends/console/pv-console.ts';
import { CONSOLE_IN, CONSOLE_OUT, consoleRings } from '../../../src/protocols/console.ts';
import { pageU32, setPageU32, sharedPage } from '../../../src/protocols/shared-page.ts';

function setup(inputLimit?: number) {
  const page = new Uint8Array(4096);
  const guest = consoleRings(sharedPage(page));
  const printed: number[] = [];
  let notified = 0;
  const console = new PvConsole({
    page: sharedPage(page),
    notify: () => void notified++,
    output: bytes => void printed.push(...bytes),
    ...(inputLimit === undefined ? {} : { inputLimit }),
  });
  return { page, guest, printed, console, notified: () => notified };
}

const count = (from: number, length: number) => Uint8Array.from({ length }, (_, i) => from + i);

describe('PV console', () => {
  it('passes on what the guest prints, byte for byte', () => {
    const { guest, printed, console, notified } = setup();
    guest.output.write(count(0, 256));
    console.onEvent();
    expect(printed).toEqual([...count(0, 256)]);
    expect(notified()).toBe(1);
    console.onEvent();
    expect(notified()).toBe(1);
  });

  it('types into the guest, and keeps what does not fit until the guest has read', () => {
    const { guest, console, notified } = setup();
    expect(console.write(count(0, 3000))).toBe(3000);
    expect(notified()).toBe(1);
    const read: number[] = [];
    for (let i = 0; i < 4; i++) {
      read.push(...(guest.input.read(1024) as Uint8Array));
      console.onEvent();
    }
    expect(read).toEqual([...count(0, 3000)]);
  });

  it('takes no more input than its limit', () => {
    const { console } = setup(100);
    expect(console.write(count(0, 90))).toBe(90);
    expect(console.inputFree).toBe(100);
    for (let i = 0; i < 11; i++) console.write(count(0, 100));
    expect(console.inputFree).toBeLessThan(100);
    console.write(count(0, 100));
    expect(console.write(count(0, 100))).toBe(0);
  });

  it('leaves output in the ring while paused', () => {
    const { guest, printed, console, notified } = setup();
    console.pause();
    guest.output.write(count(0, 2048));
    console.onEvent();
    expect(printed).toEqual([]);
    expect(guest.output.free).toBe(0);
    console.resume();
    expect(printed).toHaveLength(2048);
    expect(notified()).toBe(1);
  });

  it('does not follow impossible indices, and goes on once they are right again', () => {
    const { page, guest, printed, console } = setup();
    setPageU32(page, CONSOLE_OUT.prod, 5000);
    console.onEvent();
    expect(console.problem).toContain('output');
    setPageU32(page, CONSOLE_IN.cons, 1);
    console.write(count(0, 3));
    expect(console.problem).toContain('input');
    expect(printed).toEqual([]);
    setPageU32(page, CONSOLE_OUT.prod, 0);
    setPageU32(page, CONSOLE_IN.cons, 0);
    guest.output.write(Uint8Array.of(7));
    console.onEvent();
    expect(console.problem).toBeNull();
    expect(printed).toEqual([7]);
    expect(guest.input.read(9)).toEqual(count(0, 3));
  });

  it('keeps waiting input in a snapshot', () => {
    const { guest, console, page } = setup();
    console.write(count(0, 1500));
    console.pause();
    const copy = new PvConsole({ page: sharedPage(page), notify: () => {}, output: () => expect.unreachable() });
    copy.load(structuredClone(console.save()));
    expect(guest.input.read(1024)).toHaveLength(1024);
    guest.output.write(count(0, 1));
    copy.onEvent();
    expect(guest.input.read(1024)).toEqual(count(1024, 476));
  });

  it('survives anything in its page', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.constantFrom(3072, 3076, 3080, 3084), fc.nat(0xffffffff)), { maxLength: 12 }),
        words => {
          const { page, printed, console } = setup();
          console.write(count(0, 50));
          for (const [offset, value] of words) {
            setPageU32(page, offset, value);
            const waiting = (pageU32(page, CONSOLE_OUT.prod) - pageU32(page, CONSOLE_OUT.cons)) >>> 0;
            const before = printed.length;
            console.onEvent();
            expect(printed.length - before).toBe(waiting <= 2048 ? waiting : 0);
          }
        },
      ),
    );
  });
});
