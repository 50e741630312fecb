/**
 * A network with a way out for guests, without any right on the host: a router at 10.0.2.2 (where guests also reach services on the
 * host's loopback address), DHCP, names at 10.0.2.3, and NAT onto sockets of the host. The addresses are those of QEMU's "user" network.
 *
 * IPv4 alone: there is no IPv6 router, and IPv6 packets are dropped, so that guests see a network that has none. ICMP echo is answered by
 * the router and the name server; to others it is refused as prohibited, since unprivileged programs cannot send it.
 */
import type { Frame, NetworkDevice, NetworkPort } from '../link.ts';
import { MAX_FRAME } from '../link.ts';
import { Outbox } from '../outbox.ts';
import { BROADCAST_MAC, type Ipv4Address, parseIpv4 } from '../packet/addresses.ts';
import { ARP_OPERATION, arpFrame, parseArp } from '../packet/arp.ts';
import { DHCP_PORT } from '../packet/dhcp.ts';
import { DNS_PORT } from '../packet/dns.ts';
import { ETHER_TYPE, ETHERNET_HEADER, type EthernetHeader, parseEthernet } from '../packet/ethernet.ts';
import { echoReply, ICMP, icmpError, UNREACHABLE } from '../packet/icmp.ts';
import { IP_PROTOCOL, type Ipv4Packet, parseIpv4 as parsePacket } from '../packet/ipv4.ts';
import { Reassembly } from '../packet/reassembly.ts';
import { parseUdp, type UdpDatagram, udpBytes } from '../packet/udp.ts';
import type { TcpClock } from '../tcp/connection.ts';
import { parseTcp } from '../tcp/segment.ts';
import { DhcpServer } from './dhcp-server.ts';
import { DnsForwarder } from './dns-forwarder.ts';
import type { HostListener, HostSockets } from './host-sockets.ts';
import { Ipv4Output } from './ipv4-output.ts';
import { broadcastOf, DEFAULT_SUBNET, destinationOf, isInside, ownMac } from './subnet.ts';
import { TcpNat } from './tcp-nat.ts';
import { UdpNat } from './udp-nat.ts';

/** The machine's clock: timers run on it, so that a virtual one stays repeatable. */
export type NetworkClock = TcpClock;

/** A port of the host whose connections or datagrams go into a guest. */
export interface PortForward {
  protocol: 'tcp' | 'udp';
  /** Default: 127.0.0.1. */
  hostAddress?: string;
  /** 0: the host chooses; see `onListening`. */
  hostPort: number;
  /** Default: the first address that DHCP gives. */
  guestAddress?: string;
  guestPort: number;
}

export interface UserNetworkOptions {
  clock: NetworkClock;
  sockets: HostSockets;
  mtu?: number;
  /** What DHCP tells guests that they are called. */
  hostName?: string;
  forwards?: readonly PortForward[];
  /** No way out: only DHCP, the router itself, and forwarded ports. */
  isolated?: boolean;
  onListening?: (forward: PortForward, port: number) => void;
  /** A forward cannot be had, with a sentence for the user. */
  onForwardFailed?: (forward: PortForward, message: string) => void;
}

const DEFAULT_MTU = 1500;
const LOOPBACK: Ipv4Address = 0x7f000001;

const NO_NAMES: Pick<HostSockets, 'resolve'> = {
  resolve: (_name, _type, done) => done({ status: 'failed', values: [] }),
};

export class UserNetwork implements NetworkPort {
  readonly mtu: number;
  readonly #options: UserNetworkOptions;
  readonly #subnet = DEFAULT_SUBNET;
  readonly #outbox = new Outbox();
  readonly #output: Ipv4Output;
  readonly #reassembly = new Reassembly();
  readonly #dhcp: DhcpServer;
  readonly #dns: DnsForwarder;
  readonly #tcp: TcpNat;
  readonly #udp: UdpNat;
  readonly #listeners: HostListener[] = [];

  constructor(options: UserNetworkOptions) {
    const { clock, sockets, mtu = DEFAULT_MTU, hostName } = options;
    this.#options = options;
    this.mtu = mtu;
    this.#output = new Ipv4Output(this.#outbox, this.#subnet, mtu);
    this.#dhcp = new DhcpServer({ subnet: this.#subnet, mtu, hostName });
    this.#dns = new DnsForwarder(options.isolated ? NO_NAMES : sockets, clock, this.#subnet);
    const complain = (type: number, code: number, about: Ipv4Packet): void => this.#complain(type, code, about);
    this.#tcp = new TcpNat({ clock, sockets, output: this.#output, mtu, complain });
    this.#udp = new UdpNat({ clock, sockets, output: this.#output, gateway: this.#subnet.gateway });
    for (const forward of options.forwards ?? []) this.#forward(forward);
  }

