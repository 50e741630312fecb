// Bytes that are no instruction: what iced-x86 refuses for AMD and for Intel, tried on the processor, and kept where it raised #UD.
// Whatever raises something else is reported, not kept.
import iced from 'iced-x86';
import type { CaseInput, Mode } from '../case.ts';
import { Flavor } from '../initial-state.ts';
import { Prng } from '../prng.ts';

const { DecoderOptions } = iced;

/** C4, C5, 62, 8F start VEX, EVEX and XOP forms, which the machine that makes the fixtures may execute. */
const NEWER = new Set([0xc4, 0xc5, 0x62, 0x8f]);

function isRefused(bytes: Uint8Array, mode: Mode): boolean {
  return [DecoderOptions.None, DecoderOptions.AMD, DecoderOptions.MPX].every(options => {
    const decoder = new iced.Decoder(mode, bytes, options);
    const instruction = decoder.decode();
    const refused = instruction.isInvalid;
    instruction.free();
    decoder.free();
    return refused;
  });
}

function bare(mode: Mode, code: Uint8Array, n: number): CaseInput {
  return {
    mode,
    code,
    place: 0,
    seed: mode * 1000 + n,
    flavor: Flavor.general,
    registers: [],
    windows: [],
    patches: [],
  };
}

/** Cases named by mode, opcode map and opcode. */
export function undefinedCases(mode: Mode, wanted: number): CaseInput[] {
  const prng = new Prng(0xbad0b, mode);
  const cases: CaseInput[] = [];
  // UD0, whose length AMD and Intel see differently
  for (const modrm of [0xc0, 0xca, 0xf5]) cases.push(bare(mode, Uint8Array.of(0x0f, 0xff, modrm), cases.length));
  const perOpcode = new Map<string, number>();
  for (let tries = 0; cases.length < wanted && tries < wanted * 200; tries++) {
    const bytes: number[] = [];
    const lock = prng.oneIn(5);
    if (lock) bytes.push(0xf0);
    else if (prng.oneIn(3)) bytes.push(prng.pick([0x66, 0xf2, 0xf3]));
    if (mode === 64 && prng.oneIn(4)) bytes.push(0x40 | prng.below(16));
    const map = prng.below(4);
    if (map > 0) bytes.push(0x0f);
    if (map > 1) bytes.push(map === 2 ? 0x38 : 0x3a);
    const opcode = prng.below(256);
    if (map === 0 && (NEWER.has(opcode) || opcode === 0x0f)) continue;
    if (map === 1 && (opcode === 0x38 || opcode === 0x3a || opcode === 0x0f)) continue;
    bytes.push(opcode);
    while (bytes.length < 12) bytes.push(prng.u32() & 0xff);
    const code = Uint8Array.from(bytes);
    const key = `${map} ${opcode} ${lock}`;
    const seen = perOpcode.get(key) ?? 0;
    if (seen >= 3 || !isRefused(code, mode)) continue;
    perOpcode.set(key, seen + 1);
    cases.push(bare(mode, code, cases.length));
  }
  return cases;
}
