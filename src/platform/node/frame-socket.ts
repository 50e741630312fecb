// A Unix socket that carries frames: passt's, or one of QEMU's -netdev stream.
import { connect } from 'node:net';
import type { FrameStream } from '../../backends/net/stream-link.ts';
import { FileError } from './files.ts';

/**
 * Rejects with FileError where nobody listens. The stream is made with what is called after each of its events: a machine that sleeps has
 * to look.
 */
export function connectFrameSocket(path: string): Promise<(wake: () => void) => FrameStream> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    const refused = (error: NodeJS.ErrnoException): void =>
      reject(new FileError(`${path}: no network listens here (${error.code ?? error.message})`, { cause: error }));
    socket.once('error', refused);
    socket.once('connect', () => {
      socket.off('error', refused);
      // What is wrong ends it, and that is told.
      socket.on('error', () => {});
      resolve(wake => ({
        start: events => {
          socket.on('data', bytes => {
            events.data(bytes);
            wake();
          });
          socket.on('close', () => {
            events.end('its other end has closed it');
            wake();
          });
        },
        write: bytes => void socket.write(bytes),
        get pending() {
          return socket.writableLength;
        },
        close: () => void socket.destroy(),
      }));
    });
  });
}
