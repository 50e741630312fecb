// Whatever stands in tables, registers and on the stack: system instructions end in an architectural way, and a fault changes nothing.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { NOT_RAM, PhysicalMap } from '../../../src/cpu/physical-map.ts';
import { AMD, At, Exit, INTEL, Machine, R, S, SEG, Sel } from './machine.ts';

const INSTRUCTIONS = [
  '8e d8', '8e d0', '8e e0', '0f a1', '1f', '17', '0f b2 03', 'ff 2b', 'ff 1b', '48 ff 2b', '48 ff 1b', 'cb', 'ca 08 00', '48 cb', 'cf', '66 cf',
  '48 cf', '0f 00 d0', '0f 00 d8', '0f 00 e0', '0f 00 e8', '0f 02 c8', '0f 03 c8', '0f 22 c0', '0f 22 d8', '0f 22 e0', '0f 23 f8', '0f 01 13',
  '0f 01 1b', '0f 01 f0', '9d', '66 9d', '0f 05', '0f 07', '48 0f 07', '0f 34', '0f 35', '48 0f 35', 'cd 80', 'cc', 'ce', 'f1', 'fa', 'fb', 'f4',
  'c8 10 00 05', '60', '61', 'e4 60', '6c', '6e', '0f 01 f8', '0f 01 3b', '66 0f 38 82 03', '0f 01 d1', '27', 'd4 00',
]; // biome-ignore format: a list
const MODES = ['long', 'compat', 'protected', 'v86', 'real'] as const;
/** Ends of run() that are no bug, for one instruction. */
const ENDS: readonly number[] = Object.values(Exit).filter(exit => exit !== Exit.alone);

const selector = fc.oneof(fc.constantFrom(...Object.values(Sel)), fc.nat(0xffff), fc.constantFrom(0, 3, 0x0f));
const descriptor = fc.tuple(
  fc.nat(0xffffff),
  fc.nat(0xfffff),
  fc.nat(0xff),
  fc.constantFrom(0, 0x2000, 0x4000, 0x6000, 0x8000, 0xa000, 0xc000),
);
const word = fc.oneof(
  selector.map(BigInt),
  fc.bigInt(0n, 0xffffffffffffffffn),
  fc.constantFrom(BigInt(At.code), BigInt(At.stack3), 0x8000_0000_0000n, 0x202n, 0x20202n, 0xffff_ffff_ffff_fff8n),
);

const scene = fc.record({
  vendor: fc.constantFrom(AMD, INTEL),
  mode: fc.constantFrom(...MODES),
  ring: fc.constantFrom(0, 1, 3),
  instruction: fc.constantFrom(...INSTRUCTIONS),
  table: fc.array(fc.tuple(selector, descriptor), { maxLength: 6 }),
  stack: fc.array(word, { minLength: 6, maxLength: 10 }),
  memory: fc.array(word, { minLength: 2, maxLength: 4 }),
  registers: fc.array(word, { minLength: 4, maxLength: 4 }),
  tss: fc.array(word, { maxLength: 14 }),
  flags: fc.constantFrom(0, 0x4000, 0x3000, 0x200),
});
type Scene = typeof scene extends fc.Arbitrary<infer T> ? T : never;

function stage(s: Scene, pv: boolean): Machine {
  const m = new Machine(s.vendor);
  if (s.mode === 'long') m.long(s.ring, pv);
  else if (s.mode === 'compat') m.compat(s.ring, pv);
  else if (s.mode === 'protected') m.protected(s.ring, pv);
  else if (s.mode === 'v86') m.v86(s.ring, pv);
  else m.real(pv);
  for (const [at, [base, limit, type, size]] of s.table) m.descriptor(at & 0xf8, base, limit, type | size);
  s.tss.forEach((v, i) => {
    m.poke(At.tss2 + i * 8, 8, v);
  });
  s.memory.forEach((v, i) => {
    m.poke(At.data + i * 8, 8, v);
  });
  m.set(R.rax, s.registers[0])
    .set(R.rcx, s.registers[1])
    .set(R.rdx, s.registers[2])
    .set(R.rsi, At.data)
    .set(R.rdi, At.data);
  m.set(R.rbx, At.data);
  if (s.flags && s.mode !== 'v86') m.flags(s.flags);
  m.push(8, ...s.stack);
  return m.code(s.instruction);
}

