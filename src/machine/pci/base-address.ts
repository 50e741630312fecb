// A base address register (PCI Local Bus 3.0, 6.2.5.1): where software puts a range of a function's registers. Writing ones and reading back
// gives the range's size, which falls out of the write mask.
import type { RegisterSpace } from '../chip.ts';
import { type ConfigSpace, PciRegister } from './config-space.ts';

/** memory64 takes two registers. */
export type BarKind = 'io' | 'memory' | 'memory64';

export interface BarSpec {
  readonly kind: BarKind;
  /** A power of two, in bytes: at least 4 for I/O, 16 for memory. */
  readonly size: number;
  readonly space: RegisterSpace;
  /** Reads have no side effects and writes may be merged. */
  readonly prefetchable?: boolean;
}

const IO_SPACE = 1;
const TYPE_64 = 1 << 2;
const PREFETCHABLE = 1 << 3;
const REGISTERS = 6;
const LAST_PORT = 0xffff;
const TWO32 = 0x1_0000_0000;
/** Physical addresses are exact numbers, and no processor's are wider. */
const LAST_ADDRESS = 2 ** 52 - 1;

export class BaseAddress {
  readonly kind: BarKind;
  readonly size: number;
  readonly space: RegisterSpace;
  /** 0 to 5: which register, the first of two for 64 bits. */
  readonly index: number;
  private readonly config: ConfigSpace;

  /** Throws RangeError for sizes and indices that the standard has no room for. */
  constructor(config: ConfigSpace, index: number, spec: BarSpec) {
    const { kind, size, space, prefetchable = false } = spec;
    const registers = kind === 'memory64' ? 2 : 1;
    if (index < 0 || index + registers > REGISTERS)
      throw new RangeError(`no base address register ${index} for ${kind}`);
    if (!Number.isInteger(Math.log2(size)) || size < (kind === 'io' ? 4 : 16)) throw new RangeError(`${size} bytes`);
    this.config = config;
    this.kind = kind;
    this.index = index;
    this.size = size;
    this.space = space;
    const low = kind === 'io' ? IO_SPACE : (kind === 'memory64' ? TYPE_64 : 0) | (prefetchable ? PREFETCHABLE : 0);
    config.bytes[this.register] = low;
    config.allowWrites(this.register, 4, size >= TWO32 ? 0 : (TWO32 - size) >>> 0);
    if (kind === 'memory64') config.allowWrites(this.register + 4, 4, size > TWO32 ? TWO32 - size / TWO32 : 0xffffffff);
  }

  /** Offset of its register in the configuration space. */
  get register(): number {
    return PciRegister.bar0 + 4 * this.index;
  }

  /** Bytes of configuration space that it takes. */
  get registerLength(): number {
    return this.kind === 'memory64' ? 8 : 4;
  }

  /**
   * What software has written, an address that is a multiple of the size; null where that is no place for the range: 0, which means
   * unassigned, and beyond the end of the address space, as while sizing.
   */
  get address(): number | null {
    const { view } = this.config;
    const low = (view.getUint32(this.register, true) & (this.kind === 'io' ? ~3 : ~15)) >>> 0;
    const high = this.kind === 'memory64' ? view.getUint32(this.register + 4, true) : 0;
    const address = high * TWO32 + low;
    const last = this.kind === 'io' ? LAST_PORT : this.kind === 'memory' ? TWO32 - 1 : LAST_ADDRESS;
    return address === 0 || address + this.size - 1 > last ? null : address;
  }

  /** As firmware does it. */
  assign(address: number): void {
    this.config.write(this.register, 4, address % TWO32);
    if (this.kind === 'memory64') this.config.write(this.register + 4, 4, Math.floor(address / TWO32));
  }
}