  /** Something is expected from outside: open connections, questions and datagrams without an answer. Idle time must then really pass. */
  get busy(): boolean {
    return this.#tcp.active > 0 || this.#dns.waiting > 0 || this.#udp.isWaiting;
  }

  attach(device: NetworkDevice | null): void {
    this.#outbox.attach(device);
  }

  resume(): void {
    this.#outbox.resume();
    this.#tcp.resume();
  }

  /** Closes every socket. Nothing is sent any more. */
  close(): void {
    this.#outbox.attach(null);
    for (const listener of this.#listeners.splice(0)) listener.close();
    this.#tcp.close();
    this.#udp.close();
  }

  send(frame: Frame): void {
    const { bytes } = frame;
    if (bytes.length > MAX_FRAME) return;
    const ethernet = parseEthernet(bytes);
    if (ethernet === null || !this.#isForUs(ethernet)) return;
    if (ethernet.type === ETHER_TYPE.arp) this.#receiveArp(ethernet, bytes);
    else if (ethernet.type === ETHER_TYPE.ipv4) {
      const packet = parsePacket(bytes, ETHERNET_HEADER);
      if (packet !== null) this.#receivePacket(packet, ethernet, frame.checksum !== null);
    }
  }

  #isForUs({ destination }: EthernetHeader): boolean {
    const { gateway, dns } = this.#subnet;
    return destination === BROADCAST_MAC || destination === ownMac(gateway) || destination === ownMac(dns);
  }

  #receiveArp(ethernet: EthernetHeader, bytes: Uint8Array): void {
    const packet = parseArp(bytes);
    if (packet === null || packet.senderMac !== ethernet.source) return;
    const { gateway, dns } = this.#subnet;
    const isOwn = packet.sender === gateway || packet.sender === dns;
    if (isInside(this.#subnet, packet.sender) && !isOwn) this.#output.learn(packet.sender, packet.senderMac);
    if (packet.operation !== ARP_OPERATION.request || (packet.target !== gateway && packet.target !== dns)) return;
    const reply = {
      operation: ARP_OPERATION.reply,
      senderMac: ownMac(packet.target),
      sender: packet.target,
      targetMac: packet.senderMac,
      target: packet.sender,
    };
    this.#outbox.send({ bytes: arpFrame(reply), checksum: null, segmentation: null });
  }

  #receivePacket(fragment: Ipv4Packet, { source: mac }: EthernetHeader, trusted: boolean): void {
    const { gateway, dns } = this.#subnet;
    const { source } = fragment;
    if (source !== 0) {
      if (!isInside(this.#subnet, source) || source === gateway || source === dns) return;
      this.#output.learn(source, mac);
    }
    const packet = this.#reassembly.take(fragment, this.#options.clock.nowNs());
    if (packet === null) return;
    if (packet.protocol === IP_PROTOCOL.udp) {
      const datagram = parseUdp(packet, trusted);
      if (datagram === null) return;
      if (datagram.destinationPort === DHCP_PORT.server) this.#receiveDhcp(packet, datagram);
      else if (source !== 0) this.#receiveUdp(packet, datagram);
    } else if (source !== 0 && packet.destination !== broadcastOf(this.#subnet)) {
      if (packet.protocol === IP_PROTOCOL.tcp) this.#receiveTcp(packet, trusted);
      else if (packet.protocol === IP_PROTOCOL.icmp) this.#receiveIcmp(packet);
      else this.#complain(ICMP.unreachable, UNREACHABLE.protocol, packet);
    }
  }

  #receiveDhcp({ destination }: Ipv4Packet, datagram: UdpDatagram): void {
    const { gateway } = this.#subnet;
    if (destination !== gateway && destination !== 0xffffffff && destination !== broadcastOf(this.#subnet)) return;
    const answer = this.#dhcp.receive(datagram.payload, this.#options.clock.nowNs());
    if (answer === null) return;
    const reply = { sourcePort: DHCP_PORT.server, destinationPort: DHCP_PORT.client, payload: answer.payload };
    this.#output.send({
      source: gateway,
      destination: answer.destination,
      protocol: IP_PROTOCOL.udp,
      payload: udpBytes(gateway, answer.destination, reply),
      ...(answer.destination === 0xffffffff ? {} : { mac: answer.mac }),
    });
  }

  /** The address that the host is to use for a guest's packet; null where it leads nowhere, of which the guest is told. */
  #hostAddress(packet: Ipv4Packet): Ipv4Address | null {
    const { destination, ttl } = packet;
    const where = destinationOf(this.#subnet, destination);
    if (where === 'nowhere') return null;
    if (where === 'inside') {
      this.#complain(ICMP.unreachable, UNREACHABLE.host, packet);
      return null;
    }
    if (this.#options.isolated) {
      this.#complain(ICMP.unreachable, UNREACHABLE.prohibited, packet);
      return null;
    }
    if (where === 'gateway') return LOOPBACK;
    if (where === 'outside' && ttl <= 1) {
      this.#complain(ICMP.timeExceeded, 0, packet);
      return null;
    }
    return destination;
  }

  #receiveUdp(packet: Ipv4Packet, datagram: UdpDatagram): void {
    const { source, destination } = packet;
    const { dns } = this.#subnet;
    if (destination === dns) {
      if (datagram.destinationPort !== DNS_PORT) {
        this.#complain(ICMP.unreachable, UNREACHABLE.port, packet);
        return;
      }
      const { sourcePort } = datagram;
      this.#dns.receive(datagram.payload, payload => {
        const answer = udpBytes(dns, source, { sourcePort: DNS_PORT, destinationPort: sourcePort, payload });
        this.#output.send({ source: dns, destination: source, protocol: IP_PROTOCOL.udp, payload: answer });
      });
      return;
    }
    if (destination === broadcastOf(this.#subnet) || datagram.destinationPort === 0) return;
    const isAnswer = destination === this.#subnet.gateway && this.#udp.answersForward(source, datagram);
    if (isAnswer) return;
    const host = this.#hostAddress(packet);
    if (host !== null) this.#udp.send(source, destination, datagram, host);
  }

  #receiveTcp(packet: Ipv4Packet, trusted: boolean): void {
    const segment = parseTcp(packet, trusted);
    if (segment === null) return;
    const { destination } = packet;
    // Forwarded connections are known to it already, whatever the guest may reach by itself.
    const isOwn = destination === this.#subnet.gateway || destination === this.#subnet.dns;
    if (destination === this.#subnet.dns || (isOwn && this.#options.isolated)) {
      this.#tcp.receive(packet, segment, null);
      return;
    }
    const host = this.#hostAddress(packet);
    if (host !== null) this.#tcp.receive(packet, segment, host);
  }

  #receiveIcmp(packet: Ipv4Packet): void {
    const { source, destination, payload } = packet;
    const { gateway, dns } = this.#subnet;
    if (payload[0] !== ICMP.echo) return;
    if (destination === gateway || destination === dns) {
      const reply = echoReply(payload);
      if (reply === null) return;
      this.#output.send({ source: destination, destination: source, protocol: IP_PROTOCOL.icmp, payload: reply });
    } else if (this.#hostAddress(packet) !== null) {
      this.#complain(ICMP.unreachable, UNREACHABLE.prohibited, packet);
    }
  }

