// What the user-mode network needs of the host: sockets and names, without any right. platform/node has them; a test has fakes. Addresses are
// IPv4, as text. Events of sockets never come within a call, and none come after close() or reset().

export type ConnectFailure = 'refused' | 'unreachable' | 'timeout';

export interface TcpSocketEvents {
  connected(): void;
  /** It never came to a connection. */
  failed(why: ConnectFailure): void;
  /** Received bytes, the receiver's to keep. After pause() at most one more call. */
  data(bytes: Uint8Array): void;
  /** The peer sends no more. */
  end(): void;
  /** So many of the bytes given to write() have left. */
  written(count: number): void;
  /** The connection broke. */
  broken(): void;
}

/** Nothing is read from a new one before resume(). */
export interface HostTcpSocket {
  /** Sends bytes, which are copied. */
  write(bytes: Uint8Array): void;
  /** Sends FIN after what was written. */
  end(): void;
  pause(): void;
  resume(): void;
  /** Lets it go: both sides have ended. What was written still goes out. */
  close(): void;
  /** Ends it at once, with a RST where the host can. */
  reset(): void;
}

export interface HostListener {
  close(): void;
}

export interface ListenEvents {
  /** It listens; `port` is the one that the host chose where 0 was asked for. */
  listening(port: number): void;
  failed(message: string): void;
}

export interface HostUdpSocket {
  /** Sends a datagram, which is copied. What cannot be sent is lost, as datagrams are. */
  send(bytes: Uint8Array, address: string, port: number): void;
  close(): void;
}

export interface UdpSocketEvents {
  datagram(bytes: Uint8Array, address: string, port: number): void;
}

export interface NameAnswer {
  status: 'ok' | 'no-such-name' | 'failed';
  /** Addresses as text for A and AAAA, names for PTR. */
  values: string[];
}

export interface HostSockets {
  connectTcp(address: string, port: number, events: TcpSocketEvents): HostTcpSocket;
  listenTcp(
    address: string,
    port: number,
    events: ListenEvents & { accept(socket: HostTcpSocket): TcpSocketEvents },
  ): HostListener;
  /** A socket on a port of the host's choice, or on the given one. */
  openUdp(events: UdpSocketEvents, bind?: { address: string; port: number } & ListenEvents): HostUdpSocket;
  /** For PTR `name` is the IPv4 address. `done` is called once. */
  resolve(name: string, type: 'A' | 'AAAA' | 'PTR', done: (answer: NameAnswer) => void): void;
}
