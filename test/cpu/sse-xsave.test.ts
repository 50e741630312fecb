// The XSAVE family's formats, header rules and faults (SDM Vol. 1, 13.7-13.10), and FXSAVE's forms.
import { describe, expect, it } from 'vitest';
import { fresh } from './sse-machine.ts';
import { AMD, fault, Machine, R, S, Vector } from './system/machine.ts';

const OSXSAVE = 1n << 18n;
const AREA = 0xc000;
const HEADER = AREA + 512;
const XSAVE = '0fae20';
const XRSTOR = '0fae28';
const XSAVEOPT = '0fae30';
const XSAVEC = '0fc720';
const FNINIT = 'dbe3';
const COMPACTED = 1n << 63n;

const shared = new Machine(AMD);

/** At CPL 0 with x87, SSE and AVX state enabled; the components asked for are in EAX. */
function machine(components: bigint | number = 7, xcr0 = 7n): Machine {
  const m = fresh(shared);
  m.state.set(S.cr4, m.state.get(S.cr4) | OSXSAVE);
  m.state.set(S.xcr0, xcr0);
  m.cpu.modeChanged();
  m.state.set32(S.mxcsr, 0x1f80);
  m.step(FNINIT).set(R.rax, components).set(R.rdx, 0).set(R.rbx, AREA);
  m.bytes(AREA, 1024).fill(0xee);
  return m;
}
/** The same with RBX as the base: ModRM.rm 3. */
const at = (code: string): string => code.slice(0, -1) + (Number.parseInt(code.slice(-1), 16) | 3).toString(16);

function setXmm(m: Machine, n: number, value: bigint, upper = 0n): void {
  m.state.set(S.xmm + n * 32, value);
  m.state.set(S.xmm + n * 32 + 16, upper);
}

describe('XSAVE', () => {
  it('writes requested components and says which are in use', () => {
    const m = machine();
    m.poke(HEADER, 8, 0x10);
    setXmm(m, 15, 0x1234n);
    m.step(at(XSAVE));
    expect(m.peek(HEADER, 8)).toBe(0x12n);
    expect(m.peek(HEADER + 8, 8)).toBe(0xeeeeeeeeeeeeeeeen); // the rest of the header stays
    expect(m.peek(AREA, 2)).toBe(0x37fn);
    expect(m.peek(AREA + 24, 8)).toBe(0x0000ffff00001f80n);
    expect(m.peek(AREA + 160 + 240, 8)).toBe(0x1234n);
    expect(m.peek(AREA + 416, 8)).toBe(0xeeeeeeeeeeeeeeeen);
    expect(m.peek(AREA + 576, 8)).toBe(0n);
  });

  it('leaves what is not requested', () => {
    const m = machine(1);
    m.poke(HEADER, 8, 7);
    setXmm(m, 0, 5n);
    m.step(FNINIT).step('d9e8').step(at(XSAVE));
    expect(m.peek(HEADER, 8)).toBe(7n);
    expect(m.peek(AREA + 24, 8)).toBe(0xeeeeeeeeeeeeeeeen);
    expect(m.peek(AREA + 160, 8)).toBe(0xeeeeeeeeeeeeeeeen);
    expect(m.peek(AREA + 32, 8)).toBe(1n << 63n);
  });

  it('is limited by XCR0', () => {
    const m = machine(0xff, 3n);
    setXmm(m, 0, 5n, 6n);
    m.poke(HEADER, 8, 0);
    m.step(at(XSAVE));
    expect(m.peek(HEADER, 8)).toBe(2n);
    expect(m.peek(AREA + 576, 8)).toBe(0xeeeeeeeeeeeeeeeen);
  });

  it('XSAVEOPT skips what is not in use, but for MXCSR', () => {
    const m = machine();
    m.poke(HEADER, 8, 0);
    setXmm(m, 3, 0n, 9n);
    m.step(at(XSAVEOPT));
    expect(m.peek(HEADER, 8)).toBe(4n);
    expect(m.peek(AREA, 8)).toBe(0xeeeeeeeeeeeeeeeen);
    expect(m.peek(AREA + 160, 8)).toBe(0xeeeeeeeeeeeeeeeen);
    expect(m.peek(AREA + 24, 4)).toBe(0x1f80n);
    expect(m.peek(AREA + 576 + 48, 8)).toBe(9n);
  });

  it('XSAVEC writes both words of the header and takes MXCSR for SSE state', () => {
    const m = machine(6);
    m.step(at(XSAVEC));
    expect([m.peek(HEADER, 8), m.peek(HEADER + 8, 8)]).toEqual([0n, COMPACTED | 6n]);
    expect(m.peek(AREA + 24, 4)).toBe(0xeeeeeeeen);
    m.state.set32(S.mxcsr, 0x1f81);
    m.step(at(XSAVEC));
    expect(m.peek(HEADER, 8)).toBe(2n);
    expect(m.peek(AREA + 24, 4)).toBe(0x1f81n);
  });

  it('writes nothing where a page of the area is not writable', () => {
    const m = machine();
    m.page(0xd000, 1n);
    m.state.set(S.cr0, m.state.get(S.cr0) | (1n << 16n));
    m.cpu.modeChanged();
    m.bytes(0xce00, 512).fill(0xee);
    m.set(R.rbx, 0xce00);
    expect(m.fault(at(XSAVE))).toMatchObject(fault(Vector.PF, 3));
    expect(m.peek(0xce00, 8)).toBe(0xeeeeeeeeeeeeeeeen);
  });
});

