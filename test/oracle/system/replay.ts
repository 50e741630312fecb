// Runs system cases on domzero's processor, which delivers its exceptions itself, and compares the whole state with the fixture's.
import { Exit, GuestFault, Vector } from '../../../src/cpu/exits.ts';
import { readProcessorMsr, writeProcessorMsr } from '../../../src/cpu/helpers/msrs.ts';
import { S, SEG, SEG_FIELD, SEGMENT_SIZE } from '../../../src/cpu/layout.ts';
import { EngineMemory } from '../../../src/cpu/memory.ts';
import { InterpretingProcessor } from '../../../src/cpu/processor.ts';
import { testModel } from '../replay.ts';
import {
  attributes,
  base,
  F,
  fieldName,
  limit,
  MSR_NAMES,
  type MsrName,
  msr,
  SEGMENTS,
  type State,
  selector,
} from './fields.ts';
import type { SystemResult } from './fixture.ts';
import { patchesOf, startOf } from './generate.ts';
import { MEMORY_SIZE, machineMemory } from './machine.ts';

const SEGMENT_INDEX = {
  es: SEG.es,
  cs: SEG.cs,
  ss: SEG.ss,
  ds: SEG.ds,
  fs: SEG.fs,
  gs: SEG.gs,
  ldtr: SEG.ldtr,
  tr: SEG.tr,
} as const;

const MSR_FIELDS: Record<MsrName, number> = {
  star: S.star,
  lstar: S.lstar,
  cstar: S.cstar,
  sfmask: S.sfmask,
  kernelGsBase: S.kernelGsBase,
  tscAux: S.tscAux,
  sysenterCs: S.sysenterCs,
  sysenterEsp: S.sysenterEsp,
  sysenterEip: S.sysenterEip,
  pat: S.pat,
};

const FRAME = 4096;
const RF = 0x10000n;

function unknownRegister(): never {
  throw new GuestFault(Vector.GP, 0);
}

export class SystemMachine {
  private readonly memory = new EngineMemory(MEMORY_SIZE);
  private readonly processor = new InterpretingProcessor(this.memory, testModel());
  private readonly pristine = machineMemory();
  private readonly ram: Uint8Array;

  constructor() {
    const at = this.memory.frameOffset(0);
    this.ram = this.memory.u8.subarray(at, at + MEMORY_SIZE);
    const { processor } = this;
    processor.registers = {
      rdmsr: index => readProcessorMsr(processor, index) ?? unknownRegister(),
      wrmsr: (index, value) => {
        if (!writeProcessorMsr(processor, index, value)) unknownRegister();
      },
      cpuid: () => ({ eax: 0, ebx: 0, ecx: 0, edx: 0 }),
    };
  }

  private setState(s: State): void {
    const { live } = this.processor;
    for (let i = 0; i < 16; i++) live.gpr[i] = s[i];
    live.rip = s[F.rip];
    const long64 = (s[attributes('cs')] & 0x2000n) !== 0n && (s[F.efer] & 0x400n) !== 0n;
    for (const name of SEGMENTS) {
      const index = SEGMENT_INDEX[name];
      live.writeSegment(index, {
        selector: Number(s[selector(name)]),
        base: s[base(name)],
        limit: Number(s[limit(name)]),
        attributes: Number(s[attributes(name)]),
      });
      const hidden = long64 && index < SEG.fs;
      live.set(S.segments + index * SEGMENT_SIZE + SEG_FIELD.effectiveBase, hidden ? 0n : s[base(name)]);
    }
    live.writeSegment(SEG.gdtr, { selector: 0, base: s[F.gdtrBase], limit: Number(s[F.gdtrLimit]), attributes: 0 });
    live.writeSegment(SEG.idtr, { selector: 0, base: s[F.idtrBase], limit: Number(s[F.idtrLimit]), attributes: 0 });
    live.set(S.cr0, s[F.cr0]);
    live.set(S.cr2, s[F.cr2]);
    live.set(S.cr3, s[F.cr3]);
    live.set(S.cr4, s[F.cr4]);
    live.set(S.cr8, s[F.cr8]);
    live.set(S.efer, s[F.efer]);
    live.set(S.xcr0, 1n);
    for (let i = 0; i < 4; i++) live.set(S.dr + i * 8, s[F.dr0 + i]);
    live.set(S.dr + 48, s[F.dr6]);
    live.set(S.dr + 56, s[F.dr7]);
    for (const name of MSR_NAMES) live.set(MSR_FIELDS[name], s[msr(name)]);
    live.set32(S.cpl, Number(s[selector('cs')] & 3n));
    live.set32(S.pv, 0);
    live.set32(S.shadow, 0);
    live.rflags = s[F.rflags];
    live.view.setUint16(S.fcw, 0x37f, true);
    live.view.setUint16(S.fsw, 0, true);
    live.view.setUint8(S.ftw, 0);
    live.view.setUint32(S.mxcsr, 0x1f80, true);
  }

