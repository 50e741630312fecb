// The kernels that these tests boot. What is not there makes them skip, with the reason.

import { readdirSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import { type TestContext, test } from 'vitest';
import { type Obtained, type TestKernel, testKernel } from '../../src/platform/node/debian/test-kernels.ts';

/** Every machine for every kernel, instead of a few that differ in what matters. Takes most of an hour. */
export const EXHAUSTIVE = process.env.DOMZERO_BOOT_MATRIX === 'all';

const known = new Map<TestKernel, Obtained>();

/** The files of one of Debian's kernels. Skips the test where it cannot be had. */
export function stockKernel(which: TestKernel, context: TestContext): readonly string[] {
  let obtained = known.get(which);
  if (obtained === undefined) known.set(which, (obtained = testKernel(which)));
  if ('missing' in obtained) return context.skip(`no ${which} kernel: ${obtained.missing}`);
  return obtained.files;
}

type Body = (kernel: readonly string[], context: TestContext) => Promise<void>;

/** A test that needs one of Debian's kernels. */
export function testWith(which: TestKernel, name: string, body: Body): void {
  test(`${which}: ${name}`, context => body(stockKernel(which, context), context));
}

/** Kernels of the user's own: the files of the directory that DOMZERO_KERNELS names, each a kernel by itself. */
export function ownKernels(): Array<{ name: string; files: readonly string[] }> {
  const directory = process.env.DOMZERO_KERNELS;
  if (directory === undefined || directory === '') return [];
  return readdirSync(directory)
    .map(name => join(directory, name))
    .filter(path => statSync(path).isFile())
    .sort()
    .map(path => ({ name: basename(path), files: [path] }));
}
