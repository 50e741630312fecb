// The networks of a machine's surroundings: bridges by name, and one way out. Network devices of any kind, virtio's and PV ones, get ports of them.
import { connectPorts, type NetworkPort } from '../../backends/net/link.ts';
import { type PcapWriter, tapPort } from '../../backends/net/pcap.ts';
import { type FrameStream, StreamLink } from '../../backends/net/stream-link.ts';
import { Switch } from '../../backends/net/switch.ts';
import { UserNetwork, type UserNetworkOptions } from '../../backends/net/user/user-network.ts';
import type { Scheduler } from '../../machine/schedule.ts';
import type { Clock } from '../../machine/time/clock.ts';

export interface NetworksOptions {
  clock: Clock;
  /** Told not to skip idle time while an answer from outside may come. */
  scheduler: Pick<Scheduler, 'outside'>;
  /** A user-mode network on the first bridge that is used; without it guests reach each other alone. */
  user?: Omit<UserNetworkOptions, 'clock'>;
  /** Instead of it a stream of frames to whoever has a network. */
  stream?: FrameStream;
  /** Told why the stream has ended. */
  onStreamEnd?: (reason: string) => void;
  /** Records what the devices' ports carry. */
  capture?: PcapWriter;
}

/** A port, and how to take it away. */
export interface OpenPort {
  port: NetworkPort;
  close(): void;
}

export class Networks {
  readonly #options: NetworksOptions;
  readonly #bridges = new Map<string, Switch>();
  #user: UserNetwork | null = null;
  #link: StreamLink | null = null;
  readonly #waits = (): boolean => this.#user?.busy ?? this.#link?.isOpen ?? false;

  constructor(options: NetworksOptions) {
    this.#options = options;
  }

  /** A port of the bridge with this name, which is made where there is none. */
  open(name: string): OpenPort {
    const bridge = this.#bridge(name);
    const own = bridge.addPort();
    const { capture } = this.#options;
    return { port: capture ? tapPort(own, capture) : own, close: () => bridge.removePort(own) };
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
    const { user, stream, clock, scheduler, onStreamEnd = () => {} } = this.#options;
    if (user !== undefined) {
      this.#user = new UserNetwork({ ...user, clock });
      connectPorts(this.#user, bridge.addPort());
    } else if (stream !== undefined) this.#link = new StreamLink(bridge.addPort(), stream, onStreamEnd);
    else return;
    scheduler.outside.add(this.#waits);
  }

  /** Closes the way out. */
  close(): void {
    this.#user?.close();
    this.#user = null;
    if (this.#link) this.#link.close();
    else this.#options.stream?.close();
    this.#link = null;
    this.#options.scheduler.outside.delete(this.#waits);
  }
}
