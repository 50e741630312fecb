// Microcode revisions, by processor signature: recent ones, with which kernels need no workaround of what an update has mended.
import type { CpuModel } from '../../cpu/models/model.ts';

const REVISIONS: ReadonlyMap<number, number> = new Map([
  [0x00830f10, 0x0830107c],
  [0x00b00f21, 0x0b00215a],
  [0x00050654, 0x02007006],
]);

/** Of a processor that is not listed: its first. */
export function microcodeRevision(model: CpuModel): number {
  return REVISIONS.get(model.leaves.find(({ leaf }) => leaf === 1)?.eax ?? 0) ?? 1;
}
