// PCLMULQDQ and AES-NI: operands to the helpers that compute (helpers/sse-crypto.ts).
import { S } from '../layout.ts';
import type { Operand, Ops, Width } from './ops.ts';
import { source } from './sse-operands.ts';

/** dst = f(dst, src) with an optional immediate, by a helper. */
export function crypto(helper: string) {
  return (o: Ops, _w: Width, dst: Operand, src: Operand, imm?: Operand): void => {
    const y = source(o, src);
    o.setState(S.scratch, 64, o.vectorLow(y));
    o.setState(S.scratch + 8, 64, o.vectorHigh(y));
    const number = o.registerNumber(dst);
    if (imm) o.call(helper, number, o.read(imm, 8));
    else o.call(helper, number);
  };
}
