// Second-level translation: the map itself, and a guest whose physical memory stands elsewhere in the machine's, in every paging mode.
import { describe, expect, it } from 'vitest';
import { readPdptes, setPdptes } from '../../../src/cpu/helpers/pdptes.ts';
import { S } from '../../../src/cpu/layout.ts';
import { NOT_RAM, PhysicalMap } from '../../../src/cpu/physical-map.ts';
import { At, Exit, Machine, R, SEG, Vector } from '../system/machine.ts';

describe('PhysicalMap', () => {
  it('is NOT_RAM wherever nothing was set, however large the number', () => {
    const map = new PhysicalMap(4);
    expect([0, 3, 4, 2 ** 40].map(gfn => map.get(gfn))).toEqual([NOT_RAM, NOT_RAM, NOT_RAM, NOT_RAM]);
  });
  it('gives what stood there before, and counts RAM', () => {
    const map = new PhysicalMap(4);
    expect(map.set(2, 7)).toBe(NOT_RAM);
    expect(map.set(2, 9)).toBe(7);
    expect([map.get(2), map.count]).toEqual([9, 1]);
    expect(map.set(2, NOT_RAM)).toBe(9);
    expect(map.count).toBe(0);
  });
  it('grows where it is told to, and not by itself', () => {
    const map = new PhysicalMap(1);
    map.set(0, 5);
    expect(() => map.set(1, 6)).toThrow(RangeError);
    expect(() => map.set(-1, 6)).toThrow(RangeError);
    map.grow(2);
    map.grow(1);
    map.set(1, 6);
    expect([map.get(0), map.get(1), map.size]).toEqual([5, 6, 2]);
  });
  it('is told from others', () => {
    expect(new PhysicalMap().id).not.toBe(new PhysicalMap().id);
  });
});

/** Guest frames [0, 0x80) of test machines stand 0x80 frames higher in the machine; the rest is no RAM. */
const LOW = 0x80;
const UP = LOW * 4096;
const DEVICE = 0x90000;
const LOAD = '8b 0b'; // mov ecx, [rbx]
const STORE = '89 03'; // mov [rbx], eax

interface Access {
  address: bigint;
  size: number;
  value?: bigint;
}

/** A machine whose low half moves up, and code for it there. */
function moved(enter: (m: Machine) => Machine): {
  m: Machine;
  map: PhysicalMap;
  log: Access[];
  run: (hex: string) => Machine;
} {
  const m = enter(new Machine());
  const { ramBase, u8 } = m.memory;
  const map = new PhysicalMap(LOW);
  for (let gfn = 0; gfn < LOW; gfn++) map.set(gfn, gfn + LOW);
  u8.copyWithin(ramBase + UP, ramBase, ramBase + UP);
  u8.fill(0, ramBase, ramBase + UP);
  const log: Access[] = [];
  m.cpu.bus = {
    read: (address, size) => {
      log.push({ address, size });
      return 0x1122334455667788n & ((1n << BigInt(8 * size)) - 1n);
    },
    write: (address, size, value) => {
      log.push({ address, size, value });
    },
    portRead: () => 0,
    portWrite: () => {},
  };
  m.cpu.selectPhysicalMap(map);
  m.cpu.modeChanged();
  const run = (hex: string): Machine => {
    m.put(
      Number(m.state.rip) + UP,
      Uint8Array.from(hex.split(' '), x => Number.parseInt(x, 16)),
    );
    expect(m.cpu.run(1)).toBe(Exit.fuel);
    return m;
  };
  return { m, map, log, run };
}

const modes: Record<string, (m: Machine) => Machine> = {
  'without paging': m => m.protected(0, false),
  'in real mode': m => m.real(false),
  'under 32-bit paging': m => paged(m, 0n, At.pd32),
  'under PAE paging': m => paged(m, 0x20n, At.pdptPae),
  'under 4-level paging': m => m.long(0, false),
};

function paged(m: Machine, cr4: bigint, root: number): Machine {
  m.protected(0, false);
  m.state.set(S.cr0, 0x80010033n);
  m.state.set(S.cr4, cr4);
  m.state.set(S.cr3, BigInt(root));
  if (cr4) setPdptes(m.state, readPdptes(m.cpu, BigInt(root)));
  m.cpu.modeChanged();
  return m;
}

