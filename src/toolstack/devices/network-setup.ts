// The network devices of one machine, as a person asked for them: cards of a bare machine or Dom0's, vifs of a domain.

import { type MacAddress, setMac } from '../../backends/net/packet/addresses.ts';
import { PcapWriter } from '../../backends/net/pcap.ts';
import type { FrameStream } from '../../backends/net/stream-link.ts';
import type { UserNetworkOptions } from '../../backends/net/user/user-network.ts';
import type { VirtioMachine } from '../../machine/virtio/device.ts';
import { VirtioNet } from '../../machine/virtio/net.ts';
import { addVirtio } from '../../machine/virtio/pci-device.ts';
import type { GuestDomain } from '../guest-domain.ts';
import type { Host } from '../host.ts';
import { Networks, type NetworksOptions } from './networks.ts';
import { attachVif, bridgeOf, type VifSpec } from './vif.ts';

export interface NetworkSetup {
  /** A device each, whatever kind the machine has. */
  vifs: readonly VifSpec[];
  /** The way out: made with what wakes the machine when something comes; without it there is none. */
  user?: (wake: () => void) => Omit<UserNetworkOptions, 'clock'>;
  /** Instead of it a stream of frames, made with the same. */
  stream?: (wake: () => void) => FrameStream;
  onStreamEnd?: (reason: string) => void;
  /** Takes a capture of what the devices carry, in pcap's format. */
  capture?: (bytes: Uint8Array) => void;
}

/** The first address of QEMU's own range. */
const FIRST_CARD: MacAddress = 0x525400123456;

/** Close them when the machine has ended. */
export function openNetworks(
  { user, stream, onStreamEnd, capture }: NetworkSetup,
  machine: Pick<NetworksOptions, 'clock' | 'scheduler'> & { wake: () => void },
): Networks {
  const { clock, scheduler, wake } = machine;
  return new Networks({
    clock,
    scheduler,
    ...(user ? { user: user(wake) } : {}),
    ...(stream ? { stream: stream(wake) } : {}),
    ...(onStreamEnd ? { onStreamEnd } : {}),
    ...(capture ? { capture: new PcapWriter(capture, () => clock.wallClockAtBoot + clock.nowNs()) } : {}),
  });
}

/** Puts virtio network cards on a PCI bus, before its firmware runs. */
export function addCards(
  networks: Networks,
  specs: readonly VifSpec[],
  bus: Parameters<typeof addVirtio>[0],
  machine: VirtioMachine,
): void {
  for (const [index, spec] of specs.entries()) {
    const mac = new Uint8Array(6);
    setMac(mac, 0, spec.mac ?? FIRST_CARD + index);
    addVirtio(bus, new VirtioNet(machine, { mac, port: networks.open(bridgeOf(spec)).port }));
  }
}

/** Gives a domain PV network devices; as a rule before it runs. They go with it. */
export function addVifs(networks: Networks, specs: readonly VifSpec[], host: Host, guest: GuestDomain): void {
  for (const [index, spec] of specs.entries()) {
    const { port, close } = networks.open(bridgeOf(spec));
    const device = attachVif({ store: host.store.host, domain: guest.domain, index, spec, port });
    host.addDevice(guest, {
      stop: () => {
        device.stop();
        close();
      },
    });
  }
}
