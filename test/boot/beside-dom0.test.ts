// A guest beside Dom0 on one host: each has its own memory, console and place in XenStore, and either lives without the other.
import { readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { Dom0Machine, loadImages } from '../../src/index.ts';
import { domzero, scratchPath } from './domzero.ts';
import { stockKernel } from './kernels.ts';
import { outputOf, scriptInitramfs } from './script-initramfs.ts';
import { xenToolsInitramfs } from './xen-tools.ts';

const STORE_TOOLS = {
  modules: ['xenfs'],
  prepare: ['mount -t xenfs xenfs /proc/xen'],
  packages: ['xenstore-utils', 'libxenstore4', 'libxentoolcore1', 'libc6', 'libgcc-s1'],
  wanted: /^(?:usr\/bin\/xenstore.*|(?:usr\/)?lib(?:64)?\/.*\.so[.\d]*)$/,
};
const TICKS = 'i=0; while :; do echo alive $i; i=$((i+1)); sleep 1; done';
const untilUp = (times: number) =>
  `i=0; while [ $i -lt ${times} ] && [ "$(xenstore-read /local/domain/1/data/up 2>&1)" != yes ]; do sleep 1; i=$((i+1)); done; xenstore-read /local/domain/1/data/up`;

describe('a guest beside Dom0', { timeout: 3_600_000 }, () => {
  test("Dom0's tools see it, and it goes without Dom0", async context => {
    const kernel = stockKernel('generic', context);
    const commands = [
      untilUp(60),
      'xl list',
      'xenstore-ls /local/domain/1',
      'xl vcpu-list guest',
      'xl domid guest; xl domname 1',
      'xl destroy guest',
      'xl list; xenstore-ls /local/domain',
    ];
    const tools = scratchPath('tools.cpio', await xenToolsInitramfs(kernel, commands));
    const inGuest = ['xenstore-read domid name; cat /proc/xen/capabilities; xenstore-write data/up yes', TICKS];
    const guest = scratchPath('guest.cpio', await scriptInitramfs(kernel, inGuest, STORE_TOOLS));
    const logs = scratchPath('logs');
    const { status, out, err } = await domzero([
      ...['run', '--dom0', ...kernel, '--guest', ...kernel, '--clock', 'virtual', '--logs', logs],
      ...['--initrd', tools, '--append', 'rdinit=/init quiet', '--timeout', '500'],
      ...['--guest-initrd', guest, '--guest-append', 'rdinit=/init quiet', '--guest-memory', '192M'],
    ]);
    expect(status, err + out).toBe(0);
    const [up, list, home, vcpus, names, destroyed, left] = commands.map((_, i) => outputOf(out, i));
    expect(up.lines, out).toEqual(['yes']);
    expect(list.lines.slice(1)).toEqual([
      expect.stringMatching(/^Domain-0 +0 +512 +1 +r----- /),
      expect.stringMatching(/^guest +1 +192 +1 +(?:-b|r-|--)---- /),
    ]);
    expect(home.lines).toContain('name = "guest"');
    expect(home.lines).toContain('vm = "/vm/00000000-0000-4000-8000-000000000001"');
    expect(vcpus.lines[1]).toMatch(/^guest +1 +0 /);
    expect(names.lines).toEqual(['1', 'guest']);
    expect(destroyed).toEqual({ lines: [], status: 0 });
    expect(left.lines.join('\n')).toMatch(/Domain-0/);
    expect(left.lines.join('\n')).not.toMatch(/guest|^1 = /m);
    expect(err).toMatch(/domain 1 \(guest\) has ended: destroyed/);

    // What the guest printed stands on the terminal behind its number, and in a file of its own.
    expect(out).toMatch(/^\(d1\) tool 0: guest\r$/m);
    const file = readdirSync(logs).find(name => name.endsWith('-pv.console.log')) ?? '';
    const printed = readFileSync(join(logs, file), 'utf8');
    expect(outputOf(printed, 0)).toEqual({ lines: ['1', 'guest'], status: 0 });
    expect(printed).not.toMatch(/Domain-0/);
  });

  for (const kind of ['pv', 'pvh'] as const) {
    test(`${kind}: it lives on when Dom0 is killed`, async context => {
      const files = stockKernel('generic', context);
      const image = await loadImages(files.map(path => ({ name: basename(path), bytes: readFileSync(path) })));
      const initrd = await scriptInitramfs(files, [TICKS]);
      const machine = await Dom0Machine.create({
        ...{ image, initrd, cmdline: 'console=hvc0 rdinit=/init quiet', memoryMiB: 256, guestMemoryMiB: 260 },
        clock: 'virtual',
      });
      const { host } = machine;
      const options = { image, initrd, cmdline: 'console=hvc0 rdinit=/init quiet', memoryMiB: 256 };
      const guest = kind === 'pv' ? host.createPvDomain(options) : host.createPvhDomain(options);
      const printed = { dom0: '', guest: '' };
      machine.console.onOutput(bytes => void (printed.dom0 += new TextDecoder().decode(bytes)));
      guest.console.onOutput(bytes => void (printed.guest += new TextDecoder().decode(bytes)));
      await machine.run({ until: () => /alive 2/.test(printed.dom0) && /alive 2/.test(printed.guest) });
      machine.destroyDomain();
      const lastOfDom0 = printed.dom0.length;
      printed.guest = '';
      await machine.run({ until: () => (printed.guest.match(/alive/g)?.length ?? 0) >= 5 });
      expect(printed.guest).toMatch(/alive/);
      expect(printed.dom0).toHaveLength(lastOfDom0);
      expect(host.hypervisor.domains.has(0)).toBe(false);
      expect([guest.shutdown, machine.shutdown]).toEqual([null, null]);
    });
  }
});
