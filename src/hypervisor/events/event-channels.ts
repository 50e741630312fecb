// The event channels of one domain: ports, what they are bound to, and who is told. Source: xen/include/public/event_channel.h.
import type { Domain, DomId } from '../domain.ts';
import { XenError } from '../errors.ts';
import type { Tracer } from '../tracer.ts';
import { type Channel, type Delivery, freeChannel, isUsable, type Port, Priority } from './channel.ts';
import { CONTROL_BLOCK_SIZE, Fifo } from './fifo.ts';
import type { HostPort } from './host-port.ts';
import { PhysicalIrqs, type PirqBindings } from './pirq.ts';
import { TwoLevel } from './two-level.ts';
import { isGlobalVirq, NR_VIRQS } from './virq.ts';

/** Ports come into being by so many: a port below the last one is "closed", one beyond it is an error. */
const PORTS_PER_BUCKET = 64;
/** What the toolstack gives a domain unless told otherwise; dom0 has no limit but the ABI's. */
const DEFAULT_MAX_PORT = 1023;
const PAGE_SIZE = 4096;

export class EventChannels {
  readonly domain: Domain;
  /** A PV domain's. */
  readonly pirqs: PhysicalIrqs;
  /** What ports of physical interrupts are bound to. */
  private readonly pirqBindings: PirqBindings;
  private readonly channels: Channel[] = [];
  /** Highest port number that may be allocated. */
  private readonly maxPort: number;
  private readonly twoLevel: TwoLevel;
  private fifo: Fifo | null = null;
  private delivery: Delivery;
  /** virqPorts[vcpu][virq]: the port, 0 = not bound. */
  private readonly virqPorts: Uint32Array[];
  /** No port below this one is free. */
  private searchFrom = 1;

  constructor(domain: Domain) {
    this.domain = domain;
    this.pirqs = new PhysicalIrqs(domain);
    this.pirqBindings = domain.hvm?.pirqs ?? this.pirqs;
    this.maxPort = domain.config.maxEventPorts ?? (domain.isPrivileged ? 0x7fffffff : DEFAULT_MAX_PORT);
    this.twoLevel = new TwoLevel(domain);
    this.delivery = this.twoLevel;
    this.virqPorts = domain.vcpus.map(() => new Uint32Array(NR_VIRQS));
    this.grow();
    this.channels[0].state = 'reserved';
  }

  /** True once the domain has chosen the FIFO ABI. */
  get isFifo(): boolean {
    return this.fifo !== null;
  }

  /** The channel of a valid port, free or not. */
  channelAt(port: Port): Channel | undefined {
    return this.channels[port];
  }

  /** EVTCHNOP_alloc_unbound: a port that domain `remote` may bind to. Throws ENOSPC. */
  allocUnbound(remote: DomId): Port {
    const channel = this.allocate();
    channel.state = 'unbound';
    channel.remoteDomain = remote;
    this.bound(channel);
    return channel.port;
  }

  /** EVTCHNOP_bind_interdomain: a new local port bound to a remote one that waits for this domain. */
  bindInterdomain(remote: Domain, remotePort: Port): Port {
    const local = this.findFree();
    const peer = remote.events.channelAt(remotePort);
    if (peer?.state !== 'unbound' || peer.remoteDomain !== this.domain.id) throw new XenError('EINVAL');
    // A domain that waits for itself must not bind a port to that same port.
    if (peer === local) throw new XenError('EINVAL');
    local.state = 'interdomain';
    local.remoteDomain = remote.id;
    local.remotePort = remotePort;
    this.bound(local);
    peer.state = 'interdomain';
    peer.remoteDomain = this.domain.id;
    peer.remotePort = local.port;
    // Notifications may have been lost while the remote port was unbound, so the new one always starts pending.
    this.raise(local, local.vcpu);
    return local.port;
  }

  /** EVTCHNOP_bind_virq. */
  bindVirq(virq: number, vcpu: number): Port {
    if (virq >= NR_VIRQS || (isGlobalVirq(virq) && vcpu !== 0)) throw new XenError('EINVAL');
    if (vcpu >= this.domain.vcpus.length) throw new XenError('ENOENT');
    if (this.virqPorts[vcpu][virq] !== 0) throw new XenError('EEXIST');
    const channel = this.allocate();
    channel.state = 'virq';
    channel.vcpu = vcpu;
    channel.irq = virq;
    this.bound(channel);
    this.virqPorts[vcpu][virq] = channel.port;
    return channel.port;
  }

  /** EVTCHNOP_bind_ipi. */
  bindIpi(vcpu: number): Port {
    if (vcpu >= this.domain.vcpus.length) throw new XenError('ENOENT');
    const channel = this.allocate();
    channel.state = 'ipi';
    channel.vcpu = vcpu;
    this.bound(channel);
    return channel.port;
  }

