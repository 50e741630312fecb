// Replays a case file of any length from standard input and prints the first differences of each instruction.
import { createInterface } from 'node:readline';
import { replay } from '../../cpu/float/replay.ts';

const limit = Number(process.argv[2] ?? 3);
const seen = new Map<string, number>();
let total = 0;
let failed = 0;
for await (const line of createInterface({ input: process.stdin })) {
  total++;
  let difference: string | undefined;
  try {
    difference = replay(line);
  } catch (error) {
    difference = `threw ${error}`;
  }
  if (difference === undefined) continue;
  failed++;
  const code = line.split(' ')[1];
  const times = (seen.get(code) ?? 0) + 1;
  seen.set(code, times);
  if (times <= limit) process.stdout.write(`${line}\n    ${difference}\n`);
}
process.stdout.write(
  `${failed} of ${total} differ: ${[...seen].map(([code, times]) => `${code} ${times}`).join(', ')}\n`,
);
