// Differences between our boots and genuine Xen's whose cause is known. docs/fidelity.md tells more about each.

export type Difference = 'only ours' | 'only theirs' | 'order' | 'arguments' | 'result';

interface Known {
  readonly call: RegExp;
  readonly differences: readonly Difference[];
  readonly cause: string;
}

const KNOWN: readonly Known[] = [];

/** Why this is so; null where it is not known. */
export function knownCause(call: string, difference: Difference): string | null {
  return KNOWN.find(known => known.differences.includes(difference) && known.call.test(call))?.cause ?? null;
}
