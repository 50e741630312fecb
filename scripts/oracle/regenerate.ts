// Makes test/fixtures/cpu anew on this machine's processor: compiles the native runner, generates cases, runs them, writes the files.
// Needs an x86-64 Linux with gcc. Usage: npx tsx scripts/oracle/regenerate.ts [regular expression of encoding names: a trial, writes nothing]
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { writeFixture } from '../../test/oracle/fixture-file.ts';
import { generateAll } from '../../test/oracle/generate/generate.ts';
import { writeSystemFixture } from '../../test/oracle/system/fixture.ts';
import { generateSystem } from '../../test/oracle/system/generate.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const work = mkdtempSync(join(tmpdir(), 'oracle-'));
try {
  const program = join(work, 'run-cases');
  const source = join(root, 'test/oracle/native/run-cases.c');
  execFileSync('gcc', ['-O2', '-Wall', '-fno-stack-protector', '-mfsgsbase', '-o', program, source], {
    stdio: 'inherit',
  });
  const only = process.argv[2] ? new RegExp(process.argv[2]) : undefined;
  const { families, report } = generateAll(program, { only });
  for (const note of report.notes) console.log(note);
  console.log('dropped:', report.dropped);
  const target = join(root, 'test/fixtures/cpu');
  mkdirSync(target, { recursive: true });
  let total = 0;
  for (const [family, groups] of families) {
    const file = writeFixture(groups);
    total += file.length;
    const cases = groups.reduce((n, g) => n + g.cases.length, 0);
    const faults = groups.reduce((n, g) => n + g.cases.filter(c => c.outcome.vector >= 0).length, 0);
    console.log(`${family}: ${groups.length} encodings, ${cases} cases (${faults} exceptions), ${file.length} bytes`);
    if (!only) writeFileSync(join(target, `${family}.bin.gz`), file);
  }
  if (!only && existsSync('/dev/kvm')) {
    const system = join(work, 'run-system');
    execFileSync('gcc', ['-O2', '-Wall', '-o', system, join(root, 'test/oracle/native/run-system.c')], {
      stdio: 'inherit',
    });
    const { results, notes } = generateSystem(system);
    for (const note of notes) console.log(note);
    const file = writeSystemFixture(results);
    total += file.length;
    writeFileSync(join(target, 'ring0.bin.gz'), file);
    console.log(`ring0: ${results.length} cases, ${file.length} bytes`);
  } else if (!only) console.log('no /dev/kvm: the cases of ring 0 stay as they are');
  console.log(`${total} bytes`);
} finally {
  rmSync(work, { recursive: true });
}
