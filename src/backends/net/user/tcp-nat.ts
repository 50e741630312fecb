/**
 * TCP between guests and sockets of the host: each connection of a guest ends here, and its stream goes on in a socket (and the other way round
 * for ports that are forwarded into a guest). Flow control reaches through: a window opens as the socket has sent, a socket is read as
 * the guest acknowledges. A guest's SYN is answered once the host is connected, so a guest sees a refusal as one.
 */
import { type Ipv4Address, ipv4Text } from '../packet/addresses.ts';
import { ICMP, UNREACHABLE } from '../packet/icmp.ts';
import { IP_PROTOCOL, type Ipv4Packet } from '../packet/ipv4.ts';
import { type TcpClock, TcpConnection, type TcpEnd } from '../tcp/connection.ts';
import {
  finishTcp,
  segmentLength,
  TCP,
  TCP_CHECKSUM_OFFSET,
  TCP_HEADER,
  type TcpSegment,
  tcpBytes,
} from '../tcp/segment.ts';
import { advance } from '../tcp/sequence.ts';
import type { ConnectFailure, HostSockets, HostTcpSocket, TcpSocketEvents } from './host-sockets.ts';
import type { Ipv4Output } from './ipv4-output.ts';

/** Connections at most, in whatever state; more are refused. */
const MAX_FLOWS = 512;
/** A large segment for a device that cuts it, headers included, stays below 64 KiB. */
const LARGEST_PAYLOAD = 61_440;
const FIRST_FORWARD_PORT = 49152;

interface Flow {
  connection: TcpConnection;
  socket: HostTcpSocket | null;
}

export interface TcpNatOptions {
  clock: TcpClock;
  sockets: HostSockets;
  output: Ipv4Output;
  mtu: number;
  /** Sends an ICMP error about a guest's packet. */
  complain: (type: number, code: number, about: Ipv4Packet) => void;
}

const EMPTY = new Uint8Array(0);

export class TcpNat {
  readonly #options: TcpNatOptions;
  readonly #flows = new Map<string, Flow>();
  #issued = 0;
  #forwardPort = FIRST_FORWARD_PORT;

  constructor(options: TcpNatOptions) {
    this.#options = options;
  }

