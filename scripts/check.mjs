// `npm run check`: format, lint, types, import direction, staging and unit tests. Runs all of them, whatever fails, and prints
// the output of those that did. Two at a time: each is one thread for most of its time.
import { spawn } from 'node:child_process';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const project = resolve(fileURLToPath(import.meta.url), '../..');
const bin = name => join(project, 'node_modules/.bin', name);

const checks = [
  ['format and lint', bin('biome'), ['check', '--error-on-warnings', '.']],
  ['types', bin('tsc'), ['--noEmit']],
  ['import direction', bin('depcruise'), ['--config', '.dependency-cruiser.cjs', 'src']],
  ['staging', bin('tsx'), ['scripts/staging/check.ts']],
  ['unit tests', bin('vitest'), ['run', '--project', 'unit', '--reporter', 'dot']],
];

/** Resolves with whether it passed, and its output. */
function run(command, args) {
  return new Promise(resolve => {
    const child = spawn(command, args, { cwd: project, stdio: ['ignore', 'pipe', 'pipe'], env: process.env });
    const chunks = [];
    child.stdout.on('data', chunk => chunks.push(chunk));
    child.stderr.on('data', chunk => chunks.push(chunk));
    child.on('error', error => resolve({ passed: false, output: error.message }));
    child.on('close', code => resolve({ passed: code === 0, output: Buffer.concat(chunks).toString() }));
  });
}

const failed = [];
async function perform([name, command, args]) {
  const start = performance.now();
  const { passed, output } = await run(command, args);
  const seconds = ((performance.now() - start) / 1000).toFixed(1);
  if (!passed) {
    failed.push(name);
    process.stdout.write(`${output.trimEnd()}\n`);
  }
  console.log(`${passed ? 'ok    ' : 'failed'}  ${name} (${seconds} s)`);
}

const queue = [...checks];
const lane = async () => {
  for (let check = queue.shift(); check !== undefined; check = queue.shift()) await perform(check);
};
await Promise.all([lane(), lane()]);
if (failed.length > 0) {
  console.log(`check failed: ${failed.join(', ')}`);
  process.exitCode = 1;
}
