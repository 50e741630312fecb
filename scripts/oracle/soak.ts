// Many more cases than the fixtures hold, made, run natively and replayed on both back ends at once; nothing is kept.
// Vendors differ in corners (a PUSH of a segment register, order of faults): the fixtures are AMD's.
// Needs an x86-64 Linux with gcc. Usage: npx tsx scripts/oracle/soak.ts [SCALE [SEED [regular expression of encoding names]]]
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { generateAll } from '../../test/oracle/generate/generate.ts';
import { CaseMachine, evaluatorBackEnd, interpreterBackEnd } from '../../test/oracle/replay.ts';

const [scale = '5', seed = '100000', names] = process.argv.slice(2);
const source = fileURLToPath(new URL('../../test/oracle/native/run-cases.c', import.meta.url));
const work = mkdtempSync(join(tmpdir(), 'oracle-'));
let failed = 0;
try {
  const program = join(work, 'run-cases');
  execFileSync('gcc', ['-O2', '-fno-stack-protector', '-mfsgsbase', '-o', program, source], { stdio: 'inherit' });
  const only = names === undefined ? undefined : new RegExp(names);
  const { families } = generateAll(program, { only, scale: Number(scale), seed: Number(seed) });
  for (const make of [interpreterBackEnd, evaluatorBackEnd]) {
    const backEnd = make();
    const machine = new CaseMachine(backEnd);
    let cases = 0;
    for (const [family, groups] of families) {
      for (const group of groups) {
        let shown = 0;
        for (const c of group.cases) {
          cases++;
          const difference = machine.run(group, c);
          if (difference === null) continue;
          failed++;
          const bytes = Buffer.from(c.input.code).toString('hex');
          if (shown++ < 3)
            console.log(`${backEnd.name} ${family} ${group.name} ${c.input.mode}-bit ${bytes}: ${difference}`);
        }
      }
    }
    console.log(`${backEnd.name}: ${cases} cases`);
  }
  console.log(`${failed} differ`);
} finally {
  rmSync(work, { recursive: true });
}
process.exitCode = failed ? 1 : 0;
