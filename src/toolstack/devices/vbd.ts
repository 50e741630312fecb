/**
 * A PV disk of a domain: the XenStore entries that libxl 4.17 writes for a `disk = ["..."]` line that QEMU serves, and its back end on a block
 * source. Source: device_disk_add() in tools/libs/light/libxl_disk.c.
 */

import { AwaitedSource } from '../../backends/block/awaited-source.ts';
import { Blkback } from '../../backends/block/blkback.ts';
import type { BlockSource } from '../../backends/block/source.ts';
import { BackendDevice } from '../../backends/xenbus/backend-device.ts';
import { domainPath } from '../../backends/xenstore/paths.ts';
import type { GuestDomain } from '../guest-domain.ts';
import type { Host } from '../host.ts';
import { removeDeviceTree, writeDeviceTree } from './device-tree.ts';
import { frontendDomain } from './frontend-domain.ts';
import type { Vdev } from './vdev.ts';

export interface VbdSpec {
  readonly vdev: Vdev;
  readonly source: BlockSource;
  readonly isReadOnly?: boolean;
  readonly isCdrom?: boolean;
  /** Default: where the source can. */
  readonly discard?: boolean | null;
  /** What the guest's tools are told that the disk is: a file's name. */
  readonly target?: string;
}

/** A disk that a domain has. */
export class Vbd {
  private readonly host: Host;
  private readonly guest: GuestDomain;
  private readonly spec: VbdSpec;
  private readonly driver: Blkback;
  private readonly device: BackendDevice;
  private readonly source: AwaitedSource;
  private readonly waits = (): boolean => this.source.isBusy;
  private isClosed = false;

  /** Writes the entries and starts the back end, which finds the front end when the guest runs. Also while it does. */
  constructor(host: Host, guest: GuestDomain, spec: VbdSpec) {
    this.host = host;
    this.guest = guest;
    this.spec = spec;
    this.source = new AwaitedSource(spec.source, () => host.wake());
    host.scheduler.outside.add(this.waits);
    const { source } = this;
    const { vdev, isReadOnly = false, isCdrom = false, discard = null, target = '' } = spec;
    const store = host.store.host;
    const deviceType = isCdrom ? 'cdrom' : 'disk';
    const backendPath = `${domainPath(0)}/backend/vbd/${guest.id}/${vdev.number}`;
    writeDeviceTree(store, {
      ...this.place,
      back: {
        params: `aio:${target}`,
        removable: isCdrom ? '1' : '0',
        bootable: '1',
        dev: vdev.name,
        type: 'qdisk',
        mode: isReadOnly || source.isReadOnly ? 'r' : 'w',
        'device-type': deviceType,
        'discard-enable': discard === false ? '0' : '1',
        specification: 'xen',
      },
      front: { 'virtual-device': String(vdev.number), 'device-type': deviceType },
    });
    this.driver = new Blkback({
      domain: frontendDomain(guest.domain),
      source,
      abi: guest.domain.abi === 'pv32' ? 32 : 64,
      isReadOnly,
      isCdrom,
      isRemovable: isCdrom,
      discard: discard ?? true,
      maxQueues: guest.domain.vcpus.length,
      later: handler => {
        host.hypervisor.hostEvents.raise(handler);
        host.wake();
      },
      log: line => host.hypervisor.log(`(XEN) d${guest.id} ${vdev.name}: ${line}`),
      broken: reason => this.device.fail(reason),
    });
    const frontendPath = `${domainPath(guest.id)}/device/vbd/${vdev.number}`;
    this.device = new BackendDevice({ store, backendPath, frontendPath, driver: this.driver });
    store.write(`${backendPath}/hotplug-status`, 'connected');
    host.addDevice(guest, { stop: () => this.close() });
  }

  /** A state of xenbus: 4 is Connected. */
  get state(): number {
    return this.device.state;
  }

  /** The source has another size now: tells the guest. */
  resized(): void {
    this.device.announce(this.driver.size());
  }

  /** Takes the disk away once the guest lets go of it, as `xl block-detach` does; `done` is called then, if ever. */
  detach(done: () => void = () => {}): void {
    this.device.close(() => {
      removeDeviceTree(this.host.store.host, this.place);
      this.close();
      done();
    });
  }

  private get place(): { domid: number; kind: string; index: number } {
    return { domid: this.guest.id, kind: 'vbd', index: this.spec.vdev.number };
  }

  private close(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.device.stop();
    this.host.scheduler.outside.delete(this.waits);
    this.source.close();
  }
}
