// The SSE half of the replay: decodes the few encodings that the case generator uses.
import * as sse from '../../../src/cpu/float/sse.ts';

const env = sse.newSseEnv();

const ARITHMETIC32: Record<number, sse.Lane32> = {
  88: sse.add32,
  89: sse.mul32,
  92: sse.sub32,
  93: sse.min32,
  94: sse.div32,
  95: sse.max32,
  81: sse.sqrt32,
};
const ARITHMETIC64: Record<number, sse.Lane64> = {
  88: sse.add64,
  89: sse.mul64,
  92: sse.sub64,
  93: sse.min64,
  94: sse.div64,
  95: sse.max64,
  81: sse.sqrt64,
};

interface Machine {
  /** Prefix: 0, 0x66, 0xf2, 0xf3. */
  prefix: number;
  rexW: boolean;
  /** Opcode bytes after the prefixes, without ModRM, as one number. */
  opcode: number;
  imm: number;
  x0: Uint32Array;
  x1: Uint32Array;
  rax: bigint;
  eflags: number;
}

function decode(hex: string): Pick<Machine, 'prefix' | 'rexW' | 'opcode' | 'imm'> {
  const bytes = hex.match(/../g)!.map(pair => Number.parseInt(pair, 16));
  let at = 0;
  let prefix = 0;
  if ([0x66, 0xf2, 0xf3].includes(bytes[0])) prefix = bytes[at++];
  const rexW = bytes[at] === 0x48;
  if (rexW) at++;
  at++;
  let opcode = bytes[at++];
  if (opcode === 0x38 || opcode === 0x3a) opcode = (opcode << 8) | bytes[at++];
  return { prefix, rexW, opcode, imm: bytes[at + 1] ?? 0 };
}

function lanesFrom(hex: string): Uint32Array {
  return Uint32Array.from([24, 16, 8, 0], at => Number.parseInt(hex.slice(at, at + 8), 16));
}

export function replaySse(fields: string[], want: string[]): string | undefined {
  const [, code, mxcsr, x0, x1, rax] = fields;
  const control = Number.parseInt(mxcsr, 16);
  const m: Machine = { ...decode(code), x0: lanesFrom(x0), x1: lanesFrom(x1), rax: BigInt(`0x${rax}`), eflags: 0 };
  sse.beginSse(env, control);
  if (code.startsWith('66480f6ed0')) fused(m, code.endsWith('f1a9c2'));
  else execute(m);
  const got = [
    (control | sse.raised(env)).toString(16).padStart(4, '0'),
    sse.mustFault(env) ? '1' : '0',
    [...m.x0]
      .reverse()
      .map(lane => lane.toString(16).padStart(8, '0'))
      .join(''),
    BigInt.asUintN(64, m.rax).toString(16).padStart(16, '0'),
    m.eflags.toString(16).padStart(2, '0'),
  ];
  return got.every((text, i) => text === want[i]) ? undefined : `got ${got.join(' ')}`;
}

/** VFMADD213SS and SD with the addend in RAX: x0 = x1 * x0 + rax. */
function fused(m: Machine, double: boolean): void {
  const d0 = new BigUint64Array(m.x0.buffer);
  const wide = double ? sse.fma64(env, new BigUint64Array(m.x1.buffer)[0], d0[0], m.rax) : 0n;
  const narrow = double ? 0 : sse.fma32(env, m.x1[0], m.x0[0], Number(m.rax));
  sse.endLane(env);
  if (sse.mustFault(env)) return;
  if (double) d0[0] = wide;
  else m.x0[0] = narrow;
}

