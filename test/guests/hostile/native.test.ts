// Programs on a bare machine that do what they must not: it ends with a reason, or goes on; nothing that they do reaches the host.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { MemorySource } from '../../../src/backends/block/memory-source.ts';
import type { HostEvents } from '../../../src/machine/host-events.ts';
import type { Pc } from '../../../src/machine/pc.ts';
import { VirtioBlock } from '../../../src/machine/virtio/block.ts';
import { VirtioConsole } from '../../../src/machine/virtio/console.ts';
import { VirtioNet } from '../../../src/machine/virtio/net.ts';
import { addVirtio } from '../../../src/machine/virtio/pci-device.ts';
import { VirtioRng } from '../../../src/machine/virtio/rng.ts';
import {
  type Assembler,
  al,
  ax,
  byte,
  cr0,
  cr3,
  cr4,
  dword,
  dx,
  eax,
  ebx,
  ecx,
  edi,
  edx,
  esi,
  esp,
  mem,
} from '../../../src/toolstack/init/assembler/assembler.ts';
import { apicAt, run, setUp, stopForEver } from '../../machine/bare-program.ts';

/** More than any of these needs, and little enough to wait for. */
const MOST = 3_000_000n;
const HOLE = 0xd0000000;
const MASTER = 7;

/** Every device that a machine can have. */
function equip(pc: Pc, events: HostEvents): void {
  const machine = { memory: pc.physical, later: (work: () => void) => events.raise(work), log: () => {} };
  const port = { mtu: 1500, send: () => {}, attach: () => {}, resume: () => {} };
  addVirtio(pc.pci, new VirtioBlock(machine, { source: new MemorySource({ size: 1 << 16 }) }));
  addVirtio(pc.pci, new VirtioNet(machine, { mac: Uint8Array.of(2, 0, 0, 0, 0, 1), port }));
  addVirtio(pc.pci, new VirtioRng(machine, into => into.fill(1)));
  addVirtio(pc.pci, new VirtioConsole(machine, { output: () => {} }));
  pc.runFirmware(pc.localApics.map(apic => apic.initialId));
  for (let slot = 0; slot < 8; slot++) pc.pci.writeConfig(0, slot << 3, 4, 2, MASTER);
}

/** How a program ended: the machine's words, 'waits for ever', or 'is busy'. */
function ends(write: (a: Assembler) => void, cpus = 1): string {
  const { end, isBusy } = run(
    a => {
      write(a);
      stopForEver(a);
    },
    { cpus, most: MOST, equip },
  );
  return end ?? (isBusy ? 'is busy' : 'waits for ever');
}

const TRIPLE_FAULT = /^crash: triple fault on CPU 0/;

describe('a bare machine goes on, or ends with a reason, while a program', () => {
  it('writes and reads all over the hole below 4 GiB', () => {
    const result = ends(a => {
      a.mov(edx, 0xc0000000).label('next');
      a.mov(dword(edx, 12), edx).mov(eax, dword(edx)).mov(al, byte(edx, 3)).add(edx, 0x11000).jnc('next');
    });
    expect(result).toBe('waits for ever');
  });

  it('uses device space as its stack, its operands and its state', () => {
    const result = ends(a => {
      a.mov(eax, cr4).or(eax, 0x200).mov(cr4, eax); // FXSAVE
      a.mov(esp, HOLE).push(eax).pop(ecx).add(dword(esp), 1).lock().add(dword(esp), 1);
      a.mov(esi, HOLE).mov(edi, 0x20000).mov(ecx, 2000).rep().movsd();
      a.mov(esi, 0x20000)
        .mov(edi, HOLE + 0xfff)
        .mov(ecx, 2000)
        .rep()
        .movsd();
      a.mov(edi, HOLE).mov(ecx, 4096).rep().stosb();
      a.mov(eax, HOLE).db(0x0f, 0xae, 0x00); // fxsave [eax]
      a.db(0xdd, 0x30).db(0xdd, 0x20); // fnsave [eax]; frstor [eax]
      a.db(0x0f, 0x01, 0x00); // sgdt [eax]
    });
    expect(result).toBe('waits for ever');
  });

  it('asks all its processors for everything', () => {
    const result = ends(a => {
      setUp(a);
      // all delivery modes and shorthands, vectors that are none, destinations that are nobody
      a.mov(ebx, 0x500);
      a.label('ipi').mov(eax, ebx).shl(eax, 24).mov(apicAt(0x310), eax);
      a.mov(eax, ebx).imul(eax, eax, 0x01000193).and(eax, 0xfff00).cmp(eax, 0x40000).jb('send').and(eax, 0x3ffff);
      a.label('send').mov(apicAt(0x300), eax).dec(ebx).jne('ipi');
    }, 3);
    expect(result).toMatch(/^crash: triple fault on CPU|waits for ever|is busy/);
  });

  it('sets every register of its local APIC to ones and to zeros', () => {
    const result = ends(a => {
      for (const value of [0xffffffff, 0]) {
        const again = a.unique('register');
        a.mov(edx, 0xfee00000).mov(eax, value).label(again).mov(dword(edx), eax).mov(ecx, dword(edx));
        a.add(edx, 0x10).cmp(edx, 0xfee00400).jb(again);
      }
    });
    expect(result).toMatch(/^crash: triple fault on CPU 0|waits for ever|is busy/);
  });

  it('has a page table that is its own page table', () => {
    const result = ends(a => {
      a.mov(edi, 0x20000).mov(ecx, 1024).mov(eax, 0x20003).rep().stosd();
      a.mov(eax, 0x20000).mov(cr3, eax).mov(eax, cr0).or(eax, 0x80000000).mov(cr0, eax).hlt();
    });
    expect(result).toMatch(/^crash: triple fault on CPU 0|is busy/);
  });

  it('writes to every port, in every width, forwards and backwards', () => {
    for (const [first, step] of [
      [0, 1],
      [0xffff, -1],
    ]) {
      // biome-ignore format: pairs
      const result = ends(a => {
        a.mov(edx, first).mov(ecx, 0x10000).label('port');
        a.mov(eax, edx).in(eax, dx).out(dx, al).out(dx, eax).add(edx, step).dec(ecx).jne('port');
      });
      expect(result).toMatch(/^(reboot|poweroff): |waits for ever/);
    }
  });
});

