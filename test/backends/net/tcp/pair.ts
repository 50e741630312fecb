// Two ends of a TCP connection with a wire between them that a test can make as bad as it likes.
import { TcpConnection, type TcpEnd } from '../../../../src/backends/net/tcp/connection.ts';
import { finishTcp, parseTcp, type TcpSegment, tcpBytes } from '../../../../src/backends/net/tcp/segment.ts';
import { concatBytes } from '../../../../src/util/bytes.ts';
import { FakeClock } from '../fake-clock.ts';

/** What becomes of a segment: when each copy of it arrives, in ms; none is a loss. */
export type Wire = () => number[];

const [A, B] = [0x0a000202, 0x0a00020f];

export class Endpoint {
  readonly connection: TcpConnection;
  readonly received: Uint8Array[] = [];
  isEstablished = false;
  hasEnded = false;
  end: TcpEnd | null = null;
  isReady = true;
  /** Bytes that the reader keeps for itself. */
  isReading = true;
  unread = 0;
  readonly sent: TcpSegment[] = [];
  onRoom = (): void => {};

  constructor(
    clock: FakeClock,
    options: { mss: number; largest: number; iss: number; wire: Wire; peer: () => Endpoint },
  ) {
    const { mss, largest, iss, wire, peer } = options;
    this.connection = new TcpConnection({
      clock,
      localPort: 1,
      remotePort: 1,
      iss,
      mss,
      output: {
        segment: segment => {
          const bytes = tcpBytes(A, B, segment);
          finishTcp(bytes);
          const packet = { source: A, destination: B, payload: bytes };
          const parsed = parseTcp(packet as Parameters<typeof parseTcp>[0], false)!;
          this.sent.push(parsed);
          for (const ms of wire()) {
            const timer = clock.timer(() => peer().connection.receive(parsed));
            timer.set(clock.now + BigInt(Math.round(ms * 1e6)));
          }
        },
        largestPayload: own => Math.max(own, largest - (largest % own)),
        isReady: true,
      },
      events: {
        established: () => void (this.isEstablished = true),
        data: bytes => {
          this.received.push(bytes.slice());
          if (this.isReading) this.connection.consumed(bytes.length);
          else this.unread += bytes.length;
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

  read(): void {
    const count = this.unread;
    this.unread = 0;
    this.connection.consumed(count);
  }
}

export interface Pair {
  clock: FakeClock;
  client: Endpoint;
  server: Endpoint;
}

/** The client's SYN makes the server accept. */
export function pair(wire: Wire, options: { mss?: number; largest?: number; iss?: number } = {}): Pair {
  const { mss = 1460, largest = 1460, iss = 0xfffff000 } = options;
  const clock = new FakeClock();
  const client: Endpoint = new Endpoint(clock, { mss, largest, iss, wire, peer: () => server });
  const server: Endpoint = new Endpoint(clock, { mss, largest, iss: 77, wire, peer: () => client });
  const receive = server.connection.receive.bind(server.connection);
  server.connection.receive = segment => {
    if (server.connection.state === 'listen') server.connection.accept(segment);
    else receive(segment);
  };
  client.connection.connect();
  return { clock, client, server };
}

export const perfect: Wire = () => [0.1];

export function pattern(length: number, seed = 1): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => (i * 31 + (i >> 8) * 7 + seed) & 0xff);
}