  #complain(type: number, code: number, about: Ipv4Packet): void {
    const message = icmpError(type, code, about, broadcastOf(this.#subnet));
    if (message === null) return;
    const source = this.#subnet.gateway;
    this.#output.send({ source, destination: about.source, protocol: IP_PROTOCOL.icmp, payload: message });
  }

  #forward(forward: PortForward): void {
    const { protocol, hostAddress = '127.0.0.1', hostPort, guestPort, guestAddress } = forward;
    const { gateway, firstGuest } = this.#subnet;
    const guest = guestAddress === undefined ? firstGuest : parseIpv4(guestAddress);
    if (guest === null || !isInside(this.#subnet, guest)) {
      this.#options.onForwardFailed?.(forward, `${guestAddress} is no address of a guest`);
      return;
    }
    const events = {
      listening: (port: number) => this.#options.onListening?.(forward, port),
      failed: (message: string) => this.#options.onForwardFailed?.(forward, message),
    };
    if (protocol === 'udp') {
      this.#udp.forward({ address: hostAddress, port: hostPort, ...events }, guest, guestPort);
      return;
    }
    const accept = (socket: Parameters<TcpNat['forward']>[0]) => this.#tcp.forward(socket, gateway, guest, guestPort);
    this.#listeners.push(this.#options.sockets.listenTcp(hostAddress, hostPort, { ...events, accept }));
  }
}
