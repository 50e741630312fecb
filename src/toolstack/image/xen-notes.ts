// What a kernel tells Xen about itself: its ELF notes, or the "__xen_guest" string of kernels before 2.6.21
// (xen/include/public/elfnote.h; how they are read: xen/common/libelf/libelf-dominfo.c).

import { type ElfFile, elfNotes } from '../../abi/elf.ts';
import {
  TEXT_NOTES,
  XEN_ELFNOTE,
  XENFEAT,
  type XenFeature,
  type XenNoteName,
  xenNoteName,
} from '../../abi/xen/elfnote.ts';
import { cString, viewOf } from '../../util/bytes.ts';

export interface XenNote {
  readonly number: number;
  /** Null for a number that the interface does not define. */
  readonly name: XenNoteName | null;
  readonly value: string | bigint | Uint8Array;
}

export interface XenNotes {
  readonly source: 'notes' | '__xen_guest' | 'none';
  /** Every note in the file's order. */
  readonly all: readonly XenNote[];
  readonly entry: bigint | null;
  /** The address of the page to fill with hypercall stubs; null where the kernel makes its own. */
  readonly hypercallPage: bigint | null;
  readonly virtBase: bigint | null;
  readonly paddrOffset: bigint | null;
  readonly xenVersion: string | null;
  readonly guestOs: string | null;
  readonly guestVersion: string | null;
  readonly loader: string | null;
  readonly paeMode: string | null;
  readonly bsdSymtab: string | null;
  readonly hvStartLow: bigint | null;
  /** An L1 entry is valid where (entry & mask) == value, for any of these. */
  readonly l1MfnValid: readonly { readonly mask: bigint; readonly value: bigint }[];
  readonly suspendCancel: boolean;
  /** Where the p2m list is to be mapped; null: anywhere in the initial mapping. */
  readonly initP2m: bigint | null;
  /** The initrd is given by its frame number and need not be mapped. */
  readonly modStartPfn: boolean;
  /** Features that the kernel can use (FEATURES without '!', and SUPPORTED_FEATURES). */
  readonly supportedFeatures: ReadonlySet<XenFeature>;
  /** Features that the kernel cannot run without (FEATURES with '!'). */
  readonly requiredFeatures: ReadonlySet<XenFeature>;
  /** SUPPORTED_FEATURES as it stands; null where the kernel has no such note. */
  readonly supportedFeatureBits: bigint | null;
  /** The physical address of the 32-bit PVH entry point. */
  readonly phys32Entry: number | null;
  /** Where a relocatable PVH kernel may be loaded; bytes. */
  readonly phys32Reloc: { readonly align: number; readonly min: number; readonly max: number } | null;
}

/** Reads the notes of owner "Xen", or else the "__xen_guest" section. */
export function readXenNotes(elf: ElfFile): XenNotes {
  const all: XenNote[] = [];
  for (const note of elfNotes(elf)) {
    if (note.owner === 'Xen') all.push(decode(note.type, note.data));
  }
  if (all.length > 0) return interpret(all, 'notes', elf.bits / 8);
  const legacy = elf.sections.find(section => section.name === '__xen_guest');
  if (legacy !== undefined) return interpret(parseGuestString(cString(legacy.data, 0)), '__xen_guest', elf.bits / 8);
  return interpret([], 'none', elf.bits / 8);
}

function decode(number: number, data: Uint8Array): XenNote {
  const name = xenNoteName(number);
  if (name !== null && TEXT_NOTES.has(name)) return { number, name, value: cString(data, 0) };
  const view = viewOf(data);
  // Xen reads a number of 1, 2, 4 or 8 bytes; everything else is kept as bytes.
  if (data.length === 8) return { number, name, value: view.getBigUint64(0, true) };
  if (data.length === 4) return { number, name, value: BigInt(view.getUint32(0, true)) };
  if (data.length === 2) return { number, name, value: BigInt(view.getUint16(0, true)) };
  if (data.length === 1) return { number, name, value: BigInt(data[0]) };
  return { number, name, value: data };
}

function interpret(all: readonly XenNote[], source: XenNotes['source'], wordBytes: number): XenNotes {
  const find = (name: XenNoteName) => all.find(note => note.name === name)?.value;
  const number = (name: XenNoteName) => {
    const value = find(name);
    return typeof value === 'bigint' ? value : null;
  };
  const text = (name: XenNoteName) => {
    const value = find(name);
    return typeof value === 'string' ? value : null;
  };
  // Linux writes "yes" into a numeric note here; any value but zero means yes.
  const yes = (name: XenNoteName) => find(name) !== undefined && number(name) !== 0n;
  const supportedFeatureBits = number('SUPPORTED_FEATURES');
  const { supported, required } = parseFeatures(text('FEATURES') ?? '', supportedFeatureBits ?? 0n);
  return {
    source,
    all,
    entry: number('ENTRY'),
    hypercallPage: number('HYPERCALL_PAGE'),
    virtBase: number('VIRT_BASE'),
    paddrOffset: number('PADDR_OFFSET'),
    xenVersion: text('XEN_VERSION'),
    guestOs: text('GUEST_OS'),
    guestVersion: text('GUEST_VERSION'),
    loader: text('LOADER'),
    paeMode: text('PAE_MODE'),
    bsdSymtab: text('BSD_SYMTAB'),
    hvStartLow: number('HV_START_LOW'),
    l1MfnValid: maskValuePairs(find('L1_MFN_VALID'), wordBytes),
    suspendCancel: yes('SUSPEND_CANCEL'),
    initP2m: number('INIT_P2M'),
    modStartPfn: yes('MOD_START_PFN'),
    supportedFeatures: supported,
    requiredFeatures: required,
    supportedFeatureBits,
    phys32Entry: phys32(number('PHYS32_ENTRY')),
    phys32Reloc: relocation(find('PHYS32_RELOC')),
  };
}

