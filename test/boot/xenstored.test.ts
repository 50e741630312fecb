// Dom0 with a XenStore daemon of its own, as on genuine Xen: Debian's xenstored, started in a PV and in a PVH Dom0.
import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { describe, expect, test } from 'vitest';
import { Dom0Machine, loadImages } from '../../src/index.ts';
import { stockKernel } from './kernels.ts';
import { outputOf } from './script-initramfs.ts';
import { xenToolsInitramfs } from './xen-tools.ts';

describe("Debian's xenstored in Dom0", { timeout: 3_600_000 }, () => {
  for (const kind of ['pv', 'pvh'] as const) {
    test(`${kind}: serves its tools and its kernel`, async context => {
      const files = stockKernel('generic', context);
      const commands = [
        'cat /proc/xen/capabilities',
        'mkdir -p /run/xenstored /var/lib/xenstored; xenstored --pid-file /run/xenstored.pid',
        'xenstore-write /tool/test hello; xenstore-read /tool/test',
        'xen-init-dom0',
        'xenstore-ls /local/domain/0',
        'xl list',
        'lsevtchn 0',
      ];
      const image = await loadImages(files.map(path => ({ name: basename(path), bytes: readFileSync(path) })));
      const machine = await Dom0Machine.create({
        ...{ kind, xenstore: 'dom0', image, memoryMiB: 512, clock: 'virtual' },
        ...{ initrd: await xenToolsInitramfs(files, commands), cmdline: 'console=hvc0 rdinit=/init quiet' },
      });
      let out = '';
      machine.console.onOutput(bytes => void (out += new TextDecoder().decode(bytes)));
      await machine.run({ until: () => machine.shutdown !== null });
      expect(machine.shutdown).toBe('poweroff');
      const [capabilities, started, value, init, tree, list, channels] = commands.map((_, i) => outputOf(out, i));
      expect(capabilities.lines, out).toEqual(['control_d']);
      expect(started).toEqual({ lines: [], status: 0 });
      expect(value.lines).toEqual(['hello']);
      expect(init).toEqual({ lines: ['Done setting up Dom0'], status: 0 });
      expect(tree.lines).toContain('name = "Domain-0"');
      // The kernel's own driver has reached it too.
      expect(tree.lines.join('\n')).toMatch(/feature-poweroff = "1"/);
      expect(list.lines[1]).toMatch(/^Domain-0 +0 +51\d +1 +r----- /);
      // VIRQ_DOM_EXC, by which a daemon hears of domains that end.
      expect(channels.lines.join('\n')).toMatch(/Virtual IRQ 3$/m);
      // What the host's own store knows is another tree.
      expect(machine.host.store.connectionOf(0)).toBeUndefined();
    });
  }
});
