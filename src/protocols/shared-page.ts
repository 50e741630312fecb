/** A page of a guest's memory that both sides read and write. */

export interface SharedPage {
  /** The page's 4096 bytes. Asked for anew at each use: growing a WebAssembly memory detaches older views. */
  bytes(): Uint8Array;
}

/** A page over bytes that stay where they are. */
export function sharedPage(bytes: Uint8Array): SharedPage {
  return { bytes: () => bytes };
}

export function pageU32(page: Uint8Array, offset: number): number {
  return (page[offset]! | (page[offset + 1]! << 8) | (page[offset + 2]! << 16) | (page[offset + 3]! << 24)) >>> 0;
}

export function setPageU32(page: Uint8Array, offset: number, value: number): void {
  page[offset] = value;
  page[offset + 1] = value >>> 8;
  page[offset + 2] = value >>> 16;
  page[offset + 3] = value >>> 24;
}