const isTaskSwitch = (m: Machine, before: number): boolean => m.sel(SEG.tr) !== before;

describe('system instructions of a hostile guest', () => {
  it('end in an exit, and a fault leaves everything as it was', () => {
    fc.assert(
      fc.property(scene, s => {
        const m = stage(s, true);
        const before = m.visible();
        const task = m.sel(SEG.tr);
        const exit = m.cpu.run(1);
        expect(ENDS).toContain(exit);
        if (exit === Exit.exception && !isTaskSwitch(m, task)) expect(m.visible()).toEqual(before);
      }),
      { numRuns: 1500 },
    );
  });
  it('go on through whatever the IDT has, or shut down', () => {
    fc.assert(
      fc.property(scene, fc.array(fc.tuple(fc.nat(31), selector, fc.nat(0xff), fc.nat(7))), (s, gates) => {
        const m = stage(s, false);
        for (const [vector, target, type, ist] of gates) {
          if (s.mode === 'long' || s.mode === 'compat') m.idtLong(vector, At.handlers, type, ist, target);
          else m.gate(At.idt + vector * 8, target, At.handlers, type);
        }
        expect(ENDS).toContain(m.cpu.run(20));
      }),
      { numRuns: 1000 },
    );
  });
  it('meet a platform that stops, interrupts and moves memory whenever it likes', () => {
    const whim = fc.constantFrom('nothing', 'stop', 'interrupt', 'nmi', 'unmap', 'map');
    const reaching = fc.constantFrom(
      '8b 03',
      '01 03',
      'f3 a4',
      'f3 aa',
      'e4 60',
      'ee',
      '6c',
      'f3 6e',
      '0f 32',
      '0f 30',
      '0f 22 c0',
      '0f 22 d8',
    );
    fc.assert(
      fc.property(
        scene,
        reaching,
        fc.array(whim, { minLength: 1, maxLength: 12 }),
        fc.nat(255),
        (s, hex, whims, hole) => {
          const m = stage({ ...s, instruction: hex }, false);
          const map = new PhysicalMap(256);
          for (let gfn = 0; gfn < 256; gfn++) if (gfn !== hole) map.set(gfn, gfn);
          let next = 0;
          const act = (): void => {
            const what = whims[next++ % whims.length];
            if (what === 'stop') m.cpu.stop();
            else if (what === 'interrupt') m.cpu.interruptPending = true;
            else if (what === 'nmi') m.cpu.nmiPending = true;
            else if (what === 'map') map.set(hole, hole);
            else if (what === 'unmap') m.cpu.dropFrame(Math.max(0, map.set(next % 256, NOT_RAM)));
          };
          const answer =
            <T>(value: T) =>
            (): T => {
              act();
              return value;
            };
          m.cpu.bus = {
            read: answer(0xffn),
            write: answer(undefined),
            portRead: answer(0xff),
            portWrite: answer(undefined),
          };
          m.cpu.registers = {
            rdmsr: answer(5n),
            wrmsr: answer(undefined),
            cpuid: () => ({ eax: 0, ebx: 0, ecx: 0, edx: 0 }),
          };
          m.cpu.selectPhysicalMap(map);
          m.cpu.modeChanged();
          for (let turn = 0; turn < 8; turn++) {
            const before = m.state.get(S.retired);
            const exit = m.cpu.run(9);
            expect(ENDS).toContain(exit);
            expect(Number(m.state.get(S.retired) - before)).toBeLessThanOrEqual(9);
            if (exit === Exit.shutdown) break;
            if (exit === Exit.interruptWindow && !m.cpu.deliver(0x20, { source: 'interrupt' })) break;
          }
        },
      ),
      { numRuns: 400 },
    );
  });
});
