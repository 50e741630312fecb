// Stock kernels, as distributions ship them, boot in every mode that there is a builder for.

import { describe, expect, test } from 'vitest';
import type { TestKernel } from '../../src/platform/node/debian/test-kernels.ts';
import type { Mode } from '../../src/toolstack/image/modes.ts';
import { type Checked, check, type Machine, machineName } from './domzero.ts';
import { EXHAUSTIVE, ownKernels, testWith } from './kernels.ts';

const KERNELS: readonly TestKernel[] = ['generic', 'cloud'];

/** Every kernel with one CPU and with several; sizes and processors on the smallest, where they hardly depend on the kernel. */
const SOME: ReadonlyArray<readonly [TestKernel, Machine]> = [
  ['generic', {}],
  ['generic', { cpus: 4 }],
  ['generic', { memory: '128M' }],
  ['generic', { cpu: 'skylake' }],
  ['cloud', {}],
  ['cloud', { cpus: 4, memory: '128M' }],
  ['cloud', { memory: '2G' }],
  ['cloud', { cpu: 'epyc-rome' }],
  ['cloud', { cpu: 'skylake', cpus: 4 }],
];

function* everything(): Generator<readonly [TestKernel, Machine]> {
  for (const kernel of KERNELS) {
    for (const cpu of ['epyc', 'epyc-rome', 'skylake']) {
      for (const memory of ['128M', '512M', '2G']) {
        for (const cpus of [1, 4]) yield [kernel, { cpus, memory, cpu }];
      }
    }
  }
}

/** The same for guests that have processors of their own: what they run is the same kernel. */
const SOME_HVM: ReadonlyArray<readonly [TestKernel, Machine]> = [
  ['generic', {}],
  ['generic', { cpus: 4 }],
  ['cloud', { cpus: 4, memory: '128M', cpu: 'skylake' }],
  ['cloud', { memory: '2G', cpu: 'epyc-rome' }],
];

/** /sys/hypervisor/guest_type in each mode. */
const GUEST_TYPES: Partial<Record<Mode, string>> = { pv: 'PV', pvh: 'PVH', pvhvm: 'HVM' };

/** A pass with all that belongs to one: the report is what the guest itself says of its machine. */
function expectPass({ status, result, text }: Checked, { cpus = 1 }: Machine): void {
  expect(result.verdict, text).toBe('pass');
  expect(status).toBe(0);
  expect(result.stages.at(-1)?.name).toBe('powered off');
  const { guest } = result;
  expect(guest?.hypervisor).toMatchObject({ type: 'xen', guestType: GUEST_TYPES[result.mode] });
  expect(guest?.uname?.release).toBe(result.version);
  expect(guest?.cpus.online).toHaveLength(cpus);
  expect(guest?.clocksource).toBe('xen');
  // Whatever the kernel keeps for itself, most of the memory that was asked for is there.
  expect(guest?.memTotalKiB).toBeGreaterThan(result.memoryMiB * 1024 - 100 * 1024);
  expect(guest?.memTotalKiB).toBeLessThan(result.memoryMiB * 1024);
  expect(guest?.alarms).toMatchObject({ count: 0 });
}

describe.concurrent('as PV guests', { timeout: 3_600_000 }, () => {
  for (const [which, machine] of EXHAUSTIVE ? everything() : SOME) {
    testWith(which, machineName(machine), async kernel => expectPass(await check(kernel, 'pv', machine), machine));
  }

  // 6.1.192's rt flavour does not survive its own deferred RCU work as a PV guest: genuine Xen 4.17 shows the same (docs/fidelity.md).
  // Debian's next one may be mended: then this says so, and belongs to the list above.
  testWith('rt', 'livelocks, as on genuine Xen, and the check says how', async kernel => {
    const { result, status, text } = await check(kernel, 'pv', {}, ['--timeout', '75']);
    expect(status, text).toBe(1);
    expect(result.verdict, text).toBe('timeout');
    expect(result.stages.map(stage => stage.name)).toContain('kernel');
  });

  for (const { name, files } of ownKernels()) {
    test(name, async () => expectPass(await check(files, 'pv'), {}));
  }
});

/** Kernels of 32 bits have their own paging, entries and hypercalls; as PVH guests they do not come up on any Xen: docs/fidelity.md. */
const SOME_PVHVM: ReadonlyArray<readonly [TestKernel, Machine]> = [...SOME_HVM, ['686-pae', { cpus: 2 }]];

for (const mode of ['pvh', 'pvhvm'] as const) {
  describe.concurrent(`as ${mode} guests`, { timeout: 3_600_000 }, () => {
    for (const [which, machine] of EXHAUSTIVE ? everything() : mode === 'pvhvm' ? SOME_PVHVM : SOME_HVM) {
      testWith(which, machineName(machine), async kernel => expectPass(await check(kernel, mode, machine), machine));
    }

    for (const { name, files } of ownKernels()) {
      test(name, async () => expectPass(await check(files, mode), {}));
    }
  });
}
