// A guest's own network stack, small: enough to talk to the user-mode network through a port as a device and its driver would.
import {
  ALL_ABILITIES,
  type Frame,
  type FrameAbilities,
  type NetworkPort,
  wholeFrame,
} from '../../../src/backends/net/link.ts';
import { BROADCAST_MAC, type Ipv4Address, type MacAddress } from '../../../src/backends/net/packet/addresses.ts';
import { ARP_OPERATION, arpFrame, parseArp } from '../../../src/backends/net/packet/arp.ts';
import {
  ETHER_TYPE,
  ETHERNET_HEADER,
  parseEthernet,
  writeEthernet,
} from '../../../src/backends/net/packet/ethernet.ts';
import {
  IPV4_HEADER,
  type Ipv4Header,
  type Ipv4Packet,
  parseIpv4,
  writeIpv4,
} from '../../../src/backends/net/packet/ipv4.ts';
import { Reassembly } from '../../../src/backends/net/packet/reassembly.ts';
import { parseUdp, type UdpDatagram, udpBytes } from '../../../src/backends/net/packet/udp.ts';
import { type TcpClock, TcpConnection, type TcpEnd } from '../../../src/backends/net/tcp/connection.ts';
import {
  finishTcp,
  parseTcp,
  TCP,
  TCP_CHECKSUM_OFFSET,
  type TcpSegment,
  tcpBytes,
} from '../../../src/backends/net/tcp/segment.ts';
import { concatBytes } from '../../../src/util/bytes.ts';

export const GUEST_IP: Ipv4Address = 0x0a00020f;
export const GUEST_MAC: MacAddress = 0x525400123456;
export const GATEWAY: Ipv4Address = 0x0a000202;
export const DNS: Ipv4Address = 0x0a000203;
export const GATEWAY_MAC: MacAddress = 0x52550a000202;

export class GuestConnection {
  readonly tcp: TcpConnection;
  readonly received: Uint8Array[] = [];
  isEstablished = false;
  hasEnded = false;
  end: TcpEnd | null = null;
  onRoom = (): void => {};
  onData = (): void => {};

  constructor(
    clock: TcpClock,
    options: {
      send: (segment: TcpSegment) => void;
      localPort: number;
      remotePort: number;
      mss: number;
      largest: number;
    },
  ) {
    const { send, localPort, remotePort, mss, largest } = options;
    this.tcp = new TcpConnection({
      clock,
      localPort,
      remotePort,
      iss: 0xfffffff0,
      mss,
      output: { segment: send, largestPayload: own => Math.max(own, largest), isReady: true },
      events: {
        established: () => void (this.isEstablished = true),
        data: bytes => {
          this.received.push(bytes.slice());
          this.tcp.consumed(bytes.length);
          this.onData();
        },
        end: () => void (this.hasEnded = true),
        room: () => this.onRoom(),
        closed: how => void (this.end = how),
      },
    });
  }

  get stream(): Uint8Array {
    return concatBytes(this.received);
  }

  get text(): string {
    return new TextDecoder().decode(this.stream);
  }

  writeAll(data: Uint8Array): void {
    let at = 0;
    const more = (): void => {
      while (at < data.length && this.tcp.room > 0) {
        const piece = data.subarray(at, at + Math.min(this.tcp.room, 30_000));
        at += piece.length;
        this.tcp.write(piece);
      }
      if (at === data.length) this.tcp.finish();
    };
    this.onRoom = more;
    more();
  }
}

export class GuestStack {
  readonly address: Ipv4Address;
  readonly mac: MacAddress;
  readonly accepts: FrameAbilities;
  readonly port: NetworkPort;
  readonly clock: TcpClock;
  /** What came that is not a segment of an open connection. */
  readonly packets: Ipv4Packet[] = [];
  readonly segments: TcpSegment[] = [];
  readonly datagrams: { source: Ipv4Address; datagram: UdpDatagram }[] = [];
  readonly frames: Frame[] = [];
  readonly #connections = new Map<number, GuestConnection>();
  /** Ports that accept. */
  readonly listening = new Map<number, (connection: GuestConnection) => void>();
  readonly #reassembly = new Reassembly();
  isFull = false;
  #id = 0;
  #nextPort = 40_000;

