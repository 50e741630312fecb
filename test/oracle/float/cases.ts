// Writes cases for run.c: every x87 and SSE arithmetic instruction with edge and random operands under all controls.
// Usage: tsx cases.ts x87|sse COUNT [SEED]   (COUNT cases an instruction form)
const [, , kind, countText, seedText = '1'] = process.argv;
const count = Number(countText);

// xorshift32: the same cases from the same seed everywhere.
let state = (Number(seedText) * 0x9e3779b9) >>> 0 || 1;
function random32(): number {
  state ^= state << 13;
  state >>>= 0;
  state ^= state >>> 17;
  state ^= state << 5;
  state >>>= 0;
  return state;
}
const below = (n: number): number => random32() % n;
const pick = <T>(list: readonly T[]): T => list[below(list.length)];
const random64 = (): bigint => (BigInt(random32()) << 32n) | BigInt(random32());
const hex = (value: bigint | number, digits: number): string => value.toString(16).padStart(digits, '0');
const lines = (text: string): void => void process.stdout.write(`${text}\n`);

/** A fraction of `bits` bits: often with few ones, at the top, at the bottom, or all ones, so that ties and carries happen. */
function fraction(bits: number): bigint {
  const mask = (1n << BigInt(bits)) - 1n;
  switch (below(8)) {
    case 0:
      return 0n;
    case 1:
      return mask;
    case 2:
      return 1n << BigInt(below(bits));
    case 3:
      return mask ^ ((1n << BigInt(below(bits))) - 1n);
    case 4:
      return ((random64() << BigInt(below(bits))) | BigInt(below(4))) & mask;
    case 5:
      return BigInt(below(8)) & mask;
    default:
      return random64() & mask;
  }
}

/** A biased exponent: near zero, the ends, the middle, or anywhere. */
function exponent(bits: number): bigint {
  const all = (1 << bits) - 1;
  const middle = all >> 1;
  const value = [
    () => 0,
    () => all,
    () => below(4),
    () => all - below(4),
    () => middle + below(9) - 4,
    () => middle + below(9) - 4,
    () => middle + below(140) - 70,
    () => below(all + 1),
  ][below(8)]();
  return BigInt(Math.min(Math.max(value, 0), all));
}

function f32(): bigint {
  return (BigInt(below(2)) << 31n) | (exponent(8) << 23n) | fraction(23);
}
function f64(): bigint {
  return (BigInt(below(2)) << 63n) | (exponent(11) << 52n) | fraction(52);
}
/** Mostly canonical; a few unnormals, pseudo-denormals, pseudo-infinities. */
function f80(): string {
  const exp = exponent(15);
  let leading = exp === 0n ? 0n : 1n;
  if (below(24) === 0) leading ^= 1n;
  return hex((BigInt(below(2)) << 15n) | exp, 4) + hex((leading << 63n) | fraction(63), 16);
}
/** A second operand near the first, for cancellation and equality. */
function near(a: string): string {
  switch (below(6)) {
    case 0:
      return a;
    case 1:
      return hex(Number.parseInt(a.slice(0, 4), 16) ^ 0x8000, 4) + a.slice(4);
    case 2:
      return a.slice(0, 4) + hex(BigInt.asUintN(64, BigInt(`0x${a.slice(4)}`) ^ BigInt(below(4))), 16);
    default:
      return f80();
  }
}
/** In the range where FIST and FRNDINT have work to do. */
function integral(limit: number): string {
  const exp = 0x3ffe + below(limit);
  return hex(exp | (below(2) << 15), 4) + hex((1n << 63n) | fraction(63), 16);
}

function controlWord(): string {
  const masks = below(3) ? 0x3f : below(64);
  return hex(0x40 | masks | (pick([0, 2, 3, 3, 3, 1]) << 8) | (below(4) << 10), 4);
}

/** Top register and the one below in use, or one of them missing, or a full stack. */
function stack(): [fsw: string, tags: string] {
  const first = below(8);
  let tags = 0xffff;
  const use = (i: number) => {
    tags &= ~(3 << (2 * ((first + i) & 7)));
  };
  const choice = below(16);
  if (choice !== 0) use(0);
  if (choice !== 1) use(1);
  if (choice === 2) for (let i = 2; i < 8; i++) use(i);
  if (choice === 3) tags = 0xffff;
  if (choice === 3 || choice === 4) for (let i = 0; i < 8; i++) if (below(2)) use(i);
  return [hex((first << 11) | (below(8) ? 0 : below(8) << 8), 4), hex(tags, 4)];
}

