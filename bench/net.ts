// TCP throughput of a guest: to this machine through the user-mode network, and to another guest. Beside QEMU (TCG) with virtio-net, its own user-mode
// network, and a socket between two of it. Lanes run in turn; processor time is what counts on a busy machine, that of both guests
// where there are two. Needs gcc and Debian's qemu-system-x86.
//   npx tsx bench/net.ts KERNEL.deb [rounds [MiB]]
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { compare, domzero, ioGuest, MEMORY_MIB, measure, qemu } from './io-guest.ts';

const SEND = 7001;
const RECEIVE = 7002;
const PIECE = Buffer.alloc(1 << 18, 0x5a);

function serve(port: number, onConnection: (socket: Socket) => void): Promise<Server> {
  const server = createServer({ allowHalfOpen: true }, onConnection);
  return new Promise(resolve => server.listen(port, '127.0.0.1', () => resolve(server)));
}

/** Takes what a guest sends, and sends it `bytes`. */
async function peers(bytes: number): Promise<Server[]> {
  const sink = await serve(SEND, socket => {
    socket.on('end', () => socket.end());
    socket.resume();
  });
  const source = await serve(RECEIVE, socket => {
    let left = bytes;
    const more = (): void => {
      while (left > 0) {
        left -= PIECE.length;
        if (!socket.write(PIECE.subarray(0, Math.min(PIECE.length, left + PIECE.length)))) break;
      }
      if (left <= 0) socket.end();
      else socket.once('drain', more);
    };
    socket.on('error', () => {});
    more();
  });
  return [sink, source];
}

async function main(): Promise<void> {
  const [file, rounds = '3', mib = '64'] = process.argv.slice(2);
  if (!file) throw new Error('usage: npx tsx bench/net.ts KERNEL.deb [rounds [MiB]]');
  const folder = mkdtempSync(join(tmpdir(), 'domzero-net-'));
  const servers = await peers(Number(mib) << 20);
  try {
    const guest = await ioGuest(folder, [file], 'network');
    const outside = `mib=${mib} address=10.0.2.15 peer=10.0.2.2`;
    const own = (mode: 'native' | 'pv' | 'pvh') => () => measure([domzero(guest, mode, outside, ['--net', 'user'])]);
    console.log('a guest and this machine');
    const user = ['-netdev', 'user,id=net0', '-device', 'virtio-net-pci,netdev=net0'];
    const toHost = {
      pv: own('pv'),
      pvh: own('pvh'),
      native: own('native'),
      qemu: () => measure([qemu(guest, outside, user)]),
    };
    await compare(toHost, Number(rounds));

    console.log('two guests');
    const [server, client] = [`mib=${mib} address=10.0.0.1 serve=1`, `mib=${mib} address=10.0.0.2 peer=10.0.0.1`];
    const pair = new URL('guest/pair.ts', import.meta.url).pathname;
    const tsx = ['--import', 'tsx', pair, guest.kernel, guest.initrd.xen, String(MEMORY_MIB)];
    const two = (mode: 'pv' | 'pvh') => () =>
      measure([{ command: process.execPath, args: [...tsx, mode, server, client] }]);
    const socket = (role: string, mac: string): string[] => [
      ...['-netdev', `socket,id=net0,${role}=127.0.0.1:7003`, '-device', `virtio-net-pci,netdev=net0,mac=${mac}`],
    ];
    await compare(
      {
        pv: two('pv'),
        pvh: two('pvh'),
        qemu: () =>
          measure([
            qemu(guest, server, socket('listen', '52:54:00:00:00:01')),
            qemu(guest, client, socket('connect', '52:54:00:00:00:02')),
          ]),
      },
      Number(rounds),
    );
  } finally {
    for (const one of servers) one.close();
    rmSync(folder, { recursive: true });
  }
}

await main();
