// `domzero control`: tells a machine that runs to do something, by the socket that `run --control` has made.

import { sendControl } from '../platform/node/control-socket.ts';
import type { ControlResult } from '../toolstack/control.ts';
import type { Io } from './io.ts';

const REFUSED = 1;

/** Prints the result as JSON where there is one. Resolves with the exit status. */
export async function control(path: string, words: readonly string[], io: Io): Promise<number> {
  const answer = (await sendControl(path, words.join(' '))) as ControlResult;
  if (!answer.ok) {
    io.err(`domzero: ${answer.error}\n`);
    return REFUSED;
  }
  if (answer.result !== null) io.out(`${JSON.stringify(answer.result)}\n`);
  return 0;
}
