// Real Debian kernel packages, where this machine has some: DOMZERO_KERNEL (a file), DOMZERO_KERNELS (a directory of them),
// or what `npm start` keeps in its cache.

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { bytesAtVirtual } from '../../../src/abi/elf.ts';
import { ImageError, inspectImage, kernelSymbols, loadImages } from '../../../src/toolstack/image/index.ts';
import { cString } from '../../../src/util/bytes.ts';

const { DOMZERO_KERNEL, DOMZERO_KERNELS, XDG_CACHE_HOME } = process.env;
const directories = [DOMZERO_KERNELS, join(XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'domzero')];
const packages = [
  ...(DOMZERO_KERNEL?.endsWith('.deb') ? [DOMZERO_KERNEL] : []),
  ...directories.flatMap(directory =>
    directory !== undefined && existsSync(directory)
      ? readdirSync(directory).flatMap(file =>
          /^linux-(image|binary)-.*\.deb$/.test(file) ? [join(directory, file)] : [],
        )
      : [],
  ),
];
const cases = packages.map(path => [basename(path), path] as const);
const read = (path: string) => ({ name: basename(path), bytes: new Uint8Array(readFileSync(path)) });

describe.skipIf(cases.length === 0)('kernel packages (skipped: none in DOMZERO_KERNELS or the cache)', () => {
  it.each(cases)('%s', async (name, path) => {
    const release = /^linux-(?:image|binary)-(.*?)_/.exec(name)![1];
    const modules = readdirSync(dirname(path)).find(file => file.startsWith(`linux-modules-${release}_`));
    const files = [read(path), ...(modules === undefined ? [] : [read(join(dirname(path), modules))])];
    const [major] = release.split('.').map(Number);
    if (name.startsWith('linux-image-') && major >= 7) {
      // Since 7.x this package only depends on those with the kernel and the modules.
      const problem = new RegExp(`no kernel.*linux-binary-${release.replaceAll('+', '\\+')}`);
      await expect(loadImages([read(path)])).rejects.toThrow(ImageError);
      await expect(loadImages([read(path)])).rejects.toThrow(problem);
      return;
    }
    const image = await loadImages(files);
    expect(image.format).toBe('bzImage');
    expect(image.release).toBe(release);
    expect(image.version.startsWith(`${release} (`)).toBe(true);
    expect(image.virtBase).toBe(0xffffffff80000000n);
    expect(image.xen).toMatchObject({
      guestOs: 'linux',
      xenVersion: 'xen-3.0',
      modStartPfn: true,
      initP2m: 0x8000000000n,
    });
    expect(image.xen.requiredFeatures.has('writable_page_tables')).toBe(true);

    const symbols = kernelSymbols(image.elf)!;
    expect(symbols.source).toBe('kallsyms');
    expect(symbols.lookup(image.entry)).toEqual({ name: 'startup_xen', offset: 0 });
    expect(symbols.lookup(symbols.address('start_kernel')! + 9n)).toEqual({ name: 'start_kernel', offset: 9 });
    const banner = bytesAtVirtual(image.elf, symbols.address('linux_banner')!)!;
    expect(cString(banner, 0, 200)).toContain(`Linux version ${release} `);
    expect(symbols.lookup(0x28n)).toBeNull();
    expect(symbols.lookup(image.virtEnd + 0x1000_0000n)).toBeNull();

    const { modes, notes, bootProtocol } = inspectImage(image);
    expect(bootProtocol).toBe('2.15');
    expect(notes.map(note => note.name)).toContain('INIT_P2M');
    expect(modes).toMatchObject({ native: { can: true }, pv: { can: true }, pvh: { can: true }, pvhvm: { can: true } });
    expect(modes.dom0.can).toBe(!release.includes('cloud'));
  });
});
