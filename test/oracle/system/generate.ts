// Runs the system cases in a KVM guest and turns what came out into differences from the start state.
import { readFileSync } from 'node:fs';
import { systemCases } from './cases.ts';
import { F, FIELD_COUNT, type State, type SystemCase, selector } from './fields.ts';
import type { SystemResult } from './fixture.ts';
import { KvmExit, type KvmResult, runInGuest } from './kvm-stream.ts';
import { At, CODE_OFFSET, machineMemory, STARTS } from './machine.ts';

const HLT = 0xf4;
const RF = 0x10000n;

/** The state that a case starts from. */
export function startOf(c: SystemCase): State {
  const state = STARTS[c.start].slice();
  for (const [index, value] of c.fields) state[index] = value;
  return state;
}

/** The case's patches, its code among them: written where RIP of the start state is. */
export function patchesOf(c: SystemCase): { address: number; bytes: Uint8Array }[] {
  const page = c.start.startsWith('user') ? At.code3 : At.code0;
  return [{ address: page + CODE_OFFSET, bytes: c.code }, ...c.patches];
}

function outcomeOf(c: SystemCase, start: State, r: KvmResult): SystemResult | string {
  const { state } = r;
  if (r.exit === KvmExit.timedOut) return 'did not end';
  let end = 0;
  if (r.exit === KvmExit.shutdown) return { case: c, outcome: { end: 2, changed: [], memory: [] } };
  if (r.exit === KvmExit.halt) {
    // RIP is behind the HLT that stopped it: the case's own, or the one that would have been next.
    if (c.code.length === 1 && c.code[0] === HLT && state[F.rip] === start[F.rip] + 1n) end = 1;
    else state[F.rip] -= 1n;
    const cpl = Number(state[selector('cs')] & 3n);
    if (cpl !== 0) return 'HLT outside ring 0';
    const gp = BigInt(At.handlers + 13 * 16);
    if (state[F.rip] === gp && end === 0) {
      // A HLT behind a result in user mode, where no breakpoint stood, looks like #GP of the case.
      const frame = r.memory.some(
        m => m.address <= At.stack0 + 0xff0 && m.address + m.bytes.length > At.stack0 + 0xfc0,
      );
      if (frame && c.start.startsWith('kernel') && c.userTargets.length === 0) {
        const pushed = pushedRip(r, state);
        if (pushed !== null && pushed !== start[F.rip]) return `#GP at ${pushed.toString(16)}, not at the case`;
      }
    }
  } else if (r.exit !== KvmExit.debug) return `KVM exit ${r.exit}`;
  state[F.rflags] &= ~RF;
  const changed: [number, bigint][] = [];
  for (let i = 0; i < FIELD_COUNT; i++)
    if (state[i] !== (i === F.rflags ? start[i] & ~RF : start[i])) changed.push([i, state[i]]);
  return { case: c, outcome: { end, changed, memory: r.memory } };
}

/** RIP in the frame of an exception with an error code, where the stack is known. */
function pushedRip(r: KvmResult, state: State): bigint | null {
  const at = Number(state[4]) + 8;
  let value = 0n;
  for (let k = 0; k < 8; k++) {
    const m = r.memory.find(x => x.address <= at + k && at + k < x.address + x.bytes.length);
    if (!m) continue;
    value |= BigInt(m.bytes[at + k - m.address]) << BigInt(k * 8);
  }
  return value;
}

/**
 * Where the processor has neither SVM nor VMX, KVM itself plays the kernel-mode processor (its instruction emulator, PVM). What that is
 * known to leave out is not taken as a reference: user mode runs on the host's own tables and control registers; IRET and exceptions are
 * delivered without all checks; no data breakpoints; MSRs and control registers with fewer reserved bits; error codes of LTR; flags of PVM.
 */
const NOT_EMULATED =
  /\[user|breakpoint|single step|a high bit|SWAPGS outside|^LTR (7|54)|^SLDT to memory|^WRMSR (PAT|EFER)|^I?RET|^SYSRET|accessed bit|^non-canonical (push|stack)|#(UD|DE|PF|DF)|handler|SMAP and AC|^(read and write|locked)|^IDT too short for|RSP|stack not|TSC_AUX|^outward|1 GiB|write into a (absent|read-only)/;

function emulatesKernelMode(): boolean {
  return !/\b(svm|vmx)\b/.test(readFileSync('/proc/cpuinfo', 'utf8'));
}

export function generateSystem(program: string): { results: SystemResult[]; notes: string[] } {
  const software = emulatesKernelMode();
  const cases = systemCases().filter(c => !software || !NOT_EMULATED.test(c.name));
  const starts = cases.map(startOf);
  const raw = runInGuest(
    program,
    machineMemory(),
    cases.map((c, i) => ({ state: starts[i], patches: patchesOf(c), breakpoints: c.userTargets })),
  );
  const results: SystemResult[] = [];
  const notes: string[] = [];
  cases.forEach((c, i) => {
    const result = outcomeOf(c, starts[i], raw[i]);
    if (typeof result === 'string') notes.push(`${c.name}: ${result}`);
    else results.push(result);
  });
  return { results, notes };
}
