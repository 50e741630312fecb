// What a kernel tells Xen, by notes and by the old string, and which modes follow from it.

import { describe, expect, it } from 'vitest';
import { PT_LOAD, PT_NOTE } from '../../../src/abi/elf.ts';
import { formatInspection, inspectImage, loadImage } from '../../../src/toolstack/image/index.ts';
import { concatBytes } from '../../../src/util/bytes.ts';
import { little, makeBzImage, makeElf, note, type TestElf, text } from './builders.ts';

const BASE = 0xffffffff81000000n;
const numbers = (...values: (number | bigint)[]) => concatBytes(values.map(value => little(value, 8)));
const words = (...values: number[]) => concatBytes(values.map(value => little(value, 4)));

/** The notes of a Linux kernel with everything; single ones can be replaced (by null: left out). */
const LINUX: Record<string, Uint8Array> = {
  6: text('linux\0'),
  7: text('2.6\0'),
  5: text('xen-3.0\0'),
  3: numbers(0xffffffff80000000n),
  15: numbers(0x8000000000),
  1: numbers(BASE + 0x1000n),
  10: text('!writable_page_tables|pae_pgdir_above_4gb|from_the_future\0'),
  17: words(0x8801),
  9: text('yes\0'),
  8: text('generic\0'),
  13: numbers(1, 1),
  14: words(1),
  16: numbers(1),
  12: numbers(0xffff800000000000n),
  4: numbers(0),
  18: words(0x1000850),
  19: words(0x200000, 0x1000000, 0x3fffffff),
  77: text('?\0'),
};

function kernel(changes: Readonly<Record<number, Uint8Array | null>> = {}, more: Partial<TestElf> = {}): Uint8Array {
  const all: Record<number, Uint8Array | null> = { ...LINUX, ...changes };
  const notes = Object.entries(all).flatMap(([type, data]) => (data === null ? [] : [note('Xen', Number(type), data)]));
  return makeElf({
    entry: 0x1000000n,
    segments: [
      { type: PT_LOAD, vaddr: BASE, paddr: 0x1000000n, data: text('Linux version 6.9.0 (x)\0'), memorySize: 0x400000 },
      { type: PT_NOTE, vaddr: 0n, data: concatBytes([note('GNU', 1, text('gnu')), ...notes]) },
    ],
    ...more,
  });
}

const load = (bytes: Uint8Array) => loadImage(bytes, 'kernel');
const modesOf = async (bytes: Uint8Array) => inspectImage(await load(bytes)).modes;
const ALL_GONE: Record<number, null> = Object.fromEntries(Object.keys(LINUX).map(type => [type, null]));

describe('Xen notes', () => {
  it('are all decoded', async () => {
    const { xen } = await load(kernel({ 2: numbers(BASE + 0x2000n), 11: text('yes\0') }));
    expect(xen).toMatchObject({
      source: 'notes',
      entry: BASE + 0x1000n,
      hypercallPage: BASE + 0x2000n,
      virtBase: 0xffffffff80000000n,
      paddrOffset: 0n,
      xenVersion: 'xen-3.0',
      guestOs: 'linux',
      guestVersion: '2.6',
      loader: 'generic',
      paeMode: 'yes',
      bsdSymtab: 'yes',
      hvStartLow: 0xffff800000000000n,
      l1MfnValid: [{ mask: 1n, value: 1n }],
      suspendCancel: true,
      initP2m: 0x8000000000n,
      modStartPfn: true,
      supportedFeatureBits: 0x8801n,
      phys32Entry: 0x1000850,
      phys32Reloc: { align: 0x200000, min: 0x1000000, max: 0x3fffffff },
    });
    expect([...xen.requiredFeatures]).toEqual(['writable_page_tables']);
    expect([...xen.supportedFeatures].sort()).toEqual([
      'dom0',
      'linux_rsdp_unrestricted',
      'pae_pgdir_above_4gb',
      'writable_page_tables',
    ]);
    expect(xen.all.find(({ number }) => number === 77)).toMatchObject({ name: null });
  });

  it('of 32 bits are decoded as well', async () => {
    const image = await load(
      makeElf({
        bits: 32,
        segments: [
          { type: PT_LOAD, vaddr: 0xc1000000n, paddr: 0x1000000n, data: text('x'), memorySize: 0x1000 },
          {
            type: PT_NOTE,
            vaddr: 0n,
            data: concatBytes([
              note('Xen', 6, text('linux\0')),
              note('Xen', 5, text('xen-3.0\0')),
              note('Xen', 1, words(0xc1000010)),
              note('Xen', 3, words(0xc0000000)),
              note('Xen', 9, text('bimodal\0')),
              note('Xen', 13, numbers(1, 1)),
            ]),
          },
        ],
      }),
    );
    expect(image).toMatchObject({ entry: 0xc1000010n, virtBase: 0xc0000000n, virtStart: 0xc1000000n });
    expect(image.xen.l1MfnValid).toEqual([{ mask: 1n, value: 1n }]);
    expect(inspectImage(image).modes.pv).toEqual({ can: true, reason: '32-bit with PAE' });
  });

  it('of a kernel before ELF notes are a string in a section', async () => {
    const guest =
      'GUEST_OS=linux,GUEST_VER=2.6,XEN_VER=xen-3.0,VIRT_BASE=0xffffffff80000000,' +
      'HYPERCALL_PAGE=0x102,FEATURES=writable_page_tables|writable_descriptor_tables,LOADER=generic\0';
    const segments = [{ type: PT_LOAD, vaddr: BASE, paddr: BASE, data: text('x'), memorySize: 0x1000 }];
    const elf = { entry: BASE, segments, sections: [{ name: '__xen_guest', type: 1, data: text(guest) }] };
    const image = await load(makeElf(elf));
    expect(image.xen).toMatchObject({
      source: '__xen_guest',
      guestOs: 'linux',
      loader: 'generic',
      // A page number above VIRT_BASE; and physical addresses that are virtual ones unless said otherwise.
      hypercallPage: 0xffffffff80102000n,
      paddrOffset: 0xffffffff80000000n,
    });
    expect(image).toMatchObject({ virtStart: BASE, entry: BASE });
    const explicit = guest.replace('LOADER', 'ELF_PADDR_OFFSET=0x0,LOADER');
    elf.sections[0].data = text(explicit);
    expect((await load(makeElf(elf))).paddrOffset).toBe(0n);
  });
});

