// A stock kernel's network device on a network that another program has, over a Unix socket: passt's, or a TAP device that QEMU has opened.
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
const UP = `mount -t proc proc /proc; mount -t sysfs sys /sys
for m in /lib/*.ko; do insmod $m; done
for i in 1 2 3 4 5 6 7 8 9; do [ -e /sys/class/net/eth0 ] || sleep 0.2; done
ip link set eth0 up`;
const COMMANDS = ['insmod', 'ip', 'udhcpc', 'nc', 'ping', 'timeout'];
const OPTIONS = ['--append', 'quiet', '--timeout', '200'];

const ends: (() => void)[] = [];
afterAll(() => {
  for (const end of ends) end();
});

/** A program that listens at a socket in `folder`. Skips the test where it does not run here. */
async function listening(
  context: TestContext,
  folder: string,
  command: string,
  args: readonly string[],
): Promise<string> {
  const socket = join(folder, 'socket');
  const child = spawn(command, args, { cwd: folder, stdio: ['ignore', 'ignore', 'pipe'] });
  ends.unshift(() => child.kill());
  let said = '';
  child.on('error', error => {
    said += error.message;
  });
  child.stderr.on('data', chunk => {
    said += chunk;
  });
  for (let i = 0; i < 100 && !existsSync(socket) && child.exitCode === null; i++) {
    await new Promise(resolve => setTimeout(resolve, 100));
  }
  if (child.exitCode !== null || !existsSync(socket)) return context.skip(`${command} does not run here: ${said}`);
  return socket;
}

function scratchFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'domzero-frames-'));
  ends.push(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

async function passt(context: TestContext): Promise<string> {
  const folder = scratchFolder();
  try {
    const apt = new Apt();
    execFileSync('dpkg', ['-x', apt.download(apt.show('passt')), folder]);
  } catch (error) {
    return context.skip(`no passt: ${error instanceof Error ? error.message.split('\n')[0] : error}`);
  }
  // Started by root it becomes somebody without rights, who has to get here.
  chmodSync(folder, 0o777);
  return listening(context, folder, join(folder, 'usr/bin/passt'), ['-f', '-1', '--socket', 'socket']);
}

/** A TAP device with this address, joined to a socket by a QEMU without a machine. */
async function tap(context: TestContext, name: string, address: string): Promise<string> {
  const socket = await listening(context, scratchFolder(), 'qemu-system-x86_64', [
    ...['-M', 'none', '-display', 'none', '-monitor', 'none'],
    ...['-netdev', 'stream,id=frames,server=on,addr.type=unix,addr.path=socket'],
    ...['-netdev', `tap,id=tap,ifname=${name},script=no,downscript=no`],
    ...['-netdev', 'hubport,hubid=0,id=a,netdev=frames', '-netdev', 'hubport,hubid=0,id=b,netdev=tap'],
  ]);
  try {
    execFileSync('ip', ['link', 'set', name, 'up'], { stdio: 'pipe' });
    execFileSync('ip', ['addr', 'add', `${address}/24`, 'dev', name], { stdio: 'pipe' });
  } catch (error) {
    return context.skip(`no TAP device: ${error instanceof Error ? error.message.split('\n')[0] : error}`);
  }
  return socket;
}

async function initramfs(kernel: readonly string[], context: TestContext, script: string): Promise<string> {
  const image = await loadImages(kernel.map(path => ({ name: basename(path), bytes: readFileSync(path) })));
  const files = new Map<string, Uint8Array | string>([['bin/dhcp-script', DHCP_SCRIPT]]);
  for (const [i, module] of (await image.modules!.withDependencies(['xen-netfront'])).entries()) {
    files.set(`lib/${i}-${basename(module.path)}`, module.bytes);
  }
  return shellInitramfs(context, `${UP}\n${script}\npoweroff -f`, { commands: COMMANDS, files });
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
    // passt takes the machine's own address for the guest; what reaches the machine is the router's.
    const router = /default via (\S+)/.exec(execFileSync('ip', ['route']).toString())?.[1];
    if (router === undefined) return context.skip('this machine has no default route, whose router passt plays');
    const script = `udhcpc -i eth0 -s /bin/dhcp-script -n -q 2>/dev/null\ntimeout 10 nc ${router} ${port} < /dev/null`;
    const initrd = await initramfs(kernel, context, script);
    const { out, err, status } = await domzero([
      ...['run', ...kernel, '--mode', 'pv', '--initrd', initrd, '--net', `unix:${socket}`, ...OPTIONS],
    ]);
    expect(out).toContain(`router ${router}`);
    expect(out).toContain('hello from outside');
    expect({ asked, err, status }).toEqual({ asked: 1, err: '', status: 0 });
  });
});

describe('a TAP device', { timeout: 600_000 }, () => {
  testWith('cloud', 'has the kernel of this machine at its other end', async (kernel, context) => {
    const socket = await tap(context, 'domzero0', '10.77.0.1');
    const initrd = await initramfs(kernel, context, 'ip addr add 10.77.0.2/24 dev eth0; ping -c 3 10.77.0.1');
    const { out, err, status } = await domzero([
      ...['run', ...kernel, '--mode', 'pv', '--initrd', initrd, '--net', `unix:${socket}`, ...OPTIONS],
    ]);
    expect(out).toContain('3 packets transmitted, 3 packets received, 0% packet loss');
    expect({ err, status }).toEqual({ err: '', status: 0 });
  });
});
