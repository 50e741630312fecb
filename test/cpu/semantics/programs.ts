// Random programs on both back ends: loops, jumps, stores into their own code through another mapping, runs that end anywhere and go on.
// Blocks, links between them, their end when code changes, and the count of instructions must not be seen from outside.
import { expect } from 'vitest';
import { Decoder, type Instruction } from '../../../src/cpu/decode/decoder.ts';
import { createEncodingTable } from '../../../src/cpu/encodings/index.ts';
import { Exit } from '../../../src/cpu/exits.ts';
import type { JitOptions } from '../../../src/cpu/jit/jit.ts';
import { ModeBit, R, S } from '../../../src/cpu/layout.ts';
import { Prng } from '../../oracle/prng.ts';
import { groupOf } from './cases.ts';
import { encode, formsOf } from './encode.ts';
import { CODE, CODE_ALIAS, DATA, LONG, Twins } from './twins.ts';

const PROGRAMS = Number(process.env.DOMZERO_STREAMS ?? 60);
const LENGTH = 40;
const MODE = ModeBit.long64 | ModeBit.protected | ModeBit.longActive | ModeBit.paging | ModeBit.user;
const START = 0xf80;
/** Registers that hold addresses: no instruction of a program names them as operands. */
const BASES: readonly number[] = [R.rbx, R.rbp, R.rsi, R.rdi];
const BH = 19;

const table = createEncodingTable();
const decoder = new Decoder(table);
const isJump = (i: Instruction) => i.operands[0]?.spec.source === 'relative' && i.operands[0].spec.size === 8;

/** CPUID, ENTER, LEAVE, the UDs, HLT, ports, bit tests far away, division. */
const UNSUITABLE = /^(0F A2|0F 01|C8|C9|0F 0B|0F B9|0F FF|F4|E[4-7C-F]|0F (A3|AB|B3|BB)|F[67] \/[67])/;

/** Instructions that a program may have: they neither leave it nor change what holds an address. */
function suits(i: Instruction): boolean {
  const { row, memory, operands } = i;
  if (row.cpl0 || row.rep || row.unit || row.feature || UNSUITABLE.test(row.pattern)) return false;
  if ((row.ends || operands[0]?.spec.source === 'relative') && !isJump(i)) return false;
  if (
    operands.some(
      o =>
        o.kind === 'reg' &&
        o.spec.file === 'gpr' &&
        (BASES.includes(o.register) || o.register === R.rsp || o.register === BH),
    )
  )
    return false;
  if (operands.some(o => ['seg', 'cr', 'dr'].includes(o.spec.file) || ['string', 'moffs'].includes(o.spec.source)))
    return false;
  if (!memory) return true;
  return (
    BASES.includes(memory.base) &&
    memory.index < 0 &&
    i.addressWidth === 64 &&
    memory.segment < 4 &&
    Math.abs(memory.displacement) < 0x200
  );
}

const rows = table.rows.filter(r => ['one-byte', 'two-byte'].includes(groupOf(r)) && !r.no64);
const stores = rows.filter(r => /^(88|89|C6|C7|0[01]|2[89]|3[01]|FE) \/./.test(r.pattern));
const jumps = rows.filter(r => r.operands[0]?.source === 'relative' && r.operands[0].size === 8);

/** Bytes of a program; jumps lead to its instructions. */
function program(prng: Prng): Uint8Array {
  const parts: { bytes: Uint8Array; at: number; jump: boolean }[] = [];
  let at = 0;
  while (parts.length < LENGTH) {
    const storing = prng.oneIn(4);
    const row = storing ? prng.pick(stores) : prng.pick(prng.oneIn(5) ? jumps : rows);
    const encoded = encode(prng, decoder, row, storing ? 'mem' : prng.pick(formsOf(row)), MODE);
    if (!encoded || !suits(encoded.instruction)) continue;
    if (storing && encoded.instruction.memory?.base !== R.rdi) continue;
    parts.push({ bytes: encoded.bytes, at, jump: isJump(encoded.instruction) });
    at += encoded.bytes.length;
  }
  const out = new Uint8Array(at + 2);
  for (const { bytes, at: from, jump } of parts) {
    out.set(bytes, from);
    if (!jump) continue;
    const end = from + bytes.length;
    const near = parts.filter(p => Math.abs(p.at - end) < 128);
    out[end - 1] = prng.pick(near).at - end;
  }
  out.set([0x0f, 0x0b], at);
  return out;
}

/** @param jit the interpreter's second tier */
export function runPrograms(jit: JitOptions | null = null): Twins {
  const twins = new Twins(jit);
  const seen = new Map<string, number>();
  let rewritten = 0;
  for (let n = 0; n < PROGRAMS; n++) {
    const prng = new Prng(n, 0x57ea);
    const code = program(prng);
    const place = twins.ramOffset(CODE)! + START;
    const before = Buffer.from(code).toString('hex');
    for (let turn = 0; turn < 3; turn++) {
      const state = twins.state('user64');
      for (let r = 0; r < 16; r++) state.gpr[r] = BigInt(prng.u32()) << BigInt(prng.below(33));
      state.gpr[R.rsp] = LONG + 0x800n;
      state.gpr[R.rbx] = DATA + 0x800n;
      state.gpr[R.rbp] = DATA + 0x1000n - BigInt(prng.below(0x100));
      state.gpr[R.rsi] = prng.oneIn(3) ? CODE : DATA + 0x1800n;
      // every other program writes into its own code
      state.gpr[R.rdi] = n % 2 ? CODE_ALIAS + BigInt(START + prng.below(code.length)) : DATA + 0x2000n;
      state.rip += BigInt(START);
      if (turn === 0) twins.start(state, [[place, code]]);
      else twins.restart(state);
      let exit: number = Exit.fuel;
      let left = 400;
      while (exit === Exit.fuel && left > 0) {
        const fuel = Math.min(left, 1 + prng.below(prng.oneIn(2) ? 8 : 120));
        left -= fuel;
        if (jit && prng.oneIn(6)) twins.interpreting.processor.jit!.dropAll();
        const difference = twins.go(fuel);
        if (difference) expect(`program ${n} turn ${turn}, ${before}: ${difference}`).toBe(null);
        exit = twins.interpreting.processor.live.get32(S.exit);
      }
      const what =
        exit === Exit.fuel ? 'went on' : `exit ${exit}, ${twins.interpreting.processor.live.get32(S.faultVector)}`;
      seen.set(what, (seen.get(what) ?? 0) + 1);
    }
    const after = twins.interpreting.ram.subarray(place, place + code.length);
    if (Buffer.compare(after, code) !== 0) rewritten++;
  }
  if (process.env.DOMZERO_STREAMS) console.log(seen, rewritten);
  // the programs do something: some end, some loop, some change themselves
  expect(seen.size).toBeGreaterThan(2);
  expect(rewritten).toBeGreaterThan(PROGRAMS / 10);
  return twins;
}
