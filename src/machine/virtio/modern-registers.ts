// The memory range of modern drivers (virtio 1.2, 4.1.4.3 to 4.1.4.6): common configuration, interrupt status, the device's own configuration, and
// a notification register for each queue.
import type { AccessSize, RegisterSpace } from '../chip.ts';
import type { VirtioPci } from './pci-device.ts';
import { type Register, RegisterTable, readBytes } from './registers.ts';
import type { Virtqueue } from './virtqueue.ts';

/** Parts of the range, a page each. */
export const ISR_AT = 0x1000;
export const DEVICE_AT = 0x2000;
export const NOTIFY_AT = 0x3000;
export const RANGE = 0x4000;
export const COMMON_LENGTH = 56;
/** notify_off_multiplier: bytes from one queue's register to the next one's. */
export const NOTIFY_STEP = 4;

const TWO32 = 0x1_0000_0000;
const LOW = 0xffffffffn;
type Address = 'descriptors' | 'driver' | 'device';

export class ModernRegisters implements RegisterSpace {
  private readonly transport: VirtioPci;
  private readonly common: RegisterTable;

  constructor(transport: VirtioPci) {
    this.transport = transport;
    this.common = new RegisterTable(commonRegisters(transport));
  }

  read(offset: number, size: AccessSize): number {
    if (offset < ISR_AT) return this.common.read(offset, size);
    if (offset < DEVICE_AT) return offset === ISR_AT ? this.transport.takeIsr() : 0;
    if (offset < NOTIFY_AT) return readBytes(this.transport.device.config, offset - DEVICE_AT, size);
    return 0;
  }

  write(offset: number, size: AccessSize, value: number): void {
    const { device } = this.transport;
    if (offset < ISR_AT) this.common.write(offset, size, value);
    else if (offset >= NOTIFY_AT) device.notify(Math.floor((offset - NOTIFY_AT) / NOTIFY_STEP));
    else if (offset >= DEVICE_AT) {
      for (let i = 0; i < size; i++) device.writeConfig(offset - DEVICE_AT + i, (value >>> (8 * i)) & 0xff);
    }
  }
}

/** struct virtio_pci_common_cfg. */
function commonRegisters(transport: VirtioPci): Register[] {
  const { device, state } = transport;
  /** A queue's settings are fixed while it is enabled. */
  const whileDisabled = (change: (queue: Virtqueue) => void): void => {
    const { queue } = transport;
    if (queue && !queue.ready) change(queue);
  };
  const address = (offset: number, field: Address): Register[] => [
    {
      offset,
      size: 4,
      read: () => (transport.queue?.[field] ?? 0) % TWO32,
      write: low => whileDisabled(queue => (queue[field] = Math.floor(queue[field] / TWO32) * TWO32 + low)),
    },
    {
      offset: offset + 4,
      size: 4,
      read: () => Math.floor((transport.queue?.[field] ?? 0) / TWO32),
      // addresses are exact numbers: the upper bits of one that no processor has are left out, and it still points to no RAM
      write: high => whileDisabled(queue => (queue[field] = (high & 0x1fffff) * TWO32 + (queue[field] % TWO32))),
    },
  ];
  return [
    {
      offset: 0,
      size: 4,
      read: () => state.deviceFeatureSelect,
      write: value => void (state.deviceFeatureSelect = value),
    },
    { offset: 4, size: 4, read: () => word(device.offered, state.deviceFeatureSelect) },
    {
      offset: 8,
      size: 4,
      read: () => state.driverFeatureSelect,
      write: value => void (state.driverFeatureSelect = value),
    },
    {
      offset: 12,
      size: 4,
      read: () => word(device.features, state.driverFeatureSelect),
      write: value => {
        if (state.driverFeatureSelect > 1) return;
        const shift = BigInt(32 * state.driverFeatureSelect);
        device.acceptFeatures((device.features & ~(LOW << shift)) | (BigInt(value) << shift));
      },
    },
    {
      offset: 16,
      size: 2,
      read: () => state.configVector,
      write: value => void (state.configVector = transport.vector(value)),
    },
    { offset: 18, size: 2, read: () => device.queues.length },
    { offset: 20, size: 1, read: () => device.status, write: value => device.setStatus(value) },
    { offset: 21, size: 1, read: () => device.generation },
    { offset: 22, size: 2, read: () => state.queueSelect, write: value => void (state.queueSelect = value) },
    {
      offset: 24,
      size: 2,
      read: () => transport.queue?.size ?? 0,
      write: value =>
        whileDisabled(queue => {
          const isSize = value > 0 && value <= queue.maxSize && (value & (value - 1)) === 0;
          if (isSize) queue.size = value;
        }),
    },
    {
      offset: 26,
      size: 2,
      read: () => state.queueVectors[state.queueSelect] ?? 0xffff,
      write: value => {
        if (transport.queue) state.queueVectors[state.queueSelect] = transport.vector(value);
      },
    },
    {
      offset: 28,
      size: 2,
      read: () => (transport.queue?.ready ? 1 : 0),
      write: value =>
        whileDisabled(queue => {
          queue.ready = value === 1;
        }),
    },
    { offset: 30, size: 2, read: () => transport.queue?.index ?? 0 },
    ...address(32, 'descriptors'),
    ...address(40, 'driver'),
    ...address(48, 'device'),
  ];
}

/** A 32-bit part of a set of features; those from 64 on do not exist. */
function word(features: bigint, select: number): number {
  return select > 1 ? 0 : Number((features >> BigInt(32 * select)) & LOW);
}
