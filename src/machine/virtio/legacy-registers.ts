// The I/O range of legacy drivers (virtio 1.2, 4.1.4.10; virtio 0.9.5, 2.3): a header, two vectors while MSI-X is enabled, the device's own
// configuration.
import type { AccessSize, RegisterSpace } from '../chip.ts';
import type { VirtioPci } from './pci-device.ts';
import { type Register, RegisterTable, readBytes } from './registers.ts';

const HEADER = 20;
const VECTORS = 4;
const PAGE = 4096;
const ISR = 19;
const LOW = 0xffffffffn;
/** Smallest range that is decoded. */
const MIN_RANGE = 32;

export class LegacyRegisters implements RegisterSpace {
  /** A power of two. */
  readonly length: number;
  private readonly transport: VirtioPci;
  private readonly header: RegisterTable;
  private readonly vectors: RegisterTable;

  constructor(transport: VirtioPci) {
    this.transport = transport;
    const { device, state } = transport;
    const needed = HEADER + VECTORS + device.config.length;
    this.length = Math.max(MIN_RANGE, 2 ** Math.ceil(Math.log2(needed)));
    const header: Register[] = [
      { offset: 0, size: 4, read: () => Number(device.offered & LOW) },
      {
        offset: 4,
        size: 4,
        read: () => Number(device.features & LOW),
        write: value => device.acceptFeatures(BigInt(value) & device.offered),
      },
      {
        offset: 8,
        size: 4,
        read: () => Math.floor((transport.queue?.descriptors ?? 0) / PAGE),
        write: value => transport.queue?.setLegacyAddress(value * PAGE),
      },
      { offset: 12, size: 2, read: () => transport.queue?.maxSize ?? 0 },
      { offset: 14, size: 2, read: () => state.queueSelect, write: value => void (state.queueSelect = value) },
      { offset: 16, size: 2, read: () => 0, write: value => device.notify(value) },
      { offset: 18, size: 1, read: () => device.status, write: value => device.setStatus(value) },
    ];
    this.header = new RegisterTable(header);
    this.vectors = new RegisterTable([
      {
        offset: 0,
        size: 2,
        read: () => state.configVector,
        write: value => void (state.configVector = transport.vector(value)),
      },
      {
        offset: 2,
        size: 2,
        read: () => state.queueVectors[state.queueSelect] ?? 0xffff,
        write: value => {
          if (transport.queue) state.queueVectors[state.queueSelect] = transport.vector(value);
        },
      },
    ]);
  }

  read(offset: number, size: AccessSize): number {
    const { transport } = this;
    if (offset === ISR && size === 1) return transport.takeIsr();
    if (offset < HEADER) return this.header.read(offset, size);
    const at = this.configAt;
    if (offset < at) return this.vectors.read(offset - HEADER, size);
    return readBytes(transport.device.config, offset - at, size);
  }

  write(offset: number, size: AccessSize, value: number): void {
    if (offset < HEADER) return this.header.write(offset, size, value);
    const at = this.configAt;
    if (offset < at) return this.vectors.write(offset - HEADER, size, value);
    for (let i = 0; i < size; i++) this.transport.device.writeConfig(offset - at + i, (value >>> (8 * i)) & 0xff);
  }

  /** Where the device's own configuration starts. */
  private get configAt(): number {
    return this.transport.msix.isEnabled ? HEADER + VECTORS : HEADER;
  }
}
