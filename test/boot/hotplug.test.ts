// Disks and network devices that come, grow and go while a stock kernel runs, by commands through the socket that `run --control` makes.
import { readFileSync, truncateSync } from 'node:fs';
import { basename } from 'node:path';
import { describe, expect } from 'vitest';
import { Host, loadImages, ramForGuests } from '../../src/index.ts';
import { listenForControl, sendControl } from '../../src/platform/node/control-socket.ts';
import { openDisk } from '../../src/platform/node/disks.ts';
import { control } from '../../src/toolstack/control.ts';
import { openNetworks } from '../../src/toolstack/devices/network-setup.ts';
import { HostedDomain } from '../../src/toolstack/machine.ts';
import { scratchPath } from './domzero.ts';
import { testWith } from './kernels.ts';
import { Person } from './machine.ts';
import { scriptInitramfs } from './script-initramfs.ts';

const MEMORY = 128;
const MIB = 1 << 20;

describe.concurrent('devices of a guest that runs', { timeout: 900_000 }, () => {
  for (const mode of ['pv', 'pvhvm'] as const) {
    testWith('cloud', `are attached and detached in mode ${mode}`, async kernel => {
      const image = await loadImages(kernel.map(path => ({ name: basename(path), bytes: readFileSync(path) })));
      const initrd = await scriptInitramfs(kernel, [], {
        modules: ['xen-blkfront', 'xen-netfront'],
        prepare: ['exec setsid sh -c "exec sh </dev/hvc0 >/dev/hvc0 2>&1"'],
      });
      const host = await Host.create({ ramBytes: ramForGuests(MEMORY), clock: 'virtual' });
      const options = { image, initrd, memoryMiB: MEMORY, cmdline: 'console=hvc0 quiet' };
      const guest = mode === 'pv' ? host.createPvDomain(options) : host.createPvHvmDomain(options);
      const surroundings = { clock: host.hypervisor.clock, scheduler: host.scheduler, wake: () => host.wake() };
      const machine = new HostedDomain(host, guest, openNetworks({ vifs: [] }, surroundings));
      const path = scratchPath('control');
      const socket = await listenForControl(path, line =>
        control({ guest, devices: machine.devices, openDisk, destroy: () => {} }, line),
      );
      /** A command, while the guest runs. */
      const command = async (line: string): Promise<unknown> => {
        let answer: unknown;
        void sendControl(path, line).then(reply => {
          answer = reply;
        });
        await machine.run({ until: () => answer !== undefined, whenIdle: 'wait' });
        return answer;
      };
      const person = new Person(machine);
      await person.sees('# ');

      const file = scratchPath('disk.img', new Uint8Array(MIB));
      expect(await command(`block-attach format=raw,vdev=xvdb,access=rw,target=${file}`)).toEqual({
        ok: true,
        result: { vdev: 'xvdb' },
      });
      await person.runs('until [ -e /dev/xvdb ]; do sleep 0.1; done; echo written > /dev/xvdb; sync');
      expect(readFileSync(file).subarray(0, 8).toString()).toBe('written\n');
      truncateSync(file, 3 * MIB);
      expect(await command('block-resize xvdb')).toEqual({ ok: true, result: { size: 3 * MIB } });
      expect(await person.runs('sleep 1; cat /sys/block/xvdb/size')).toBe(`${(3 * MIB) / 512}\n`);
      expect(await command('block-list')).toEqual({
        ok: true,
        result: [{ vdev: 'xvdb', target: file, access: 'rw', size: 3 * MIB, state: 4 }],
      });
      expect(await command('block-attach scratch:1M,xvdb')).toEqual({ ok: false, error: 'two disks are xvdb' });
      expect(await command('block-attach scratch:1M,ro')).toEqual({ ok: true, result: { vdev: 'xvda' } });

      expect(await command('network-attach mac=00:16:3e:00:00:05')).toEqual({ ok: true, result: { index: 0 } });
      await person.runs('until ip link set eth0 up; do sleep 0.1; done');
      expect(await person.runs('cat /sys/class/net/eth0/address')).toBe('00:16:3e:00:00:05\n');
      expect(await command('network-detach 00:16:3e:00:00:05')).toEqual({ ok: true, result: null });
      expect(await command('block-detach xvdb')).toEqual({ ok: true, result: null });
      expect(await person.runs('ls /sys/block /sys/class/net | grep -E "^(xvd|eth)"')).toBe('xvda\n');
      expect(host.store.host.list('/')).not.toMatch(/\/vif\/\d|\/51728\b/);

      // It comes back by the same name.
      await command(`block-attach ${file},xvdb`);
      await person.runs('until [ -e /dev/xvdb ]; do sleep 0.1; done');
      expect(await person.runs('head -n 1 /dev/xvdb')).toBe('written\n');
      expect(await command('block-detach nothing')).toEqual({ ok: false, error: 'there is no disk nothing' });
      expect(await command('reboo')).toMatchObject({ ok: false, error: expect.stringMatching(/^there is no command/) });
      socket.close();
      host.destroy(guest);
      machine.close();
      expect([...guest.domain.grants.uses()]).toEqual([]);
    });
  }
});
