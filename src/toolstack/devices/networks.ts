// The networks of a host: its bridges by name, and one way out that all of them may share.
import { connectPorts, type NetworkPort } from '../../backends/net/link.ts';
import { type PcapWriter, tapPort } from '../../backends/net/pcap.ts';
import { Switch } from '../../backends/net/switch.ts';
import { UserNetwork, type UserNetworkOptions } from '../../backends/net/user/user-network.ts';
import type { GuestDomain } from '../guest-domain.ts';
import type { Host } from '../host.ts';
import { attachVif, bridgeOf, type VifSpec } from './vif.ts';

export interface NetworksOptions {
  /** A user-mode network on the first bridge that is used; without it guests reach each other alone. */
  user?: Omit<UserNetworkOptions, 'clock'>;
  /** Records what the guests' ports carry. */
  capture?: PcapWriter;
}

export class Networks {
  readonly #host: Host;
  readonly #options: NetworksOptions;
  readonly #bridges = new Map<string, Switch>();
  readonly #counts = new Map<number, number>();
  #user: UserNetwork | null = null;
  readonly #waits = (): boolean => this.#user?.busy ?? false;

  constructor(host: Host, options: NetworksOptions = {}) {
    this.#host = host;
    this.#options = options;
  }

  /** Gives a domain a network device; before it runs, or while it does. */
  addVif(guest: GuestDomain, spec: VifSpec): void {
    const bridge = this.#bridge(bridgeOf(spec));
    const own = bridge.addPort();
    const { capture } = this.#options;
    const port: NetworkPort = capture ? tapPort(own, capture) : own;
    const index = this.#counts.get(guest.id) ?? 0;
    this.#counts.set(guest.id, index + 1);
    const device = attachVif({ store: this.#host.store.host, guest, index, spec, port });
    this.#host.addDevice(guest, {
      stop: () => {
        device.stop();
        bridge.removePort(own);
        this.#counts.delete(guest.id);
      },
    });
  }

  #bridge(name: string): Switch {
    let bridge = this.#bridges.get(name);
    if (bridge === undefined) {
      bridge = new Switch();
      this.#bridges.set(name, bridge);
      if (this.#bridges.size === 1) this.#connectOutside(bridge);
    }
    return bridge;
  }

  #connectOutside(bridge: Switch): void {
    const { user } = this.#options;
    if (user === undefined) return;
    const network = new UserNetwork({ ...user, clock: this.#host.hypervisor.clock });
    connectPorts(network, bridge.addPort());
    this.#host.scheduler.outside.add(this.#waits);
    this.#user = network;
  }

  /** Closes the way out. */
  close(): void {
    this.#user?.close();
    this.#user = null;
    this.#host.scheduler.outside.delete(this.#waits);
  }
}
