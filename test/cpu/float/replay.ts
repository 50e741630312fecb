// Runs one line of a case file (test/oracle/float/README.md) on our own unit and says what differs from the processor's answer.
import {
  abridgedTags,
  DONE,
  executeMemory,
  executeRegister,
  fldenv,
  fnsave,
  fnstenv,
  frstor,
  fullTags,
  fxrstorX87,
  fxsaveX87,
  IMAGE,
  memoryOperand,
  newX87State,
  top,
  updateSummary,
  type X87State,
} from '../../../src/cpu/float/x87.ts';
import { replaySse } from './replay-sse.ts';

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

export function replay(line: string): string | undefined {
  const [given, expected] = line.split(' = ');
  const fields = given.split(' ');
  const want = expected.split(' ');
  return fields[0] === 'x' ? replayX87(fields, want) : replaySse(fields, want);
}

export function bytesOf(hex: string): Uint8Array {
  return Uint8Array.from(hex.match(/../g) ?? [], pair => Number.parseInt(pair, 16));
}

function hexBytes(bytes: Uint8Array): string {
  return Array.from(bytes, byte => byte.toString(16).padStart(2, '0')).join('');
}

function hex(value: number | bigint, digits: number): string {
  return value.toString(16).padStart(digits, '0');
}

function setPhysical(s: X87State, register: number, text: string): void {
  s.setRegister(register & 7, Number.parseInt(text.slice(0, 4), 16), BigInt(`0x${text.slice(4)}`));
}

function physical(s: X87State, register: number): string {
  return hex(s.signExp(register & 7), 4) + hex(s.mantissa(register & 7), 16);
}

/** D9 F0-FF without FXTRACT, FPREM, FPREM1, FSQRT, FRNDINT, FSCALE and the stack pointer: results may be 1 ulp off. */
function isTranscendental(code: Uint8Array): boolean {
  return code[0] === 0xd9 && [0xf0, 0xf1, 0xf2, 0xf3, 0xf9, 0xfb, 0xfe, 0xff].includes(code[1]);
}

function withinOneUlp(a: string, b: string): boolean {
  const value = (text: string) =>
    ((BigInt(`0x${text.slice(0, 4)}`) & 0x7fffn) << 63n) + (BigInt(`0x${text.slice(4)}`) & ((1n << 63n) - 1n));
  const distance = value(a) - value(b);
  return a[0] >= '8' === b[0] >= '8' && distance >= -1n && distance <= 1n;
}

const C1 = 0x200;
const WIDE = { wide: true, real: false };
const NARROW = { wide: false, real: false };

/** FNSTENV, FNSAVE, FLDENV, FRSTOR of 64-bit mode with both operand sizes; FXSAVE and FXRSTOR. */
const IMAGES: Record<string, (s: X87State, memory: Uint8Array) => void> = {
  d937: (s, memory) => memory.set(fnstenv(s, WIDE)),
  '66d937': (s, memory) => memory.set(fnstenv(s, NARROW)),
  dd37: (s, memory) => memory.set(fnsave(s, WIDE)),
  '66dd37': (s, memory) => memory.set(fnsave(s, NARROW)),
  d927: (s, memory) => fldenv(s, WIDE, memory),
  '66d927': (s, memory) => fldenv(s, NARROW, memory),
  dd27: (s, memory) => frstor(s, WIDE, memory),
  '66dd27': (s, memory) => frstor(s, NARROW, memory),
  '480fae07': (s, memory) => fxsaveX87(s, viewOf(memory), true),
  '480fae0f': (s, memory) => fxrstorX87(s, viewOf(memory), true),
};

/** Clears what a stored image says of the last instruction, which depends on the runner's own; FXSAVE: all but the x87. */
function blankPointers(code: string, memory: Uint8Array): Uint8Array {
  if (code === 'd937' || code === 'dd37') memory.fill(0, 12, 28);
  if (code === '66d937' || code === '66dd37') memory.fill(0, 6, 14);
  if (code === '480fae07') {
    memory.fill(0, 6, 32);
    memory.fill(0, 160, 512);
  }
  return memory;
}

function replayX87(fields: string[], want: string[]): string | undefined {
  const [, codeText, fcw, fsw, tags, a, b, mem] = fields;
  const code = bytesOf(codeText);
  const s = newX87State();
  s.fcw = Number.parseInt(fcw, 16);
  s.fsw = Number.parseInt(fsw, 16);
  s.ftw = abridgedTags(Number.parseInt(tags, 16));
  // As the FRSTOR does that loads the state into the processor.
  updateSummary(s);
  const first = top(s);
  for (let i = 2; i < 8; i++) setPhysical(s, first + i, hex(0x10 * i, 2).repeat(10));
  setPhysical(s, first, a);
  setPhysical(s, first + 1, b);

  const memory = new Uint8Array(512);
  if (mem !== '-') memory.set(bytesOf(mem));
  let eflags = 0;
  const memoryForm = code[1] < 0xc0;
  const image = IMAGES[codeText];
  if (image) {
    image(s, memory);
    blankPointers(codeText, memory);
    want[6] = hexBytes(blankPointers(codeText, bytesOf(want[6])));
  } else if (memoryForm) {
    if ([0, IMAGE].includes(memoryOperand(code[0], code[1] >> 3))) return 'no such memory form';
    executeMemory(s, code[0], code[1] >> 3, new DataView(memory.buffer));
  } else {
    const done = executeRegister(s, code[0], code[1], 0);
    if (done < DONE) return 'undefined opcode';
    if (done >= 0) eflags = done;
  }
  const got = [
    hex(s.fcw, 4),
    hex(s.fsw, 4),
    hex(fullTags(s), 4),
    physical(s, first - 1),
    physical(s, first),
    physical(s, first + 1),
    mem === '-' ? '-' : hexBytes(memory.subarray(0, mem.length / 2)),
    hex(eflags, 2),
  ];
  const same = got.every((text, i) => text === want[i]);
  if (same) return undefined;
  if (isTranscendental(code)) {
    // Where the last bit may differ, so may the direction of rounding.
    const status = (Number.parseInt(want[1], 16) ^ s.fsw) & ~C1;
    if (status === 0 && got[2] === want[2] && [3, 4, 5].every(i => withinOneUlp(got[i], want[i]))) return undefined;
  }
  return `got ${got.join(' ')}`;
}