describe('XRSTOR', () => {
  function saved(components: number): Machine {
    const m = machine(components);
    m.bytes(AREA, 1024).fill(0);
    setXmm(m, 1, 0x11n, 0x22n);
    return m.step('d9e8').step(at(XSAVE)); // fld1
  }

  it('restores what is there and initializes the rest', () => {
    const m = saved(7);
    m.poke(HEADER, 8, 1);
    m.state.set32(S.mxcsr, 0x1fa0);
    m.step(FNINIT).step(at(XRSTOR));
    expect(m.state.get(S.fpr + 7 * 16)).toBe(1n << 63n);
    expect(m.state.get(S.xmm + 32)).toBe(0n);
    expect(m.state.get(S.xmm + 48)).toBe(0n);
    expect(m.state.get32(S.mxcsr)).toBe(0x1f80); // from the area, SSE state or not
  });

  it('leaves what is not asked for', () => {
    const m = saved(7);
    setXmm(m, 1, 0x33n, 0x44n);
    m.state.set32(S.mxcsr, 0x1fa0);
    m.set(R.rax, 1).step(at(XRSTOR));
    expect([m.state.get(S.xmm + 32), m.state.get(S.xmm + 48)]).toEqual([0x33n, 0x44n]);
    expect(m.state.get32(S.mxcsr)).toBe(0x1fa0);
  });

  it('takes the compacted format, where MXCSR goes with SSE state', () => {
    const m = saved(7);
    m.poke(HEADER, 8, 4);
    m.poke(HEADER + 8, 8, COMPACTED | 7n);
    m.poke(AREA + 24, 4, 0xffffffff);
    m.state.set32(S.mxcsr, 0x1fa0);
    m.step(at(XRSTOR));
    expect([m.state.get(S.xmm + 32), m.state.get(S.xmm + 48)]).toEqual([0n, 0x22n]);
    expect(m.state.get32(S.mxcsr)).toBe(0x1f80);
    expect(m.state.view.getUint8(S.ftw)).toBe(0);
  });

  it.each([
    ['a component beyond XCR0', HEADER, 8n],
    ['XCOMP_BV without bit 63', HEADER + 8, 1n],
    ['reserved bytes of the header', HEADER + 16, 1n],
    ['MXCSR reserved bits', AREA + 24, 0x10000n],
    ['a compacted component beyond XCR0', HEADER + 8, COMPACTED | 8n],
    ['a compacted header without the component', HEADER + 8, COMPACTED | 1n],
  ])('refuses %s', (_, address, value) => {
    const m = saved(7);
    m.poke(address, 8, value);
    const before = m.state.bytes.slice(S.fpr, S.scratch);
    expect(m.fault(at(XRSTOR))).toMatchObject(fault(Vector.GP, 0));
    expect(m.state.bytes.slice(S.fpr, S.scratch)).toEqual(before);
  });

  it('refuses reserved bytes of a compacted header, which a standard one ignores', () => {
    const m = saved(7);
    m.poke(HEADER + 40, 8, 1);
    m.step(at(XRSTOR));
    m.poke(HEADER + 8, 8, COMPACTED | 7n);
    expect(m.fault(at(XRSTOR))).toMatchObject(fault(Vector.GP, 0));
  });
});

describe('faults of all', () => {
  const all = [XSAVE, XRSTOR, XSAVEOPT, XSAVEC];
  it.each(all)('%s: 64 bytes alignment', code => {
    const m = machine().set(R.rbx, AREA + 32);
    expect(m.fault(at(code))).toMatchObject(fault(Vector.GP, 0));
  });
  it.each(all)('%s: #UD without CR4.OSXSAVE, before #NM', code => {
    const m = machine();
    m.state.set(S.cr0, m.state.get(S.cr0) | 8n);
    m.cpu.modeChanged();
    expect(m.fault(at(code))).toMatchObject(fault(Vector.NM));
    m.state.set(S.cr4, m.state.get(S.cr4) & ~OSXSAVE);
    m.cpu.modeChanged();
    expect(m.fault(at(code))).toMatchObject(fault(Vector.UD));
  });
});

describe('FXSAVE', () => {
  it('has selectors or 64-bit pointers, 8 or 16 XMM registers', () => {
    const m = machine();
    m.state.set(S.fip, 0x1122334455667788n);
    setXmm(m, 9, 7n);
    m.step('0fae03');
    expect(m.peek(AREA + 8, 8)).toBe(0x55667788n);
    expect(m.peek(AREA + 160 + 144, 8)).toBe(7n);
    m.step('480fae03');
    expect(m.peek(AREA + 8, 8)).toBe(0x1122334455667788n);
    const compat = m.compat().set(R.rbx, AREA);
    compat.bytes(AREA, 512).fill(0xee);
    compat.step('0fae03');
    expect(compat.peek(AREA + 160 + 120, 8)).toBe(0n);
    expect(compat.peek(AREA + 160 + 128, 8)).toBe(0xeeeeeeeeeeeeeeeen);
  });

  it('wants 16 bytes alignment; FXRSTOR refuses reserved MXCSR bits', () => {
    const m = machine().set(R.rbx, AREA + 8);
    expect(m.fault('0fae03')).toMatchObject(fault(Vector.GP, 0));
    m.set(R.rbx, AREA)
      .step('0fae03')
      .poke(AREA + 24, 4, 0x10000);
    expect(m.fault('0fae0b')).toMatchObject(fault(Vector.GP, 0));
  });

  it('leaves XMM out with EFER.FFXSR at CPL 0 in 64-bit mode', () => {
    const m = machine();
    m.state.set(S.efer, m.state.get(S.efer) | (1n << 14n));
    m.cpu.modeChanged();
    m.step('0fae03');
    expect(m.peek(AREA, 2)).toBe(0x37fn);
    expect(m.peek(AREA + 160, 8)).toBe(0xeeeeeeeeeeeeeeeen);
  });
});