const NOT_WAITING = new Set(['dbe2', 'd937', '66d937', 'dd37', '66dd37', '480fae07', '480fae0f', 'd93f', 'dd3f']);

function x87(code: string, operandA: () => string, operandB: (a: string) => string, memory: () => string): void {
  for (let i = 0; i < count; i++) {
    const [fsw, tags] = stack();
    const control = controlWord();
    // Flags from before, where no waiting instruction would trap on them.
    const masked = (Number.parseInt(control, 16) & 0x3f) === 0x3f || NOT_WAITING.has(code);
    const status = masked && !below(4) ? hex(Number.parseInt(fsw, 16) | below(128), 4) : fsw;
    const a = operandA();
    lines(`x ${code} ${control} ${status} ${tags} ${a} ${operandB(a)} ${memory()}`);
  }
}

/** Little-endian bytes. */
function image(value: bigint, size: number): string {
  return hex(BigInt.asUintN(size * 8, value), size * 2)
    .match(/../g)!
    .reverse()
    .join('');
}
const none = (): string => '-';
const m32 = (): string => image(f32(), 4);
const m64 = (): string => image(f64(), 8);
const m80 = (): string => image(BigInt(`0x${f80()}`), 10);
const integer = (size: number) => (): string =>
  image(below(3) ? random64() >> BigInt(below(64)) : BigInt(below(9) - 4), size);
const room = (size: number) => (): string => 'a5'.repeat(size);
function bcd(): string {
  let text = '';
  const digits = below(19);
  for (let i = 0; i < 18; i++) text += i < digits ? below(10) : 0;
  return text.match(/../g)!.join('') + pick(['00', '80']);
}
/** Arguments that trigonometric functions accept, and some that they refuse. */
const angle = (): string =>
  below(8) ? hex(pick([0, 0x8000]) | (0x3fff - 70 + below(134)), 4) + hex((1n << 63n) | fraction(63), 16) : f80();
/** Inside (-1, 1). */
const unit = (): string =>
  below(8)
    ? hex(pick([0, 0x8000]) | (0x3ffe - below(80)), 4) + hex((1n << 63n) | fraction(63), 16)
    : pick([
        '3fff8000000000000000',
        'bfff8000000000000000',
        '00000000000000000000',
        '80000000000000000000',
        '7fff8000000000000000',
        '7fffc000000000000001',
        '7fff8000000000000001',
        '00000000000000000001',
      ]);
/** Inside the domain of FYL2XP1: |x| below 0.29. */
const small = (): string => {
  const text = unit();
  return /^[3b]ff[ef]/.test(text) ? `${text[0]}ffc${text.slice(4)}` : text;
};
const positive = (): string => (below(3) ? hex(0x3fff - 2 + below(5), 4) + hex((1n << 63n) | fraction(63), 16) : f80());