  /** EVTCHNOP_bind_pirq: see its bindings for what it throws. */
  bindPirq(pirq: number): Port {
    const channel = this.allocate();
    this.pirqBindings.bind(pirq, () => this.raise(channel, channel.vcpu));
    channel.state = 'pirq';
    channel.irq = pirq;
    this.bound(channel);
    return channel.port;
  }

  /** EVTCHNOP_close. The peer's port becomes unbound, waiting for this domain. */
  close(port: Port): void {
    const channel = this.channels[port];
    if (!channel || !isUsable(channel)) throw new XenError('EINVAL');
    if (channel.state === 'virq') {
      this.virqPorts[isGlobalVirq(channel.irq) ? 0 : channel.vcpu][channel.irq] = 0;
    } else if (channel.state === 'pirq') {
      this.pirqBindings.unbind(channel.irq);
    } else if (channel.state === 'interdomain' && !channel.host) {
      // A dying domain's ports are closed first, so the peer exists.
      const peer = this.domain.hypervisor.domains.get(channel.remoteDomain)?.events.channelAt(channel.remotePort);
      if (peer && peer !== channel) {
        peer.state = 'unbound';
        peer.remoteDomain = this.domain.id;
      }
    }
    this.tracer?.channel(this.domain, channel, 'close');
    this.free(channel);
  }

  /** EVTCHNOP_send. An unbound port drops it silently. */
  send(port: Port): void {
    const channel = this.channels[port];
    if (channel) this.tracer?.channel(this.domain, channel, 'send');
    switch (channel?.state) {
      case 'interdomain': {
        if (channel.host) {
          (channel.host as HostEnd).receive();
          return;
        }
        const remote = this.domain.hypervisor.domains.get(channel.remoteDomain)?.events;
        const peer = remote?.channelAt(channel.remotePort);
        if (remote && peer) remote.raise(peer, peer.vcpu);
        return;
      }
      case 'ipi':
        this.raise(channel, channel.vcpu);
        return;
      case 'unbound':
        return;
      default:
        throw new XenError('EINVAL');
    }
  }

  /** EVTCHNOP_bind_vcpu: who is told. Fixed for IPIs and per-vCPU VIRQs. */
  bindVcpu(port: Port, vcpu: number): void {
    if (vcpu >= this.domain.vcpus.length) throw new XenError('ENOENT');
    const channel = this.channels[port];
    const movable =
      channel?.state === 'unbound' ||
      channel?.state === 'interdomain' ||
      channel?.state === 'pirq' ||
      (channel?.state === 'virq' && isGlobalVirq(channel.irq));
    if (!movable) throw new XenError('EINVAL');
    channel.vcpu = vcpu;
  }

  /** EVTCHNOP_unmask. */
  unmask(port: Port): void {
    const channel = this.valid(port);
    if (isUsable(channel)) this.delivery.unmask(channel);
  }

  /** EVTCHNOP_reset: closes everything and goes back to the 2-level ABI. */
  reset(): void {
    for (const channel of this.channels) if (isUsable(channel)) this.close(channel.port);
    if (!this.fifo) return;
    this.fifo.release();
    this.fifo = null;
    this.delivery = this.twoLevel;
    for (const channel of this.channels) channel.pendingLater = false;
  }

  /** EVTCHNOP_init_control. The domain's first one switches it to the FIFO ABI. */
  initControl(vcpu: number, gfn: bigint, offset: number): void {
    if (vcpu >= this.domain.vcpus.length) throw new XenError('ENOENT');
    if (offset > PAGE_SIZE - CONTROL_BLOCK_SIZE || offset % 8 !== 0) throw new XenError('EINVAL');
    if (this.fifo) {
      this.fifo.mapControlBlock(vcpu, gfn, offset);
      return;
    }
    const fifo = new Fifo(this.domain);
    fifo.mapControlBlock(vcpu, gfn, offset);
    for (const channel of this.channels) {
      channel.priority = Priority.default;
      channel.lastVcpu = 0;
      channel.lastPriority = 0;
      // What is pending now is raised again when its word exists.
      channel.pendingLater = channel.port !== 0 && this.twoLevel.isPendingPort(channel.port);
    }
    this.fifo = fifo;
    this.delivery = fifo;
  }

  /** EVTCHNOP_expand_array. Throws EOPNOTSUPP before init_control. */
  expandArray(gfn: bigint): void {
    if (!this.fifo) throw new XenError('EOPNOTSUPP');
    this.fifo.addPage(gfn, port => this.channels[port]);
  }

  /** EVTCHNOP_set_priority. */
  setPriority(port: Port, priority: number): void {
    const channel = this.valid(port);
    if (!this.delivery.hasPriorities) throw new XenError('ENOSYS');
    if (!isUsable(channel)) throw new XenError('EACCES');
    if (priority > Priority.min) throw new XenError('EINVAL');
    channel.priority = priority;
  }

  /** SCHEDOP_poll's look at one port: true when it is pending. Throws EINVAL for a port that cannot be. */
  poll(port: Port): boolean {
    return this.isPending(this.valid(port));
  }

  isPending(channel: Channel): boolean {
    return isUsable(channel) && this.delivery.isPending(channel);
  }

