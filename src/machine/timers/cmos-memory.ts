// What a PC's firmware leaves in the CMOS RAM: how much memory there is, and a checksum. Source: Ralf Brown's CMOS memory map.

const EQUIPMENT = 0x14;
const BASE_KB = 0x15;
const EXTENDED_KB = [0x17, 0x30];
const CHECKSUM = 0x2e;
const CHECKSUMMED = { first: 0x10, last: 0x2d };
/** Memory above 16 MiB and above 4 GiB in units of 64 KiB. */
const ABOVE_16M = 0x34;
const ABOVE_4G = 0x5b;

const FPU_AND_MOUSE = 0x06;
const KIB = 1024;
const MIB = 1024 * KIB;

/** Bytes by address, for a machine with so much RAM below and above 4 GiB (bytes). */
export function cmosMemory(below4G: number, above4G: number): Map<number, number> {
  const cmos = new Map<number, number>();
  const put = (address: number, bytes: number, value: number): void => {
    for (let i = 0; i < bytes; i++) cmos.set(address + i, Math.floor(value / 2 ** (8 * i)) & 0xff);
  };
  const extended = Math.max(0, below4G - MIB);
  put(EQUIPMENT, 1, FPU_AND_MOUSE);
  put(BASE_KB, 2, 640);
  for (const address of EXTENDED_KB) put(address, 2, Math.min(0xffff, Math.floor(extended / KIB)));
  put(ABOVE_16M, 2, Math.min(0xffff, Math.floor(Math.max(0, below4G - 16 * MIB) / (64 * KIB))));
  put(ABOVE_4G, 3, Math.floor(above4G / (64 * KIB)));
  let sum = 0;
  for (let address = CHECKSUMMED.first; address <= CHECKSUMMED.last; address++) sum += cmos.get(address) ?? 0;
  // the one number here that is stored high byte first
  put(CHECKSUM, 1, sum >> 8);
  put(CHECKSUM + 1, 1, sum & 0xff);
  return cmos;
}