describe('a guest with a physical map', () => {
  const word = (name: string, hex: string): string => (name === 'in real mode' ? `66 67 ${hex}` : hex);

  for (const [name, enter] of Object.entries(modes)) {
    it(`has code, tables and memory where the map says, ${name}`, () => {
      const { m, run } = moved(enter);
      m.poke(At.data + UP, 4, 0x55);
      m.set(R.rbx, At.data);
      expect(run(word(name, LOAD)).get(R.rcx)).toBe(0x55n);
      m.set(R.rax, 0x66);
      run(word(name, STORE));
      expect([m.peek(At.data + UP, 4), m.peek(At.data, 4)]).toEqual([0x66n, 0n]);
    });
    it(`meets devices by their guest-physical address, ${name}`, () => {
      const { m, log, run } = moved(enter);
      m.set(R.rbx, DEVICE + 0x14).set(R.rax, 0x99);
      // unreal mode reaches beyond 64 KiB
      for (const index of [SEG.ds, SEG.es]) m.state.writeSegment(index, { ...m.reg(index), limit: 0xffffffff });
      expect(run(word(name, LOAD)).get(R.rcx)).toBe(0x55667788n);
      run(word(name, STORE));
      expect(log).toEqual([
        { address: BigInt(DEVICE + 0x14), size: 4 },
        { address: BigInt(DEVICE + 0x14), size: 4, value: 0x99n },
      ]);
    });
  }

  it('has what an entry says from its change on: RAM, other RAM, a device', () => {
    const { m, map, run } = moved(x => x.long(0, false));
    m.set(R.rbx, DEVICE);
    expect(run(LOAD).get(R.rcx)).toBe(0x55667788n);
    map.grow(0x100);
    map.set(DEVICE >> 12, 0x10);
    m.poke(0x10000, 4, 1);
    expect(run(LOAD).get(R.rcx)).toBe(1n);
    m.poke(0x11000, 4, 2);
    m.cpu.dropFrame(map.set(DEVICE >> 12, 0x11));
    expect(run(LOAD).get(R.rcx)).toBe(2n);
    m.cpu.dropFrame(map.set(DEVICE >> 12, NOT_RAM));
    expect(run(LOAD).get(R.rcx)).toBe(0x55667788n);
  });

  it('shares no translation with another one of the same tables', () => {
    const { m, run } = moved(x => x.long(0, false));
    m.set(R.rbx, At.data);
    m.poke(At.data + UP, 4, 1);
    m.poke(At.stack0 + UP, 4, 2);
    const other = new PhysicalMap(LOW);
    for (let gfn = 0; gfn < LOW; gfn++) other.set(gfn, (gfn === At.data >> 12 ? At.stack0 >> 12 : gfn) + LOW);
    expect(run(LOAD).get(R.rcx)).toBe(1n);
    m.cpu.selectPhysicalMap(other);
    m.cpu.modeChanged();
    expect(run(LOAD).get(R.rcx)).toBe(2n);
  });

  it('faults where tables are no RAM, and where code is none', () => {
    const { m, run } = moved(x => x.long(0, false));
    m.poke(At.pdpt + UP + 8, 8, 0x90000007n); // a directory in device space
    m.set(R.rbx, 0x40000000);
    for (const vector of [Vector.PF, Vector.GP]) m.idtLong(vector, At.handlers);
    m.bytes(At.idt + UP, 0x1000).set(m.bytes(At.idt, 0x1000));
    expect(run(LOAD).state.get32(S.faultVector)).toBe(Vector.PF);
    expect([m.state.rip, m.peek(Number(m.get(R.rsp)) + UP, 8)]).toEqual([BigInt(At.handlers), 9n]);
    m.state.rip = BigInt(DEVICE);
    expect(m.cpu.run(1)).toBe(Exit.fuel);
    expect([m.state.rip, m.state.get32(S.faultVector)]).toEqual([BigInt(At.handlers), Vector.GP]);
  });
});
