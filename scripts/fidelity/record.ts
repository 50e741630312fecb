// Our own trace: boots a kernel with the built-in init, as PV guest or as Dom0, and notes what it asks of the hypervisor.

import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import type { HypercallRecord } from '../../src/hypervisor/hypercalls/trace.ts';
import type { Hypervisor } from '../../src/hypervisor/hypervisor.ts';
import { tracerOf } from '../../src/hypervisor/tracer.ts';
import type { Vcpu } from '../../src/hypervisor/vcpu.ts';
import { Dom0Machine, Host, HostedDomain, loadImages, type Machine, ramForGuests } from '../../src/index.ts';
import { builtinInitramfs } from '../../src/toolstack/init/initramfs.ts';
import { decodeCall, memoryOf } from '../../src/tracing/decode-call.ts';
import { FirstSeen, type Seen } from './seen.ts';

export interface Recording {
  readonly seen: readonly Seen[];
  /** Lines of the guest's console. */
  readonly console: readonly string[];
}

export interface RecordOptions {
  readonly mode: 'pv' | 'dom0';
  readonly cpus: number;
  readonly memoryMiB: number;
  readonly cpu: string;
  readonly commandLine: string;
}

/** How a Dom0 is booted whose log is compared. */
export const DOM0_OPTIONS = { cpus: 1, append: 'earlyprintk=xen ignore_loglevel' } as const;

/** Hypercalls whose operations stand in memory and are told apart in genuine Xen's traces. */
const BATCHES = new Set(['mmuext_op', 'platform_op']);

export async function record(kernel: readonly string[], options: RecordOptions): Promise<Recording> {
  const image = await loadImages(kernel.map(path => ({ name: basename(path), bytes: readFileSync(path) })));
  const { mode, cpus, memoryMiB, cpu, commandLine: cmdline } = options;
  const initrd = builtinInitramfs({ bits: image.elf.bits });
  let machine: Machine;
  let hypervisor: Hypervisor;
  if (mode === 'dom0') {
    const dom0 = await Dom0Machine.create({ image, initrd, cmdline, memoryMiB, cpus, cpu });
    machine = dom0;
    hypervisor = dom0.host.hypervisor;
  } else {
    const host = await Host.create({ ramBytes: ramForGuests(memoryMiB), cpu });
    machine = new HostedDomain(host, host.createPvDomain({ image, initrd, cmdline, memoryMiB, vcpus: cpus }));
    hypervisor = host.hypervisor;
  }
  let text = '';
  const decoder = new TextDecoder();
  machine.console.onOutput(bytes => {
    text += decoder.decode(bytes, { stream: true });
  });
  const first = new FirstSeen();
  hypervisor.tracer = tracerOf({ hypercall: (vcpu, call) => note(first, vcpu, call) });
  await machine.run({ until: () => machine.shutdown !== null });
  if (machine.shutdown !== 'poweroff') throw new Error(`it ended with ${machine.shutdown ?? 'nothing left to do'}`);
  return { seen: first.list, console: text.split('\n').map(line => line.replace(/\r+$/, '')) };
}

function note(first: FirstSeen, vcpu: Vcpu, call: HypercallRecord): void {
  const { name, batch } = decodeCall(call, memoryOf(vcpu));
  if (BATCHES.has(name)) for (const operation of batch) first.batch(name, operation);
  first.call(call.number, call.args, BigInt.asIntN(64, call.result));
}