function x87Cases(): void {
  for (const code of ['d8c1', 'd8c9', 'd8e1', 'd8e9', 'd8f1', 'd8f9', 'dcc1', 'dee9', 'def1', 'dec9', 'dcf9'])
    x87(code, f80, near, none);
  for (const code of ['d8d1', 'd8d9', 'ded9', 'dde1', 'dde9', 'dae9', 'dbf1', 'dbe9', 'dff1', 'dfe9'])
    x87(code, f80, near, none);
  for (const reg of ['07', '0f', '17', '1f', '27', '2f', '37', '3f']) {
    x87(`d8${reg}`, f80, near, m32);
    x87(`dc${reg}`, f80, near, m64);
    x87(`da${reg}`, f80, near, integer(4));
    x87(`de${reg}`, f80, near, integer(2));
  }
  // FTST FXAM FSQRT FRNDINT FXTRACT FABS FCHS, constants, stack moves
  for (const code of ['d9e4', 'd9e5', 'd9fa', 'd9fc', 'd9f4', 'd9e1', 'd9e0']) x87(code, f80, near, none);
  x87('d9fc', () => integral(66), near, none);
  for (const code of [
    'd9e8',
    'd9e9',
    'd9ea',
    'd9eb',
    'd9ec',
    'd9ed',
    'd9ee',
    'd9c1',
    'd9c0',
    'd9c9',
    'ddd1',
    'ddd9',
    'dac1',
    'dbc9',
    'dad9',
    'dbd9',
    'd9f6',
    'd9f7',
    'ddc1',
    'dfc0',
    'dbe2',
  ])
    x87(code, f80, near, none);
  // FPREM FPREM1 FSCALE
  for (const code of ['d9f8', 'd9f5']) x87(code, f80, near, none);
  for (const code of ['d9f8', 'd9f5'])
    x87(
      code,
      () => integral(100),
      () => integral(30),
      none,
    );
  x87('d9fd', f80, () => integral(18), none);
  x87('d9fd', f80, near, none);
  // FLD, FILD, FBLD
  x87('d907', f80, near, m32);
  x87('dd07', f80, near, m64);
  x87('db2f', f80, near, m80);
  x87('df07', f80, near, integer(2));
  x87('db07', f80, near, integer(4));
  x87('df2f', f80, near, integer(8));
  x87('df27', f80, near, bcd);
  // FST(P), FIST(P), FISTTP, FBSTP; the values are steered into the range of the destination
  const near32 = (): string =>
    below(4)
      ? f80()
      : hex(pick([0, 0x8000]) | (0x3fff + pick([-126, -127, -149, -150, 127, 128, 0, -140])), 4) +
        hex((1n << 63n) | (fraction(24) << 39n) | BigInt(below(4)), 16);
  const near64 = (): string =>
    below(4)
      ? f80()
      : hex(pick([0, 0x8000]) | (0x3fff + pick([-1022, -1023, -1074, -1075, 1023, 1024, 0, -1050])), 4) +
        hex((1n << 63n) | (fraction(53) << 10n) | BigInt(below(4)), 16);
  for (const code of ['d917', 'd91f']) x87(code, near32, near, room(4));
  for (const code of ['dd17', 'dd1f']) x87(code, near64, near, room(8));
  x87('db3f', f80, near, room(10));
  for (const code of ['df17', 'df1f', 'df0f']) x87(code, () => (below(4) ? integral(18) : f80()), near, room(2));
  for (const code of ['db17', 'db1f', 'db0f']) x87(code, () => (below(4) ? integral(34) : f80()), near, room(4));
  for (const code of ['df3f', 'dd0f']) x87(code, () => (below(4) ? integral(66) : f80()), near, room(8));
  x87('df37', () => (below(4) ? integral(62) : f80()), near, room(10));
  // FNSTENV, FNSAVE, FLDENV, FRSTOR in both sizes, FXSAVE, FXRSTOR
  const environment = (wide: boolean): string => {
    const first = [controlWord(), ...stack()].map(word => (below(4) ? word : hex(below(0x10000), 4)));
    const swapped = first.map(word => word.slice(2) + word.slice(0, 2) + (wide ? 'ffff' : ''));
    return swapped.join('') + '00'.repeat(wide ? 16 : 8);
  };
  const registers = (): string => Array.from({ length: 8 }, m80).join('');
  x87('d937', f80, near, room(28));
  x87('66d937', f80, near, room(14));
  x87('dd37', f80, near, room(108));
  x87('66dd37', f80, near, room(94));
  x87('d927', f80, near, () => environment(true));
  x87('66d927', f80, near, () => environment(false));
  x87('dd27', f80, near, () => environment(true) + registers());
  x87('66dd27', f80, near, () => environment(false) + registers());
  x87('480fae07', f80, near, room(512));
  const fxImage = (): string => {
    const control = hex(below(0x10000), 4) + hex(below(0x10000), 4) + hex(below(256), 2);
    const slots = Array.from({ length: 8 }, () => m80() + hex(random64(), 12).slice(0, 12));
    return `${control}00${'00'.repeat(18)}801f0000ffff0000${slots.join('')}${'00'.repeat(352)}`;
  };
  x87('480fae0f', f80, near, fxImage);
  // FLDCW, FNSTCW, FNSTSW
  x87('d92f', f80, near, () => hex(below(0x10000), 4));
  x87('d93f', f80, near, room(2));
  x87('dd3f', f80, near, room(2));
  // transcendentals
  for (const code of ['d9fe', 'd9ff', 'd9fb', 'd9f2']) x87(code, angle, near, none);
  x87('d9f0', unit, near, none);
  x87('d9f3', f80, near, none);
  x87('d9f3', angle, angle, none);
  x87('d9f1', positive, f80, none);
  x87('d9f9', small, f80, none);
}

