// struct xenctl_bitmap: sets of processors or nodes in the tools' memory (xen/include/public/domctl.h; xen/common/bitmap.c).
import type { Vcpu } from '../vcpu.ts';

interface Bitmap {
  bitmap: bigint;
  nrBits: number;
}

/** Writes the set of 0 to count - 1, as far as the caller's bitmap reaches; the bits above are zeros. */
export function writeFirst({ guest }: Vcpu, { bitmap, nrBits }: Bitmap, count: number): void {
  const bytes = new Uint8Array((nrBits + 7) >> 3);
  for (let bit = 0; bit < Math.min(count, nrBits); bit++) bytes[bit >> 3] |= 1 << (bit & 7);
  if (bytes.length > 0) guest.write(bitmap, bytes);
}
