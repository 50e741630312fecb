// A virtio device on PCI, transitional (virtio 1.2, 4.1): legacy drivers find an I/O range, modern ones capabilities that point into a memory
// range. Both drive one device state, and signal by one interrupt pin or by MSI-X.
import type { Saveable } from '../chip.ts';
import type { PciBus } from '../pci/bus.ts';
import { PciCapability } from '../pci/config-space.ts';
import { PciFunction, type PciFunctionState } from '../pci/function.ts';
import { Msix, type MsixState } from '../pci/msix.ts';
import type { VirtioDevice, VirtioState, VirtioTransport } from './device.ts';
import { LegacyRegisters } from './legacy-registers.ts';
import {
  COMMON_LENGTH,
  DEVICE_AT,
  ISR_AT,
  ModernRegisters,
  NOTIFY_AT,
  NOTIFY_STEP,
  RANGE,
} from './modern-registers.ts';
import { addConfigAccess } from './pci-config-access.ts';
import type { Virtqueue } from './virtqueue.ts';

/** What both faces know of the transport. */
export interface VirtioPciState {
  /** Which feature word and which queue the driver looks at. */
  deviceFeatureSelect: number;
  driverFeatureSelect: number;
  queueSelect: number;
  /** Bit 0: a queue, bit 1: the configuration. */
  isr: number;
  /** MSI-X vectors; NO_VECTOR for none. */
  configVector: number;
  queueVectors: number[];
}

export interface VirtioPciSaved {
  pci: PciFunctionState;
  msix: MsixState;
  transport: VirtioPciState;
  device: VirtioState;
}

export const NO_VECTOR = 0xffff;
const ISR_QUEUE = 1;
const ISR_CONFIG = 2;
const VENDOR = 0x1af4;
const TRANSITIONAL_DEVICE = 0x1000;
/** Ids of transitional devices do not follow their types' numbers (4.1.2.1). */
const TRANSITIONAL: Record<number, number> = { 1: 0, 2: 1, 3: 3, 4: 5, 9: 9 };
const LEGACY_BAR = 0;
const MSIX_BAR = 1;
const MODERN_BAR = 4;
/** virtio_pci_cap.cfg_type. */
const CapabilityType = { common: 1, notify: 2, isr: 3, device: 4 } as const;
const CAPABILITY = 16;

export class VirtioPci implements VirtioTransport, Saveable<VirtioPciSaved> {
  readonly pci: PciFunction;
  readonly device: VirtioDevice;
  readonly msix: Msix;
  readonly state: VirtioPciState;

  constructor(device: VirtioDevice) {
    this.device = device;
    const { type, classCode } = device.kind;
    this.pci = new PciFunction({
      vendor: VENDOR,
      device: TRANSITIONAL_DEVICE + TRANSITIONAL[type],
      classCode,
      subsystemVendor: VENDOR,
      subsystem: type,
      interruptPin: 1,
    });
    const { queues, config } = device;
    this.state = initialState(queues.length);
    const legacy = new LegacyRegisters(this);
    this.pci.addBar(LEGACY_BAR, { kind: 'io', size: legacy.length, space: legacy });
    this.msix = new Msix(this.pci, queues.length + 1, MSIX_BAR);
    this.pci.addBar(MODERN_BAR, {
      kind: 'memory64',
      size: RANGE,
      space: new ModernRegisters(this),
      prefetchable: true,
    });
    this.addPointer(CapabilityType.common, 0, COMMON_LENGTH);
    this.addPointer(CapabilityType.isr, ISR_AT, 1);
    if (config.length > 0) this.addPointer(CapabilityType.device, DEVICE_AT, config.length);
    const notify = this.addPointer(CapabilityType.notify, NOTIFY_AT, NOTIFY_STEP * queues.length, 4);
    this.pci.config.view.setUint32(notify + CAPABILITY, NOTIFY_STEP, true);
    addConfigAccess(this.pci);
    device.connect(this);
  }

  get canAccessMemory(): boolean {
    return this.pci.isBusMaster;
  }

  queueInterrupt(queue: Virtqueue): void {
    this.signal(ISR_QUEUE, this.state.queueVectors[queue.index]);
  }

  configInterrupt(): void {
    this.signal(ISR_CONFIG, this.state.configVector);
  }

  /** Reading the interrupt status clears it and releases the pin. */
  takeIsr(): number {
    const { isr } = this.state;
    this.state.isr = 0;
    this.pci.setInterrupt(false);
    return isr;
  }

  /** A vector as a driver may set it: one that does not exist becomes none. */
  vector(value: number): number {
    return value < this.msix.vectors ? value : NO_VECTOR;
  }

  /** The queue that the driver looks at. */
  get queue(): Virtqueue | undefined {
    return this.device.queues[this.state.queueSelect];
  }

  reset(): void {
    Object.assign(this.state, initialState(this.device.queues.length));
    this.pci.setInterrupt(false);
  }

  private signal(cause: number, vector: number): void {
    if (this.msix.isEnabled) {
      this.msix.notify(vector);
      return;
    }
    this.state.isr |= cause;
    this.pci.setInterrupt(true);
  }

  private addPointer(type: number, offset: number, length: number, extra = 0): number {
    const at = this.pci.config.addCapability(PciCapability.vendorSpecific, CAPABILITY + extra);
    const { bytes, view } = this.pci.config;
    bytes[at + 2] = CAPABILITY + extra;
    bytes[at + 3] = type;
    bytes[at + 4] = MODERN_BAR;
    view.setUint32(at + 8, offset, true);
    view.setUint32(at + 12, length, true);
    return at;
  }

  save(): VirtioPciSaved {
    return {
      pci: this.pci.save(),
      msix: this.msix.save(),
      transport: { ...this.state, queueVectors: [...this.state.queueVectors] },
      device: this.device.save(),
    };
  }

  load(saved: VirtioPciSaved): void {
    this.msix.load(saved.msix);
    this.pci.load(saved.pci);
    Object.assign(this.state, saved.transport, { queueVectors: [...saved.transport.queueVectors] });
    this.device.load(saved.device);
  }
}

/** Plugs a virtio device into a bus, in the first free slot where none is named. */
export function addVirtio(bus: PciBus, device: VirtioDevice, slot?: number): VirtioPci {
  const transport = new VirtioPci(device);
  bus.add(transport.pci, slot);
  return transport;
}

function initialState(queues: number): VirtioPciState {
  return {
    deviceFeatureSelect: 0,
    driverFeatureSelect: 0,
    queueSelect: 0,
    isr: 0,
    configVector: NO_VECTOR,
    queueVectors: new Array<number>(queues).fill(NO_VECTOR),
  };
}
