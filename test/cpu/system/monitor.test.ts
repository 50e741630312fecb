// MONITOR and MWAIT: waiting for a store to a line.
import { describe, expect, it } from 'vitest';
import { monitorTriggered } from '../../../src/cpu/monitor.ts';
import { At, Exit, fault, Machine, R, S, Vector } from './machine.ts';

const MONITOR = '0f 01 c8';
const MWAIT = '0f 01 c9';

const armed = (): Machine =>
  new Machine()
    .long(0, false)
    .set(R.rax, At.data + 0x14)
    .step(MONITOR);

describe('MWAIT', () => {
  it('waits while the line is as it was, and ends behind itself', () => {
    const m = armed();
    const { rip } = m.state;
    m.set(R.rcx, 1).step(MWAIT, Exit.mwait);
    expect([m.state.rip, m.state.get(S.exitInfo)]).toEqual([rip + 3n, 1n]);
    expect(monitorTriggered(m.memory, m.state)).toBe(false);
    m.poke(At.data + 0x40, 4, 1);
    expect(monitorTriggered(m.memory, m.state)).toBe(false);
    m.poke(At.data + 0x3c, 4, 1);
    expect(monitorTriggered(m.memory, m.state)).toBe(true);
  });
  it('does not wait where the line has changed since MONITOR', () => {
    const m = armed();
    m.poke(At.data, 1, 7);
    m.step(MWAIT);
    expect(m.state.rip).toBe(BigInt(At.code + 6));
  });
  it('does not wait where nothing is watched: no MONITOR, or a device', () => {
    new Machine().long(0, false).step(MWAIT);
    const m = new Machine().long(0, false).set(R.rax, 0x200000);
    m.poke(At.pd + 8, 8, 0x200083n);
    m.step(MONITOR).step(MWAIT);
  });
  it('belongs to ring 0, and knows one extension', () => {
    expect(new Machine().long(3).fault(MWAIT)).toMatchObject(fault(Vector.UD));
    expect(new Machine().long(3).fault(MONITOR)).toMatchObject(fault(Vector.UD));
    expect(new Machine().long().set(R.rcx, 2).fault(MWAIT)).toMatchObject(fault(Vector.GP, 0));
    expect(new Machine().long().set(R.rcx, 1).fault(MONITOR)).toMatchObject(fault(Vector.GP, 0));
  });
});
