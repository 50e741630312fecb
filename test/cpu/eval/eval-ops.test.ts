// The evaluating back end refuses semantic functions that break the builder's rules, and lets nothing of a value be seen.
import { expect, test } from 'vitest';
import { Decoder } from '../../../src/cpu/decode/decoder.ts';
import { EncodingTable } from '../../../src/cpu/decode/table.ts';
import { type EvalMachine, EvalOps, InstructionEnd, SemanticError } from '../../../src/cpu/eval/eval-ops.ts';
import { GuestFault, Vector } from '../../../src/cpu/exits.ts';
import { ModeBit, R, S } from '../../../src/cpu/layout.ts';
import type { Operand, Ops } from '../../../src/cpu/semantics/ops.ts';
import { CpuState } from '../../../src/cpu/state.ts';

const RIP = 0x1000n;
const ABSENT = 0x9000n;

/** Runs `semantic` as the instruction 01 /r with the given operand bytes; memory is one byte a location, absent from ABSENT on. */
function evaluate(
  semantic: (o: Ops, dst: Operand, src: Operand) => void,
  options = {},
  bytes = [0x01, 0x03],
): CpuState {
  const run = (o: Ops, _w: number, dst: Operand, src: Operand): void => semantic(o, dst, src);
  const table = new EncodingTable([({ row }) => row('01 /r', run, 'Ev', 'Gv', options)]);
  const decoded = new Decoder(table).decode(Uint8Array.from(bytes), 0, bytes.length, ModeBit.long64);
  if (decoded === 'more' || 'fault' in decoded) throw new Error('does not decode');
  const state = new CpuState();
  const check = (linear: bigint): bigint => {
    if (linear >= ABSENT) throw new GuestFault(Vector.PF, 0, linear);
    return linear & 0xffn;
  };
  const machine: EvalMachine = {
    state,
    load: check,
    loadForUpdate: check,
    store: check,
    call: name => {
      if (name !== 'faults') throw new Error(`no helper ${name}`);
      throw new GuestFault(Vector.GP, 0);
    },
  };
  state.gpr[R.rbx] = ABSENT;
  const at = { rip: RIP, nextRip: RIP + BigInt(decoded.length), long64: true, stackWidth: 64 } as const;
  const ops = new EvalOps(decoded, machine, at);
  decoded.row.semantic(ops, decoded.width, ...ops.operands());
  return state;
}

const setRax = (o: Ops) => o.setReg(R.rax, 64, o.const(1));

test('nothing that may fault comes after a write', () => {
  const late: [string, (o: Ops, dst: Operand) => void][] = [
    ['a load', (o, dst) => o.read(dst, 32)],
    ['a load', (o, dst) => o.update(dst, 32)],
    ['a store', (o, dst) => o.write(dst, 32, o.const(0))],
    ['a fault', o => o.faultIf(o.cmp('eq', o.const(0), o.const(1)), Vector.GP, 0)],
  ];
  for (const [what, body] of late) {
    const semantic = (o: Ops, dst: Operand): void => {
      setRax(o);
      body(o, dst);
    };
    expect(() => evaluate(semantic)).toThrow(new SemanticError(`${what} that may fault comes after a write`));
  }
});

test('a restartable row may fault after a write', () => {
  const semantic = (o: Ops, dst: Operand): void => {
    setRax(o);
    o.read(dst, 32);
  };
  expect(() => evaluate(semantic, { restartable: true })).toThrow(GuestFault);
});

test('a helper that faults after a write that a guest can see is found, one after scratch writes is fine', () => {
  const visible = (o: Ops): void => {
    setRax(o);
    o.call('faults');
  };
  expect(() => evaluate(visible)).toThrow(new SemanticError('a fault (13) comes after a write'));
  const scratch = (o: Ops): void => {
    o.setState(S.scratch, 64, o.const(1));
    o.call('faults');
  };
  expect(() => evaluate(scratch)).toThrow(GuestFault);
});

test('an operand that was opened for writing is written after registers', () => {
  const semantic = (o: Ops, dst: Operand): void => {
    const v = o.update(dst, 32);
    o.setReg(R.rax, 64, v);
    o.write(dst, 32, v);
  };
  const state = evaluate(semantic, {}, [0x01, 0x0c, 0x25, 0x34, 0x12, 0, 0]);
  expect(state.gpr[R.rax]).toBe(0x34n);
});

test('only rows that are declared to end their block move RIP', () => {
  const jump = (o: Ops): void => o.jump(o.const(5));
  expect(() => evaluate(jump)).toThrow(SemanticError);
  expect(() => evaluate(jump, { ends: true })).toThrow(InstructionEnd);
  expect(() => evaluate(o => o.endBlock())).toThrow(SemanticError);
  expect(() => evaluate(o => o.transfer())).toThrow(SemanticError);
});

test('values are objects, so that a condition of TypeScript on one is always true', () => {
  evaluate(o => {
    for (const v of [o.const(0), o.cmp('eq', o.const(0), o.const(1)), o.constVector(0n, 0n)]) {
      expect(typeof v).toBe('object');
      expect(v).toBeTruthy();
    }
  });
});

test('integer operations wrap at 64 bits and take shift counts modulo 64', () => {
  evaluate(o => {
    const is = (v: ReturnType<Ops['const']>, want: bigint): void => {
      const out = (v as unknown as { v: bigint }).v;
      expect(out).toBe(want);
    };
    const ones = o.const(-1);
    is(o.bin('add', ones, o.const(2)), 1n);
    is(o.bin('sub', o.const(0), o.const(1)), 0xffffffffffffffffn);
    is(o.bin('mul', ones, ones), 1n);
    is(o.bin('shl', o.const(1), o.const(65)), 2n);
    is(o.bin('shr_s', o.const(1n << 63n), o.const(127)), 0xffffffffffffffffn);
    is(o.bin('rotl', o.const(1n << 63n), o.const(1)), 1n);
    is(o.bin('rotr', o.const(1), o.const(1)), 1n << 63n);
    is(o.bin('rotl', o.const(5), o.const(64)), 5n);
    is(o.bin('div_s', o.const(-7), o.const(2)), 0xfffffffffffffffdn);
    is(o.bin('rem_s', o.const(-7), o.const(2)), 0xffffffffffffffffn);
    is(o.un('clz', o.const(0)), 64n);
    is(o.un('ctz', o.const(0)), 64n);
    is(o.un('ctz', o.const(1n << 63n)), 63n);
    is(o.un('popcnt', ones), 64n);
    is(o.sext(8, o.const(0x80)), 0xffffffffffffff80n);
  });
});
