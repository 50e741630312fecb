// The rules of .dependency-cruiser.cjs see what they are there for: such a tool that resolves nothing reports nothing either.
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { afterEach, expect, test } from 'vitest';

const project = resolve(import.meta.dirname, '../..');
const made: string[] = [];

afterEach(() => {
  for (const directory of made.splice(0)) rmSync(directory, { recursive: true });
});

/** Names of the rules that a source tree with these files violates, sorted. */
function violations(files: Record<string, string>): string[] {
  const root = mkdtempSync(join(tmpdir(), 'domzero-direction-'));
  made.push(root);
  symlinkSync(join(project, 'node_modules'), join(root, 'node_modules'));
  for (const name of ['package.json', '.dependency-cruiser.cjs']) symlinkSync(join(project, name), join(root, name));
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text);
  }
  const output = execFileSync(
    process.execPath,
    [
      join(project, 'node_modules/dependency-cruiser/bin/dependency-cruise.mjs'),
      ...['--config', '.dependency-cruiser.cjs', '--output-type', 'json', 'src'],
    ],
    { cwd: root, encoding: 'utf8', maxBuffer: 64 << 20 },
  );
  const { summary } = JSON.parse(output) as { summary: { violations: Array<{ rule: { name: string } }> } };
  return [...new Set(summary.violations.map(violation => violation.rule.name))].sort();
}

const leaf = 'export const x = 1;\nexport type X = number;\n';

test('imports that run downwards pass', () => {
  const files = {
    'src/util/leaf.ts': leaf,
    'src/hypervisor/domain.ts': `import { x } from '../util/leaf.ts';\nexport const domain = x;\nexport type Domain = 1;\n`,
    'src/backends/block.ts': `import type { Domain } from '../hypervisor/domain.ts';\nexport const d: Domain = 1;\n`,
    'src/backends/block/source.ts': leaf,
    'src/machine/virtio/block.ts': `import type { X } from '../../backends/block/source.ts';\nexport const y: X = 1;\n`,
    'src/index.ts': `export { domain } from './hypervisor/domain.ts';\n`,
    'src/cli/main.ts': `import { readFileSync } from 'node:fs';\nexport { domain } from '../index.ts';\nreadFileSync('/');\n`,
  };
  expect(violations(files)).toEqual([]);
});

test('each kind of planted violation is found', () => {
  const files = {
    'src/hypervisor/domain.ts': leaf,
    'src/util/upwards.ts': `import { x } from '../hypervisor/domain.ts';\nexport default x;\n`,
    'src/cpu/types.ts': `import type { X } from '../hypervisor/domain.ts';\nexport const y: X = 1;\n`,
    'src/backends/values.ts': `import { x } from '../hypervisor/domain.ts';\nexport default x;\n`,
    'src/backends/block/source.ts': leaf,
    'src/machine/virtio/block.ts': `import { x } from '../../backends/block/source.ts';\nexport default x;\n`,
    'src/toolstack/files.ts': `import { readFileSync } from 'node:fs';\nreadFileSync('/');\n`,
    'src/report/tool.ts': `import * as vitest from 'vitest';\nexport default vitest;\n`,
    'src/cli/past-the-face.ts': `import { x } from '../hypervisor/domain.ts';\nexport default x;\n`,
    'src/wasm/lost.ts': `import { x } from './nowhere.ts';\nexport default x;\n`,
  };
  expect(violations(files)).toEqual([
    'backends-imports',
    'cli-imports',
    'cpu-imports',
    'machine-imports-types-of-sources',
    'node-in-its-place',
    'nothing-missing',
    'nothing-undeclared',
    'util-imports',
  ]);
});
