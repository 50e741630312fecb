// The report's line protocol: what init.ts writes and report-parser.ts reads. Described in PROTOCOL.md.

/** Stands before every line of the report. */
export const MARKER = 'domzero1: ';
export const PROTOCOL_VERSION = 1;
/** Values longer than this, as escaped, are cut and end with `CUT`. Bytes. */
export const VALUE_LIMIT = 3500;
/** Not a possible escape sequence otherwise. */
export const CUT = '\\+';

/** How many echoes of the gateway a check of a network interface asks for. */
export const ECHOES = 3;

export const FNV_OFFSET = 0x811c9dc5;
export const FNV_PRIME = 0x01000193;

/** Checksum of a line: FNV-1a in 32 bits, folded to 16, as four hexadecimal digits. */
export function checksum(line: Uint8Array): string {
  let hash = FNV_OFFSET;
  for (const b of line) hash = Math.imul(hash ^ b, FNV_PRIME);
  return (((hash >>> 16) ^ hash) & 0xffff).toString(16).padStart(4, '0');
}
