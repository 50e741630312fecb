// Resource descriptors: what a device in the DSDT decodes and which interrupts it has. Source: ACPI specification 6.5, section 6.4.
import { type Aml, buffer } from './aml.ts';

const END_TAG = 0x79;

const little = (value: number | bigint, bytes: number): Aml =>
  Array.from({ length: bytes }, (_, i) => Number((BigInt(value) >> BigInt(8 * i)) & 0xffn));

/** First address and the one after the last. */
export interface Window {
  readonly start: number;
  readonly end: number;
}

/** The buffer that a `_CRS` gives; its checksum byte 0 is defined as valid. */
export const resources = (...descriptors: Aml[]): Aml => buffer([...descriptors.flat(), END_TAG, 0]);

/** Ports that the device decodes with 16 bits. */
export const io = (port: number, length: number): Aml => [0x47, 1, ...little(port, 2), ...little(port, 2), 1, length];

/** An ISA interrupt: a rising edge, not shared. */
export const irq = (n: number): Aml => [0x22, ...little(1 << n, 2)];

export const memory32 = (address: number, length: number): Aml => [
  0x86,
  ...little(9, 2),
  1,
  ...little(address, 4),
  ...little(length, 4),
];

// Address spaces that a bridge passes on
const MEMORY = 0;
const IO = 1;
const BUS = 2;
/** Both ends fixed, positive decoding, a producer. */
const PRODUCED = 0x0c;
const ENTIRE_IO_RANGE = 3;
const READ_WRITE = 1;
/** Read, write and prefetch. */
const PREFETCHABLE = 7;

function addressSpace(tag: number, width: number, kind: number, flags: number, { start, end }: Window): Aml {
  const numbers = [0, start, end - 1, 0, end - start].flatMap(n => little(n, width));
  return [tag, ...little(3 + numbers.length, 2), kind, PRODUCED, flags, ...numbers];
}

export const busNumbers = (window: Window): Aml => addressSpace(0x88, 2, BUS, 0, window);
export const ioWindow = (window: Window): Aml => addressSpace(0x88, 2, IO, ENTIRE_IO_RANGE, window);
export const memoryWindow = (window: Window): Aml => addressSpace(0x87, 4, MEMORY, READ_WRITE, window);
export const memoryWindow64 = (window: Window): Aml => addressSpace(0x8a, 8, MEMORY, PREFETCHABLE, window);
