/**
 * UDP between guests and sockets of the host: a socket for each port of a guest that sends (RFC 4787: the same one whatever the destination), let go
 * after a while of silence. Datagrams come back only from whom the guest has sent to. Ports can be forwarded into a guest.
 */
import { type Ipv4Address, ipv4Text, parseIpv4 } from '../packet/addresses.ts';
import { IP_PROTOCOL } from '../packet/ipv4.ts';
import { type UdpDatagram, udpBytes } from '../packet/udp.ts';
import type { TcpClock, TcpTimer } from '../tcp/connection.ts';
import type { HostSockets, HostUdpSocket, ListenEvents } from './host-sockets.ts';
import type { Ipv4Output } from './ipv4-output.ts';

const MAX_FLOWS = 256;
/** Destinations of one flow that may answer. */
const MAX_PEERS = 256;
/** RFC 4787 REQ-5: two minutes or more. */
const IDLE_NS = 120_000_000_000n;
/** How long an answer is worth waiting for, where time could otherwise be skipped. */
const ANSWER_NS = 3_000_000_000n;
const FIRST_FORWARD_PORT = 49152;

interface Flow {
  socket: HostUdpSocket;
  /** Address and port of a peer as the host has it, to the address that the guest knows it by. */
  peers: Map<string, Ipv4Address>;
  lastNs: bigint;
  /** Until when an answer is waited for. */
  awaitedNs: bigint;
}

interface Forward {
  socket: HostUdpSocket;
  guest: Ipv4Address;
  port: number;
  /** Gateway's port to the outside peer that a guest sees there. Oldest first. */
  peers: Map<number, { address: string; port: number }>;
}

export interface UdpNatOptions {
  clock: TcpClock;
  sockets: HostSockets;
  output: Ipv4Output;
  gateway: Ipv4Address;
}

export class UdpNat {
  readonly #options: UdpNatOptions;
  /** By guest address and port; the one silent longest first. */
  readonly #flows = new Map<string, Flow>();
  readonly #forwards: Forward[] = [];
  readonly #sweep: TcpTimer;
  #forwardPort = FIRST_FORWARD_PORT;

  constructor(options: UdpNatOptions) {
    this.#options = options;
    this.#sweep = options.clock.timer(now => this.#forgetIdle(now));
  }

  get flows(): number {
    return this.#flows.size;
  }

  /** Answers may be on their way. */
  get isWaiting(): boolean {
    const now = this.#options.clock.nowNs();
    for (const { awaitedNs } of this.#flows.values()) if (awaitedNs > now) return true;
    return false;
  }

  /** A guest's datagram to `destination`, which the host reaches as `host`. */
  send(guest: Ipv4Address, destination: Ipv4Address, datagram: UdpDatagram, host: Ipv4Address): void {
    const now = this.#options.clock.nowNs();
    const flow = this.#flowOf(guest, datagram.sourcePort);
    flow.lastNs = now;
    flow.awaitedNs = now + ANSWER_NS;
    const address = ipv4Text(host);
    const peer = `${address}:${datagram.destinationPort}`;
    flow.peers.delete(peer);
    flow.peers.set(peer, destination);
    if (flow.peers.size > MAX_PEERS) flow.peers.delete(flow.peers.keys().next().value!);
    flow.socket.send(datagram.payload, address, datagram.destinationPort);
  }

  #flowOf(guest: Ipv4Address, port: number): Flow {
    const key = `${guest}:${port}`;
    const { sockets, output, clock } = this.#options;
    const known = this.#flows.get(key);
    this.#flows.delete(key);
    const flow: Flow = known ?? {
      peers: new Map(),
      lastNs: 0n,
      awaitedNs: 0n,
      socket: sockets.openUdp({
        datagram: (payload, address, sourcePort) => {
          const source = flow.peers.get(`${address}:${sourcePort}`);
          if (source === undefined || this.#flows.get(key) !== flow) return;
          flow.lastNs = clock.nowNs();
          flow.awaitedNs = 0n;
          deliver(output, source, guest, { sourcePort, destinationPort: port, payload });
        },
      }),
    };
    this.#flows.set(key, flow);
    if (this.#flows.size > MAX_FLOWS) this.#drop(this.#flows.keys().next().value!);
    if (known === undefined && this.#flows.size === 1) this.#sweep.set(clock.nowNs() + IDLE_NS);
    return flow;
  }

  /** Lets datagrams to a port of the host into a guest, to which they come from the gateway. */
  forward(bind: { address: string; port: number } & ListenEvents, guest: Ipv4Address, port: number): void {
    const { gateway, output } = this.#options;
    const peers: Forward['peers'] = new Map();
    const socket = this.#options.sockets.openUdp(
      {
        datagram: (payload, address, peerPort) => {
          if (parseIpv4(address) === null) return;
          const sourcePort = this.#gatewayPort(peers, address, peerPort);
          deliver(output, gateway, guest, { sourcePort, destinationPort: port, payload });
        },
      },
      bind,
    );
    this.#forwards.push({ socket, guest, port, peers });
  }

  #gatewayPort(peers: Forward['peers'], address: string, port: number): number {
    for (const [own, peer] of peers) if (peer.address === address && peer.port === port) return own;
    this.#forwardPort = this.#forwardPort >= 65535 ? FIRST_FORWARD_PORT : this.#forwardPort + 1;
    peers.delete(this.#forwardPort);
    peers.set(this.#forwardPort, { address, port });
    if (peers.size > MAX_PEERS) peers.delete(peers.keys().next().value!);
    return this.#forwardPort;
  }

  /** Sends a guest's datagram to the gateway on where it answers one that was forwarded; false where it does not. */
  answersForward(guest: Ipv4Address, datagram: UdpDatagram): boolean {
    for (const forward of this.#forwards) {
      if (forward.guest !== guest || forward.port !== datagram.sourcePort) continue;
      const peer = forward.peers.get(datagram.destinationPort);
      if (peer === undefined) continue;
      forward.socket.send(datagram.payload, peer.address, peer.port);
      return true;
    }
    return false;
  }

  #forgetIdle(now: bigint): void {
    let next: bigint | null = null;
    for (const [key, { lastNs }] of this.#flows) {
      const ends = lastNs + IDLE_NS;
      if (ends <= now) this.#drop(key);
      else if (next === null || ends < next) next = ends;
    }
    if (next !== null) this.#sweep.set(next);
  }

  #drop(key: string): void {
    this.#flows.get(key)?.socket.close();
    this.#flows.delete(key);
  }

  close(): void {
    for (const key of [...this.#flows.keys()]) this.#drop(key);
    for (const { socket } of this.#forwards.splice(0)) socket.close();
    this.#sweep.stop();
  }
}

function deliver(output: Ipv4Output, source: Ipv4Address, destination: Ipv4Address, datagram: UdpDatagram): void {
  if (datagram.payload.length > 65535 - 28) return;
  const payload = udpBytes(source, destination, datagram);
  output.send({ source, destination, protocol: IP_PROTOCOL.udp, payload });
}
