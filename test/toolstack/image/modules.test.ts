// Modules out of a package with all that they depend on, and which ones a driver is made of.

import { gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { DebianPackage } from '../../../src/toolstack/image/debian-package.ts';
import { driverModules, ImageError, ModuleTree } from '../../../src/toolstack/image/index.ts';
import { makeDeb, makeModule, text } from './builders.ts';

const RELEASE = '6.9.0-test';
function tree(files: Readonly<Record<string, Uint8Array>>): ModuleTree {
  const all = Object.entries(files).map(([path, bytes]) => [`./lib/modules/${RELEASE}/${path}`, bytes] as const);
  return new ModuleTree(RELEASE, [new DebianPackage(makeDeb('Package: x\n', Object.fromEntries(all)), 'x.deb')]);
}

describe('modules', () => {
  const virtio = tree({
    'kernel/drivers/net/net_failover.ko': makeModule(['failover']),
    'kernel/drivers/net/virtio_net.ko.gz': new Uint8Array(
      gzipSync(makeModule(['virtio_ring', 'virtio', 'net_failover'])),
    ),
    'kernel/drivers/virtio/virtio-ring.ko': makeModule([], 32),
    'kernel/drivers/virtio/virtio.ko': makeModule(['virtio-ring']),
    'kernel/net/core/failover.ko': makeModule(),
    'modules.order': text('kernel/x.ko\n'),
  });

  it('come with what they depend on, in loading order, wherever it stands in the package', async () => {
    const modules = await virtio.withDependencies(['virtio-net', 'failover']);
    const names = modules.map(module => module.name);
    expect([...names].sort()).toEqual(['failover', 'net_failover', 'virtio', 'virtio_net', 'virtio_ring']);
    for (const { name, dependencies } of modules) {
      for (const needed of dependencies) expect(names.indexOf(needed)).toBeLessThan(names.indexOf(name));
    }
    expect(modules.find(module => module.name === 'virtio_net')).toMatchObject({
      path: 'kernel/drivers/net/virtio_net.ko',
      dependencies: ['virtio_ring', 'virtio', 'net_failover'],
    });
  });

  it('that depend on each other do not go on for ever', async () => {
    const circle = tree({ 'kernel/a.ko': makeModule(['b']), 'kernel/b.ko': makeModule(['a']) });
    expect((await circle.withDependencies(['a'])).map(module => module.name)).toEqual(['b', 'a']);
    expect(await circle.withDependencies([])).toEqual([]);
  });

  it('that do not exist or are none are named', async () => {
    await expect(virtio.withDependencies(['nothing'])).rejects.toThrow(ImageError);
    await expect(virtio.withDependencies(['nothing'])).rejects.toThrow('no module nothing for 6.9.0-test');
    const lacking = tree({ 'kernel/a.ko': makeModule(['b']) });
    await expect(lacking.withDependencies(['a'])).rejects.toThrow('no module b');
    const broken = tree({ 'kernel/a.ko': text('not a module') });
    await expect(broken.withDependencies(['a'])).rejects.toThrow(/kernel\/a.ko: the module cannot be read: not an ELF/);
  });
});

describe('a driver', () => {
  const modules = tree({});
  const config = (symbols: Readonly<Record<string, string>>) => new Map(Object.entries(symbols));

  it('is built in, or made of modules, or not there', () => {
    const named = (symbols: Readonly<Record<string, string>>) =>
      driverModules({ config: config(symbols), modules }, 'virtio disk');
    expect(named({ VIRTIO_PCI: 'y', VIRTIO_BLK: 'y' })).toEqual([]);
    expect(named({ VIRTIO_PCI: 'y', VIRTIO_BLK: 'm' })).toEqual(['virtio_blk']);
    expect(named({ VIRTIO_PCI: 'm' })).toBe(null);
  });

  it('is unknown without the configuration, and cannot be loaded without modules', () => {
    expect(driverModules({ config: null, modules }, 'xen disk')).toBe(null);
    expect(driverModules({ config: config({ XEN_BLKDEV_FRONTEND: 'm' }), modules: null }, 'xen disk')).toBe(null);
    expect(driverModules({ config: config({ XEN_BLKDEV_FRONTEND: 'y' }), modules: null }, 'xen disk')).toEqual([]);
  });
});
