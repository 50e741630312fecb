// The kernels and packages that the tests of whole boots use. Where they cannot be had those tests are skipped, with the reason.

import { Apt, type Architecture, type Notify } from './apt.ts';
import { obtainKernel } from './kernel.ts';

export const TEST_KERNELS = {
  generic: { meta: 'linux-image-amd64', architecture: 'amd64' },
  cloud: { meta: 'linux-image-cloud-amd64', architecture: 'amd64' },
  rt: { meta: 'linux-image-rt-amd64', architecture: 'amd64' },
  '686': { meta: 'linux-image-686', architecture: 'i386' },
  '686-pae': { meta: 'linux-image-686-pae', architecture: 'i386' },
  /** Of the releases before and after this system's: 5.10 and 6.12. */
  bullseye: { meta: 'linux-image-amd64', architecture: 'amd64', release: 'bullseye' },
  trixie: { meta: 'linux-image-amd64', architecture: 'amd64', release: 'trixie' },
} as const satisfies Record<string, { meta: string; architecture: Architecture; release?: string }>;
export type TestKernel = keyof typeof TEST_KERNELS;

/** A shell for tests of the console. */
export const SHELL_PACKAGE = 'busybox-static';

export type Obtained = { readonly files: readonly string[] } | { readonly missing: string };

/** The files of a test kernel, or why there are none. */
export function testKernel(which: TestKernel, notify: Notify = () => {}): Obtained {
  const { meta, ...options } = TEST_KERNELS[which];
  return attempt(() => obtainKernel(meta, new Apt({ ...options, notify })));
}

/** The file of the shell's package, or why there is none. */
export function testShell(notify: Notify = () => {}): Obtained {
  return attempt(() => {
    const apt = new Apt({ notify });
    return [apt.download(apt.show(SHELL_PACKAGE))];
  });
}

function attempt(obtain: () => string[]): Obtained {
  try {
    return { files: obtain() };
  } catch (error) {
    return { missing: error instanceof Error ? error.message : String(error) };
  }
}

/** Fills the cache, before tests that would otherwise each wait for a download. */
export function obtainTestKernels(notify: Notify): void {
  for (const which of Object.keys(TEST_KERNELS) as TestKernel[]) {
    const obtained = testKernel(which, notify);
    if ('missing' in obtained) notify(`no ${which} kernel: ${obtained.missing}`);
  }
  const shell = testShell(notify);
  if ('missing' in shell) notify(`no shell: ${shell.missing}`);
}
