// User space of Dom0 that shares pages and event channels: two of Debian's vchan-socket-proxy, both in Dom0, carry bytes to each other. The
// server gives its ring from /dev/xen/gntalloc, the client maps it through /dev/xen/gntdev; both signal through /dev/xen/evtchn and meet in XenStore.
import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { describe, expect, test } from 'vitest';
import { Dom0Machine, loadImages } from '../../src/index.ts';
import { stockKernel } from './kernels.ts';
import { outputOf } from './script-initramfs.ts';
import { xenToolsInitramfs } from './xen-tools.ts';

/** One end of the channel: from its standard input to the other's output. An end whose input ends closes the channel. */
const proxy = (side: 'server' | 'client'): string => `vchan-socket-proxy -m ${side} 0 data/vchan -`;
const carry = (side: 'server' | 'client'): string =>
  `{ cat /run/from-${side}; sleep 20; } | ${proxy(side)} > /run/at-${side} &`;

describe('a vchan within Dom0', { timeout: 3_600_000 }, () => {
  for (const kind of ['pv', 'pvh'] as const) {
    test(`${kind}: carries bytes both ways`, async context => {
      const kernel = stockKernel('generic', context);
      // A kernel that is PVH Dom0 expects a XenStore daemon of its own; a PV one is told of the host's.
      const xenstore = kind === 'pv' ? 'host' : 'dom0';
      const store = { host: 'true', dom0: 'mkdir -p /run/xenstored /var/lib/xenstored; xenstored && xen-init-dom0' };
      const commands = [
        store[xenstore],
        'lsevtchn 0',
        'head -c 300000 /bin/busybox > /run/from-server; tail -c 200000 /bin/busybox > /run/from-client',
        `${carry('server')} ${carry('client')} sleep 10; lsevtchn 0`,
        'sleep 20; cmp /run/from-server /run/at-client && cmp /run/from-client /run/at-server',
        'lsevtchn 0',
      ];
      const image = await loadImages(kernel.map(path => ({ name: basename(path), bytes: readFileSync(path) })));
      const machine = await Dom0Machine.create({
        ...{ kind, xenstore, image, memoryMiB: 512, clock: 'virtual' },
        ...{ initrd: await xenToolsInitramfs(kernel, commands), cmdline: 'console=hvc0 rdinit=/init quiet' },
      });
      let out = '';
      machine.console.onOutput(bytes => void (out += new TextDecoder().decode(bytes)));
      await machine.run({ until: () => machine.shutdown !== null });
      expect(machine.shutdown, out).toBe('poweroff');
      const [ready, before, files, during, carried, after] = commands.map((_, i) => outputOf(out, i));
      expect([ready.status, files.status, before.status], out).toEqual([0, 0, 0]);
      const channelOf = ({ lines }: { lines: string[] }) =>
        lines.flatMap(line => {
          const ports = /^ *(\d+): VCPU 0: Interdomain \(Connected\) - Remote Domain 0, Port (\d+)$/.exec(line);
          return ports && !before.lines.includes(line) ? [[ports[1], ports[2]]] : [];
        });
      const [one, two] = channelOf(during);
      expect(one, out).toBeDefined();
      expect(two).toEqual([...one].reverse());
      expect(two).not.toEqual(one);
      expect(carried, out).toEqual({ lines: [], status: 0 });
      expect(after, out).toEqual(before);
    });
  }
});
