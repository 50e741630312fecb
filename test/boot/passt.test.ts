// A stock kernel's network device on a network that another program has: passt, of Debian's package, over a Unix socket.
import { execFileSync, spawn } from 'node:child_process';
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { afterAll, describe, expect, type TestContext } from 'vitest';
import { loadImages } from '../../src/index.ts';
import { Apt } from '../../src/platform/node/debian/apt.ts';
import { domzero } from './domzero.ts';
import { shellInitramfs } from './initramfs.ts';
import { testWith } from './kernels.ts';

const DHCP_SCRIPT = `#!/bin/sh
[ "$1" = bound ] || exit 0
ip addr add $ip/24 dev $interface
ip route add default via $router dev $interface onlink
echo "router $router"
`;
const SCRIPT = (port: number, router: string) => `mount -t proc proc /proc; mount -t sysfs sys /sys
for m in /lib/*.ko; do insmod $m; done
for i in 1 2 3 4 5 6 7 8 9; do [ -e /sys/class/net/eth0 ] || sleep 0.2; done
ip link set eth0 up
udhcpc -i eth0 -s /bin/dhcp-script -n -q 2>/dev/null
timeout 10 nc ${router} ${port} < /dev/null
poweroff -f`;

const ends: (() => void)[] = [];
afterAll(() => {
  for (const end of ends) end();
});

/** passt in the foreground at a socket. Skips the test where it cannot be had, or does not run here. */
async function passt(context: TestContext): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), 'domzero-passt-'));
  ends.push(() => rmSync(folder, { recursive: true, force: true }));
  try {
    const apt = new Apt();
    execFileSync('dpkg', ['-x', apt.download(apt.show('passt')), folder]);
  } catch (error) {
    return context.skip(`no passt: ${error instanceof Error ? error.message.split('\n')[0] : error}`);
  }
  const socket = join(folder, 'socket');
  // Started by root it becomes somebody without rights, who has to get here.
  chmodSync(folder, 0o777);
  const child = spawn(join(folder, 'usr/bin/passt'), ['-f', '-1', '--socket', socket], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  ends.push(() => child.kill());
  let said = '';
  child.stderr.on('data', chunk => {
    said += chunk;
  });
  for (let i = 0; i < 50 && !existsSync(socket) && child.exitCode === null; i++) {
    await new Promise(resolve => setTimeout(resolve, 100));
  }
  if (child.exitCode !== null || !existsSync(socket)) return context.skip(`passt does not run here: ${said}`);
  return socket;
}

describe('a network of passt', { timeout: 600_000 }, () => {
  testWith('cloud', 'gives a guest its address, and reaches this machine', async (kernel, context) => {
    const socket = await passt(context);
    let asked = 0;
    const server = createServer(connection => {
      asked++;
      connection.end('hello from outside\n');
    });
    await new Promise<void>(resolve => server.listen(0, '0.0.0.0', resolve));
    ends.push(() => server.close());
    const { port } = server.address() as { port: number };
    const image = await loadImages(kernel.map(path => ({ name: basename(path), bytes: readFileSync(path) })));
    const files = new Map<string, Uint8Array | string>([['bin/dhcp-script', DHCP_SCRIPT]]);
    for (const [i, module] of (await image.modules!.withDependencies(['xen-netfront'])).entries()) {
      files.set(`lib/${i}-${basename(module.path)}`, module.bytes);
    }
    // passt takes the machine's own address for the guest; what reaches the machine is the router's.
    const router = /default via (\S+)/.exec(execFileSync('ip', ['route']).toString())?.[1];
    if (router === undefined) return context.skip('this machine has no default route, whose router passt plays');
    const commands = ['insmod', 'ip', 'udhcpc', 'nc', 'timeout'];
    const initrd = shellInitramfs(context, SCRIPT(port, router), { commands, files });
    const { out, err, status } = await domzero([
      ...['run', ...kernel, '--mode', 'pv', '--initrd', initrd, '--net', `unix:${socket}`],
      ...['--append', 'quiet', '--timeout', '200'],
    ]);
    expect(out).toContain(`router ${router}`);
    expect(out).toContain('hello from outside');
    expect({ asked, err, status }).toEqual({ asked: 1, err: '', status: 0 });
  });
});
