// A capability through which a driver that cannot map the memory range reaches it all the same, by configuration accesses (virtio 1.2, 4.1.4.9).
import type { AccessSize } from '../chip.ts';
import { PciCapability } from '../pci/config-space.ts';
import type { PciFunction } from '../pci/function.ts';

const CFG_TYPE = 5;
const LENGTH = 20;
const BAR = 4;
const OFFSET = 8;
const SIZE = 12;
const DATA = 16;

export function addConfigAccess(device: PciFunction): void {
  const { config } = device;
  const at = config.addCapability(PciCapability.vendorSpecific, LENGTH);
  config.bytes[at + 2] = LENGTH;
  config.bytes[at + 3] = CFG_TYPE;
  config.allowWrites(at + BAR, 1, 0xff);
  config.allowWrites(at + OFFSET, 4, 0xffffffff);
  config.allowWrites(at + SIZE, 4, 0xffffffff);
  config.allowWrites(at + DATA, 4, 0xffffffff);

  /** What the driver has pointed the window to, where that is an access that a range of the function could get. */
  const target = (): { read: () => number; write: (value: number) => void } | null => {
    const { bytes, view } = config;
    const bar = device.bars.find(({ index, kind }) => index === bytes[at + BAR] && kind !== 'io');
    const offset = view.getUint32(at + OFFSET, true);
    const size = view.getUint32(at + SIZE, true);
    if (!bar || (size !== 1 && size !== 2 && size !== 4) || offset % size !== 0 || offset + size > bar.size)
      return null;
    const width: AccessSize = size;
    return {
      read: () => bar.space.read(offset, width),
      write: value => bar.space.write(offset, width, width === 4 ? value : value & ((1 << (8 * width)) - 1)),
    };
  };
  config.beforeRead(at + DATA, 4, () => {
    const value = target()?.read();
    if (value !== undefined) config.view.setUint32(at + DATA, value, true);
  });
  config.watch(at + DATA, 4, () => target()?.write(config.view.getUint32(at + DATA, true)));
}
