// The hash that network cards spread flows over queues by, with a key of the guest's. Source: "Toeplitz" in xen/include/public/io/netif.h.

/** Bytes of the longest key. */
export const MAX_KEY = 40;

/** @param key MAX_KEY bytes, of which `data.length` + 4 count. Gives an unsigned number. */
export function toeplitz(key: Uint8Array, data: Uint8Array): number {
  let hash = 0;
  /** The 32 bits of the key from the bit on that stands over the data's current one. */
  let window = (key[0]! << 24) | (key[1]! << 16) | (key[2]! << 8) | key[3]!;
  for (let i = 0; i < data.length; i++) {
    const next = key[i + 4] ?? 0;
    for (let bit = 7; bit >= 0; bit--) {
      if ((data[i]! >> bit) & 1) hash ^= window;
      window = (window << 1) | ((next >> bit) & 1);
    }
  }
  return hash >>> 0;
}
