// Stock kernels boot on a bare PC: with all its chips, with one and with several processors, and with what a command line can take away.

import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { describe, expect } from 'vitest';
import { loadImages, NativeMachine } from '../../src/index.ts';
import type { TestKernel } from '../../src/platform/node/debian/test-kernels.ts';
import { type Checked, check, type Machine, machineName } from './domzero.ts';
import { EXHAUSTIVE, testWith } from './kernels.ts';

const KERNELS: readonly TestKernel[] = ['generic', 'cloud', 'rt', '686', '686-pae'];

const SOME: ReadonlyArray<readonly [TestKernel, Machine]> = [
  ['generic', {}],
  ['generic', { cpus: 2, cpu: 'skylake' }],
  ['cloud', { cpus: 4 }],
  ['cloud', { cpus: 2, cpu: 'epyc-rome', memory: '256M' }],
  ['cloud', { memory: '2G', cpu: 'skylake' }],
  ['rt', { cpus: 2 }],
  ['686', {}],
  ['686-pae', { cpus: 2 }],
];

/** The interrupt controllers and timers that a kernel falls back on where it is told not to use the better ones. */
const WITHOUT: ReadonlyArray<readonly [string, string]> = [
  ['the I/O APIC', 'noapic'],
  ['the deadline timer', 'lapic=notscdeadline'],
  ['the HPET and idle ticks', 'hpet=disable nohz=off'],
  ['the TSC as clock', 'clocksource=acpi_pm'],
];

function* everything(): Generator<readonly [TestKernel, Machine]> {
  for (const kernel of KERNELS) {
    for (const cpu of ['epyc', 'epyc-rome', 'skylake']) {
      for (const memory of ['256M', '2G']) {
        for (const cpus of [1, 2, 4]) yield [kernel, { cpus, memory, cpu }];
      }
    }
  }
}

/** Lines in which a kernel complains of its machine. */
const COMPLAINTS =
  /unchecked MSR access|Firmware Bug|BIOS Error|nobody cared|spurious .*interrupt|Broken PMU|inconsistent .*MTRR|APIC error|failed to (?:set up|bring)|do_IRQ|No irq handler|unexpected IRQ|soft lockup|clocksource .*unstable/i;

function expectPass({ status, result, text, console }: Checked, { cpus = 1 }: Machine): void {
  expect(result.verdict, text).toBe('pass');
  expect(status).toBe(0);
  expect(result.stages.at(-1)?.name).toBe('powered off');
  const { guest } = result;
  expect(guest?.hypervisor?.type ?? null).toBeNull();
  expect(guest?.uname?.release).toBe(result.version);
  expect(guest?.cpus.online).toHaveLength(cpus);
  expect(guest?.alarms).toMatchObject({ count: 0 });
  const lines = Buffer.from(console).toString().split('\n');
  expect(lines.filter(line => COMPLAINTS.test(line))).toEqual([]);
}

describe.concurrent('on a bare PC', { timeout: 3_600_000 }, () => {
  for (const [which, machine] of EXHAUSTIVE ? everything() : SOME) {
    testWith(which, machineName(machine), async kernel => expectPass(await check(kernel, 'native', machine), machine));
  }
});

describe.concurrent('on a bare PC without', { timeout: 3_600_000 }, () => {
  for (const [what, append] of WITHOUT) {
    testWith('cloud', what, async kernel => {
      const machine = { cpus: 2, append };
      expectPass(await check(kernel, 'native', machine), machine);
    });
  }

  // Nobody who can send start-up messages: one processor, and interrupts by the 8259A alone.
  testWith('cloud', 'any APIC: with one processor', async kernel => {
    const { result, text } = await check(kernel, 'native', { cpus: 2, append: 'nolapic' });
    expect(result.guest?.cpus.online, text).toHaveLength(1);
    expect(result.stages.at(-1)?.name).toBe('powered off');
  });
});

// As boot loaders started by a BIOS do it: the kernel turns 64-bit mode on by itself.
describe('entered in 32-bit mode', { timeout: 3_600_000 }, () => {
  testWith('cloud', 'a 64-bit kernel runs until it finds no root file system', async files => {
    const image = await loadImages(files.map(path => ({ name: basename(path), bytes: readFileSync(path) })));
    const machine = await NativeMachine.create({
      image,
      cmdline: 'console=ttyS0 panic=-1',
      memoryMiB: 256,
      clock: 'virtual',
      entry: 'protected32',
    });
    let text = '';
    machine.console.onOutput(bytes => {
      text += Buffer.from(bytes).toString();
    });
    await machine.run({ until: () => machine.shutdown !== null });
    expect(machine.shutdown, text).toBe('reboot');
    expect(text).toContain('Linux version 6.');
    expect(text).toContain('VFS: Unable to mount root fs');
  });
});

describe.concurrent('the same native boot twice', { timeout: 3_600_000 }, () => {
  testWith('cloud', '2 CPUs', async kernel => {
    const [first, second] = await Promise.all([
      check(kernel, 'native', { cpus: 2 }),
      check(kernel, 'native', { cpus: 2 }),
    ]);
    expect(first.result.verdict, first.text).toBe('pass');
    expect(second.result.instructions).toBe(first.result.instructions);
    expect(Buffer.compare(second.console, first.console)).toBe(0);
  });
});
