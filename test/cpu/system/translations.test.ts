// What ends a cached translation, and what does not: MOV CR3, PCIDs, global pages, INVLPG, INVPCID, CR4, the top entries of PAE paging.
import { describe, expect, it } from 'vitest';
import { At, fault, Machine, R, S, SEG, Vector } from './machine.ts';

const LOAD = '8b 0b'; // mov ecx, [rbx]
const TO_CR3 = '0f 22 d8';
const TO_CR4 = '0f 22 e0';
const INVLPG = '0f 01 3b'; // [rbx]
const INVPCID = '66 0f 38 82 02'; // rax, [rdx]
const gp0 = fault(Vector.GP, 0);

const PGE = 0x80n;
const PCIDE = 0x20000n;
const NO_FLUSH = 1n << 63n;
const G = 0x100n;
const OLD = 0x60000;
const NEW = 0x61000;
/** A second top table with the same entry. */
const OTHER_ROOT = 0x62000;
const DESCRIPTOR = At.data + 0x100;

/** The page at At.data is read, then its entry is changed behind the processor's back: the load shows which of the two it uses. */
class Stale extends Machine {
  constructor(flags = 0n, pcide = true) {
    super();
    this.long(0, false);
    this.poke(OTHER_ROOT, 8, this.peek(At.pml4, 8));
    this.state.set(S.cr4, this.state.get(S.cr4) | PGE | (pcide ? PCIDE : 0n));
    this.cpu.modeChanged();
    this.poke(OLD, 4, 1);
    this.poke(NEW, 4, 2);
    this.map(OLD, flags);
    this.see(1);
    this.map(NEW, flags);
    this.see(1);
  }
  private map(frame: number, flags: bigint): void {
    this.poke(At.pt + (At.data >> 12) * 8, 8, BigInt(frame) | 0x63n | flags);
  }
  see(which: 1 | 2): this {
    this.set(R.rbx, At.data);
    expect(this.step(LOAD).get(R.rcx)).toBe(BigInt(which));
    return this;
  }
  cr3(root: number, pcid: number, keep = false): this {
    return this.set(R.rax, BigInt(root | pcid) | (keep ? NO_FLUSH : 0n)).step(TO_CR3);
  }
  invpcid(type: number, pcid: number | bigint, address: number | bigint = 0): this {
    this.poke(OLD + 0x100, 8, pcid);
    this.poke(OLD + 0x108, 8, address);
    this.poke(NEW + 0x100, 8, pcid);
    this.poke(NEW + 0x108, 8, address);
    return this.set(R.rax, type).set(R.rdx, DESCRIPTOR).step(INVPCID);
  }
}

describe('MOV CR3 without PCIDs', () => {
  it('ends what is not global', () => {
    new Stale(0n, false).cr3(At.pml4, 0).see(2);
    new Stale(G, false).cr3(At.pml4, 0).see(1);
  });
  it('ends what an address space had when it is left and entered again', () => {
    new Stale(0n, false).cr3(OTHER_ROOT, 0).see(2).cr3(At.pml4, 0).see(2);
  });
});

describe('MOV CR3 with PCIDs', () => {
  it('ends what is not global of the PCID, or nothing with bit 63', () => {
    new Stale().cr3(At.pml4, 0, true).see(1).cr3(At.pml4, 0).see(2);
    new Stale(G).cr3(At.pml4, 0).see(1);
  });
  it('leaves other PCIDs alone', () => {
    new Stale().cr3(At.pml4, 1).see(2).cr3(At.pml4, 0, true).see(1);
  });
  it('ends what the PCID had from other tables', () => {
    new Stale().cr3(OTHER_ROOT, 0).see(2).cr3(At.pml4, 0, true).see(2);
  });
});

describe('INVLPG', () => {
  it('ends global translations too, and not those of other pages', () => {
    new Stale(G).set(R.rbx, At.data).step(INVLPG).see(2);
    new Stale()
      .set(R.rbx, At.data + 0x1000)
      .step(INVLPG)
      .see(1);
  });
  it('reaches what other tables have of a global page', () => {
    const m = new Stale(G).cr3(OTHER_ROOT, 1);
    m.set(R.rbx, At.data).step(INVLPG).cr3(At.pml4, 0, true).see(2);
  });
});

describe('INVLPG outside 64-bit mode', () => {
  const setDs = (m: Machine, base: number, limit: number, attributes: number): Machine => {
    m.state.writeSegment(SEG.ds, { selector: 0x10, base: BigInt(base), limit, attributes });
    m.cpu.modeChanged();
    return m;
  };
  const paged = (): Machine => {
    const m = new Machine().compat(0);
    m.poke(OLD, 4, 1);
    m.poke(NEW, 4, 2);
    const to = (frame: number): void => m.poke(At.pt + (At.data >> 12) * 8, 8, BigInt(frame) | 0x63n);
    to(OLD);
    expect(m.set(R.rbx, At.data).step(LOAD).get(R.rcx)).toBe(1n);
    to(NEW);
    return m;
  };
  const FLAT = [0, 0xffffffff, 0xc093] as const;

  it('adds the base of its segment, around the end of the address space too', () => {
    const m = paged();
    setDs(m, 0x1000, 0xffffffff, 0xc093).set(R.rbx, At.data).step(INVLPG);
    expect(
      setDs(m, ...FLAT)
        .step(LOAD)
        .get(R.rcx),
    ).toBe(1n);
    setDs(m, 0x1000, 0xffffffff, 0xc093)
      .set(R.rbx, At.data - 0x1000)
      .step(INVLPG);
    expect(
      setDs(m, ...FLAT)
        .set(R.rbx, At.data)
        .step(LOAD)
        .get(R.rcx),
    ).toBe(2n);
    const around = paged();
    setDs(around, 0xfffff000, 0xffffffff, 0xc093)
      .set(R.rbx, At.data + 0x1000)
      .step(INVLPG);
    expect(
      setDs(around, ...FLAT)
        .set(R.rbx, At.data)
        .step(LOAD)
        .get(R.rcx),
    ).toBe(2n);
  });
  it.each([
    ['a null segment', 0x0, 0x1000000],
    ['an execute-only segment', 0xffffffff, 0xc099],
    ['a limit that is passed', 0xfff, 0x4093],
  ])('does not look at %s', (_name, limit, attributes) => {
    const m = setDs(paged(), 0, limit, attributes).set(R.rbx, At.data).step(INVLPG);
    expect(
      setDs(m, ...FLAT)
        .step(LOAD)
        .get(R.rcx),
    ).toBe(2n);
  });
});

