// init's language: what its expressions and statements do, as compiled for both widths, and what is refused.
import { describe, expect, it } from 'vitest';
import { compile } from '../../../src/toolstack/init/language/compile.ts';
import * as e from '../../../src/toolstack/init/language/expressions.ts';
import { type RoutineWriter, routine } from '../../../src/toolstack/init/language/routine.ts';
import { LINUX, MAP_PRIVATE, PROT_READ, sys } from '../../../src/toolstack/init/linux.ts';
import { nativeWidths, runNatively } from './native.ts';

const { add, all, and, any, below, byte, div, dword, eq, ge, gt, half, le, lt, mul, ne, or } = e;
const { rem, room, shl, shr, sub, variable, word, words, xor } = e;

describe.each(nativeWidths())('compiled for %i bits', bits => {
  /** The exit status of a process that returns what `body` gives: 0 to 255. */
  const value = (body: (r: RoutineWriter) => e.Value) => {
    const { status, signal } = runNatively(bits, r => r.do(sys('exit', body(r))));
    return status ?? signal;
  };

  it('computes', () => {
    const three = (r: RoutineWriter) => r.local(3);
    expect(value(r => add(mul(three(r), 20), sub(7, three(r))))).toBe(64);
    expect(value(r => xor(or(shl(1, three(r)), 0x10), and(0xff, 0x0f)))).toBe(0x17);
    expect(value(() => div(251, 25))).toBe(10);
    expect(value(() => rem(251, 25))).toBe(1);
    // Without sign: the quotient's highest byte.
    expect(value(() => shr(div(-1, 1), bits - 8))).toBe(255);
    expect(value(() => words(3))).toBe((3 * bits) / 8);
  });

  it('compares with sign, and addresses without', () => {
    const truths = (...conditions: e.Expression[]) =>
      value(r => {
        const sum = r.local(0);
        for (const [i, condition] of conditions.entries()) r.set(sum, or(sum, shl(condition, i)));
        return sum;
      });
    expect(truths(lt(-1, 1), lt(1, -1), le(2, 2), gt(-1, -2), ge(-2, -1))).toBe(0b01101);
    expect(truths(eq(5, 5), ne(5, 5), below(-1, 1), below(1, -1))).toBe(0b1001);
    expect(truths(all(1, 2), all(1, 0), any(0, 3), any(0, 0), all(any(0, 1), 1))).toBe(0b10101);
  });

  it('looks at no condition behind the one that decides', () => {
    expect(value(() => all(0, sys('exit', 9)))).toBe(0);
    expect(value(() => any(1, sys('exit', 9)))).toBe(1);
  });

  it('reads and writes memory of every width', () => {
    const memory = room('memory', 32);
    expect(
      value(r => {
        r.store(4, memory, 0x04030201);
        r.store(2, add(memory, 1), 0x5544);
        r.store(1, memory, 0xff);
        return add(byte(memory, 1), sub(half(memory, 2), 0x0411));
      }),
    ).toBe(0x44 + 0x44);
    expect(
      value(r => {
        const pointer = variable('pointer');
        r.store('word', pointer, memory);
        r.store('word', add(memory, words(1)), -2);
        return eq(word(word(pointer), 1), -2);
      }),
    ).toBe(1);
    expect(value(() => shr(dword('\x01\x02\x03\x7f'), 24))).toBe(0x7f);
  });

  it('calls with arguments in order, and recursively', () => {
    const minus = routine('minus', (r, a, b, c) => r.return(sub(sub(a, b), c)));
    const factorial = routine('factorial', (r, n) => {
      r.if(lt(n, 2), () => r.return(1));
      r.return(mul(n, factorial(sub(n, 1))));
    });
    const nothing = routine('nothing', r => r.do(7));
    expect(value(() => minus(100, minus(30, 10, 5), 1))).toBe(84);
    expect(value(() => factorial(5))).toBe(120);
    expect(value(() => nothing())).toBe(0);
  });

  it('loops, and leaves the innermost loop', () => {
    expect(
      value(r => {
        const [outer, count] = [r.local(0), r.local(0)];
        r.while(lt(outer, 3), () => {
          const inner = r.local(0);
          r.loop(() => {
            r.if(eq(inner, 4), () => r.break());
            r.set(inner, add(inner, 1));
            r.set(count, add(count, 1));
          });
          r.set(outer, add(outer, 1));
        });
        return count;
      }),
    ).toBe(12);
  });

  it('gives the kernel six arguments, and sockets', () => {
    const file = sys('open', '/proc/self/exe', 0, 0);
    expect(value(() => byte(sys('mmap', 0, 4096, PROT_READ, MAP_PRIVATE, file, 0), 1))).toBe('E'.charCodeAt(0));
    const AF_UNIX = 1;
    expect(value(() => ge(sys('socket', AF_UNIX, 1, 0), 0))).toBe(1);
    expect(value(() => sub(0, sys('connect', sys('socket', AF_UNIX, 1, 0), '\x01\0/none', 8)))).toBe(2);
  });
});

describe('refused are', () => {
  const compiled = (write: (r: RoutineWriter) => void) => () =>
    compile(routine('main', r => write(r)).routine, 64, LINUX[64]);

  it('wrong numbers of arguments', () => {
    const two = routine('two', (_r, _a, _b) => {});
    expect(() => two(1)).toThrow('two takes 2 arguments, not 1');
  });

  it('names that stand for two things', () => {
    const [one, other] = [routine('same', () => {}), routine('same', () => {})];
    expect(compiled(r => r.do(one(), other()))).toThrow('two routines are called same');
    expect(compiled(r => r.do(room('m', 1), room('m', 1)))).toThrow('two pieces of memory are called m');
  });

  it('breaks without a loop', () => {
    expect(compiled(r => r.break())).toThrow('a break outside of any loop');
  });
});

it('what a program does not reach is left out', () => {
  const unused = routine('unused', r => r.do('a text that would be seen'));
  const used = routine('used', () => {});
  const main = routine('main', r => r.do(used()));
  expect(unused().kind).toBe('call');
  const { symbols } = compile(main.routine, 32, LINUX[32]).image();
  expect([...symbols.keys()].filter(name => !name.includes('.'))).toEqual(['start', 'main', 'used']);
});