describe('modes', () => {
  it('of a kernel with everything', async () => {
    expect(await modesOf(makeBzImage(kernel()))).toMatchObject({
      native: { can: true },
      dom0: { can: true, reason: 'as PV' },
      dom0pvh: { can: true, reason: 'as PVH' },
      pv: { can: true },
      pvh: { can: true, reason: 'PHYS32_ENTRY 0x1000850' },
      pvhvm: { can: false, reason: 'neither its configuration nor its symbols are known' },
    });
  });

  it.each([
    ['no notes', kernel(ALL_GONE), 'pv', /no Xen ELF notes/],
    ['no notes', kernel(ALL_GONE), 'dom0', /no Xen ELF notes/],
    ['no notes', kernel(ALL_GONE), 'dom0pvh', /no PHYS32_ENTRY note/],
    ['only the PVH note', kernel({ ...ALL_GONE, 18: LINUX[18] }), 'pv', /no XEN_VERSION/],
    ['another interface', kernel({ 5: text('xen-2.0\0') }), 'pv', /for "xen-2.0"/],
    ['another guest', kernel({ 6: text('plan9\0'), 8: null }), 'pv', /neither the generic loader nor Linux/],
    ['no entry', kernel({ 1: null }), 'pv', /no ENTRY/],
    ['an entry outside', kernel({ 1: numbers(0x1234) }), 'pv', /entry point 0x1234 lies outside/],
    ['an offset without a base', kernel({ 3: null }), 'pv', /PADDR_OFFSET but no VIRT_BASE/],
    ['a p2m inside the kernel', kernel({ 15: numbers(BASE + 0x2000n) }), 'pv', /INIT_P2M/],
    ['a translated physmap', kernel({ 10: text('!auto_translated_physmap\0') }), 'pv', /auto_translated_physmap/],
    ['no PVH note', kernel({ 18: null }), 'pvh', /no PHYS32_ENTRY/],
    ['a PVH entry outside', kernel({ 18: words(0x100) }), 'pvh', /0x100 lies outside/],
    ['no dom0 feature', kernel({ 17: words(0x8001) }), 'dom0', /SUPPORTED_FEATURES lack dom0/],
    ['no dom0 feature', kernel({ 17: words(0x8001) }), 'dom0pvh', /SUPPORTED_FEATURES lack dom0/],
  ] as const)('cannot with %s', async (_, bytes, mode, reason) => {
    const answer = (await modesOf(bytes))[mode];
    expect(answer.can).toBe(false);
    expect(answer.reason).toMatch(reason);
  });

  it('Dom0 is not refused where SUPPORTED_FEATURES is missing', async () => {
    expect((await modesOf(kernel({ 17: null }))).dom0).toMatchObject({ can: true });
  });

  it('are printed with all notes', async () => {
    const lines = formatInspection(inspectImage(await load(makeBzImage(kernel(), '6.9.0 (x) #1')))).split('\n');
    expect(lines).toContain('  format   bzImage, not compressed, boot protocol 2.15');
    expect(lines).toContain('  version  6.9.0 (x) #1');
    expect(lines).toContain('  SUPPORTED_FEATURES  0x8801 (writable_page_tables dom0 linux_rsdp_unrestricted)');
    expect(lines).toContain('  PHYS32_RELOC        align 0x200000 min 0x1000000 max 0x3fffffff');
    expect(lines).toContain('  L1_MFN_VALID        mask 0x1 value 0x1');
    expect(lines).toContain('  unknown(77)         0x3f');
    expect(lines).toContain('  pv       can (64-bit, with Xen ELF notes)');
    expect(lines.at(-1)).toMatch(/^ {2}pvhvm {4}cannot, because /);
    expect(JSON.parse(JSON.stringify(inspectImage(await load(kernel())))).entry).toBe('0xffffffff81001000');
  });
});
