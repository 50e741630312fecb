// Results as KTAP version 1 (Documentation/dev-tools/ktap.rst): a test a kernel, a subtest a mode.

import { explain } from './explanation.ts';
import { byKernel, type Result, type Verdict } from './verdict.ts';

const VERSION = 'KTAP version 1';
const PASSED: ReadonlySet<Verdict> = new Set(['pass', 'skip']);

/** The whole document, with a newline at the end. Results of one kernel stand together. */
export function formatKtap(results: readonly Result[]): string {
  const kernels = byKernel(results);
  const lines = [VERSION, `1..${kernels.length}`];
  let number = 0;
  for (const group of kernels) {
    number++;
    const name = description(group[0].image);
    lines.push(`  ${VERSION}`, `  # Subtest: ${name}`, `  1..${group.length}`);
    group.forEach((result, i) => {
      for (const line of explain(result)) lines.push(`  # ${line}`);
      const status = PASSED.has(result.verdict) ? 'ok' : 'not ok';
      lines.push(`  ${status} ${i + 1} ${result.mode}${directive(result)}`);
    });
    const passed = group.every(result => PASSED.has(result.verdict));
    const skipped = group.every(result => result.verdict === 'skip');
    lines.push(`${passed ? 'ok' : 'not ok'} ${number} ${name}${skipped ? ' # SKIP no mode was run' : ''}`);
  }
  return `${lines.join('\n')}\n`;
}

function directive({ verdict, reason }: Result): string {
  if (verdict === 'skip') return ` # SKIP ${reason}`;
  if (verdict === 'timeout') return ` # TIMEOUT ${reason}`;
  if (verdict === 'error') return ` # ERROR ${reason}`;
  return '';
}

/** "#" would begin a directive. */
const description = (name: string) => name.replaceAll('#', '_');
