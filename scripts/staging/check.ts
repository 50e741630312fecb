// Usage: npx tsx scripts/staging/check.ts. Prints conditions on dynamic values in the processor's semantics and exits with 1
// where there is one.
import { join, relative, resolve } from 'node:path';
import ts from 'typescript';
import { findDynamicConditions } from './dynamic-conditions.ts';

const project = resolve(import.meta.dirname, '../..');
const semantics = join(project, 'src/cpu/semantics/');
const { config } = ts.readConfigFile(join(project, 'tsconfig.json'), ts.sys.readFile);
const { options } = ts.parseJsonConfigFileContent(config, ts.sys, project);
const roots = ts.sys.readDirectory(semantics, ['.ts']);
if (roots.length === 0) throw new Error(`${semantics} has no sources`);
const findings = findDynamicConditions(ts.createProgram(roots, options), file => file.startsWith(semantics));
for (const { file, line, text, type } of findings) {
  console.log(`${relative(project, file)}:${line}: a condition on a dynamic value: ${text} is a ${type}`);
}
process.exitCode = findings.length > 0 ? 1 : 0;