  isMasked(channel: Channel): boolean {
    return !isUsable(channel) || this.delivery.isMasked(channel);
  }

  /** Raises a per-vCPU VIRQ; nothing happens where the guest has not bound it. */
  sendVcpuVirq(vcpu: number, virq: number): void {
    const port = this.virqPorts[vcpu][virq];
    if (port !== 0) this.raise(this.channels[port], vcpu);
  }

  /** Raises a global VIRQ in this domain. */
  sendGlobalVirq(virq: number): void {
    const port = this.virqPorts[0]?.[virq] ?? 0;
    if (port !== 0) this.raise(this.channels[port], this.channels[port].vcpu);
  }

  /**
   * Binds a backend in the host to a port that this domain holds open for domain `as` (dom0 in Xen's usual arrangement). `onNotify`
   * runs for every notification, later and outside of the hypercall; once at first, since earlier ones may have been lost.
   * @throws EINVAL where the port is not unbound for that domain
   */
  bindHost(port: Port, onNotify: () => void, as: DomId = 0): HostPort {
    const channel = this.channels[port];
    if (channel?.state !== 'unbound' || channel.remoteDomain !== as) throw new XenError('EINVAL');
    const end = new HostEnd(this, channel, onNotify);
    channel.state = 'interdomain';
    channel.remotePort = port; // no port exists on the other side; this number is what EVTCHNOP_status shows
    channel.host = end;
    this.tracer?.channel(this.domain, channel, 'bind');
    end.receive();
    return end;
  }

  /** The host's end of a channel: raises the guest's port. */
  raiseFromHost(channel: Channel): void {
    this.raise(channel, channel.vcpu);
  }

  /** The host's end was closed: the port waits for the same domain again. */
  hostClosed(channel: Channel): void {
    channel.host = null;
    channel.state = 'unbound';
  }

  /** The domain goes away: closes all ports and gives its frames back. */
  destroy(): void {
    this.reset();
    this.pirqBindings.destroy();
  }

  private raise(channel: Channel, vcpu: number): void {
    if (!isUsable(channel) || this.domain.isDying) return;
    this.tracer?.channel(this.domain, channel, 'raise');
    this.delivery.setPending(vcpu, channel);
  }

  private get tracer(): Tracer | null {
    return this.domain.hypervisor.tracer;
  }

  /** A channel has what it is bound to. */
  private bound(channel: Channel): void {
    this.delivery.init(channel);
    this.tracer?.channel(this.domain, channel, 'bind');
  }

  private valid(port: Port): Channel {
    const channel = this.channels[port];
    if (!channel) throw new XenError('EINVAL');
    return channel;
  }

  /** The lowest free port. It stays free until its state is set. Throws ENOSPC, or EINVAL for a dying domain. */
  private findFree(): Channel {
    if (this.domain.isDying) throw new XenError('EINVAL');
    let from = this.searchFrom;
    while (from < this.channels.length && this.channels[from].state !== 'free') from++;
    this.searchFrom = from;
    for (let port = from; ; port++) {
      if (port > this.maxPort || port >= this.delivery.maxPorts) throw new XenError('ENOSPC');
      if (port >= this.channels.length) this.grow();
      const channel = this.channels[port];
      // A FIFO word that is still in a queue would be delivered as the new event.
      if (channel.state === 'free' && !this.delivery.isBusy(channel)) return channel;
    }
  }

  private allocate(): Channel {
    return this.findFree();
  }

  private free(channel: Channel): void {
    this.delivery.clearPending(channel);
    if (channel.host) (channel.host as HostEnd).disconnect();
    channel.host = null;
    channel.state = 'free';
    channel.vcpu = 0;
    channel.pendingLater = false;
    this.searchFrom = Math.min(this.searchFrom, channel.port);
  }

  private grow(): void {
    const first = this.channels.length;
    for (let i = 0; i < PORTS_PER_BUCKET; i++) this.channels.push(freeChannel(first + i));
  }
}

/** The host's end of a channel. */
class HostEnd implements HostPort {
  readonly domain: DomId;
  readonly port: Port;
  isConnected = true;
  private readonly events: EventChannels;
  private readonly channel: Channel;
  /** One function for the life of the end, so that notifications in the queue are one. */
  private readonly handler: () => void;

  constructor(events: EventChannels, channel: Channel, onNotify: () => void) {
    this.events = events;
    this.channel = channel;
    this.domain = events.domain.id;
    this.port = channel.port;
    this.handler = () => {
      if (this.isConnected) onNotify();
    };
  }

  notify(): void {
    if (this.isConnected) this.events.raiseFromHost(this.channel);
  }

  close(): void {
    if (!this.isConnected) return;
    this.isConnected = false;
    this.events.hostClosed(this.channel);
  }

  /** The guest has sent. */
  receive(): void {
    this.events.domain.hypervisor.hostEvents.raise(this.handler);
  }

  /** The guest has closed. */
  disconnect(): void {
    this.isConnected = false;
  }
}
