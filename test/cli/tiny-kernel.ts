// The smallest file that passes for a Linux kernel with Xen's notes: enough to be inspected, nothing that runs.

import { concatBytes } from '../../src/util/bytes.ts';
import { little, makeElf, note, text } from '../toolstack/image/builders.ts';

const BASE = 0xffffffff81000000n;
const PT_LOAD = 1;
const PT_NOTE = 4;

export function pvKernel(release: string): Uint8Array {
  const notes = concatBytes([
    note('Xen', 6, text('linux\0')),
    note('Xen', 8, text('generic\0')),
    note('Xen', 5, text('xen-3.0\0')),
    note('Xen', 3, little(0xffffffff80000000n, 8)),
    note('Xen', 1, little(BASE + 0x10n, 8)),
  ]);
  return makeElf({
    entry: 0x1000010n,
    segments: [
      { type: PT_LOAD, vaddr: BASE, paddr: 0x1000000n, data: text(`Linux version ${release} (someone) #1\n\0`) },
      { type: PT_NOTE, vaddr: 0n, data: notes },
    ],
  });
}
