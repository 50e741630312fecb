// A guest reaches real services on this machine's loopback address through the user-mode network, and is reached from it.
import { createSocket } from 'node:dgram';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { TcpClock } from '../../../src/backends/net/tcp/connection.ts';
import { UserNetwork, type UserNetworkOptions } from '../../../src/backends/net/user/user-network.ts';
import { nodeSockets } from '../../../src/platform/node/sockets.ts';
import { GATEWAY, GuestStack } from '../../backends/net/guest-stack.ts';
import { pattern } from '../../backends/net/tcp/pair.ts';

/** Real time. */
const clock: TcpClock = {
  nowNs: () => process.hrtime.bigint(),
  timer: handler => {
    let pending: NodeJS.Timeout | undefined;
    return {
      set: ns => {
        clearTimeout(pending);
        const ms = Math.max(0, Number(ns - process.hrtime.bigint()) / 1e6);
        pending = setTimeout(() => handler(process.hrtime.bigint()), ms);
        pending.unref();
      },
      stop: () => clearTimeout(pending),
    };
  },
};

const until = (what: () => unknown) => vi.waitFor(() => expect(what()).toBeTruthy(), { timeout: 10_000, interval: 5 });

let network: UserNetwork;
let guest: GuestStack;
let activity = 0;
const servers: { close(): void }[] = [];

function start(options: Partial<UserNetworkOptions> = {}): void {
  network = new UserNetwork({ clock, sockets: nodeSockets(() => activity++), ...options });
  guest = new GuestStack(network, clock);
}

async function serve(onConnection: (socket: Socket) => void): Promise<number> {
  const server: Server = createServer({ allowHalfOpen: true }, onConnection);
  servers.push(server);
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  return (server.address() as { port: number }).port;
}

beforeEach(() => {
  activity = 0;
  start();
});

afterEach(() => {
  network.close();
  for (const server of servers.splice(0)) server.close();
});

describe('sockets of this machine', () => {
  it('an echo server gives a guest its megabyte back, half close included', async () => {
    const port = await serve(socket => socket.pipe(socket));
    const connection = guest.connect(GATEWAY, port, { largest: 20_000 });
    await until(() => connection.isEstablished);
    const data = pattern(1 << 20);
    connection.writeAll(data);
    await until(() => connection.hasEnded);
    expect(Buffer.compare(connection.stream, data)).toBe(0);
    await until(() => connection.end === 'closed' || connection.tcp.state === 'time-wait');
    await until(() => !network.busy);
    expect(activity).toBeGreaterThan(2);
  });

  it('a server that closes first, one that resets, and a port where nobody is', async () => {
    const closing = await serve(socket => socket.end('bye'));
    const resetting = await serve(socket => socket.once('data', () => socket.resetAndDestroy()));
    const one = guest.connect(GATEWAY, closing);
    await until(() => one.hasEnded);
    expect(one.text).toBe('bye');
    one.tcp.finish();
    await until(() => one.end);
    expect(one.end).toBe('closed');
    const two = guest.connect(GATEWAY, resetting);
    await until(() => two.isEstablished);
    two.tcp.write(pattern(10));
    await until(() => two.end);
    expect(two.end).toBe('reset');
    const gone = await serve(() => {});
    const server = servers.pop()!;
    await new Promise<void>(resolve => (server as Server).close(() => resolve()));
    const three = guest.connect(GATEWAY, gone);
    await until(() => three.end);
    expect(three.end).toBe('refused');
  });

  it('what a guest said reaches a server that reads late', async () => {
    let heard = 0;
    let isOver = false;
    const port = await serve(socket => {
      socket.end();
      setTimeout(() => {
        socket.on('data', (bytes: Buffer) => {
          heard += bytes.length;
        });
        socket.on('end', () => {
          isOver = true;
        });
      }, 100);
    });
    const connection = guest.connect(GATEWAY, port);
    await until(() => connection.isEstablished);
    connection.writeAll(pattern(300_000));
    await until(() => isOver);
    expect(heard).toBe(300_000);
  });

  it('UDP there and back', async () => {
    const server = createSocket('udp4');
    servers.push(server);
    server.on('message', (bytes, from) =>
      server.send(Buffer.concat([Buffer.from('> '), bytes]), from.port, from.address),
    );
    await new Promise<void>(resolve => server.bind(0, '127.0.0.1', resolve));
    guest.sendUdp(GATEWAY, 1234, server.address().port, new TextEncoder().encode('hello'));
    await until(() => guest.datagrams.length > 0);
    const { source, datagram } = guest.datagrams[0]!;
    expect([source, new TextDecoder().decode(datagram.payload)]).toEqual([GATEWAY, '> hello']);
  });

  it('forwards a port into a guest', async () => {
    network.close();
    let port = 0;
    start({ forwards: [{ protocol: 'tcp', hostPort: 0, guestPort: 22 }], onListening: (_, own) => (port = own) });
    guest.listening.set(22, connection => {
      connection.onData = () => {
        if (connection.received.length === 1) connection.writeAll(new TextEncoder().encode('welcome'));
      };
    });
    await until(() => port > 0);
    let heard = '';
    const client = connect({ host: '127.0.0.1', port });
    client.on('data', bytes => {
      heard += bytes.toString();
    });
    client.on('end', () => {
      heard += '.';
    });
    client.write('hi');
    await until(() => heard === 'welcome.');
    client.end();
    await until(() => !network.busy);
  });

  it('a port that is taken is a sentence', async () => {
    const port = await serve(() => {});
    network.close();
    let message = '';
    start({
      forwards: [{ protocol: 'tcp', hostPort: port, guestPort: 22 }],
      onForwardFailed: (_, text) => (message = text),
    });
    await until(() => message);
    expect(message).toContain('EADDRINUSE');
  });

  it('knows the names that this machine knows', async () => {
    const answers: unknown[] = [];
    const sockets = nodeSockets();
    sockets.resolve('localhost', 'A', answer => answers.push(answer));
    await until(() => answers.length === 1);
    expect(answers[0]).toEqual({ status: 'ok', values: ['127.0.0.1'] });
  });
});

it('a socket can be reset while its end is on its way, and keeps nobody', async () => {
  let isGone = false;
  const port = await serve(socket => {
    socket.on('error', () => {});
    socket.on('end', () => socket.end());
    socket.on('close', () => {
      isGone = true;
    });
    socket.resume();
  });
  let problem: string | null = null;
  const socket = nodeSockets().connectTcp('127.0.0.1', port, {
    connected: () => {
      socket.end();
      process.nextTick(() => socket.reset());
    },
    failed: why => {
      problem = why;
    },
    data: () => {},
    end: () => {},
    written: () => {},
    broken: () => {
      problem = 'broken';
    },
  });
  await until(() => isGone);
  expect(problem).toBeNull();
});
