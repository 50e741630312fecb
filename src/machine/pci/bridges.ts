// Bridges as functions of the bus. None of them has registers beyond its header: what the chips behind them do is wired elsewhere.
import { PciFunction } from './function.ts';

/**
 * The host bridge of a machine of our own: QEMU's generic PCI Express host bridge. Its identity promises exactly what there is, a root bus with
 * mechanism #1 and the memory-mapped window that MCFG names. Those of real chipsets (i440FX, Q35) promise more: kernels carry
 * quirks and drivers for their power management, GPIO, watchdog and SMBus registers, and complain where they find none.
 */
export const genericHostBridge = (): PciFunction =>
  new PciFunction({ vendor: 0x1b36, device: 0x0008, classCode: 0x060000, subsystemVendor: 0x1af4, subsystem: 0x1100 });

/** The host bridge of an HVM guest on genuine Xen: 82441FX (i440FX). */
export const i440fxHostBridge = (): PciFunction =>
  new PciFunction({
    vendor: 0x8086,
    device: 0x1237,
    revision: 0x02,
    classCode: 0x060000,
    subsystemVendor: 0x1af4,
    subsystem: 0x1100,
  });

/** The ISA bridge of an HVM guest on genuine Xen: 82371SB (PIIX3), function 0. */
export const piix3IsaBridge = (): PciFunction =>
  new PciFunction({
    vendor: 0x8086,
    device: 0x7000,
    classCode: 0x060100,
    subsystemVendor: 0x1af4,
    subsystem: 0x1100,
  });
