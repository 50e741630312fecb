// When x87, MMX and SSE instructions may run at all, and how a pending x87 exception is met (SDM Vol. 3A, 2.5 and table 13-1).
import { describe, expect, it } from 'vitest';
import { fresh } from './sse-machine.ts';
import { fault, Machine, R, S, Vector } from './system/machine.ts';

const MP = 2n;
const EM = 4n;
const TS = 8n;
const NE = 0x20n;
const OSFXSR = 0x200n;

const X87 = 'd9e8'; // fld1
const FWAIT = '9b';
const MMX = '0fefc0'; // pxor mm0, mm0
const SSE = '0f57c0'; // xorps xmm0, xmm0
const FXSAVE = '0fae00'; // fxsave [rax]
const MFENCE = '0faef0';

const shared = new Machine();

/** A machine whose CR0 and CR4 are changed: bits to set and to clear. */
function machine(set0: bigint, clear0 = 0n, clear4 = 0n): Machine {
  const m = fresh(shared);
  m.state.set(S.cr0, (m.state.get(S.cr0) & ~clear0) | set0);
  m.state.set(S.cr4, m.state.get(S.cr4) & ~clear4);
  m.cpu.modeChanged();
  m.set(R.rax, 0xc000);
  return m;
}

function outcome(m: Machine, code: string): number {
  m.code(code);
  m.cpu.run(1);
  const raised = m.state.rip === 0x8000n;
  return raised ? m.state.get32(S.faultVector) : -1;
}

describe('units', () => {
  const { UD, NM } = Vector;
  it.each([
    ['all there', 0n, MP, 0n, [-1, -1, -1, -1, -1]],
    ['CR0.TS', TS, MP, 0n, [NM, -1, NM, NM, NM]],
    ['CR0.TS and MP', TS | MP, 0n, 0n, [NM, NM, NM, NM, NM]],
    ['CR0.EM', EM, MP, 0n, [NM, -1, UD, UD, NM]],
    ['CR0.EM and TS', EM | TS, MP, 0n, [NM, -1, UD, UD, NM]],
    ['no CR4.OSFXSR', 0n, MP, OSFXSR, [-1, -1, -1, UD, -1]],
    ['no CR4.OSFXSR, CR0.TS', TS, MP, OSFXSR, [NM, -1, NM, UD, NM]],
  ] as const)('%s', (_, set0, clear0, clear4, expected) => {
    const got = [X87, FWAIT, MMX, SSE, FXSAVE].map(code => outcome(machine(set0, clear0, clear4), code));
    expect(got).toEqual(expected);
  });

  it('fences and MOVNTI do not care', () => {
    const m = machine(EM | TS, MP, OSFXSR);
    m.step(MFENCE).step('480fc300');
  });
});

describe('a pending exception', () => {
  /** FSW with an unmasked division by zero under way. */
  function pending(ne: bigint): Machine {
    const m = machine(ne, NE & ~ne);
    m.step('dbe3').set(R.rbx, 0x37b).poke(0xc000, 2, 0x37b);
    return m.step('d928').step('d9e8').step('d9ee').step('def9'); // fldcw, fld1, fldz, fdivp
  }

  it.each([
    ['FLD1', X87],
    ['FWAIT', FWAIT],
    ['PXOR mm', MMX],
    ['EMMS', '0f77'],
    ['FLDCW', 'd928'],
  ])('is #MF before %s', (_, code) => {
    expect(pending(NE).fault(code)).toMatchObject(fault(Vector.MF));
  });

  it.each([
    ['FNSTSW', 'dfe0'],
    ['FNCLEX', 'dbe2'],
    ['FNINIT', 'dbe3'],
    ['FNSTCW', 'd938'],
    ['FNSTENV', 'd930'],
    ['FXSAVE', FXSAVE],
    ['XORPS', SSE],
  ])('does not concern %s', (_, code) => {
    pending(NE).step(code);
  });

  it('waits behind CR0.NE clear', () => {
    pending(0n).step(FWAIT).step(X87);
  });

  it('goes with FNCLEX, and with new masks', () => {
    pending(NE).step('dbe2').step(FWAIT);
    const m = pending(NE);
    expect(Number(m.state.view.getUint16(S.fsw, true)) & 0x8084).toBe(0x8084);
    m.step('dbe3').step(X87);
  });
});

describe('MMX and x87 share registers', () => {
  it('MMX makes TOP 0, fills the tags, sets exponents; EMMS empties', () => {
    const m = machine(0n).step('dbe3').step('d9e8');
    expect(m.state.view.getUint16(S.fsw, true) >> 11).toBe(7);
    m.set(R.rbx, 0x0123456789abcdefn).step('480f6ed3'); // movq mm2, rbx
    expect(m.state.view.getUint16(S.fsw, true) >> 11).toBe(0);
    expect(m.state.view.getUint8(S.ftw)).toBe(0xff);
    expect(m.state.get(S.fpr + 32)).toBe(0x0123456789abcdefn);
    expect(m.state.view.getUint16(S.fpr + 40, true)).toBe(0xffff);
    m.step('0f77');
    expect(m.state.view.getUint8(S.ftw)).toBe(0);
  });

  it('keeps 80 bits through memory', () => {
    const m = machine(0n).step('dbe3').step('d9eb'); // fldpi
    m.step('db38').step('db28'); // fstp, fld tword [rax]
    expect([m.peek(0xc000, 8), m.peek(0xc008, 2)]).toEqual([0xc90fdaa22168c235n, 0x4000n]);
    expect(m.state.get(S.fpr + 7 * 16)).toBe(0xc90fdaa22168c235n);
  });

  it('does not pop where the store faults', () => {
    const m = machine(0n).step('dbe3').step('d9eb');
    m.page(0xd000, 0n);
    m.set(R.rax, 0xcffc);
    const before = m.state.bytes.slice(S.fpr, S.mxcsr);
    const memory = m.peek(0xcff8, 8);
    expect(m.fault('db38')).toMatchObject({ ...fault(Vector.PF, 2), address: 0xd000n });
    expect(m.fault('dd30')).toMatchObject(fault(Vector.PF, 2)); // fnsave
    expect(m.state.bytes.slice(S.fpr, S.mxcsr)).toEqual(before);
    expect(m.peek(0xcff8, 8)).toBe(memory);
  });
});