function mxcsr(): string {
  const masks = below(3) ? 0x3f : below(64);
  return hex((masks << 7) | (below(4) << 13) | pick([0, 0, 0, 0x40, 0x8000, 0x8040]), 4);
}
const register32 = (): string => Array.from({ length: 4 }, () => hex(f32(), 8)).join('');
const register64 = (): string => Array.from({ length: 2 }, () => hex(f64(), 16)).join('');
/** Around the range of 32- and 64-bit integers. */
const integral32 = (): string =>
  Array.from({ length: 4 }, () =>
    below(4) ? hex((BigInt(below(2)) << 31n) | (BigInt(126 + below(66)) << 23n) | fraction(23), 8) : hex(f32(), 8),
  ).join('');
const integral64 = (): string =>
  Array.from({ length: 2 }, () =>
    below(4) ? hex((BigInt(below(2)) << 63n) | (BigInt(1022 + below(66)) << 52n) | fraction(52), 16) : hex(f64(), 16),
  ).join('');
const integers = (): string => Array.from({ length: 4 }, () => hex(random32() >>> below(32), 8)).join('');
const anyRax = (): string => hex(random64() >> BigInt(below(64)), 16);

function sse(code: string, first: () => string, second: () => string, imm = (): string => '', rax = anyRax): void {
  for (let i = 0; i < count; i++) {
    const a = first();
    let b = second();
    if (!below(5)) b = a;
    lines(`s ${code}${imm()} ${mxcsr()} ${a} ${b} ${rax()}`);
  }
}

function sseCases(): void {
  for (const op of ['58', '59', '5c', '5d', '5e', '5f', '51']) {
    sse(`0f${op}c1`, register32, register32);
    sse(`f30f${op}c1`, register32, register32);
    sse(`660f${op}c1`, register64, register64);
    sse(`f20f${op}c1`, register64, register64);
  }
  const predicate = (): string => hex(below(8), 2);
  sse('0fc2c1', register32, register32, predicate);
  sse('f30fc2c1', register32, register32, predicate);
  sse('660fc2c1', register64, register64, predicate);
  sse('f20fc2c1', register64, register64, predicate);
  for (const op of ['2e', '2f']) {
    sse(`0f${op}c1`, register32, register32);
    sse(`660f${op}c1`, register64, register64);
  }
  for (const op of ['7c', '7d', 'd0']) {
    sse(`f20f${op}c1`, register32, register32);
    sse(`660f${op}c1`, register64, register64);
  }
  // MOVQ XMM2, RAX; VFMADD213SS or SD XMM0, XMM1, XMM2
  sse('66480f6ed0c4e271a9c2', register32, register32, undefined, () => hex(f32(), 16));
  sse('66480f6ed0c4e2f1a9c2', register64, register64, undefined, () => hex(f64(), 16));
  const anyImm = (): string => hex(below(256), 2);
  sse('660f3a40c1', register32, register32, anyImm);
  sse('660f3a41c1', register64, register64, anyImm);
  const roundImm = (): string => hex(below(16), 2);
  sse('660f3a08c1', register32, integral32, roundImm);
  sse('660f3a0ac1', register32, integral32, roundImm);
  sse('660f3a09c1', register64, integral64, roundImm);
  sse('660f3a0bc1', register64, integral64, roundImm);
  sse('0f5ac1', register64, register32);
  sse('f30f5ac1', register64, register32);
  sse('660f5ac1', register64, register64);
  sse('f20f5ac1', register64, register64);
  sse('0f5bc1', register32, integers);
  sse('660f5bc1', register32, integral32);
  sse('f30f5bc1', register32, integral32);
  sse('f20fe6c1', register32, integral64);
  sse('660fe6c1', register32, integral64);
  sse('f30fe6c1', register32, integers);
  for (const prefix of ['f3', 'f2']) {
    const source = prefix === 'f3' ? integral32 : integral64;
    for (const rex of ['', '48']) {
      sse(`${prefix}${rex}0f2ac0`, register32, register32);
      sse(`${prefix}${rex}0f2cc1`, register32, source);
      sse(`${prefix}${rex}0f2dc1`, register32, source);
    }
  }
}

if (kind === 'x87') x87Cases();
else sseCases();
