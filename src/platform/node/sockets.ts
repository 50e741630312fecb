// Sockets and names of this machine for the user-mode network: plain sockets, no rights.
import { createSocket } from 'node:dgram';
import { lookup, lookupService } from 'node:dns';
import { connect, createServer, type Socket } from 'node:net';
import type {
  ConnectFailure,
  HostSockets,
  HostTcpSocket,
  NameAnswer,
  TcpSocketEvents,
} from '../../backends/net/user/host-sockets.ts';

const FAILURES: Readonly<Record<string, ConnectFailure>> = { ECONNREFUSED: 'refused', ETIMEDOUT: 'timeout' };
/** What getaddrinfo says where there is no such name, as opposed to not knowing. */
const NO_SUCH_NAME = new Set(['ENOTFOUND', 'ENODATA', 'EAI_NONAME', 'EAI_NODATA']);

/** @param onActivity called after every event: a machine that sleeps has to look */
export function nodeSockets(onActivity: () => void = () => {}): HostSockets {
  /** A handler that ends with onActivity. */
  const then =
    <A extends unknown[]>(handler: (...args: A) => void) =>
    (...args: A): void => {
      handler(...args);
      onActivity();
    };

  return {
    connectTcp: (address, port, events) => {
      const socket = connect({ host: address, port, allowHalfOpen: true, noDelay: true, autoSelectFamily: false });
      return wrapTcp(socket, events, then);
    },

    listenTcp: (address, port, { accept, listening, failed }) => {
      const open = new Set<Socket>();
      const server = createServer({ allowHalfOpen: true, noDelay: true, pauseOnConnect: true }, socket => {
        open.add(socket);
        socket.on('close', () => open.delete(socket));
        let events: TcpSocketEvents | null = null;
        const later = forwardEvents(() => events!);
        events = accept(wrapTcp(socket, later, then));
        onActivity();
      });
      server.on(
        'error',
        then((error: Error) => failed(error.message)),
      );
      server.listen(
        port,
        address,
        then(() => listening(portOf(server.address()))),
      );
      return {
        close: () => {
          server.close();
          for (const socket of open) reset(socket);
        },
      };
    },

    openUdp: ({ datagram }, bind) => {
      const socket = createSocket('udp4');
      let isOpen = true;
      socket.on(
        'message',
        then((bytes: Uint8Array, from: { address: string; port: number }) => {
          if (isOpen) datagram(bytes, from.address, from.port);
        }),
      );
      socket.on(
        'error',
        then((error: Error) => {
          if (isOpen) bind?.failed(error.message);
        }),
      );
      if (bind)
        socket.bind(
          bind.port,
          bind.address,
          then(() => bind.listening(socket.address().port)),
        );
      return {
        send: (bytes, address, port) => {
          if (isOpen) socket.send(bytes.slice(), port, address, () => {});
        },
        close: () => {
          if (!isOpen) return;
          isOpen = false;
          socket.close();
        },
      };
    },

    resolve: (name, type, done) => {
      const answer = then(done);
      if (type === 'PTR') {
        lookupService(name, 0, (error, host) => answer(error ? failure(error) : nameOf(name, host)));
        return;
      }
      // Both families at once: that a name has no address of one family does not mean that there is no such name.
      lookup(name, { all: true }, (error, addresses) => {
        if (error) answer(failure(error));
        else
          answer({
            status: 'ok',
            values: addresses.filter(a => a.family === (type === 'A' ? 4 : 6)).map(a => a.address),
          });
      });
    },
  };
}

function wrapTcp(
  socket: Socket,
  events: TcpSocketEvents,
  then: <A extends unknown[]>(handler: (...args: A) => void) => (...args: A) => void,
): HostTcpSocket {
  let isLetGo = false;
  let isConnected = !socket.connecting;
  let isReading = false;
  const unless = <A extends unknown[]>(handler: (...args: A) => void): ((...args: A) => void) =>
    then((...args: A) => {
      if (!isLetGo) handler(...args);
    });
  socket.on(
    'connect',
    unless(() => {
      isConnected = true;
      events.connected();
    }),
  );
  socket.on(
    'end',
    unless(() => events.end()),
  );
  socket.on(
    'error',
    unless((error: NodeJS.ErrnoException) => {
      isLetGo = true;
      if (isConnected) events.broken();
      else events.failed(FAILURES[error.code ?? ''] ?? 'unreachable');
    }),
  );
  return {
    write: bytes => {
      // Errors come as an event of their own.
      socket.write(
        bytes.slice(),
        unless(error => {
          if (!error) events.written(bytes.length);
        }),
      );
    },
    end: () => void socket.end(),
    pause: () => void socket.pause(),
    resume: () => {
      if (!isReading)
        socket.on(
          'data',
          unless(bytes => events.data(bytes)),
        );
      isReading = true;
      socket.resume();
    },
    close: () => {
      isLetGo = true;
      // Reads to the end, which a half-open socket needs to close by itself.
      socket.end();
      socket.resume();
    },
    reset: () => {
      isLetGo = true;
      reset(socket);
    },
  };
}

/**
 * With a RST where it can be. libuv refuses that while a FIN is on its way (EINVAL), and Node 20 then never lets go of the handle, for which the process
 * waits at its end.
 */
function reset(socket: Socket): void {
  if (socket.writableEnded) socket.destroy();
  else socket.resetAndDestroy();
}

/** Events of a socket whose receiver is known a moment later than the socket. */
function forwardEvents(to: () => TcpSocketEvents): TcpSocketEvents {
  return {
    connected: () => to().connected(),
    failed: why => to().failed(why),
    data: bytes => to().data(bytes),
    end: () => to().end(),
    written: count => to().written(count),
    broken: () => to().broken(),
  };
}

function failure(error: NodeJS.ErrnoException): NameAnswer {
  return { status: NO_SUCH_NAME.has(error.code ?? '') ? 'no-such-name' : 'failed', values: [] };
}

/** getnameinfo gives the address itself where it knows no name. */
function nameOf(address: string, host: string): NameAnswer {
  return host === address ? { status: 'no-such-name', values: [] } : { status: 'ok', values: [host] };
}

function portOf(address: ReturnType<ReturnType<typeof createServer>['address']>): number {
  return typeof address === 'object' && address !== null ? address.port : 0;
}
