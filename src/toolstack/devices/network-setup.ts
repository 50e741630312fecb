// The network devices of one started machine, as a person asked for them.
import { PcapWriter } from '../../backends/net/pcap.ts';
import type { UserNetworkOptions } from '../../backends/net/user/user-network.ts';
import { BuildError } from '../builder/error.ts';
import { HostedDomain, type Machine } from '../machine.ts';
import { Networks } from './networks.ts';
import { attachVif, bridgeOf, type VifSpec } from './vif.ts';

export interface NetworkSetup {
  vifs: readonly VifSpec[];
  /** The way out: made with what wakes the machine when something comes; without it there is none. */
  user?: (wake: () => void) => Omit<UserNetworkOptions, 'clock'>;
  /** Takes a capture of what the devices carry, in pcap's format. */
  capture?: (bytes: Uint8Array) => void;
}

/** Gives the machine its devices before it runs. Returns how to close what stays open of them. Throws BuildError. */
export function connectNetworks(machine: Machine, { vifs, user, capture }: NetworkSetup): () => void {
  if (vifs.length === 0) return () => {};
  if (!(machine instanceof HostedDomain)) throw new BuildError('a vif is a device of a Xen guest');
  const { host, guest } = machine;
  const { clock } = host.hypervisor;
  const networks = new Networks({
    clock,
    scheduler: host.scheduler,
    ...(user ? { user: user(() => host.wake()) } : {}),
    ...(capture ? { capture: new PcapWriter(capture, () => clock.wallClockAtBoot + clock.nowNs()) } : {}),
  });
  for (const [index, spec] of vifs.entries()) {
    const { port, close } = networks.open(bridgeOf(spec));
    const device = attachVif({ store: host.store.host, domain: guest.domain, index, spec, port });
    host.addDevice(guest, {
      stop: () => {
        device.stop();
        close();
      },
    });
  }
  return () => networks.close();
}
