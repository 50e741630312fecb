// Images made here, whole and broken: what loadImage() reads from them and which sentence it says.

import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { PT_LOAD, PT_NOTE } from '../../../src/abi/elf.ts';
import { ImageError, loadImage, loadImages, moduleName } from '../../../src/toolstack/image/index.ts';
import { concatBytes } from '../../../src/util/bytes.ts';
import { little, makeAr, makeBzImage, makeDeb, makeElf, makeModule, makeTar, note, text } from './builders.ts';

const BASE = 0xffffffff81000000n;
const BANNER = 'Linux version 6.9.0-test (me@here) #1 SMP\n';
const NOTES = concatBytes([
  note('Xen', 6, text('linux\0')),
  note('Xen', 5, text('xen-3.0\0')),
  note('Xen', 3, little(0xffffffff80000000n, 8)),
  note('Xen', 1, little(BASE + 0x10n, 8)),
]);
const vmlinux = makeElf({
  entry: 0x1000000n,
  segments: [
    { type: PT_LOAD, vaddr: BASE, paddr: 0x1000000n, data: text(`%s version %s\0${BANNER}\0`), memorySize: 0x200000 },
    { type: PT_NOTE, vaddr: 0n, data: NOTES },
  ],
});
const packed = new Uint8Array(gzipSync(vmlinux));
const VERSION = '6.9.0-test (me@here) #1 SMP Mon';
const bzImage = makeBzImage(packed, VERSION);

describe('loadImage', () => {
  it('reads a bzImage', async () => {
    const image = await loadImage(bzImage, 'vmlinuz');
    expect(image).toMatchObject({
      name: 'vmlinuz',
      format: 'bzImage',
      compression: 'gzip',
      release: '6.9.0-test',
      version: VERSION,
      virtBase: 0xffffffff80000000n,
      paddrOffset: 0n,
      entry: BASE + 0x10n,
      virtStart: BASE,
      virtEnd: BASE + 0x200000n,
      config: null,
      modules: null,
    });
    expect(image.boot).toMatchObject({ protocol: 0x20f, setupSize: 1536, payloadOffset: 1568 });
    expect(image.bzImage).toBe(bzImage);
    expect(image.elf.bytes).toEqual(vmlinux);
    expect(image.sha256).toMatch(/^[0-9a-f]{64}$/);
  });

  it('reads a vmlinux, also compressed, and finds its version', async () => {
    const expected = { format: 'vmlinux', release: '6.9.0-test', version: '6.9.0-test (me@here) #1 SMP', boot: null };
    expect(await loadImage(vmlinux, 'vmlinux')).toMatchObject({ ...expected, compression: null });
    expect(await loadImage(packed, 'vmlinux.gz')).toMatchObject({ ...expected, compression: 'gzip' });
  });

  it('reads an image that is not Linux, with few notes (a test kernel)', async () => {
    const notes = [
      note('Xen', 6, text('XTF\0')),
      note('Xen', 8, text('generic\0')),
      note('Xen', 5, text('xen-3.0\0')),
      note('Xen', 2, little(0x103000, 8)),
    ];
    const segments = [
      { type: PT_LOAD, vaddr: 0x100000n, data: new Uint8Array(0x2000), memorySize: 0x5000 },
      { type: PT_NOTE, vaddr: 0n, data: concatBytes(notes) },
    ];
    const image = await loadImage(makeElf({ entry: 0x100040n, segments }), 'test-pv64-example');
    expect(image).toMatchObject({
      release: '',
      virtBase: 0n,
      entry: 0x100040n,
      virtStart: 0x100000n,
      virtEnd: 0x105000n,
    });
    expect(image.xen).toMatchObject({ hypercallPage: 0x103000n, virtBase: null, initP2m: null, modStartPfn: false });
  });

  it('refuses a payload of another size than the image says', async () => {
    const bad = new Uint8Array(packed);
    bad.set(little(vmlinux.length + 1, 4), bad.length - 4);
    await expect(loadImage(makeBzImage(bad), 'a')).rejects.toThrow(ImageError);
    // Stored uncompressed, there is no size to compare.
    expect((await loadImage(makeBzImage(vmlinux), 'a')).compression).toBeNull();
  });

  it.each([
    ['an empty file', new Uint8Array(0), 'f: the file is empty'],
    ['text', text('#!/bin/sh\necho not a kernel, but long enough to look at\n'), 'f: not a kernel'],
    ['a truncated bzImage', bzImage.subarray(0, -1), 'f: truncated: the kernel in it ends at byte'],
    [
      'an unknown compression',
      makeBzImage(text('garbage here')),
      'f: the kernel in it is compressed in no known format',
    ],
    ['gzip of something else', new Uint8Array(gzipSync('hello')), 'f: a gzip file that does not contain a kernel'],
    [
      'another processor',
      makeElf({ machine: 183, segments: [] }),
      'f: the kernel is for another processor (ELF machine 183)',
    ],
    ['an ELF file without code', makeElf({ segments: [] }), 'f: the ELF file has nothing to load'],
    ['an archive that is no package', makeAr({ 'a.o': text('x') }), 'f: an ar archive, but not a Debian package'],
    ['a bzImage from before 2.08', oldBzImage(), 'f: its boot protocol, 2.07, is older than 2.08'],
  ])('says what is wrong with %s', async (_, bytes, message) => {
    await expect(loadImage(bytes, 'f')).rejects.toThrow(ImageError);
    await expect(loadImage(bytes, 'f')).rejects.toThrow(message);
  });

  it('answers any truncation or change with an image or an ImageError', async () => {
    const files = [bzImage, vmlinux, DEB];
    const change = fc.tuple(fc.nat(1 << 20), fc.nat(255));
    const property = fc.asyncProperty(
      fc.constantFrom(...files),
      fc.nat(1 << 20),
      fc.array(change, { maxLength: 4 }),
      async (file, cut, changes) => {
        const broken = cut % 2 ? file.slice(0, cut % file.length) : file.slice();
        for (const [at, value] of changes) if (broken.length > 0) broken[at % broken.length] = value;
        const result = await loadImage(broken, 'f').catch((error: unknown) => error);
        if (result instanceof Error) expect(result).toBeInstanceOf(ImageError);
      },
    );
    await fc.assert(property, { numRuns: 500 });
  });
});

