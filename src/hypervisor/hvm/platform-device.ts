// Xen's platform device: what tells a PVHVM guest's kernel that there are PV drivers to be had, with a range of addresses for their pages,
// and the ports by which it takes emulated devices away.
// Source: docs/misc/hvm-emulated-unplug.pandoc, xen/include/public/hvm/pvdrivers.h; QEMU's hw/i386/xen/xen_platform.c.
import { type AccessSize, floating, type RegisterSpace } from '../../machine/chip.ts';
import { PciFunction } from '../../machine/pci/function.ts';

const IDENTITY = {
  vendor: 0x5853,
  device: 0x0001,
  revision: 1,
  classCode: 0xff8000,
  subsystemVendor: 0x5853,
  subsystem: 0x0001,
  interruptPin: 1,
} as const;
const IO_SIZE = 0x100;
/** Its addresses are for the guest to map grant frames at: nothing else is there. */
const MEMORY_SIZE = 16 << 20;

/** Ports of the unplug protocol; the device's own I/O range has the same registers. */
export const UNPLUG_PORTS = { start: 0x10, length: 16 } as const;
const Offset = { magicOrUnplug: 0, log: 2, product: 2 } as const;
const MAGIC = 0x49d2;
const PROTOCOL_VERSION = 1;
/** A driver that is known to do harm finds the magic number gone; none is. */
const FLAG_ROM_LOCK = 1;

/** Bits that a guest writes: which emulated devices are to go. */
export const Unplug = { disks: 1, nics: 2, auxiliaryDisks: 4, nvme: 8 } as const;

export interface PlatformDeviceOptions {
  /** A byte for the host's log. */
  log(byte: number): void;
  /** Emulated devices are to go: bits of Unplug. */
  unplug(devices: number): void;
}

export class PlatformDevice {
  readonly pci = new PciFunction(IDENTITY);
  /** Registers at UNPLUG_PORTS. */
  readonly ports: RegisterSpace;
  /** PV drivers that have introduced themselves: product number and version. */
  readonly driver = { product: 0, version: 0 };

  constructor({ log, unplug }: PlatformDeviceOptions) {
    let romLock = 0;
    this.ports = {
      read: (offset, size) => {
        if (offset === Offset.magicOrUnplug) return size === 1 ? romLock : size === 2 ? MAGIC : floating(size);
        if (offset === Offset.log && size === 1) return PROTOCOL_VERSION;
        return floating(size);
      },
      write: (offset, size, value) => {
        if (offset === Offset.magicOrUnplug) {
          if (size === 1) romLock = value & FLAG_ROM_LOCK;
          else if (size === 2) unplug(value);
          else this.driver.version = value;
        } else if (offset === Offset.product) {
          if (size === 1) log(value);
          else if (size === 2) this.driver.product = value;
        }
      },
    };
    const within: RegisterSpace = {
      read: (offset, size) => (offset < UNPLUG_PORTS.length ? this.ports.read(offset, size) : floating(size)),
      write: (offset, size, value) => {
        if (offset < UNPLUG_PORTS.length) this.ports.write(offset, size, value);
      },
    };
    this.pci.addBar(0, { kind: 'io', size: IO_SIZE, space: within });
    this.pci.addBar(1, { kind: 'memory', size: MEMORY_SIZE, space: NOTHING, prefetchable: true });
  }
}

const NOTHING: RegisterSpace = { read: (_offset, size: AccessSize) => floating(size), write: () => {} };
