// Waiting for what the kernel does in its own time, such as finding a device.
import { all, type Expression, gt, type Local, lt, sub } from './language/expressions.ts';
import type { RoutineWriter } from './language/routine.ts';
import { sleep } from './observe.ts';

const PAUSE_NANOSECONDS = 50_000_000;
const ATTEMPTS = 200;

/** Tries until the result is not negative, for ten seconds at the most; holds the last result. */
export function patiently(r: RoutineWriter, attempt: () => Expression): Local {
  const result = r.local(attempt());
  const left = r.local(ATTEMPTS);
  r.while(all(lt(result, 0), gt(left, 0)), () => {
    r.do(sleep(0, PAUSE_NANOSECONDS));
    r.set(result, attempt());
    r.set(left, sub(left, 1));
  });
  return result;
}
