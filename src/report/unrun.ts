// The result of a boot that was not started, or whose host was lost.

import type { BootRequest } from './boot.ts';
import type { Result } from './verdict.ts';

export type Unrun = Pick<BootRequest, 'mode' | 'cpuModel' | 'cpus' | 'memoryMiB'> & {
  readonly image: { readonly name: string; readonly sha256: string; readonly release: string };
};

export function unrunResult(request: Unrun, verdict: 'skip' | 'error', reason: string, reproduce: string): Result {
  const { image, mode, cpuModel, cpus, memoryMiB } = request;
  return {
    image: image.name,
    sha256: image.sha256,
    version: image.release,
    mode,
    verdict,
    reason,
    cpuModel,
    memoryMiB,
    cpus,
    instructions: 0,
    wallSeconds: 0,
    stages: [],
    guest: null,
    consoleTail: [],
    crash: null,
    reproduce,
  };
}
