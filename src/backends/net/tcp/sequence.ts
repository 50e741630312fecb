// Arithmetic of sequence numbers, which wrap at 32 bits. Source: RFC 9293 section 3.4.

/** How far a is ahead of b; negative where it is behind. */
export const distance = (a: number, b: number): number => (a - b) | 0;
export const isBefore = (a: number, b: number): boolean => distance(a, b) < 0;
export const isAfter = (a: number, b: number): boolean => distance(a, b) > 0;
export const advance = (a: number, by: number): number => (a + by) >>> 0;
