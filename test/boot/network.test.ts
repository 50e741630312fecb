// A stock kernel's own network driver on a PV network device, with busybox's programs in the guest and services of this machine outside.

import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { basename } from 'node:path';
import { afterAll, describe, expect, type TestContext } from 'vitest';
import { loadImages } from '../../src/index.ts';
import { domzero, scratchPath } from './domzero.ts';
import { shellInitramfs } from './initramfs.ts';
import { testWith } from './kernels.ts';

const MEGABYTE = Buffer.alloc(1 << 20, 'all work and no play makes domzero a dull host\n');
const SUM = createHash('md5').update(MEGABYTE).digest('hex');
const COMMANDS = ['insmod', 'ip', 'udhcpc', 'ping', 'nslookup', 'nc', 'md5sum'];
const DHCP_SCRIPT = `#!/bin/sh
[ "$1" = bound ] || exit 0
ip addr add $ip/24 dev $interface
ip route add default via $router
echo nameserver $dns > /etc/resolv.conf
echo "bound $ip router $router dns $dns mtu $mtu"
`;
const UP = `mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
for m in /lib/*.ko; do insmod $m; done
for i in 1 2 3 4 5 6 7 8 9; do [ -e /sys/class/net/eth0 ] || sleep 0.2; done
ip link set lo up; ip link set eth0 up
udhcpc -i eth0 -s /bin/dhcp-script -n -q 2>/dev/null`;

const servers: Server[] = [];
afterAll(() => {
  for (const server of servers) server.close();
});

async function serve(onConnection: (socket: Socket) => void): Promise<number> {
  const server = createServer({ allowHalfOpen: true }, onConnection);
  servers.push(server);
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  return (server.address() as AddressInfo).port;
}

/** An initramfs with the kernel's network driver, whose init goes on with `script` once eth0 has an address. */
async function networkInitramfs(kernel: readonly string[], context: TestContext, script: string): Promise<string> {
  const image = await loadImages(kernel.map(path => ({ name: basename(path), bytes: readFileSync(path) })));
  const modules = await image.modules!.withDependencies(['xen-netfront']);
  const files = new Map<string, Uint8Array | string>([
    ['etc/resolv.conf', ''],
    ['bin/dhcp-script', DHCP_SCRIPT],
  ]);
  for (const [i, module] of modules.entries()) files.set(`lib/${i}-${basename(module.path)}`, module.bytes);
  return shellInitramfs(context, `${UP}\n${script}\npoweroff -f`, { commands: COMMANDS, files });
}

const lines = (out: string): string[] => out.replaceAll('\r', '').split('\n');
const QUIET = ['--append', 'quiet', '--timeout', '500'];

describe.concurrent('a PV network device', { timeout: 600_000 }, () => {
  testWith(
    'cloud',
    'is configured by DHCP and reaches the router, names, and services of this machine',
    async (kernel, context) => {
      const download = await serve(socket => socket.end(MEGABYTE));
      let uploaded: string | null = null;
      const upload = await serve(socket => {
        const hash = createHash('md5');
        socket.on('data', bytes => hash.update(bytes));
        socket.on('end', () => {
          uploaded = hash.digest('hex');
          socket.end('thank you\n');
        });
      });
      const initrd = await networkInitramfs(
        kernel,
        context,
        `ping -c 3 10.0.2.2; nslookup localhost
nc 10.0.2.2 ${download} > /data; md5sum < /data
nc 10.0.2.2 ${upload} < /data
nc 10.0.2.2 1; echo refused $?
echo state $(cat /sys/bus/xen/devices/vif-0/state) $(cat /sys/class/net/eth0/address)`,
      );
      const pcap = scratchPath('frames.pcap');
      for (const clock of ['virtual', 'real']) {
        uploaded = null;
        const options = [
          '--net',
          'user',
          '--vif',
          'mac=00:16:3e:0a:0b:0c,bridge=xenbr0',
          '--pcap',
          pcap,
          '--clock',
          clock,
        ];
        const { status, out, err } = await domzero([
          'run',
          ...kernel,
          '--mode',
          'pv',
          '--initrd',
          initrd,
          ...options,
          ...QUIET,
        ]);
        const seen = lines(out);
        expect({ status, err }).toEqual({ status: 0, err: '' });
        expect(seen).toContain('bound 10.0.2.15 router 10.0.2.2 dns 10.0.2.3 mtu 1500');
        expect(seen).toContain('3 packets transmitted, 3 packets received, 0% packet loss');
        expect(seen).toContain('Address: 127.0.0.1');
        expect(seen).toContain(`${SUM}  -`);
        expect(seen).toContain('thank you');
        expect(uploaded).toBe(SUM);
        expect(seen).toContain('refused 1');
        expect(seen).toContain('state Connected 00:16:3e:0a:0b:0c');
        expect(readFileSync(pcap).readUInt32LE(0)).toBe(0xa1b23c4d);
      }
    },
  );

  testWith('cloud', 'lets this machine in by a forwarded port', async (kernel, context) => {
    const initrd = await networkInitramfs(kernel, context, 'echo hello from the guest | nc -l -p 7777; echo served');
    let heard = '';
    // Until the guest listens, connections are refused: again.
    const knock = (port: number): void => {
      const socket = connect({ host: '127.0.0.1', port });
      socket.on('data', bytes => {
        heard += bytes.toString();
      });
      socket.on('error', () => {});
      socket.on('close', () => {
        if (heard === '') setTimeout(() => knock(port), 200).unref();
      });
      socket.end();
    };
    const free = await serve(() => {});
    await new Promise(resolve => servers.pop()!.close(resolve));
    knock(free);
    const options = ['--hostfwd', `tcp::${free}-:7777`];
    const { status, out, err } = await domzero([
      'run',
      ...kernel,
      '--mode',
      'pv',
      '--initrd',
      initrd,
      ...options,
      ...QUIET,
    ]);
    expect({ status, err }).toEqual({ status: 0, err: '' });
    expect(lines(out)).toContain('served');
    expect(heard).toBe('hello from the guest\n');
  });
});

describe.concurrent('check with a network', { timeout: 600_000 }, () => {
  testWith('cloud', 'wants the router reached by the driver of each mode', async kernel => {
    const { status, out } = await domzero(['check', ...kernel, '--net', 'user', '--modes', 'native,pv,pvh']);
    expect(out.match(/ pass .* eth0 reaches its gateway/g)).toHaveLength(3);
    expect(status).toBe(0);
  });
});
