// SSE4's instructions with hidden operands: variable blends (XMM0), string comparisons (SDM Vol. 1, 12.8; Vol. 2B, 4.1).
import { S } from '../layout.ts';
import type { Operand, Ops, Width } from './ops.ts';
import { blendBySign } from './sse-integer.ts';
import { source } from './sse-operands.ts';

const RCX = 1;

/** PBLENDVB, BLENDVPS, BLENDVPD: signs of XMM0's lanes choose. */
export function blendVariable(laneBits: 8 | 32 | 64) {
  return (o: Ops, _w: Width, dst: Operand, src: Operand, xmm0: Operand): void => {
    const y = source(o, src);
    o.writeVector(dst, 128, blendBySign(o, o.readVector(dst, 128), y, o.readVector(xmm0, 128), laneBits));
  };
}

/**
 * PCMPESTRM, PCMPESTRI, PCMPISTRM, PCMPISTRI. The helper sets the flags and gives the index, or writes the mask to XMM0. Memory
 * operands need no alignment.
 */
export function compareStrings(result: 'mask' | 'index', explicitLengths: boolean) {
  return (o: Ops, w: Width, dst: Operand, src: Operand, imm: Operand): void => {
    const y = o.readVector(src, 128);
    const control = o.let(o.read(imm, 8));
    o.setState(S.scratch, 64, o.vectorLow(y));
    o.setState(S.scratch + 8, 64, o.vectorHigh(y));
    const lengths = o.const(explicitLengths ? w : 0);
    const name = result === 'mask' ? 'compareStringsMask' : 'compareStringsIndex';
    const index = o.callValue(name, o.registerNumber(dst), control, lengths);
    if (result === 'index') o.setReg(RCX, 32, o.zext(32, index));
  };
}
