// What an argument is, apart from where things happen to stand in a boot: two boots of one kernel agree in shapes, not in addresses.

import { callOf } from '../../src/abi/xen/calls.ts';
import type { Seen } from './seen.ts';

/** Where Linux has what: Documentation/x86/x86_64/mm.rst. First the highest. */
const REGIONS: ReadonlyArray<readonly [from: bigint, name: string]> = [
  [0xffff_ffff_ff00_0000n, 'fixmap'],
  [0xffff_ffff_8000_0000n, 'image'],
  [0xffff_fe00_0000_0000n, 'cpu entry area'],
  [0xffff_c900_0000_0000n, 'vmalloc'],
  [0xffff_8880_0000_0000n, 'direct map'],
];
const SMALL = 0x1_0000n;
const PTE_FLAGS = 0xfffn;
const NX = 1n << 63n;

/** Arguments whose numbers differ from boot to boot, by hypercall and index. */
const MACHINE_ADDRESSES = new Set(['update_descriptor 0']);
const TABLE_ENTRIES = new Set(['update_va_mapping 1']);
const FLAGS_AND_POINTERS = new Set(['update_va_mapping 2']);

/** Each argument that the hypercall has, as far as the trace knows it: "image", "0x10", "frame+0x063+NX". */
export function shapes({ number, args }: Seen): string[] {
  if (number === null) return [];
  const known = callOf(number);
  const name = known?.name ?? '';
  const count = known?.call.parameters.length ?? args.length;
  return args.slice(0, count).map((value, i) => {
    const which = `${name} ${i}`;
    if (MACHINE_ADDRESSES.has(which)) return 'machine address';
    if (TABLE_ENTRIES.has(which)) return entryShape(value);
    if (FLAGS_AND_POINTERS.has(which)) return `0x${(value & 7n).toString(16)}`;
    return shape(value);
  });
}

function shape(value: bigint): string {
  if (value < SMALL) return `0x${value.toString(16)}`;
  return REGIONS.find(([from]) => value >= from)?.[1] ?? 'number';
}

function entryShape(value: bigint): string {
  if (value === 0n) return '0x0';
  return `frame+0x${(value & PTE_FLAGS).toString(16).padStart(3, '0')}${value & NX ? '+NX' : ''}`;
}
