// Kernel images as files: real Debian kernels where this machine has them, and broken ones.

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { loadImage } from '../../src/toolstack/image/index.ts';

const KERNELS = process.env.DOMZERO_TEST_KERNELS ?? '/tmp/k';
const packages = existsSync(KERNELS) ? readdirSync(KERNELS).filter(name => /^linux-image-.*\.deb$/.test(name)) : [];

describe.skipIf(packages.length === 0)(`kernel packages (skipped where ${KERNELS} has none)`, () => {
  it.each(packages)('reads %s', async name => {
    const release = /^linux-image-(.*?)_/.exec(name)?.[1];
    const image = await loadImage(new Uint8Array(readFileSync(join(KERNELS, name))), name);
    expect(image.format).toBe('bzImage');
    expect(image.release).toBe(release);
    expect(image.config?.get('XEN_PV')).toBe('y');
    expect(image.modules?.release).toBe(release);
    expect(image.virtBase).toBe(0xffffffff80000000n);
    expect(image.xen).toMatchObject({
      guestOs: 'linux',
      xenVersion: 'xen-3.0',
      modStartPfn: true,
      initP2m: 0x8000000000n,
    });
    expect(image.entry).toBeGreaterThanOrEqual(image.virtStart);
    expect(image.entry).toBeLessThan(image.virtEnd);
  });
});
