// Where the processor is known to differ from a real one, each with its reason: nothing that software relies on. A difference that is
// none of these fails the replay.
import type { Case, Group } from './case.ts';

export interface Deviation {
  name: string;
  applies(group: Group, c: Case, difference: string): boolean;
}

/** Far returns of any mode may go to the 16-bit code segment, the one with a small limit. */
const reachesCode16 = (name: string): boolean => /^(Ret|Iret)/.test(name);

export const DEVIATIONS: readonly Deviation[] = [
  {
    // Outside 64-bit mode a branch beyond the limit of CS raises #GP(0) itself; here the fetch at its target does.
    name: 'branch beyond the limit of the code segment',
    applies: ({ name }, { input, outcome }, difference) =>
      /^(J|Call_rel|Loop|Ret|Iret)/.test(name) &&
      outcome.error === 0 &&
      (input.mode === 16 || reachesCode16(name)) &&
      difference === 'went on, should have raised 13',
  },
  {
    // POP to memory moves SP before the address is formed; a violation of the segment's limit leaves it moved.
    name: 'POP to memory beyond a segment limit',
    applies: ({ name }, { input, outcome }, difference) =>
      /^Pop_rm(16|32)$/.test(name) &&
      input.mode !== 64 &&
      [12, 13].includes(outcome.vector) &&
      difference.startsWith('rsp is'),
  },
  {
    // An operand half in and half out of the canonical addresses: the page of its first byte is looked at first.
    name: 'operand across the end of canonical addresses',
    applies: (_, { outcome }, difference) =>
      [12, 13].includes(outcome.vector) && /^raised 14\([0-9a-f]+\) at 7ffffffff/.test(difference),
  },
  {
    // ARPL checks its operand for writing before it knows whether it writes.
    name: 'ARPL of a read-only operand that needs no change',
    applies: ({ name }, { outcome }, difference) =>
      name.startsWith('Arpl') && outcome.vector < 0 && /^raised (13\(0\)|14\(7\))/.test(difference),
  },
  {
    // A far return to another ring: the outer stack is read after the selector's checks, not before.
    name: 'far return with a bad selector and an unreadable outer stack',
    applies: ({ name }, { outcome }, difference) =>
      name.startsWith('Retf') && outcome.vector === 14 && difference.startsWith('raised 13('),
  },
  {
    // Images of x87, FXSAVE and XSAVE state addressed through RSP or RBP where addresses are not canonical: #GP, not #SS.
    name: 'state image through the stack segment at a non-canonical address',
    applies: ({ name }, { outcome }, difference) =>
      /^(Fldenv|Fnstenv|Frstor|Fnsave|Fxsave|Fxrstor|Xsave|Xrstor)/.test(name) &&
      outcome.vector === 12 &&
      difference.startsWith('raised 13(0)'),
  },
  {
    // IRET with more than one thing wrong: SS is looked at before RIP is compared with the limit.
    name: 'order of the checks of IRET',
    applies: ({ name }, { outcome }, difference) =>
      name.startsWith('Iret') && outcome.vector === 13 && difference.endsWith('the error code should be 0'),
  },
];

/** The deviation that explains a difference, or null. */
export function deviationOf(group: Group, c: Case, difference: string): string | null {
  return DEVIATIONS.find(d => d.applies(group, c, difference))?.name ?? null;
}
