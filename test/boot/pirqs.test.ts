// A stock kernel as a PVHVM guest makes events of its platform's interrupts: its clock's alarm, by ACPI's line, and the messages
// of a device that it finds while it runs.
import { basename } from 'node:path';
import { describe, expect } from 'vitest';
import { loadImages } from '../../src/index.ts';
import { addVirtio } from '../../src/machine/virtio/pci-device.ts';
import { VirtioRng } from '../../src/machine/virtio/rng.ts';
import { readFile } from '../../src/platform/node/files.ts';
import { Host, ramForGuests } from '../../src/toolstack/host.ts';
import { testWith } from './kernels.ts';
import { outputOf, scriptInitramfs } from './script-initramfs.ts';

const READY = 'waiting for hardware';
/** Of /proc/interrupts: count on the one processor, kind, name. */
const rows = (lines: readonly string[]): Array<{ count: number; kind: string; name: string }> =>
  lines.flatMap(line => {
    const [, count, kind, name] = /^\s*\w+:\s+(\d+)\s+(.*?)\s+(\S+)$/.exec(line) ?? [];
    return name === undefined ? [] : [{ count: Number(count), kind: kind.replaceAll(/\s+/g, ' '), name }];
  });

describe('physical interrupts of a PVHVM guest', { timeout: 600_000 }, () => {
  testWith('cloud', 'are its devices’ lines and messages', async kernel => {
    const initrd = await scriptInitramfs(
      kernel,
      [
        'echo +1 > /sys/class/rtc/rtc0/wakealarm; sleep 2; cat /proc/interrupts',
        `echo ${READY} > /dev/console; sleep 2; echo 1 > /sys/bus/pci/rescan; sleep 1; cat /sys/class/misc/hw_random/rng_current; ` +
          'dd if=/dev/hwrng bs=64 count=1 2>/dev/null | wc -c; cat /proc/interrupts',
      ],
      { modules: ['virtio_pci', 'virtio_rng'] },
    );
    const image = await loadImages(kernel.map(path => ({ name: basename(path), bytes: readFile(path) })));
    const host = await Host.create({ ramBytes: ramForGuests(256), clock: 'virtual' });
    const guest = host.createPvHvmDomain({ image, initrd, cmdline: 'console=hvc0 quiet', memoryMiB: 256 });
    let text = '';
    guest.console.onOutput(bytes => {
      text += new TextDecoder().decode(bytes);
    });
    await host.run({ until: () => text.includes(READY) || guest.shutdown !== null });
    const board = guest.board!;
    addVirtio(
      board.pci,
      new VirtioRng(
        { memory: board.physical, later: work => host.hypervisor.hostEvents.raise(work), log: () => {} },
        into => into.fill(7),
      ),
    );
    await host.run({ until: () => guest.shutdown !== null });

    const before = rows(outputOf(text, 0).lines);
    expect(before, text).toContainEqual({ count: 1, kind: 'xen-pirq 9-ioapic-level', name: 'acpi' });
    const { lines } = outputOf(text, 1);
    expect(lines, text).toEqual(expect.arrayContaining(['virtio_rng.0', '64']));
    const messages = rows(lines).find(({ name }) => name === 'virtio0-input');
    expect(messages?.kind, text).toBe('xen-pirq -msi-x');
    expect(messages?.count).toBeGreaterThan(0);
    expect(guest.shutdown).toBe('poweroff');
  });
});
