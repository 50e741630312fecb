// Dom0 here beside Dom0 of genuine Xen: what it asks and is answered, with kernels of three releases, and what it logs, line by line. What
// differs has a known cause.

import { readFileSync } from 'node:fs';
import { describe, expect } from 'vitest';
import { align } from '../../scripts/fidelity/align.ts';
import { difference, nameOf } from '../../scripts/fidelity/differences.ts';
import { knownCause } from '../../scripts/fidelity/known-differences.ts';
import { logDifferences } from '../../scripts/fidelity/log-differences.ts';
import { DOM0_OPTIONS, record } from '../../scripts/fidelity/record.ts';
import { kernelLines, readTrace } from '../../scripts/fidelity/trace-file.ts';
import type { TestKernel } from '../../src/platform/node/debian/test-kernels.ts';
import { testWith } from './kernels.ts';

const fixture = (name: string) => readFileSync(new URL(`../fixtures/xen-trace/${name}`, import.meta.url), 'utf8');
const DOM0 = 0;

const TRACES: ReadonlyArray<readonly [TestKernel, string]> = [
  ['bullseye', 'linux-5.10-dom0.txt'],
  ['generic', 'linux-6.1-dom0.txt'],
  ['trixie', 'linux-6.12-dom0.txt'],
];

describe('Dom0 beside the same on Xen 4.17', { timeout: 1_200_000 }, () => {
  for (const [which, name] of TRACES) {
    testWith(which, `makes the same hypercalls as ${name} tells`, async kernel => {
      const commandLine = 'console=hvc0 earlyprintk=xen';
      const ours = await record(kernel, { mode: 'dom0', cpus: 2, memoryMiB: 700, cpu: 'epyc', commandLine });
      const theirs = readTrace(fixture(name), DOM0);
      expect(theirs.length).toBeGreaterThan(80);
      const pairs = align(theirs, ours.seen, nameOf);
      const differing = pairs.flatMap(pair => {
        const kind = difference(pair);
        return kind === null ? [] : [{ call: nameOf((pair.theirs ?? pair.ours)!), kind }];
      });
      expect(differing.filter(({ call, kind }) => knownCause(call, kind, DOM0) === null)).toEqual([]);
      expect(pairs.length - differing.length).toBeGreaterThan(75);
    });
  }

  testWith('generic', 'logs the same', async kernel => {
    const { cpus, append } = DOM0_OPTIONS;
    const commandLine = `console=hvc0 ${append}`;
    const ours = await record(kernel, { mode: 'dom0', cpus, memoryMiB: 512, cpu: 'epyc', commandLine });
    const theirs = kernelLines(fixture('linux-6.1-dom0-console.txt'));
    expect(theirs.length).toBeGreaterThan(350);
    const differences = logDifferences(theirs, kernelLines(ours.console.join('\n')));
    expect(differences.filter(({ cause }) => cause === null)).toEqual([]);
    expect(theirs.length - differences.filter(({ side }) => side !== '+').length).toBeGreaterThan(300);
  });
});
