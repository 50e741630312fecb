// What `inspect` tells about an image: as data, and as text for a person.

import { PT_LOAD } from '../../abi/elf.ts';
import { XENFEAT } from '../../abi/xen/elfnote.ts';
import { toHex } from '../../util/bytes.ts';
import { type KernelImage, protocolText } from './kernel.ts';
import { imageModes, MODES, type Mode, type ModeAnswer } from './modes.ts';
import { kernelSymbols } from './symbols.ts';
import type { XenNote } from './xen-notes.ts';

/** Plain data, fit for JSON. Addresses are hexadecimal text, since they do not fit into JSON's numbers. */
export interface Inspection {
  readonly name: string;
  readonly sha256: string;
  readonly format: KernelImage['format'];
  readonly release: string;
  readonly version: string;
  readonly compression: string | null;
  /** Such as "2.15"; null for a vmlinux. */
  readonly bootProtocol: string | null;
  readonly bits: 32 | 64;
  readonly entry: string;
  /** Virtual addresses, end exclusive. */
  readonly virtualRange: readonly [start: string, end: string];
  /** Bytes of memory that the loaded segments take. */
  readonly memoryBytes: number;
  readonly notesFrom: KernelImage['xen']['source'];
  readonly notes: readonly { readonly number: number; readonly name: string; readonly value: string }[];
  readonly symbols: { readonly from: 'kallsyms' | 'symtab'; readonly count: number } | null;
  readonly configOptions: number | null;
  /** The release whose modules came with the package. */
  readonly modules: string | null;
  readonly modes: Readonly<Record<Mode, ModeAnswer>>;
}

/** Reads everything that can be told without booting. Takes some tenths of a second for the symbols. */
export function inspectImage(image: KernelImage): Inspection {
  const symbols = kernelSymbols(image.elf);
  const loaded = image.elf.segments.filter(segment => segment.type === PT_LOAD);
  return {
    name: image.name,
    sha256: image.sha256,
    format: image.format,
    release: image.release,
    version: image.version,
    compression: image.compression,
    bootProtocol: image.boot === null ? null : protocolText(image.boot),
    bits: image.elf.bits,
    entry: hex(image.entry),
    virtualRange: [hex(image.virtStart), hex(image.virtEnd)],
    memoryBytes: loaded.reduce((sum, segment) => sum + segment.memorySize, 0),
    notesFrom: image.xen.source,
    notes: image.xen.all.map(note => ({
      number: note.number,
      name: note.name ?? `unknown(${note.number})`,
      value: noteText(note, image),
    })),
    symbols: symbols === null ? null : { from: symbols.source, count: symbols.count },
    configOptions: image.config?.size ?? null,
    modules: image.modules?.release ?? null,
    modes: imageModes(image, symbols),
  };
}

/** The same as lines for a terminal, without a newline at the end. */
export function formatInspection(i: Inspection): string {
  const kind = [
    i.format,
    i.compression === null ? 'not compressed' : `compressed with ${i.compression}`,
    i.bootProtocol === null ? null : `boot protocol ${i.bootProtocol}`,
  ];
  const rows: [string, string][] = [
    ['sha256', i.sha256],
    ['format', kind.filter(part => part !== null).join(', ')],
    ['version', i.version === '' ? 'none (not Linux)' : i.version],
    ['kernel', `${i.bits}-bit ELF, ${i.virtualRange.join(' to ')}, entry ${i.entry}`],
    ['symbols', i.symbols === null ? 'none' : `${i.symbols.count} (${i.symbols.from})`],
    ['config', i.configOptions === null ? 'not in the file' : `${i.configOptions} options`],
    ['modules', i.modules ?? 'none in the file'],
  ];
  const notes: [string, string][] = i.notes.map(note => [note.name, note.value]);
  const modes: [string, string][] = MODES.map(mode => {
    const { can, reason } = i.modes[mode];
    return [mode, can ? `can (${reason})` : `cannot, because ${reason}`];
  });
  const noteTitle = { notes: 'Xen ELF notes', __xen_guest: 'Xen notes (__xen_guest)', none: 'Xen ELF notes: none' };
  return [i.name, ...table(rows), noteTitle[i.notesFrom], ...table(notes), 'modes', ...table(modes)].join('\n');
}

function table(rows: readonly [string, string][]): string[] {
  const width = Math.max(...rows.map(([label]) => label.length));
  return rows.map(([label, value]) => `  ${label.padEnd(width)}  ${value}`);
}

function noteText(note: XenNote, { xen }: KernelImage): string {
  if (note.name === 'L1_MFN_VALID') {
    return xen.l1MfnValid.map(pair => `mask ${hex(pair.mask)} value ${hex(pair.value)}`).join(', ');
  }
  if (note.name === 'PHYS32_RELOC' && xen.phys32Reloc !== null) {
    const { align, min, max } = xen.phys32Reloc;
    return `align ${hex(align)} min ${hex(min)} max ${hex(max)}`;
  }
  if (note.name === 'SUPPORTED_FEATURES' && xen.supportedFeatureBits !== null) {
    const bits = xen.supportedFeatureBits;
    const named = Object.entries(XENFEAT).flatMap(([name, bit]) => ((bits >> BigInt(bit)) & 1n ? name : []));
    return `${hex(bits)} (${named.join(' ')})`;
  }
  if (typeof note.value === 'string') return `"${note.value}"`;
  return typeof note.value === 'bigint' ? hex(note.value) : toHex(note.value);
}

const hex = (value: bigint | number) => `0x${value.toString(16)}`;
