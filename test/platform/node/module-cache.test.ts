// Modules kept on disk: taken out once, and again where what was kept is not as it was.
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { cachedModules } from '../../../src/platform/node/module-cache.ts';
import { DebianPackage } from '../../../src/toolstack/image/debian-package.ts';
import { ModuleTree } from '../../../src/toolstack/image/index.ts';
import { makeDeb, makeModule } from '../../toolstack/image/builders.ts';

let cache = '';
beforeEach(() => {
  cache = mkdtempSync(join(tmpdir(), 'domzero-modules-'));
});
afterEach(() => rmSync(cache, { recursive: true }));

const files = { 'lib/modules/6.9/kernel/a.ko': makeModule(['b']), 'lib/modules/6.9/kernel/b.ko': makeModule() };
const tree = () => new ModuleTree('6.9', [new DebianPackage(makeDeb('Package: x\n', files), 'x.deb')]);

test('modules are taken out of a package once', async () => {
  const modules = tree();
  const taking = vi.spyOn(modules, 'withDependencies');
  const first = await cachedModules({ sha256: 'one', modules }, ['a'], cache);
  expect(first.map(module => module.name)).toEqual(['b', 'a']);
  expect(await cachedModules({ sha256: 'one', modules }, ['a'], cache)).toEqual(first);
  expect(taking).toHaveBeenCalledTimes(1);
  await cachedModules({ sha256: 'another', modules }, ['a'], cache);
  await cachedModules({ sha256: 'one', modules }, ['b'], cache);
  expect(taking).toHaveBeenCalledTimes(3);
  expect(readdirSync(join(cache, 'modules'))).toHaveLength(3);
});

test.each([
  ['cut off', (bytes: Buffer) => bytes.subarray(0, -10)],
  ['changed', (bytes: Buffer) => Buffer.concat([bytes.subarray(0, -1), Buffer.of(bytes[bytes.length - 1] ^ 1)])],
  ['emptied', () => Buffer.alloc(0)],
])('what was %s is taken out anew', async (_, spoil) => {
  const image = { sha256: 'one', modules: tree() };
  const good = await cachedModules(image, ['a'], cache);
  const [name] = readdirSync(join(cache, 'modules'));
  const file = join(cache, 'modules', name);
  const bytes = readFileSync(file);
  writeFileSync(file, spoil(bytes));
  expect(await cachedModules(image, ['a'], cache)).toEqual(good);
  expect(readFileSync(file)).toEqual(bytes);
});

test('no modules are none', async () => {
  expect(await cachedModules({ sha256: 'x', modules: tree() }, [], cache)).toEqual([]);
  expect(await cachedModules({ sha256: 'x', modules: null }, ['a'], cache)).toEqual([]);
});

test('a cache that cannot be written to is no problem', async () => {
  writeFileSync(join(cache, 'modules'), 'a file in the way');
  expect(await cachedModules({ sha256: 'one', modules: tree() }, ['a'], cache)).toHaveLength(2);
});
