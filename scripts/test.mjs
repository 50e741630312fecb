// `npm test`: everything that all tests need, then all tests, whole-kernel boots included. Arguments go to vitest.
// The last line is `N passed, N failed, N skipped`; what could not run is a skip with its reason, never a pass.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ensureBuilt, ensureDependencies, project } from './bootstrap.mjs';
import { countTests } from './test-counts.mjs';

const directory = mkdtempSync(join(tmpdir(), 'domzero-test-'));
let counts = { passed: 0, failed: 1, skipped: 0 };
try {
  ensureDependencies();
  ensureBuilt({ strict: true });
  const { obtainTestKernels } = await import('../dist/src/platform/node/debian/test-kernels.js');
  await obtainTestKernels(line => console.error(line));

  const file = join(directory, 'results.json');
  const vitest = spawnSync(
    process.execPath,
    [
      join(project, 'node_modules/vitest/vitest.mjs'),
      ...['run', '--reporter', 'default', '--reporter', 'json', `--outputFile.json=${file}`],
      ...process.argv.slice(2),
    ],
    { cwd: project, stdio: ['ignore', 'inherit', 'inherit'] },
  );
  counts = countTests(JSON.parse(readFileSync(file, 'utf8')), vitest.status);
} catch (error) {
  console.error(`domzero: the tests could not run: ${error instanceof Error ? error.message : error}`);
} finally {
  rmSync(directory, { recursive: true, force: true });
}
process.exitCode = counts.failed > 0 ? 1 : 0;
// Through one stream, so that nothing written before can come after it.
process.stdout.write(`${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped\n`);
