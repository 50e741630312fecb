// A boot here beside one on genuine Xen: whatever differs in what the kernel asks and is answered has a known cause.

import { readFileSync } from 'node:fs';
import { describe, expect } from 'vitest';
import { align } from '../../scripts/fidelity/align.ts';
import { compareLogs } from '../../scripts/fidelity/console-log.ts';
import { difference, nameOf } from '../../scripts/fidelity/differences.ts';
import { knownCause } from '../../scripts/fidelity/known-differences.ts';
import { record } from '../../scripts/fidelity/record.ts';
import { kernelLines, readTrace } from '../../scripts/fidelity/trace-file.ts';
import { testWith } from './kernels.ts';

const GUEST = 1;
const trace = readFileSync(new URL('../fixtures/xen-trace/linux-6.1-pv-guest.txt', import.meta.url), 'utf8');

describe('a PV guest beside the same on Xen 4.17', { timeout: 600_000 }, () => {
  testWith('generic', 'makes the same hypercalls, and logs the same', async kernel => {
    const commandLine = 'console=hvc0 ignore_loglevel';
    const ours = await record(kernel, { mode: 'pv', cpus: 2, memoryMiB: 256, cpu: 'epyc', commandLine });
    const theirs = readTrace(trace, GUEST);
    expect(theirs.length).toBeGreaterThan(70);

    const pairs = align(theirs, ours.seen, nameOf);
    const differing = pairs.flatMap(pair => {
      const kind = difference(pair);
      return kind === null ? [] : [{ call: nameOf((pair.theirs ?? pair.ours)!), kind }];
    });
    expect(differing.filter(({ call, kind }) => knownCause(call, kind, GUEST) === null)).toEqual([]);
    expect(pairs.length - differing.length).toBeGreaterThan(60);

    // Of the messages of the trace, all but those of its disk, its network interface and its slow timer.
    const missing = compareLogs(kernelLines(trace), ours.console).filter(line => line.startsWith('- '));
    const expected = /xenbus_probe_frontend|max_queues|blkfront|xen_netfront|Fast TSC calibration failed/;
    expect(missing.filter(line => !expected.test(line))).toEqual([]);
  });
});
