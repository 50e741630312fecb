// The disks and network devices of a domain, from its start and while it runs: what `xl block-attach`, `network-attach` and their opposites do.
import type { BlockSource } from '../../backends/block/source.ts';
import { type MacAddress, macText } from '../../backends/net/packet/addresses.ts';
import type { BackendDevice } from '../../backends/xenbus/backend-device.ts';
import type { GuestDomain } from '../guest-domain.ts';
import type { Host } from '../host.ts';
import { removeDeviceTree } from './device-tree.ts';
import { assignVdevs, type DiskSpec } from './disk-spec.ts';
import type { Networks } from './networks.ts';
import { DeviceSpecError } from './spec-error.ts';
import { Vbd } from './vbd.ts';
import type { Vdev } from './vdev.ts';
import { attachVif, bridgeOf, type VifSpec, vifMac } from './vif.ts';

interface AttachedDisk {
  readonly spec: DiskSpec & { readonly vdev: Vdev };
  readonly source: BlockSource;
  readonly vbd: Vbd;
}

interface AttachedNetwork {
  readonly mac: MacAddress;
  readonly bridge: string;
  readonly device: BackendDevice;
  close(): void;
}

export interface DiskState {
  readonly vdev: string;
  readonly target: string;
  readonly access: 'ro' | 'rw';
  /** Bytes. */
  readonly size: number;
  /** A state of xenbus: 4 is Connected. */
  readonly state: number;
}

export interface NetworkState {
  readonly index: number;
  readonly mac: string;
  readonly bridge: string;
  readonly state: number;
}

/** A guest that does not let go of a device for so long is taken to never do; as libxl's LIBXL_DESTROY_TIMEOUT. */
const PATIENCE_MS = 10_000;

export class GuestDevices {
  readonly #host: Host;
  readonly #guest: GuestDomain;
  readonly #networks: Networks;
  readonly #disks = new Map<number, AttachedDisk>();
  readonly #vifs = new Map<number, AttachedNetwork>();

  constructor(host: Host, guest: GuestDomain, networks: Networks) {
    this.#host = host;
    this.#guest = guest;
    this.#networks = networks;
  }

  get disks(): DiskState[] {
    return [...this.#disks.values()].map(({ spec, source, vbd }) => ({
      vdev: spec.vdev.name,
      target: spec.target,
      access: spec.isReadOnly || source.isReadOnly ? 'ro' : 'rw',
      size: source.size,
      state: vbd.state,
    }));
  }

  get networks(): NetworkState[] {
    return [...this.#vifs].map(([index, { mac, bridge, device }]) => ({
      index,
      mac: macText(mac),
      bridge,
      state: device.state,
    }));
  }

  /** The disk's name: its own, or the next that is free. The source is the disk's from now on. Throws DiskSpecError. */
  attachDisk(spec: DiskSpec, source: BlockSource): Vdev {
    const taken = [...this.#disks.values()].map(disk => disk.spec);
    const vdev = assignVdevs([...taken, spec]).at(-1)!;
    const vbd = new Vbd(this.#host, this.#guest, { ...spec, vdev, source });
    this.#disks.set(vdev.number, { spec: { ...spec, vdev }, source, vbd });
    this.#host.wake();
    return vdev;
  }

  /** Resolves once the guest has let go of it. Rejects with DeviceSpecError where there is none, or it does not. */
  async detachDisk(name: string): Promise<void> {
    const { spec, vbd } = this.#disk(name);
    await this.#letGo(spec.vdev.name, done => vbd.detach(done));
    this.#disks.delete(spec.vdev.number);
  }

  /** The medium may have another size: looks, and tells the guest. Gives the size in bytes. Throws DeviceSpecError. */
  resizeDisk(name: string): number {
    const { source, vbd } = this.#disk(name);
    if (source.refreshSize === undefined) throw new DeviceSpecError(`the size of ${name}'s medium cannot change`);
    if (source.refreshSize()) vbd.resized();
    this.#host.wake();
    return source.size;
  }

  /** Gives its number. */
  attachNetwork(spec: VifSpec): number {
    let index = 0;
    while (this.#vifs.has(index)) index++;
    const { domain } = this.#guest;
    const opened = this.#networks.open(bridgeOf(spec));
    const device = attachVif({ store: this.#host.store.host, domain, index, spec, port: opened.port });
    const close = (): void => {
      device.stop();
      opened.close();
    };
    this.#host.addDevice(this.#guest, { stop: close });
    this.#vifs.set(index, { mac: vifMac(spec, domain.id, index), bridge: bridgeOf(spec), device, close });
    this.#host.wake();
    return index;
  }

  /** @param which its number or Ethernet address; as detachDisk otherwise */
  async detachNetwork(which: string): Promise<void> {
    const found = [...this.#vifs].find(([index, { mac }]) => which === String(index) || which === macText(mac));
    if (found === undefined) throw new DeviceSpecError(`there is no network device ${which}`);
    const [index, { device, close }] = found;
    await this.#letGo(`network device ${which}`, done => device.close(done));
    removeDeviceTree(this.#host.store.host, { domid: this.#guest.id, kind: 'vif', index });
    close();
    this.#vifs.delete(index);
  }

  /** Closes what is behind the disks: the machine has ended. */
  close(): void {
    for (const { source } of this.#disks.values()) source.close();
  }

  #disk(name: string): AttachedDisk {
    const disk = [...this.#disks.values()].find(({ spec }) => spec.vdev.name === name);
    if (disk === undefined) throw new DeviceSpecError(`there is no disk ${name}`);
    return disk;
  }

  #letGo(name: string, ask: (done: () => void) => void): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new DeviceSpecError(`the guest does not let go of ${name}`)), PATIENCE_MS);
      ask(() => {
        clearTimeout(timer);
        resolve();
      });
      this.#host.wake();
    });
  }
}
