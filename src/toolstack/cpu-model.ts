// Processor models by what a user said.
import { CPU_MODELS, cpuModel } from '../cpu/models/index.ts';
import type { CpuModel } from '../cpu/models/model.ts';
import { BuildError } from './builder/error.ts';

export { CPU_MODELS } from '../cpu/models/index.ts';

/** A model, or its name; the first of CPU_MODELS where nobody chose. Throws BuildError for a name that is none. */
export function modelByName(chosen: CpuModel | string | undefined): CpuModel {
  if (chosen === undefined) return CPU_MODELS[0];
  if (typeof chosen !== 'string') return chosen;
  const model = cpuModel(chosen);
  if (!model) throw new BuildError(`no CPU model "${chosen}"; there are ${CPU_MODELS.map(m => m.name).join(', ')}`);
  return model;
}
