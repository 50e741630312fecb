// Devices of a bare machine that are there on request: entropy and a console by virtio, and the port by which a guest ends it.
import { describe, expect } from 'vitest';
import { loadImages, NativeMachine } from '../../src/index.ts';
import { readFile } from '../../src/platform/node/files.ts';
import { testWith } from './kernels.ts';
import { outputOf, scriptInitramfs } from './script-initramfs.ts';

const DEBUG_EXIT = 0x501;

describe('a bare machine with more devices', { timeout: 600_000 }, () => {
  testWith('cloud', 'gives entropy and a second console', async kernel => {
    const initrd = await scriptInitramfs(
      kernel,
      [
        'cat /sys/class/misc/hw_random/rng_current; dd if=/dev/hwrng bs=64 count=1 2>/dev/null | wc -c',
        'exec 3<>/dev/hvc0; echo to the second console >&3; head -n 1 <&3',
      ],
      { modules: ['virtio_pci', 'virtio_rng', 'virtio_console'] },
    );
    const image = await loadImages(kernel.map(path => ({ name: path, bytes: readFile(path) })));
    const machine = await NativeMachine.create({
      ...{ image, initrd, cmdline: 'console=ttyS0 quiet', memoryMiB: 256 },
      extras: { rng: true, console: true, debugExit: DEBUG_EXIT },
    });
    let serial = '';
    let second = '';
    machine.console.onOutput(bytes => {
      serial += new TextDecoder().decode(bytes);
    });
    machine.virtioConsole?.onOutput(bytes => {
      // The terminal echoes what is typed: once is enough.
      if (second === '') machine.virtioConsole?.write('typed there\n');
      second += new TextDecoder().decode(bytes);
    });
    await machine.run({ until: () => machine.shutdown !== null });
    expect(outputOf(serial, 0), serial).toEqual({ lines: ['virtio_rng.0', '64'], status: 0 });
    expect(second).toContain('to the second console');
    expect(outputOf(serial, 1)).toEqual({ lines: ['typed there'], status: 0 });
    expect(machine.shutdown).toBe('poweroff');
    expect(machine.exitCode).toBeNull();
  });

  testWith('cloud', 'ends with an exit code that is written to its port', async kernel => {
    const image = await loadImages(kernel.map(path => ({ name: path, bytes: readFile(path) })));
    const machine = await NativeMachine.create({ image, memoryMiB: 256, extras: { debugExit: DEBUG_EXIT } });
    machine.pc.bus.portWrite(DEBUG_EXIT, 1, 5);
    expect([machine.shutdown, machine.exitCode]).toEqual(['poweroff', 11]);
  });
});
