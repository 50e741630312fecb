// The comparison of the two back ends finds a back end that is wrong, whatever it is wrong about.
import { afterEach, expect, test } from 'vitest';
import { EvalOps } from '../../../src/cpu/eval/eval-ops.ts';
import type { Operand, Value, Width } from '../../../src/cpu/semantics/ops.ts';
import { runGroup } from './cases.ts';

const pristine = Object.getOwnPropertyDescriptors(EvalOps.prototype);
afterEach(() => {
  Object.defineProperties(EvalOps.prototype, pristine);
});

const { af, store, nextRip, checkAligned, setReg, load } = EvalOps.prototype;
const faults: [what: string, group: string, plant: () => void][] = [
  ['a flag', 'one-byte', () => (EvalOps.prototype.af = function () { return this.not(af.call(this)); })], // biome-ignore format: one line
  [
    'a bit in memory',
    'one-byte',
    () => {
      EvalOps.prototype.store = function (linear: Value, w: Width, v: Value) {
        store.call(this, linear, w, this.bin('xor', v, this.const(1)));
      };
    },
  ],
  [
    'the return address',
    'one-byte',
    () => {
      EvalOps.prototype.nextRip = function () {
        return this.bin('add', nextRip.call(this), this.const(1));
      };
    },
  ],
  [
    'alignment',
    'sse',
    () => {
      EvalOps.prototype.checkAligned = function (operand: Operand, bytes: number) {
        if (bytes < 16) checkAligned.call(this, operand, bytes);
      };
    },
  ],
  [
    'the upper half of a register',
    'one-byte',
    () => {
      EvalOps.prototype.setReg = function (n: number, w: Width, v: Value) {
        setReg.call(this, n, w === 32 ? 64 : w, v);
      };
    },
  ],
  [
    'the order of accesses',
    'two-byte',
    () => {
      EvalOps.prototype.load = function (linear: Value, w: Width) {
        load.call(this, this.bin('add', linear, this.const(w / 8)), w);
        return load.call(this, linear, w);
      };
    },
  ],
];

test.each(faults)('%s', (_what, group, plant) => {
  plant();
  expect(runGroup(group, ['kernel64'], 1).failures.length).toBeGreaterThan(0);
});
