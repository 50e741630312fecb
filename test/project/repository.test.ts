// What the repository promises about itself.
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { expect, test } from 'vitest';

const project = resolve(import.meta.dirname, '../..');
const read = (path: string) => readFileSync(join(project, path), 'utf8');

test('the lock file names no registry', () => {
  const { packages } = JSON.parse(read('package-lock.json')) as { packages: Record<string, { resolved?: string }> };
  expect(Object.keys(packages).length).toBeGreaterThan(10);
  expect(Object.entries(packages).filter(([, entry]) => entry.resolved !== undefined)).toEqual([]);
});

test('package.json and the lock file agree', () => {
  const declared = JSON.parse(read('package.json'));
  const locked = JSON.parse(read('package-lock.json')).packages[''];
  expect(locked.dependencies).toEqual(declared.dependencies);
  expect(locked.devDependencies).toEqual(declared.devDependencies);
});

test('the lock file has every optional package, so that npm ci works where they can and where they cannot be had', () => {
  const { packages } = JSON.parse(read('package-lock.json')) as {
    packages: Record<string, { optionalDependencies?: Record<string, string>; resolved?: string }>;
  };
  const wanted = Object.values(packages).flatMap(entry => Object.keys(entry.optionalDependencies ?? {}));
  expect(wanted.length).toBeGreaterThan(20);
  expect(wanted.filter(name => packages[`node_modules/${name}`] === undefined)).toEqual([]);
});

test('what git runs can be run', () => {
  for (const path of ['bin/domzero', '.ci/run']) {
    const mode = execFileSync('git', ['ls-files', '--stage', path], { cwd: project, encoding: 'utf8' }).slice(0, 6);
    expect([path, mode]).toEqual([path, '100755']);
  }
});

test('every folder of src with sources has a README of a few lines', () => {
  const sources = readdirSync(join(project, 'src'), { recursive: true, encoding: 'utf8' });
  const folders = new Set(sources.filter(path => path.endsWith('.ts')).map(path => dirname(path)));
  folders.delete('.');
  expect(folders.size).toBeGreaterThan(20);
  for (const folder of folders) {
    const path = `src/${folder}/README.md`;
    expect(existsSync(join(project, path)), path).toBe(true);
    expect(read(path).trim().split('\n').length, path).toBeLessThanOrEqual(8);
  }
});
