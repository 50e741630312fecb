// Our own trace: boots a kernel as PV guest with the built-in init and notes what it asks of the hypervisor.

import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { mmuextOp } from '../../src/abi/xen/xen.ts';
import { tracerOf } from '../../src/hypervisor/tracer.ts';
import { Host, type HypercallRecord, loadImages, ramForGuests } from '../../src/index.ts';
import { builtinInitramfs } from '../../src/toolstack/init/initramfs.ts';
import { FirstSeen, isBatch, type Seen } from './seen.ts';

export interface Recording {
  readonly seen: readonly Seen[];
  /** Lines of the guest's console. */
  readonly console: readonly string[];
}

export interface RecordOptions {
  readonly cpus: number;
  readonly memoryMiB: number;
  readonly cpu: string;
  readonly commandLine: string;
}

/** The most operations of one batch that are looked at. */
const MAX_OPERATIONS = 4096n;

export async function record(kernel: readonly string[], options: RecordOptions): Promise<Recording> {
  const image = await loadImages(kernel.map(path => ({ name: basename(path), bytes: readFileSync(path) })));
  const { cpus, memoryMiB, cpu, commandLine } = options;
  const host = await Host.create({ ramBytes: ramForGuests(memoryMiB), cpu });
  const guest = host.createPvDomain({
    image,
    initrd: builtinInitramfs({ bits: image.elf.bits }),
    cmdline: commandLine,
    memoryMiB,
    vcpus: cpus,
  });
  let text = '';
  const decoder = new TextDecoder();
  guest.console.onOutput(bytes => {
    text += decoder.decode(bytes, { stream: true });
  });
  const first = new FirstSeen();
  host.hypervisor.tracer = tracerOf({ hypercall: (_vcpu, call) => note(host, first, call) });
  await host.run({ until: () => guest.shutdown !== null });
  if (guest.shutdown !== 'poweroff') throw new Error(`the guest ended with ${guest.shutdown ?? 'nothing left to do'}`);
  return { seen: first.list, console: text.split('\n').map(line => line.replace(/\r$/, '')) };
}

function note(host: Host, first: FirstSeen, { number, args, result }: HypercallRecord): void {
  const batch = isBatch(number);
  if (batch !== null) for (const command of commands(host, batch, args)) first.batch(batch, command);
  first.call(number, args, BigInt.asIntN(64, result));
}

/** The commands that a batch has in the guest's memory. */
function commands(host: Host, batch: 'mmuext_op' | 'platform_op', args: readonly bigint[]): number[] {
  const guest = host.hypervisor.loaded?.guest;
  if (guest === undefined) return [];
  if (batch === 'platform_op') return [new DataView(guest.read(args[0], 4).slice().buffer).getUint32(0, true)];
  const count = Number(args[1] & 0x7fff_ffffn & (MAX_OPERATIONS - 1n));
  return Array.from(
    { length: count },
    (_, i) => guest.readStruct(args[0] + BigInt(i * mmuextOp.size(64)), mmuextOp).cmd,
  );
}
