/**
 * Folders of the host for a machine: 9pfs devices of a domain, with the XenStore entries that libxl 4.17 writes for a `p9 = ["..."]` line, or
 * virtio-9p devices of a bare machine; one server behind both. Source: tools/libs/light/libxl_9pfs.c.
 */
import { P9Back } from '../../backends/9pfs/p9-back.ts';
import { P9Server } from '../../backends/9pfs/p9-server.ts';
import type { SharedFolder } from '../../backends/9pfs/shared-folder.ts';
import { BackendDevice } from '../../backends/xenbus/backend-device.ts';
import { domainPath } from '../../backends/xenstore/paths.ts';
import type { VirtioMachine } from '../../machine/virtio/device.ts';
import { P9_MESSAGE_BYTES, VirtioP9 } from '../../machine/virtio/p9.ts';
import { addVirtio } from '../../machine/virtio/pci-device.ts';
import type { GuestDomain } from '../guest-domain.ts';
import type { Host } from '../host.ts';
import { writeDeviceTree } from './device-tree.ts';
import { frontendDomain } from './frontend-domain.ts';

/** A folder that was opened, and what a machine is told of it. */
export interface Share {
  /** Whoever opened it closes it, after the machine. */
  readonly folder: SharedFolder;
  readonly tag: string;
  /** As the person named it. */
  readonly path: string;
  readonly isReadOnly: boolean;
}

/** Puts virtio-9p devices on a PCI bus, before its firmware runs. */
export function addP9Cards(
  shares: readonly Share[],
  bus: Parameters<typeof addVirtio>[0],
  machine: VirtioMachine,
): void {
  for (const { folder, tag, isReadOnly } of shares) {
    const session = new P9Server({ folder, isReadOnly, mostBytes: P9_MESSAGE_BYTES });
    addVirtio(bus, new VirtioP9(machine, { session, tag }));
  }
}

/** Gives a domain 9pfs devices, before it runs: front ends look for them once. They go with it. */
export function addP9Devices(shares: readonly Share[], host: Host, guest: GuestDomain): BackendDevice[] {
  return shares.map((share, index) => {
    const device = attachP9(host, guest, index, share);
    host.addDevice(guest, { stop: () => device.stop() });
    return device;
  });
}

function attachP9(host: Host, guest: GuestDomain, index: number, share: Share): BackendDevice {
  const { folder, tag, path, isReadOnly } = share;
  const store = host.store.host;
  const backendPath = `${domainPath(0)}/backend/9pfs/${guest.id}/${index}`;
  const frontendPath = `${domainPath(guest.id)}/device/9pfs/${index}`;
  writeDeviceTree(store, {
    domid: guest.id,
    kind: '9pfs',
    index,
    back: { path, security_model: 'none' },
    front: { tag },
  });
  const driver = new P9Back({
    domain: frontendDomain(guest.domain),
    folder,
    isReadOnly,
    later: handler => {
      host.hypervisor.hostEvents.raise(handler);
      host.wake();
    },
    broken: reason => device.fail(reason),
  });
  const device: BackendDevice = new BackendDevice({ store, backendPath, frontendPath, driver });
  return device;
}