function phys32(value: bigint | null): number | null {
  return value === null || value > 0xffffffffn ? null : Number(value);
}

/** Pairs of entry-sized words: 8 bytes on 64-bit and PAE, where the note is at least 16 bytes long. */
function maskValuePairs(value: XenNote['value'] | undefined, wordBytes: number) {
  // Two 32-bit words decode as one 64-bit number.
  if (typeof value === 'bigint') return [{ mask: value & 0xffffffffn, value: value >> 32n }];
  if (!(value instanceof Uint8Array)) return [];
  const size = value.length % 16 === 0 ? 8 : wordBytes;
  const view = viewOf(value);
  const word = (at: number) => (size === 8 ? view.getBigUint64(at, true) : BigInt(view.getUint32(at, true)));
  const pairs: { mask: bigint; value: bigint }[] = [];
  for (let at = 0; at + 2 * size <= value.length; at += 2 * size)
    pairs.push({ mask: word(at), value: word(at + size) });
  return pairs;
}

function relocation(value: XenNote['value'] | undefined): XenNotes['phys32Reloc'] {
  // Defaults of the note's optional words (elfnote.h): 2 MiB alignment, anywhere below 4 GiB.
  if (value === undefined || typeof value === 'string') return null;
  const words =
    typeof value === 'bigint'
      ? [Number(value & 0xffffffffn), ...(value >> 32n ? [Number(value >> 32n)] : [])]
      : Array.from({ length: Math.floor(value.length / 4) }, (_, i) => viewOf(value).getUint32(i * 4, true));
  return { align: words[0] || 0x200000, min: words[1] ?? 0, max: words[2] ?? 0xffffffff };
}

/** "name|!name|…" with a numeric set of more. */
function parseFeatures(list: string, bits: bigint) {
  const supported = new Set<XenFeature>();
  const required = new Set<XenFeature>();
  for (const item of list.split('|')) {
    const name = item.trim().replace(/^!/, '') as XenFeature;
    if (!(name in XENFEAT)) continue;
    if (item.trim().startsWith('!')) required.add(name);
    supported.add(name);
  }
  for (const [name, bit] of Object.entries(XENFEAT)) {
    if ((bits >> BigInt(bit)) & 1n) supported.add(name as XenFeature);
  }
  return { supported, required };
}

/** Keys of the old string and the notes that they became. */
const GUEST_STRING_KEYS: Readonly<Record<string, XenNoteName>> = {
  GUEST_OS: 'GUEST_OS',
  GUEST_VER: 'GUEST_VERSION',
  XEN_VER: 'XEN_VERSION',
  PAE: 'PAE_MODE',
  LOADER: 'LOADER',
  FEATURES: 'FEATURES',
  BSD_SYMTAB: 'BSD_SYMTAB',
  VIRT_BASE: 'VIRT_BASE',
  VIRT_ENTRY: 'ENTRY',
  ELF_PADDR_OFFSET: 'PADDR_OFFSET',
  HYPERCALL_PAGE: 'HYPERCALL_PAGE',
};

/** "KEY=VALUE,KEY=VALUE,…"; numbers in C's notation. */
function parseGuestString(text: string): XenNote[] {
  const notes: XenNote[] = [];
  for (const item of text.split(',')) {
    const [key, ...rest] = item.trim().split('=');
    const name = GUEST_STRING_KEYS[key];
    if (name === undefined) continue;
    const written = rest.join('=');
    const value = TEXT_NOTES.has(name) ? written || 'yes' : parseNumber(written);
    if (value !== null) notes.push({ number: XEN_ELFNOTE[name], name, value });
  }
  const base = notes.find(note => note.name === 'VIRT_BASE');
  // Here the hypercall page is a page number above VIRT_BASE, and the physical offset defaults to VIRT_BASE.
  const virtBase = typeof base?.value === 'bigint' ? base.value : 0n;
  const result = notes.map(note =>
    note.name === 'HYPERCALL_PAGE' && typeof note.value === 'bigint'
      ? { ...note, value: (note.value << 12n) + virtBase }
      : note,
  );
  if (base !== undefined && !notes.some(note => note.name === 'PADDR_OFFSET')) {
    result.push({ number: XEN_ELFNOTE.PADDR_OFFSET, name: 'PADDR_OFFSET', value: virtBase });
  }
  return result;
}

function parseNumber(text: string): bigint | null {
  return /^(0x[0-9a-f]+|[0-9]+)$/i.test(text) ? BigInt(text) : null;
}
