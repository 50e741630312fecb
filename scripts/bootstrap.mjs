// What a fresh checkout lacks: its dependencies and its build. Imports nothing but Node, since it runs before there is anything else.
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

export const project = resolve(fileURLToPath(import.meta.url), '../..');
const stamp = join(project, 'dist/.built');

/** Runs `npm ci` where what is installed is not what the lock file says. Its output goes to stderr. */
export function ensureDependencies() {
  const installed = join(project, 'node_modules/.package-lock.json');
  if (existsSync(installed)) {
    const have = JSON.parse(readFileSync(installed, 'utf8')).packages;
    const want = Object.entries(JSON.parse(readFileSync(join(project, 'package-lock.json'), 'utf8')).packages);
    // Optional packages are for some platforms only; '' is the project itself.
    if (want.every(([path, { version, optional }]) => path === '' || optional || have[path]?.version === version))
      return;
  }
  console.error('domzero: installing dependencies (npm ci)');
  execFileSync('npm', ['ci', '--no-audit', '--no-fund'], { cwd: project, stdio: ['ignore', 2, 2] });
}

/**
 * Compiles src into dist where a source changed since the last time. A build with type errors is complete all the same:
 * `strict` makes it an error, otherwise it is a warning.
 */
export function ensureBuilt({ strict = false } = {}) {
  const sources = JSON.stringify(newestSource());
  const [built, result] = existsSync(stamp) ? readFileSync(stamp, 'utf8').split('\n') : [];
  if (built === sources && (result === 'clean' || !strict)) return;
  ensureDependencies();
  console.error('domzero: building');
  const compiler = join(project, 'node_modules/typescript/bin/tsc');
  const { status } = spawnSync(process.execPath, [compiler, '-p', 'tsconfig.build.json'], {
    cwd: project,
    stdio: ['ignore', 2, 2],
  });
  if (!existsSync(join(project, 'dist/src/cli/main.js'))) throw new Error('the build failed');
  removeOrphans(join(project, 'dist/src'), join(project, 'src'));
  writeFileSync(stamp, `${sources}\n${status === 0 ? 'clean' : 'errors'}`);
  if (status === 0) return;
  if (strict) throw new Error('the sources have type errors');
  console.error('domzero: the sources have type errors; going on with what was built');
}

/** What was built from sources that are gone must not be imported by accident. */
function removeOrphans(built, sources) {
  for (const entry of readdirSync(built, { withFileTypes: true })) {
    const path = join(built, entry.name);
    if (entry.isDirectory()) removeOrphans(path, join(sources, entry.name));
    else if (!existsSync(join(sources, entry.name.replace(/(\.d\.ts|\.js)(\.map)?$/, '.ts')))) rmSync(path);
  }
}

/** Changes whenever a source does. */
function newestSource() {
  let newest = 0;
  let count = 0;
  const look = path => {
    newest = Math.max(newest, statSync(path).mtimeMs);
    count++;
  };
  const walk = directory => {
    for (const entry of readdirSync(directory, { withFileTypes: true })) {
      const path = join(directory, entry.name);
      if (entry.isDirectory()) walk(path);
      else if (entry.name.endsWith('.ts')) look(path);
    }
  };
  walk(join(project, 'src'));
  for (const name of ['tsconfig.json', 'tsconfig.build.json', 'package-lock.json']) look(join(project, name));
  return { newest, count };
}
