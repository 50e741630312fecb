// A processor model's family, model and stepping, from CPUID leaf 1 (SDM Vol. 2A "CPUID", figure 3-6).
import type { CpuModel } from '../../cpu/models/model.ts';

export function cpuSignature({ leaves }: CpuModel): { family: number; model: number; stepping: number } {
  const eax = leaves.find(({ leaf }) => leaf === 1)?.eax ?? 0;
  const base = (eax >>> 8) & 15;
  const extended = base >= 6 ? ((eax >>> 16) & 15) << 4 : 0;
  return {
    family: base === 15 ? base + ((eax >>> 20) & 0xff) : base,
    model: ((eax >>> 4) & 15) | extended,
    stepping: eax & 15,
  };
}