describe('a bare machine ends when a program', () => {
  it('has its interrupt table in device space', () => {
    const result = ends(a => {
      a.lidt(mem('there')).ud2();
      a.label('there').dw(0x7ff).dd(HOLE);
    });
    expect(result).toMatch(TRIPLE_FAULT);
  });

  it('has its descriptors where there is nothing', () => {
    const result = ends(a => {
      a.lgdt(mem('there')).mov(eax, 0x18).mov(ax, ax).db(0x8e, 0xd8); // mov ds, ax
      a.label('there').dw(0xffff).dd(HOLE);
    });
    expect(result).toMatch(TRIPLE_FAULT);
  });

  it('has its page tables where there is nothing', () => {
    const result = ends(a => a.mov(eax, HOLE).mov(cr3, eax).mov(eax, cr0).or(eax, 0x80000000).mov(cr0, eax).hlt());
    expect(result).toMatch(TRIPLE_FAULT);
  });

  it.each([
    ['the keyboard controller', 0x64, 0xfe],
    ['port 0xcf9', 0xcf9, 6],
    ['port 0x92', 0x92, 1],
  ])('asks %s for a reset', (_name, port, value) => {
    expect(ends(a => a.mov(edx, port).mov(eax, value).out(dx, al))).toMatch(/^reboot: reset by/);
  });
});

/** Where a driver has told the block device that its queue is; small, so that random contents often make sense. */
const QUEUE = 0x30000;
const QUEUE_BYTES = 0x4000;

interface Access {
  kind: 'port' | 'memory' | 'configuration';
  at: number;
  size: 1 | 2 | 4;
  value: number;
}

/** Accesses to places where something is, mostly. */
function accesses(pc: Pc): fc.Arbitrary<Access> {
  const bars = [1, 2, 3, 4].flatMap(slot => {
    const bar = (register: number): number => pc.pci.readConfig(0, slot << 3, register, 4);
    return [
      { kind: 'port' as const, base: bar(0x10) & ~3 },
      { kind: 'memory' as const, base: (bar(0x20) & ~15) >>> 0 },
    ];
  });
  const value = fc.oneof(
    fc.nat(0xff),
    fc.nat(0xffff),
    fc.integer({ min: 0, max: 0xffffffff }),
    fc.constant(QUEUE / 4096),
  );
  const size = fc.constantFrom(1 as const, 2 as const, 4 as const);
  const device = fc.record({ bar: fc.constantFrom(...bars), offset: fc.nat(0x3f), size, value });
  return fc.oneof(
    device.map(({ bar, offset, ...rest }) => ({ kind: bar.kind, at: bar.base + offset, ...rest })),
    fc.record({ kind: fc.constant('port' as const), at: fc.nat(0xffff), size, value }),
    fc.record({ kind: fc.constant('configuration' as const), at: fc.nat(0xffff), size, value }),
    fc
      .record({ page: fc.constantFrom(0xfec00000, 0xfed00000, 0xe0008000, HOLE), offset: fc.nat(0xfff), size, value })
      .map(({ page, offset, ...rest }) => ({ kind: 'memory' as const, at: page + offset, ...rest })),
  );
}

function make(pc: Pc, { kind, at, size, value }: Access): void {
  if (kind === 'configuration') {
    const register = at & 0xff & ~(size - 1);
    pc.pci.readConfig(0, at >> 8, register, size);
    pc.pci.writeConfig(0, at >> 8, register, size, value);
    return;
  }
  const space = pc.bus[kind === 'port' ? 'ports' : 'memory'];
  space.read(at, size);
  space.write(at, size, value);
}

describe('devices of a bare machine', () => {
  it('bear any accesses, with queues full of anything', () => {
    let events!: HostEvents;
    const { pc } = run(a => stopForEver(a), { equip: (made, its) => equip(made, (events = its)) });
    fc.assert(
      fc.property(
        fc.array(accesses(pc), { minLength: 1, maxLength: 200 }),
        fc.uint8Array({ minLength: 64, maxLength: 512 }),
        (list, noise) => {
          for (let at = 0; at < QUEUE_BYTES; at += noise.length) pc.physical.write(QUEUE + at, noise);
          for (const access of list) make(pc, access);
          events.deliver();
        },
      ),
      { numRuns: 200, seed: 7 },
    );
  });
});
