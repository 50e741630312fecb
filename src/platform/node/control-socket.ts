// A Unix socket that takes commands, a line each, and answers each with a line of JSON, in order. Whoever may open it may do as we may: it is its
// owner's alone.
import { chmodSync, lstatSync, unlinkSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { FileError } from './files.ts';

const MOST_LINE = 65536;
const OWNER_ALONE = 0o600;

export interface ControlSocket {
  close(): void;
}

/** Rejects with FileError. A socket that nobody listens at any more is replaced. */
export async function listenForControl(
  path: string,
  answer: (line: string) => Promise<unknown>,
): Promise<ControlSocket> {
  if (lstatSync(path, { throwIfNoEntry: false })?.isSocket() && !(await isListening(path))) unlinkSync(path);
  const open = new Set<Socket>();
  const server = createServer(socket => {
    open.add(socket);
    socket.on('close', () => open.delete(socket));
    socket.on('error', () => {});
    answerLines(socket, answer);
  });
  await listen(server, path);
  return {
    close: () => {
      server.close();
      for (const socket of open) socket.destroySoon();
    },
  };
}

function listen(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      const why = error.code === 'EADDRINUSE' ? 'it is there already' : (error.code ?? error.message);
      reject(new FileError(`${path}: no socket can be made here: ${why}`, { cause: error }));
    });
    server.listen(path, resolve);
    // Made within the call, or not at all: then the error comes later.
    if (server.listening) chmodSync(path, OWNER_ALONE);
  });
}

function isListening(path: string): Promise<boolean> {
  return new Promise(resolve => {
    const socket = connect(path, () => {
      socket.destroy();
      resolve(true);
    });
    socket.on('error', () => resolve(false));
  });
}

function answerLines(socket: Socket, answer: (line: string) => Promise<unknown>): void {
  let text = '';
  let last: Promise<unknown> = Promise.resolve();
  socket.setEncoding('utf8');
  socket.on('data', (chunk: string) => {
    text += chunk;
    const lines = text.split('\n');
    text = lines.pop()!;
    if (text.length > MOST_LINE) socket.destroy();
    for (const line of lines) {
      last = last.then(() => answer(line)).then(reply => socket.writable && socket.write(`${JSON.stringify(reply)}\n`));
    }
  });
}

/** Sends one command and gives its answer. Rejects with FileError where nobody listens. */
export function sendControl(path: string, line: string): Promise<unknown> {
  return new Promise((resolve, reject) => {
    let text = '';
    const socket = connect(path, () => socket.write(`${line}\n`));
    const gone = (why: string) => reject(new FileError(`${path}: ${why}`));
    socket.setEncoding('utf8');
    socket.on('error', (error: NodeJS.ErrnoException) =>
      gone(`no machine listens here (${error.code ?? error.message})`),
    );
    socket.on('close', () => gone('the machine has ended'));
    socket.on('data', (chunk: string) => {
      text += chunk;
      if (!text.includes('\n')) return;
      resolve(JSON.parse(text));
      socket.destroy();
    });
  });
}
