// The host's side as a test wants it: what is connected, sent and asked is written down, and the test answers.
import type {
  HostSockets,
  HostTcpSocket,
  ListenEvents,
  NameAnswer,
  TcpSocketEvents,
  UdpSocketEvents,
} from '../../../../src/backends/net/user/host-sockets.ts';
import { concatBytes } from '../../../../src/util/bytes.ts';

export class FakeTcp implements HostTcpSocket {
  readonly to: string;
  events: TcpSocketEvents;
  readonly written: Uint8Array[] = [];
  isReading = false;
  hasEnded = false;
  isClosed = false;
  wasReset = false;

  constructor(to: string, events: TcpSocketEvents) {
    this.to = to;
    this.events = events;
  }

  get bytes(): Uint8Array {
    return concatBytes(this.written);
  }

  get text(): string {
    return new TextDecoder().decode(this.bytes);
  }

  write(bytes: Uint8Array): void {
    this.written.push(bytes.slice());
  }

  end(): void {
    this.hasEnded = true;
  }

  pause(): void {
    this.isReading = false;
  }

  resume(): void {
    this.isReading = true;
  }

  close(): void {
    this.isClosed = true;
  }

  reset(): void {
    this.wasReset = true;
  }
}

export class FakeUdp {
  readonly events: UdpSocketEvents;
  readonly bind: ({ address: string; port: number } & ListenEvents) | undefined;
  readonly sent: { text: string; to: string }[] = [];
  isClosed = false;

  constructor(events: UdpSocketEvents, bind?: { address: string; port: number } & ListenEvents) {
    this.events = events;
    this.bind = bind;
  }

  send(bytes: Uint8Array, address: string, port: number): void {
    this.sent.push({ text: new TextDecoder().decode(bytes), to: `${address}:${port}` });
  }

  close(): void {
    this.isClosed = true;
  }
}

export class FakeSockets implements HostSockets {
  readonly tcp: FakeTcp[] = [];
  readonly udp: FakeUdp[] = [];
  readonly listeners: {
    at: string;
    isClosed: boolean;
    events: ListenEvents & { accept(socket: HostTcpSocket): TcpSocketEvents };
  }[] = [];
  readonly asked: { name: string; type: string; done: (answer: NameAnswer) => void }[] = [];

  connectTcp(address: string, port: number, events: TcpSocketEvents): HostTcpSocket {
    const socket = new FakeTcp(`${address}:${port}`, events);
    this.tcp.push(socket);
    return socket;
  }

  listenTcp(address: string, port: number, events: (typeof this.listeners)[number]['events']): { close(): void } {
    const listener = { at: `${address}:${port}`, events, isClosed: false };
    this.listeners.push(listener);
    return { close: () => void (listener.isClosed = true) };
  }

  openUdp(events: UdpSocketEvents, bind?: { address: string; port: number } & ListenEvents): FakeUdp {
    const socket = new FakeUdp(events, bind);
    this.udp.push(socket);
    return socket;
  }

  resolve(name: string, type: 'A' | 'AAAA' | 'PTR', done: (answer: NameAnswer) => void): void {
    this.asked.push({ name, type, done });
  }
}