function execute(m: Machine): void {
  const wide = m.prefix === 0x66 || m.prefix === 0xf2;
  const lanes = m.prefix === 0 ? 4 : m.prefix === 0x66 ? 2 : 1;
  const d0 = new BigUint64Array(m.x0.buffer);
  const d1 = new BigUint64Array(m.x1.buffer);
  if (m.opcode in ARITHMETIC32) {
    if (wide) sse.packed64(env, ARITHMETIC64[m.opcode], lanes, d0, d0, d1);
    else sse.packed32(env, ARITHMETIC32[m.opcode], lanes, m.x0, m.x0, m.x1);
    return;
  }
  switch (m.opcode) {
    case 0xc2:
      if (wide) sse.cmpPacked64(env, m.imm, lanes, d0, d0, d1);
      else sse.cmpPacked32(env, m.imm, lanes, m.x0, m.x0, m.x1);
      return;
    case 0x7c:
    case 0x7d:
      if (m.prefix === 0x66) sse.horizontal64(env, m.opcode === 0x7c ? sse.add64 : sse.sub64, d0, d0, d1);
      else sse.horizontal32(env, m.opcode === 0x7c ? sse.add32 : sse.sub32, m.x0, m.x0, m.x1);
      return;
    case 0xd0:
      if (m.prefix === 0x66) sse.addsub64(env, d0, d0, d1);
      else sse.addsub32(env, m.x0, m.x0, m.x1);
      return;
    case 0x3a40:
      sse.dpps(env, m.imm, m.x0, m.x0, m.x1);
      return;
    case 0x3a41:
      sse.dppd(env, m.imm, d0, d0, d1);
      return;
    case 0x3a08:
    case 0x3a0a:
      sse.roundPacked32(env, m.imm, m.opcode === 0x3a08 ? 4 : 1, m.x0, m.x1);
      return;
    case 0x3a09:
    case 0x3a0b:
      sse.roundPacked64(env, m.imm, m.opcode === 0x3a09 ? 2 : 1, d0, d1);
      return;
    case 0x2e:
    case 0x2f: {
      const signaling = m.opcode === 0x2f;
      const flags =
        m.prefix === 0x66 ? sse.comis64(env, d0[0], d1[0], signaling) : sse.comis32(env, m.x0[0], m.x1[0], signaling);
      sse.endLane(env);
      if (!sse.mustFault(env)) m.eflags = flags;
      return;
    }
    default:
      conversion(m, d0, d1);
  }
}

/** Runs `lane` for each lane and stores the results as 32-bit or 64-bit lanes, the rest of the register zero. */
function fill(m: Machine, count: number, wideResult: boolean, lane: (i: number) => number | bigint): void {
  const results: (number | bigint)[] = [];
  for (let i = 0; i < count; i++) {
    results.push(lane(i));
    sse.endLane(env);
  }
  if (sse.mustFault(env)) return;
  const out = new Uint32Array(4);
  for (const [i, value] of results.entries()) {
    if (wideResult) new BigUint64Array(out.buffer)[i] = BigInt(value);
    else out[i] = Number(value);
  }
  m.x0.set(out);
}

function conversion(m: Machine, d0: BigUint64Array, d1: BigUint64Array): void {
  const x = m.x1;
  switch ((m.opcode << 8) | m.prefix) {
    case 0x5a00:
      return fill(m, 2, true, i => sse.f32ToF64(env, x[i]));
    case 0x5a66:
      return fill(m, 2, false, i => sse.f64ToF32(env, d1[i]));
    case 0x5af3: {
      const value = sse.f32ToF64(env, x[0]);
      sse.endLane(env);
      if (!sse.mustFault(env)) d0[0] = value;
      return;
    }
    case 0x5af2: {
      const value = sse.f64ToF32(env, d1[0]);
      sse.endLane(env);
      if (!sse.mustFault(env)) m.x0[0] = value;
      return;
    }
    case 0x5b00:
      return fill(m, 4, false, i => sse.intToF32(env, BigInt(x[i] | 0)));
    case 0x5b66:
      return fill(m, 4, false, i => sse.f32ToI32(env, x[i], false));
    case 0x5bf3:
      return fill(m, 4, false, i => sse.f32ToI32(env, x[i], true));
    case 0xe6f2:
      return fill(m, 2, false, i => sse.f64ToI32(env, d1[i], false));
    case 0xe666:
      return fill(m, 2, false, i => sse.f64ToI32(env, d1[i], true));
    case 0xe6f3:
      return fill(m, 2, true, i => sse.intToF64(env, BigInt(x[i] | 0)));
    case 0x2af3:
    case 0x2af2: {
      const value = m.rexW ? BigInt.asIntN(64, m.rax) : BigInt.asIntN(32, m.rax);
      if (m.prefix === 0xf3) {
        const bits = sse.intToF32(env, value);
        sse.endLane(env);
        if (!sse.mustFault(env)) m.x0[0] = bits;
      } else {
        const bits = sse.intToF64(env, value);
        sse.endLane(env);
        if (!sse.mustFault(env)) d0[0] = bits;
      }
      return;
    }
    case 0x2cf3:
    case 0x2df3:
    case 0x2cf2:
    case 0x2df2: {
      const truncate = m.opcode === 0x2c;
      const value =
        m.prefix === 0xf3
          ? m.rexW
            ? sse.f32ToI64(env, x[0], truncate)
            : BigInt(sse.f32ToI32(env, x[0], truncate) >>> 0)
          : m.rexW
            ? sse.f64ToI64(env, d1[0], truncate)
            : BigInt(sse.f64ToI32(env, d1[0], truncate) >>> 0);
      sse.endLane(env);
      if (!sse.mustFault(env)) m.rax = value;
      return;
    }
    default:
      throw new Error(`opcode ${m.opcode.toString(16)} is not known to the replay`);
  }
}
