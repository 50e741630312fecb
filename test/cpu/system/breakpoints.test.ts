// Hardware breakpoints by DR0-DR3 and DR7 (SDM Vol. 3B, 17.2.4 and 17.3.1): instruction faults, data traps, RF, lengths.
import { describe, expect, it } from 'vitest';
import { At, Exit, Flag, Machine, R, S, Vector } from './machine.ts';

const B0 = 1n;
const B1 = 2n;
const BS = 1n << 14n;

/** A 64-bit machine whose #DB ends run(), with breakpoint 0 on an address. kind: 0 execution, 1 writes, 3 accesses; length field as in DR7. */
function watching(address: number, kind: number, length: number): Machine {
  const m = new Machine().long();
  m.state.set(S.dr, BigInt(address));
  m.state.set(S.dr + 56, 0x401n | (BigInt(kind | (length << 2)) << 16n));
  return m;
}

/** Runs and gives what ended it: [exit, vector, RIP from the start of the code, DR6 bits]. */
function end(m: Machine, fuel = 10): [number, number, number, bigint] {
  const exit = m.cpu.run(fuel);
  return [exit, m.state.get32(S.faultVector), Number(m.state.rip) - At.code, m.state.get(S.faultAddress)];
}

describe('instruction breakpoints', () => {
  it('fault before the instruction, which RF lets pass once', () => {
    const m = watching(At.code + 1, 0, 0);
    m.code('90 48 ff c0 eb fa');
    expect(end(m)).toEqual([Exit.exception, Vector.DB, 1, B0]);
    expect(m.state.gpr[R.rax]).toBe(0n);
    m.state.rflags |= BigInt(Flag.RF);
    // the loop comes back to it, and RF has gone
    expect(end(m)).toEqual([Exit.exception, Vector.DB, 1, B0]);
    expect(m.state.gpr[R.rax]).toBe(1n);
    expect(m.state.rflags & BigInt(Flag.RF)).toBe(0n);
  });

  it('do nothing where DR7 does not enable them', () => {
    const m = watching(At.code + 1, 0, 0);
    m.state.set(S.dr + 56, 0x400n);
    m.code('90 48 ff c0 eb fa');
    expect(m.cpu.run(9)).toBe(Exit.fuel);
  });
});

describe('data breakpoints', () => {
  it('trap after a write that touches the watched bytes', () => {
    const m = watching(At.data + 4, 1, 3);
    m.set(R.rbx, At.data).set(R.rax, 5);
    m.code('48 89 03 89 43 08 90'); // mov [rbx], rax; mov [rbx+8], eax: the first covers bytes 0-7
    expect(end(m)).toEqual([Exit.exception, Vector.DB, 3, B0]);
    expect(m.peek(At.data, 8)).toBe(5n);
    expect(m.cpu.run(2)).toBe(Exit.fuel);
  });

  it('tell reads from writes, and count a read before a write once', () => {
    const m = watching(At.data, 1, 0);
    m.set(R.rbx, At.data);
    m.code('8b 03 fe 03 90'); // mov eax, [rbx]; inc byte [rbx]
    expect(end(m)).toEqual([Exit.exception, Vector.DB, 4, B0]);
    const n = watching(At.data, 3, 0);
    n.set(R.rbx, At.data);
    n.code('8b 03 90');
    expect(end(n)).toEqual([Exit.exception, Vector.DB, 2, B0]);
  });

  it('see accesses to pages whose translations were cached before', () => {
    const m = new Machine().long().set(R.rbx, At.data);
    m.code('89 03 89 03 89 03');
    m.cpu.run(2);
    m.state.set(S.dr + 8, BigInt(At.data));
    m.state.set(S.dr + 56, 0x404n | (0b1101n << 20n));
    expect(end(m)).toEqual([Exit.exception, Vector.DB, 6, B1]);
  });

  it('come together with the single-step trap', () => {
    const m = watching(At.data, 1, 0).set(R.rbx, At.data).flags(Flag.TF);
    m.code('88 03 90');
    expect(end(m)).toEqual([Exit.exception, Vector.DB, 2, B0 | BS]);
  });
});
