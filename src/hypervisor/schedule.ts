// The hypervisor's vCPUs as one schedule, in the order of domains and vCPUs.

import type { RunLength } from '../machine/run-length.ts';
import type { Schedulable } from '../machine/schedule.ts';
import { Scheduler } from '../machine/schedule.ts';
import { initialiseHvmVcpu } from './hvm/context.ts';
import { HvmRunner } from './hvm/runner.ts';
import type { Hypervisor } from './hypervisor.ts';
import { initialisePvVcpu } from './pv/context.ts';
import { PvRunner } from './pv/runner.ts';
import type { VcpuRunner } from './runner.ts';
import type { Vcpu } from './vcpu.ts';

const runners = new WeakMap<Vcpu, VcpuRunner>();

/** How a vCPU takes its turns. */
export function runnerOf(vcpu: Vcpu): VcpuRunner {
  let runner = runners.get(vcpu);
  if (!runner) {
    runner = vcpu.hvm ? new HvmRunner(vcpu, vcpu.hvm) : new PvRunner(vcpu);
    runners.set(vcpu, runner);
  }
  return runner;
}

/** @param runLength see machine/schedule.ts */
export function scheduleGuests(hypervisor: Hypervisor, runLength?: RunLength): Scheduler {
  hypervisor.initialiseVcpu = (caller, target, pointer) => {
    if (target.hvm) initialiseHvmVcpu(caller, target, pointer);
    else initialisePvVcpu(caller, target, pointer);
  };
  return new Scheduler(
    {
      processor: hypervisor.processor,
      clock: hypervisor.clock,
      hostEvents: hypervisor.hostEvents,
      get work() {
        return hypervisor.work;
      },
      runners() {
        const all: Schedulable[] = [];
        for (const domain of hypervisor.domains.values()) {
          for (const vcpu of domain.vcpus) all.push(runnerOf(vcpu));
        }
        return all;
      },
    },
    runLength,
  );
}
