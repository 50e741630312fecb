// Small PV guests for tests: a program of numbered steps, each a thing that the guest does and what it must get for it.
//
//   const guest = new PvGuest('mapper');
//   guest.tries('to map Xen\'s frame', hypercall('update_va_mapping', page, entry(frame, READ_WRITE), UVMF.invlpg)).gets('-EINVAL');
//   guest.tries('to load a descriptor table', code(a => a.lgdt(mem('page')))).gets('#GP(0)');
//
// The guest writes each step's value into its memory and powers off after the last; the test reads them there.
import { XEN_ELFNOTE } from '../../src/abi/xen/elfnote.ts';
import { errnoName } from '../../src/hypervisor/errors.ts';
import { vectorName } from '../../src/hypervisor/pv/bounce.ts';
import { type KernelImage, loadImage } from '../../src/index.ts';
import {
  type Address,
  type Assembler,
  addr,
  asm,
  type ElfNote,
  eax,
  type Memory,
  mem,
  qword,
  rax,
  rdi,
  rsp,
} from '../../src/toolstack/init/assembler/assembler.ts';
import { GUEST_BASE, TRAPPED, writeRuntime, writeStart } from './runtime.ts';
import { computed, evaluate, type Value } from './value.ts';

/** What a step may end with: a number, `-EINVAL`, `#GP(0x10)`, `#UD`; a pattern of that; or a list of those that are right. */
export type Outcome = string | number | bigint | RegExp | readonly (string | number | bigint)[];

interface Step {
  what: string;
  /** null: it must never end. */
  expected: Outcome | null;
}

/** A page of the guest's own, or part of one. */
export type Place = Address;

const MAX_STEPS = 512;

export class PvGuest<World> {
  readonly name: string;
  readonly steps: Step[] = [];
  /** Words that the test fills in before the guest runs. */
  readonly givens: { label: string; find: (world: World) => bigint | number }[] = [];
  private readonly body: ((a: Assembler) => void)[] = [];
  private readonly outside: ((a: Assembler) => void)[] = [];
  private serial = 0;

  constructor(name: string) {
    this.name = name;
  }

  /** A page of memory, or several in a row; zero at the start, mapped for writing. */
  page(count = 1, name = `page_${++this.serial}`): Place {
    this.outside.push(
      a =>
        void a
          .section('bss')
          .align(4096)
          .label(name)
          .reserve(count * 4096)
          .section('text'),
    );
    return addr(name);
  }

  /** A number that only the test knows: found once all domains are there. */
  given(find: (world: World) => bigint | number): Memory {
    const label = `given_${++this.serial}`;
    this.givens.push({ label, find });
    this.outside.push(a => void a.section('data').align(8).label(label).dq(0).section('text'));
    return qword(label);
  }

  /** A variable that keeps the value from one step to later ones. */
  variable(name = `variable_${++this.serial}`): Memory {
    this.outside.push(a => void a.section('bss').align(8).label(name).reserve(8).section('text'));
    return qword(name);
  }

  /** Code that stands aside: handlers and routines, with labels. */
  aside(emit: (a: Assembler) => void): void {
    this.outside.push(emit);
  }

  /** The guest does something without reporting on it; it must not fault. */
  does(what: Value): void {
    this.body.push(a => evaluate(a, what));
  }

  /** A step. `gets` says what it must end with, `neverReturns` that it must not end. */
  tries(what: string, action: Value): { gets(outcome: Outcome): void; neverReturns(): void } {
    if (this.steps.length === MAX_STEPS) throw new Error('too many steps');
    const number = this.steps.length;
    const step: Step = { what, expected: 0 };
    this.steps.push(step);
    this.body.push(a => writeStep(a, number, action));
    return {
      gets: outcome => void (step.expected = outcome),
      neverReturns: () => void (step.expected = null),
    };
  }

  /** A step that must succeed: preparation for others. */
  prepares(what: string, action: Value): void {
    this.tries(what, action).gets(0);
  }

  /** What comes before the guest's own part, and after it. */
  protected writeStart(a: Assembler): void {
    writeStart(a);
  }
  protected writeRuntime(a: Assembler): void {
    writeRuntime(a);
  }
  /** What it tells Xen. */
  protected notes(): ElfNote[] {
    const text = (value: string): Uint8Array => new TextEncoder().encode(`${value}\0`);
    const note = (type: number, value: string): ElfNote => ({ name: 'Xen', type, descriptor: text(value) });
    return [note(XEN_ELFNOTE.GUEST_OS, 'test'), note(XEN_ELFNOTE.XEN_VERSION, 'xen-3.0')];
  }

  /** The finished program as a kernel, and where its labels stand. */
  async build(): Promise<{ image: KernelImage; symbols: ReadonlyMap<string, bigint> }> {
    const program = asm(a => {
      this.writeStart(a);
      for (const part of this.body) part(a);
      a.jmp('finish');
      for (const part of this.outside) part(a);
      this.writeRuntime(a);
      a.section('bss')
        .align(4096)
        .label('results')
        .reserve(MAX_STEPS * 8)
        .section('text');
    });
    const file = program.elf({ entry: 'start', base: GUEST_BASE, notes: this.notes() });
    return { image: await loadImage(file, this.name), symbols: program.image(GUEST_BASE).symbols };
  }
}

/** An exception on the way ends the step and is its value. */
function writeStep(a: Assembler, number: number, action: Value): void {
  const resume = a.unique('resume');
  a.lea(rax, mem(resume)).mov(qword('resume'), rax).mov(qword('resume_rsp'), rsp);
  evaluate(a, action);
  a.label(resume).mov(qword('results', number * 8), rax);
  a.mov(qword('resume'), 0).mov(qword('steps'), number + 1);
}

/** Shows that a step ran to its end: the value of code that only must not fault. */
export const RAN = 0;

/** A step's value as text. */
export function outcome(value: bigint): string {
  const signed = BigInt.asIntN(64, value);
  if (value & TRAPPED && ((value >> 32n) & 0x7ffffe00n) === 0n) {
    const vector = Number((value >> 32n) & 0xffn);
    const hasCode = (value >> 40n) & 1n;
    const code = (value & 0xffffffffn).toString(16);
    return `${vectorName(vector)}${hasCode ? `(${code === '0' ? code : `0x${code}`})` : ''}`;
  }
  if (signed < 0n && signed > -200n) return errnoName(Number(signed));
  return signed < 0n || value > 0xffffn ? `0x${value.toString(16)}` : value.toString();
}

const textOf = (expected: string | number | bigint): string =>
  typeof expected === 'string' ? expected : outcome(BigInt.asUintN(64, BigInt(expected)));

/** Whether a step ended as it must; null stands for one that did not end. */
export function isRight(step: Step, actual: string | null): boolean {
  const { expected } = step;
  if (expected === null || actual === null) return expected === actual;
  if (expected instanceof RegExp) return expected.test(actual);
  return (Array.isArray(expected) ? expected : [expected]).some(one => textOf(one) === actual);
}

/** What a step must get, for messages. */
export function expectation({ expected }: Step): string {
  if (expected === null) return '(must not end)';
  if (expected instanceof RegExp) return String(expected);
  return (Array.isArray(expected) ? expected : [expected]).map(textOf).join(' or ');
}

/** Prints to the console of the domain. */
export const says = (text: string): Value =>
  computed(
    a =>
      void a
        .lea(rdi, mem(a.literal(text)))
        .call('print')
        .xor(eax, eax),
  );
