// Results as JSON: docs/json.md describes every field and what may change.

import type { Result } from './verdict.ts';

/** The whole document, with a newline at the end. `tool` is name and version. */
export function formatJson(results: readonly Result[], tool: string): string {
  return `${JSON.stringify({ tool, results }, null, 2)}\n`;
}