  /** Connections that the host takes part in; those that only linger do not count. */
  get active(): number {
    let count = 0;
    for (const { connection } of this.#flows.values()) if (connection.state !== 'time-wait') count++;
    return count;
  }

  /** A guest's segment. `host`: the address that the host is to connect to; null where there is nobody. */
  receive(packet: Ipv4Packet, segment: TcpSegment, host: Ipv4Address | null): void {
    const key = keyOf(packet.source, segment.sourcePort, packet.destination, segment.destinationPort);
    const flow = this.#flows.get(key);
    const isSyn = (segment.flags & (TCP.syn | TCP.ack | TCP.rst)) === TCP.syn;
    if (flow !== undefined && !(isSyn && flow.connection.yieldsTo(segment))) {
      if (flow.connection.state !== 'listen') flow.connection.receive(segment);
      else if ((segment.flags & TCP.rst) !== 0) this.#drop(key, flow);
      return;
    }
    if (flow !== undefined) this.#drop(key, flow);
    if (isSyn && host !== null && this.#flows.size < MAX_FLOWS) this.#open(key, packet, segment, host);
    else if ((segment.flags & TCP.rst) === 0) this.#refuse(packet, segment);
  }

  /** The guests' device has room again. */
  resume(): void {
    for (const { connection } of this.#flows.values()) {
      if (!this.#options.output.isReady) return;
      connection.transmit();
    }
  }

  /** Connects an accepted socket of the host to a guest's port. Returns what the socket tells. */
  forward(socket: HostTcpSocket, from: Ipv4Address, guest: Ipv4Address, port: number): TcpSocketEvents {
    const localPort = this.#freePort(from, guest, port);
    if (localPort === null) {
      socket.reset();
      return new FlowEvents(() => null);
    }
    const key = keyOf(guest, port, from, localPort);
    const flow = this.#add(key, guest, port, from, localPort);
    flow.socket = socket;
    flow.connection.connect();
    return new FlowEvents(() => (this.#flows.get(key) === flow ? flow : null));
  }

  /** Ends everything: the guests' machine goes away. */
  close(): void {
    for (const [key, flow] of this.#flows) this.#drop(key, flow);
  }

  #freePort(from: Ipv4Address, guest: Ipv4Address, port: number): number | null {
    if (this.#flows.size >= MAX_FLOWS) return null;
    for (;;) {
      // There are more ports than flows.
      this.#forwardPort = this.#forwardPort >= 65535 ? FIRST_FORWARD_PORT : this.#forwardPort + 1;
      if (!this.#flows.has(keyOf(guest, port, from, this.#forwardPort))) return this.#forwardPort;
    }
  }

  #open(key: string, packet: Ipv4Packet, syn: TcpSegment, host: Ipv4Address): void {
    const flow = this.#add(key, packet.source, syn.sourcePort, packet.destination, syn.destinationPort);
    // The frame's bytes are good during this call alone.
    const asked = { ...packet, header: packet.header.slice(), payload: packet.payload.slice(0, TCP_HEADER) };
    const first = { ...syn, payload: EMPTY };
    const current = (): Flow | null => (this.#flows.get(key) === flow ? flow : null);
    flow.socket = this.#options.sockets.connectTcp(
      ipv4Text(host),
      syn.destinationPort,
      new FlowEvents(
        current,
        () => flow.connection.accept(first),
        why => {
          this.#flows.delete(key);
          if (why === 'refused') this.#refuse(asked, first);
          else if (why === 'unreachable') this.#options.complain(ICMP.unreachable, UNREACHABLE.host, asked);
        },
      ),
    );
  }

  #add(key: string, guest: Ipv4Address, guestPort: number, local: Ipv4Address, localPort: number): Flow {
    const { clock, output, mtu } = this.#options;
    const flow: Flow = {
      socket: null,
      connection: new TcpConnection({
        clock,
        localPort,
        remotePort: guestPort,
        iss: this.#nextIss(),
        mss: mtu - 40,
        output: {
          get isReady() {
            return output.isReady;
          },
          largestPayload: mss => (output.segmentsLater ? LARGEST_PAYLOAD - (LARGEST_PAYLOAD % mss) : mss),
          segment: (segment, mss) => sendTcp(output, local, guest, segment, mss),
        },
        events: {
          established: () => flow.socket?.resume(),
          data: bytes => flow.socket?.write(bytes),
          end: () => flow.socket?.end(),
          room: () => flow.socket?.resume(),
          closed: how => {
            if (this.#flows.get(key) === flow) this.#flows.delete(key);
            letGo(flow, how);
          },
        },
      }),
    };
    this.#flows.set(key, flow);
    return flow;
  }

  #drop(key: string, flow: Flow): void {
    this.#flows.delete(key);
    flow.connection.abort();
    letGo(flow, 'reset');
  }

  /** RFC 9293 section 3.4.1: from a clock of 4 microseconds, and ahead of the last one. */
  #nextIss(): number {
    this.#issued = advance(this.#issued, 64_000);
    return advance(Number((this.#options.clock.nowNs() / 4000n) & 0xffffffffn), this.#issued);
  }

  /** RFC 9293 section 3.10.7.1: there is no such connection. */
  #refuse(packet: Ipv4Packet, segment: TcpSegment): void {
    const { flags, seq, ack, sourcePort, destinationPort } = segment;
    const hasAck = (flags & TCP.ack) !== 0;
    const reset: TcpSegment = {
      sourcePort: destinationPort,
      destinationPort: sourcePort,
      seq: hasAck ? ack : 0,
      ack: hasAck ? 0 : advance(seq, segmentLength(segment)),
      flags: hasAck ? TCP.rst : TCP.rst | TCP.ack,
      window: 0,
      options: {},
      payload: EMPTY,
    };
    sendTcp(this.#options.output, packet.destination, packet.source, reset, 0);
  }
}

/** What a socket tells, for its flow as long as there is one. */
class FlowEvents implements TcpSocketEvents {
  readonly #flow: () => Flow | null;
  readonly #connected: () => void;
  readonly #failed: (why: ConnectFailure) => void;

  constructor(
    flow: () => Flow | null,
    connected: () => void = () => {},
    failed: (why: ConnectFailure) => void = () => {},
  ) {
    this.#flow = flow;
    this.#connected = connected;
    this.#failed = failed;
  }

  connected(): void {
    if (this.#flow() !== null) this.#connected();
  }

  failed(why: ConnectFailure): void {
    if (this.#flow() !== null) this.#failed(why);
  }

  data(bytes: Uint8Array): void {
    const flow = this.#flow();
    if (flow === null) return;
    flow.connection.write(bytes);
    if (flow.connection.room <= 0) flow.socket?.pause();
  }

  end(): void {
    this.#flow()?.connection.finish();
  }

  written(count: number): void {
    this.#flow()?.connection.consumed(count);
  }

  broken(): void {
    this.#flow()?.connection.abort();
  }
}

function letGo(flow: Flow, how: TcpEnd): void {
  const { socket } = flow;
  flow.socket = null;
  if (how === 'closed') socket?.close();
  else socket?.reset();
}

function keyOf(guest: Ipv4Address, guestPort: number, host: Ipv4Address, hostPort: number): string {
  return `${guest}:${guestPort} ${host}:${hostPort}`;
}

function sendTcp(
  output: Ipv4Output,
  source: Ipv4Address,
  destination: Ipv4Address,
  segment: TcpSegment,
  mss: number,
): void {
  const payload = tcpBytes(source, destination, segment);
  const isLarge = segment.payload.length > mss;
  if (isLarge || output.checksumsLater) {
    const size = isLarge ? { segmentSize: mss } : {};
    output.send({
      source,
      destination,
      protocol: IP_PROTOCOL.tcp,
      payload,
      checksumOffset: TCP_CHECKSUM_OFFSET,
      ...size,
    });
  } else {
    finishTcp(payload);
    output.send({ source, destination, protocol: IP_PROTOCOL.tcp, payload });
  }
}