  constructor(
    port: NetworkPort,
    clock: TcpClock,
    options: { accepts?: FrameAbilities; address?: Ipv4Address; mac?: MacAddress } = {},
  ) {
    this.port = port;
    this.clock = clock;
    this.accepts = options.accepts ?? ALL_ABILITIES;
    this.address = options.address ?? GUEST_IP;
    this.mac = options.mac ?? GUEST_MAC;
    port.attach({ accepts: this.accepts, receive: frame => this.#receive(frame) });
  }

  sendFrame(bytes: Uint8Array): void {
    this.port.send(wholeFrame(bytes));
  }

  /** An IPv4 packet to a destination behind the gateway. */
  sendPacket(
    destination: Ipv4Address,
    protocol: number,
    payload: Uint8Array,
    fields: Partial<Ipv4Header> = {},
    unfinished: Partial<Frame> = {},
  ): void {
    const bytes = new Uint8Array(ETHERNET_HEADER + IPV4_HEADER + payload.length);
    const to = destination === 0xffffffff ? BROADCAST_MAC : GATEWAY_MAC;
    writeEthernet(bytes, { destination: to, source: this.mac, type: ETHER_TYPE.ipv4 });
    writeIpv4(
      bytes,
      ETHERNET_HEADER,
      { source: this.address, destination, protocol, id: this.#id++ & 0xffff, ...fields },
      payload.length,
    );
    bytes.set(payload, ETHERNET_HEADER + IPV4_HEADER);
    this.port.send({ bytes, checksum: null, segmentation: null, ...unfinished });
  }

  sendUdp(
    destination: Ipv4Address,
    sourcePort: number,
    destinationPort: number,
    payload: Uint8Array,
    source = this.address,
  ): void {
    this.sendPacket(destination, 17, udpBytes(source, destination, { sourcePort, destinationPort, payload }), {
      source,
    });
  }

  sendTcp(destination: Ipv4Address, segment: TcpSegment, mss = 1460): void {
    const bytes = tcpBytes(this.address, destination, segment);
    const checksum = { start: ETHERNET_HEADER + IPV4_HEADER, offset: TCP_CHECKSUM_OFFSET };
    if (segment.payload.length > mss) {
      this.sendPacket(destination, 6, bytes, {}, { checksum, segmentation: { type: 'tcpv4', size: mss } });
    } else {
      finishTcp(bytes);
      this.sendPacket(destination, 6, bytes);
    }
  }

  connect(destination: Ipv4Address, port: number, options: { mss?: number; largest?: number } = {}): GuestConnection {
    const connection = this.#connection(destination, this.#nextPort++, port, options);
    connection.tcp.connect();
    return connection;
  }

  #connection(
    peer: Ipv4Address,
    localPort: number,
    remotePort: number,
    options: { mss?: number; largest?: number },
  ): GuestConnection {
    const { mss = 1460, largest = 1460 } = options;
    const connection = new GuestConnection(this.clock, {
      send: segment => this.sendTcp(peer, segment, mss),
      localPort,
      remotePort,
      mss,
      largest,
    });
    this.#connections.set(localPort * 65536 + remotePort, connection);
    return connection;
  }

  #receive(frame: Frame): boolean {
    if (this.isFull) return false;
    const bytes = frame.bytes.slice();
    this.frames.push({ ...frame, bytes });
    const ethernet = parseEthernet(bytes)!;
    if (ethernet.type === ETHER_TYPE.arp) this.#receiveArp(bytes);
    const fragment = ethernet.type === ETHER_TYPE.ipv4 ? parseIpv4(bytes, ETHERNET_HEADER) : null;
    const packet = fragment && this.#reassembly.take(fragment, 0n);
    if (packet === null) return true;
    this.packets.push(packet);
    if (packet.protocol === 17) {
      const datagram = parseUdp(packet, frame.checksum !== null);
      if (datagram === null) throw new Error('a damaged datagram');
      this.datagrams.push({ source: packet.source, datagram });
    } else if (packet.protocol === 6) {
      const segment = parseTcp(packet, frame.checksum !== null);
      if (segment === null) throw new Error('a damaged segment');
      this.#receiveTcp(packet.source, segment);
    }
    return true;
  }

  #receiveArp(bytes: Uint8Array): void {
    const arp = parseArp(bytes)!;
    if (arp.operation !== ARP_OPERATION.request || arp.target !== this.address) return;
    this.sendFrame(
      arpFrame({
        operation: 2,
        senderMac: this.mac,
        sender: this.address,
        targetMac: arp.senderMac,
        target: arp.sender,
      }),
    );
  }

  #receiveTcp(source: Ipv4Address, segment: TcpSegment): void {
    const key = segment.destinationPort * 65536 + segment.sourcePort;
    const known = this.#connections.get(key);
    const accept = this.listening.get(segment.destinationPort);
    if (known !== undefined && known.tcp.state !== 'closed') known.tcp.receive(segment);
    else if (accept !== undefined && segment.flags === TCP.syn) {
      const connection = this.#connection(source, segment.destinationPort, segment.sourcePort, {});
      connection.tcp.accept(segment);
      accept(connection);
    } else this.segments.push(segment);
  }
}