  private getState(): State {
    const { live } = this.processor;
    const s = new BigUint64Array(F.msrs + MSR_NAMES.length);
    for (let i = 0; i < 16; i++) s[i] = live.gpr[i];
    s[F.rip] = live.rip;
    s[F.rflags] = live.rflags & ~RF;
    for (const name of SEGMENTS) {
      const r = live.readSegment(SEGMENT_INDEX[name]);
      s[selector(name)] = BigInt(r.selector);
      s[base(name)] = r.base;
      s[limit(name)] = BigInt(r.limit);
      s[attributes(name)] = BigInt(r.attributes);
    }
    const gdtr = live.readSegment(SEG.gdtr);
    const idtr = live.readSegment(SEG.idtr);
    [s[F.gdtrBase], s[F.gdtrLimit], s[F.idtrBase], s[F.idtrLimit]] = [
      gdtr.base,
      BigInt(gdtr.limit),
      idtr.base,
      BigInt(idtr.limit),
    ];
    [s[F.cr0], s[F.cr2], s[F.cr3], s[F.cr4], s[F.cr8], s[F.efer]] = [S.cr0, S.cr2, S.cr3, S.cr4, S.cr8, S.efer].map(f =>
      live.get(f),
    );
    for (let i = 0; i < 4; i++) s[F.dr0 + i] = live.get(S.dr + i * 8);
    s[F.dr6] = live.get(S.dr + 48);
    s[F.dr7] = live.get(S.dr + 56);
    for (const name of MSR_NAMES) s[msr(name)] = live.get(MSR_FIELDS[name]);
    return s;
  }

  /** What differs from the fixture, or null. */
  run({ case: c, outcome }: SystemResult): string | null {
    const { processor } = this;
    const { live } = processor;
    this.ram.set(this.pristine);
    for (const p of patchesOf(c)) this.ram.set(p.bytes, p.address);
    const expected = this.ram.slice();
    for (const m of outcome.memory) expected.set(m.bytes, m.address);
    for (let f = 0; f < MEMORY_SIZE / FRAME; f++) processor.dropFrame(f);
    const start = startOf(c);
    this.setState(start);
    processor.flushAll();
    processor.selectAddressSpace(start[F.cr3], live.cpl === 3);
    processor.modeChanged();
    let exit: number;
    try {
      exit = processor.run(1);
    } catch (error) {
      return `threw ${error instanceof Error ? (error.stack ?? '').split('\n').slice(0, 3).join(' ') : String(error)}`;
    }
    // A jump to where nothing can be fetched: the guest went on to the fault of the fetch.
    const target = outcome.changed.find(([index]) => index === F.cr2);
    if (exit === Exit.fuel && target !== undefined && target[1] === live.rip) exit = processor.run(1);
    const kind = Object.entries(Exit).find(([, n]) => n === exit)?.[0] ?? String(exit);
    if (outcome.end === 2)
      return exit === Exit.shutdown ? null : `${kind} at ${live.rip.toString(16)} instead of shutdown`;
    if (exit === Exit.halt && outcome.end === 0)
      live.rip -= 1n; // the HLT behind was reached at once
    else if (exit !== (outcome.end === 1 ? Exit.halt : Exit.fuel))
      return `left with ${kind} (vector ${live.get32(S.faultVector)})`;
    const got = this.getState();
    const want = start.slice();
    want[F.rflags] &= ~RF;
    for (const [index, value] of outcome.changed) want[index] = value;
    const differences: string[] = [];
    for (let i = 0; i < want.length; i++) {
      if (got[i] !== want[i] && !isFree(i, want)) {
        differences.push(
          `${fieldName(i)} is ${got[i].toString(16)}, should be ${want[i].toString(16)} (was ${start[i].toString(16)})`,
        );
      }
    }
    for (let i = 0; i < MEMORY_SIZE; i += 8) {
      let same = true;
      for (let k = i; k < i + 8; k++) same &&= this.ram[k] === expected[k];
      if (same) continue;
      const hex = (b: Uint8Array): string =>
        Buffer.from(b.subarray(i, i + 8))
          .reverse()
          .toString('hex');
      differences.push(`memory at ${i.toString(16)} is ${hex(this.ram)}, should be ${hex(expected)}`);
      if (differences.length > 6) break;
    }
    return differences.length ? differences.slice(0, 4).join('; ') : null;
  }
}

/** Base, limit and attributes of a null or unusable segment mean nothing. */
function isFree(index: number, want: State): boolean {
  if (index < F.segments || index >= F.gdtrBase) return false;
  const name = SEGMENTS[(index - F.segments) >> 2];
  const field = (index - F.segments) & 3;
  if (field === 0) return false;
  const unusable = (want[attributes(name)] & 0x80n) === 0n || want[selector(name)] < 4n;
  if (unusable) return name !== 'fs' && name !== 'gs' ? true : field !== 1;
  return false;
}
