// Two stock kernels on one host that talk over its switch, and what is left when one of them is destroyed in the middle of it.
import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { describe, expect } from 'vitest';
import { type GuestDomain, Host, loadImages, ramForGuests } from '../../src/index.ts';
import { addVifs, openNetworks } from '../../src/toolstack/devices/network-setup.ts';
import { testWith } from './kernels.ts';
import { scriptInitramfs } from './script-initramfs.ts';

const MEMORY = 128;
const PATIENCE = 40_000_000_000n;
const MIB = 1 << 20;
const ADDRESS = { server: '10.0.0.1', client: '10.0.0.2' } as const;

const up = (address: string): string[] => [
  'for i in 1 2 3 4 5 6 7 8 9; do [ -e /sys/class/net/eth0 ] || sleep 0.2; done',
  `ip link set eth0 up; ip addr add ${address}/24 dev eth0`,
];
const SERVER = 'while true; do nc -l -p 9 > /dev/null; done';
/** Its first transfer is cut off; another server with the same address, and another Ethernet address, gets the second. */
const CLIENT = [
  `until ping -c 1 -w 2 ${ADDRESS.server} > /dev/null; do sleep 0.1; done; echo "first transfer"`,
  `dd if=/dev/zero bs=64k count=10000 | nc ${ADDRESS.server} 9 & sleep 20; kill %1`,
  `ip neigh flush dev eth0; until ping -c 1 -w 2 ${ADDRESS.server} > /dev/null; do sleep 0.1; done`,
  `dd if=/dev/zero bs=64k count=32 | nc -w 20 ${ADDRESS.server} 9 && echo "second transfer"`,
];

describe('two guests', { timeout: 900_000 }, () => {
  testWith('cloud', 'talk; one is destroyed in the middle of it, the other goes on', async kernel => {
    const image = await loadImages(kernel.map(path => ({ name: basename(path), bytes: readFileSync(path) })));
    const initramfs = (commands: readonly string[], address: string) =>
      scriptInitramfs(kernel, commands, { modules: ['xen-netfront'], prepare: up(address) });
    const [server, client] = [await initramfs([SERVER], ADDRESS.server), await initramfs(CLIENT, ADDRESS.client)];
    const host = await Host.create({ ramBytes: ramForGuests(2 * MEMORY) });
    const { hypervisor } = host;
    let carried = 0;
    const setup = {
      vifs: [{}],
      capture: (bytes: Uint8Array) => {
        carried += bytes.length;
      },
    };
    const surroundings = { clock: hypervisor.clock, scheduler: host.scheduler, wake: () => host.wake() };
    const networks = openNetworks(setup, surroundings);
    const start = (name: string, mode: 'pv' | 'pvh', initrd: Uint8Array): GuestDomain => {
      const options = { image, initrd, memoryMiB: MEMORY, name, cmdline: 'console=hvc0 quiet' };
      const guest = mode === 'pv' ? host.createPvDomain(options) : host.createPvhDomain(options);
      addVifs(networks, setup.vifs, host, guest);
      return guest;
    };
    const run = (until: () => boolean) => host.run({ instructions: PATIENCE, until });

    const talker = start('client', 'pvh', client);
    let printed = '';
    talker.console.onOutput(bytes => {
      printed += Buffer.from(bytes).toString('latin1');
    });
    const freeBefore = hypervisor.frames.free;
    const victim = start('server', 'pv', server);
    const { domain } = victim;
    await run(() => printed.includes('first transfer'));
    const from = carried;
    await run(() => carried > from + 4 * MIB || talker.shutdown !== null);
    expect(carried - from).toBeGreaterThan(4 * MIB);
    expect([...domain.grants.uses()].length).toBeGreaterThan(2);
    expect(openChannels(victim)).toBeGreaterThan(2);

    host.destroy(victim);
    expect([...domain.grants.uses()]).toEqual([]);
    expect(openChannels(victim)).toBe(0);
    expect(hypervisor.frames.free).toBe(freeBefore);
    expect([...hypervisor.domains.keys()]).toEqual([talker.id]);
    expect(host.store.host.list('/')).not.toMatch(new RegExp(`/(domain|libxl|vif|console)/${victim.id}\\b`));

    const successor = start('server again', 'pv', server);
    await run(() => talker.shutdown !== null);
    expect(printed).toContain('second transfer');
    expect(talker.shutdown).toBe('poweroff');
    expect(successor.shutdown).toBeNull();
    host.destroy(talker);
    host.destroy(successor);
    for (const guest of [talker, successor]) {
      expect([...guest.domain.grants.uses()]).toEqual([]);
      expect(openChannels(guest)).toBe(0);
    }
    expect(hypervisor.domains.size).toBe(0);
    networks.close();
  });
});

/** Event channels that are in any kind of use. */
function openChannels({ domain }: GuestDomain): number {
  const states = Array.from({ length: 4096 }, (_, port) => domain.events.channelAt(port)?.state ?? 'free');
  return states.filter(state => state !== 'free' && state !== 'reserved').length;
}