describe('INVPCID', () => {
  it('ends one page of one context', () => {
    new Stale().invpcid(0, 0, At.data).see(2);
    new Stale().invpcid(0, 0, At.data + 0x1000).see(1);
  });
  it('ends one context, but for global pages', () => {
    new Stale().invpcid(1, 0).see(2);
    new Stale().invpcid(1, 3).see(1);
    new Stale(G).invpcid(1, 0).see(1);
  });
  it('ends all contexts, with or without global pages', () => {
    new Stale(G).invpcid(2, 0).see(2);
    new Stale().invpcid(3, 0).see(2);
    new Stale(G).invpcid(3, 0).see(1);
    new Stale().cr3(OTHER_ROOT, 1).invpcid(3, 0).cr3(At.pml4, 0, true).see(2);
  });
  it('refuses types and descriptors that there are not', () => {
    const refused = (type: number, pcid: bigint, address = 0n, pcide = true, cpl = 0) => {
      const m = new Machine().long(cpl);
      if (pcide) m.state.set(S.cr4, m.state.get(S.cr4) | PCIDE);
      m.poke(At.data, 8, pcid);
      m.poke(At.data + 8, 8, address);
      return m.set(R.rax, type).set(R.rdx, At.data).fault(INVPCID);
    };
    expect(refused(4, 0n)).toMatchObject(gp0);
    expect(refused(1, 0x1000n)).toMatchObject(gp0);
    expect(refused(0, 0n, 1n << 47n)).toMatchObject(gp0);
    expect(refused(0, 1n, 0n, false)).toMatchObject(gp0);
    expect(refused(1, 1n, 0n, false)).toMatchObject(gp0);
    expect(refused(2, 0n, 0n, true, 3)).toMatchObject(gp0);
  });
});

describe('CR4', () => {
  const write = (m: Stale, change: bigint): Stale => m.set(R.rax, m.state.get(S.cr4) ^ change).step(TO_CR4);
  it('ends everything where PGE changes, global pages included', () => {
    write(new Stale(G), PGE).see(2);
  });
  it('ends everything where PCIDE is cleared', () => {
    write(new Stale(G), PCIDE).see(2);
  });
  it('ends nothing where TSD changes', () => {
    write(new Stale(), 4n).see(1);
  });
});

describe('the top entries of PAE paging', () => {
  const PAE = 0x20n;
  /** 32-bit code under PAE paging; 1 GiB and up has no page directory. */
  function pae(): Machine {
    const m = new Machine().protected(0, false);
    m.state.set(S.cr4, PAE | PGE);
    m.state.set(S.cr3, BigInt(At.pdptPae));
    m.poke(At.data, 4, 7);
    m.idt32();
    return m
      .set(R.rax, 0x80010033n)
      .step('0f 22 c0')
      .set(R.rbx, 0x40000000 + At.data);
  }
  it('are those of the last write to CR3', () => {
    const m = pae();
    m.poke(At.pdptPae + 8, 8, BigInt(At.pd) | 1n);
    m.code(LOAD).cpu.run(1);
    expect([m.state.rip, m.state.get(S.cr2)]).toEqual([BigInt(At.handlers), BigInt(0x40000000 + At.data)]);
    m.set(R.rax, At.pdptPae).step(TO_CR3);
    expect(m.step(LOAD).get(R.rcx)).toBe(7n);
  });
  it('are loaded by a change of CR4.PGE too, and checked', () => {
    const m = pae();
    m.poke(At.pdptPae + 8, 8, BigInt(At.pd) | 1n);
    m.set(R.rax, PAE).step(TO_CR4);
    expect(m.step(LOAD).get(R.rcx)).toBe(7n);
    m.poke(At.pdptPae + 8, 8, BigInt(At.pd) | 3n);
    m.state.set32(S.pv, 1);
    expect(m.set(R.rax, PAE | PGE).fault(TO_CR4)).toMatchObject(gp0);
    expect(m.set(R.rax, At.pdptPae).fault(TO_CR3)).toMatchObject(gp0);
  });
  it('stand anywhere on 32 bytes', () => {
    const m = pae();
    for (let i = 0; i < 2; i++) m.poke(At.pdptPae + 0xfe0 + i * 8, 8, BigInt(At.pd) | 1n);
    m.set(R.rax, At.pdptPae + 0xfe0).step(TO_CR3);
    expect(m.step(LOAD).get(R.rcx)).toBe(7n);
  });
});