function oldBzImage(): Uint8Array {
  const old = bzImage.slice();
  old[0x206] = 7;
  return old;
}

const CONTROL =
  'Package: linux-image-6.9.0-test\nVersion: 1\nDepends: kmod, linux-base (>= 4)\nDescription: x\n more\n';
const MODULE = makeModule();
const DEB = makeDeb(CONTROL, {
  './boot/': new Uint8Array(0),
  './boot/config-6.9.0-test': text('# comment\nCONFIG_XEN_PV=y\n# CONFIG_PVH is not set\nCONFIG_NAME="a b"\n'),
  './boot/vmlinuz-6.9.0-test': bzImage,
  './lib/modules/6.9.0-test/kernel/drivers/net/xen-netfront.ko.gz': new Uint8Array(gzipSync(MODULE)),
  './lib/modules/6.9.0-test/kernel/fs/ext4/ext4.ko': MODULE,
  './lib/modules/6.9.0-test/modules.builtin': text('kernel/x.ko\n'),
});

describe('packages', () => {
  it('give the kernel, its configuration and its modules', async () => {
    const image = await loadImage(DEB, 'linux-image.deb');
    expect(image).toMatchObject({ name: 'linux-image.deb', format: 'bzImage', release: '6.9.0-test' });
    expect(Object.fromEntries(image.config!)).toEqual({ XEN_PV: 'y', NAME: 'a b' });
    const modules = image.modules!;
    expect((await modules.list()).map(file => file.path)).toEqual([
      'kernel/drivers/net/xen-netfront.ko.gz',
      'kernel/fs/ext4/ext4.ko',
      'modules.builtin',
    ]);
    expect([...(await modules.read(path => path.endsWith('.builtin'))).keys()]).toEqual(['modules.builtin']);
    expect(moduleName('kernel/drivers/net/xen-netfront.ko.xz')).toBe('xen_netfront');
  });

  const tree = 'usr/lib/modules/7.0-test';
  const image = makeDeb(
    'Package: linux-image-7.0-test\nDepends: x | linux-binary-7.0-test (= 1), linux-modules-7.0-test\n',
    {},
  );
  const binary = makeDeb('Package: linux-binary-7.0-test\n', { [`./${tree}/vmlinuz`]: bzImage });
  const base = makeDeb('Package: linux-base-7.0-test\n', { [`./${tree}/config`]: text('CONFIG_XEN=y\n') });
  const modules = makeDeb('Package: linux-modules-7.0-test\n', { [`./${tree}/kernel/a/b.ko`]: MODULE });
  const named = (...list: readonly (readonly [string, Uint8Array])[]) => list.map(([name, bytes]) => ({ name, bytes }));

  it('that were split are read together, in any order', async () => {
    const loaded = await loadImages(named(['m', modules], ['i', image], ['base', base], ['b', binary]));
    expect(loaded.name).toBe('b');
    expect(loaded.config?.get('XEN')).toBe('y');
    expect(await loaded.modules!.withDependencies(['b'])).toMatchObject([{ name: 'b', bytes: MODULE }]);
    expect((await loadImages(named(['b', binary]))).modules).toBeNull();
  });

  it('without a kernel name what else to give', async () => {
    await expect(loadImage(image, 'i.deb')).rejects.toThrow(
      'i.deb: the package contains no kernel; give also what it depends on: linux-binary-7.0-test, linux-modules-7.0-test',
    );
    await expect(loadImages(named(['i', image], ['m', modules]))).rejects.toThrow(
      'i, m: the packages contain no kernel; give also what it depends on: linux-binary-7.0-test',
    );
    await expect(loadImages([])).rejects.toThrow('no kernel was given');
    await expect(loadImages(named(['a', bzImage], ['b', bzImage]))).rejects.toThrow('b: a second kernel');
  });

  it('are read with compressed members', async () => {
    const deb = makeAr({
      'debian-binary': text('2.0\n'),
      'control.tar.gz': new Uint8Array(gzipSync(makeTar({ control: text(CONTROL) }))),
      'data.tar.gz': new Uint8Array(gzipSync(makeTar({ './boot/vmlinuz-6.9.0-test': bzImage }))),
    });
    expect((await loadImage(deb, 'd')).release).toBe('6.9.0-test');
    const cut = makeAr({
      'debian-binary': text('2.0\n'),
      'control.tar': makeTar({ control: text(CONTROL) }),
      'data.tar.gz': new Uint8Array(gzipSync(makeTar({ './boot/vmlinuz-6.9.0-test': bzImage }))).subarray(0, -40),
    });
    await expect(loadImage(cut, 'd')).rejects.toThrow(/d: the package cannot be read: gzip: .*truncated/);
  });
});
