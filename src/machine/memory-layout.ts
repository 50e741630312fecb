// Where a PC's RAM stands in its physical address space, as firmware arranges it and tells it: below the hole for devices under 4 GiB, and
// what does not fit there from 4 GiB on.

/** E820 types (ACPI 6.5, table 15-4). */
export const MemoryType = { ram: 1, reserved: 2, acpi: 3, nvs: 4 } as const;

export interface MemoryRange {
  /** Physical address and size in bytes. */
  readonly address: number;
  readonly size: number;
  /** A MemoryType. */
  readonly type: number;
}

export interface MemoryLayout {
  /** RAM in the order of machine memory, each a whole number of frames: [first guest frame, frames]. */
  readonly ram: readonly (readonly [gfn: number, frames: number])[];
  /** What the firmware tells the kernel, in order of addresses. */
  readonly map: readonly MemoryRange[];
  /** Where ACPI tables go: told of as such in the map. */
  readonly acpi: { readonly address: number; readonly size: number };
  /** First address after the RAM below 4 GiB. */
  readonly lowEnd: number;
  /** First address after the RAM from 4 GiB on; 0 where there is none. */
  readonly highEnd: number;
}

const FRAME = 4096;
const KIB = 1024;
const MIB = 1024 * KIB;
const GIB4 = 0x1_0000_0000;
/** Conventional memory ends where an extended BIOS data area would be. */
const EBDA = 0x9fc00;
const VIDEO = 0xa0000;
const FIRMWARE = 0xe0000;
const ACPI_SIZE = 256 * KIB;

export interface LayoutOptions {
  /** RAM in bytes; at least 2 MiB. */
  readonly ramBytes: number;
  /** End of RAM below 4 GiB at the latest: devices stand from there to 4 GiB. */
  readonly holeStart: number;
  /** Further ranges of the map, such as the window of PCI's configuration space. */
  readonly reserved?: readonly MemoryRange[];
  /** Where ACPI tables go, of which `reserved` tells; without it they take the end of the RAM below 4 GiB. */
  readonly acpi?: MemoryLayout['acpi'];
  /** Tables of the firmware are looked for from here to 1 MiB. */
  readonly firmware?: number;
}

export function layOutMemory(options: LayoutOptions): MemoryLayout {
  const { ramBytes, holeStart, reserved = [], firmware = FIRMWARE } = options;
  const ramSize = Math.floor(ramBytes / FRAME) * FRAME;
  if (ramSize < 2 * MIB) throw new RangeError(`${ramBytes} bytes of RAM are too few for a PC`);
  const lowEnd = Math.min(ramSize, holeStart);
  const high = ramSize - lowEnd;
  const inRam = { address: lowEnd - ACPI_SIZE, size: ACPI_SIZE };
  const acpi = options.acpi ?? inRam;
  const ramEnd = options.acpi ? lowEnd : inRam.address;
  const map: MemoryRange[] = [
    { address: 0, size: EBDA, type: MemoryType.ram },
    { address: EBDA, size: VIDEO - EBDA, type: MemoryType.reserved },
    { address: firmware, size: MIB - firmware, type: MemoryType.reserved },
    { address: MIB, size: ramEnd - MIB, type: MemoryType.ram },
    ...(options.acpi ? [] : [{ ...inRam, type: MemoryType.acpi }]),
    ...reserved,
  ];
  if (high > 0) map.push({ address: GIB4, size: high, type: MemoryType.ram });
  map.sort((a, b) => a.address - b.address);
  const ram: [number, number][] = [[0, lowEnd / FRAME]];
  if (high > 0) ram.push([GIB4 / FRAME, high / FRAME]);
  return { ram, map, acpi, lowEnd, highEnd: high > 0 ? GIB4 + high : 0 };
}
