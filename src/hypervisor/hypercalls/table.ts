// The hypercall table: number, name, which kinds of guest have it, handler. Source: xen/include/public/xen.h, __HYPERVISOR_*.

import * as compat from './compat.ts';
import { consoleIo } from './console-io.ts';
import * as control from './control-ops.ts';
import type { Handler } from './copy.ts';
import { setGdtCall, updateDescriptor } from './descriptor.ts';
import { eventChannelOp } from './event-channel.ts';
import { grantTableOp } from './grant-table.ts';
import { hvmOp } from './hvm-op.ts';
import { memoryOp } from './memory-op.ts';
import { mmuUpdate, updateVaMapping, updateVaMappingOtherdomain } from './mmu.ts';
import { mmuextOp } from './mmuext.ts';
import { multicall } from './multicall.ts';
import { physdevOp } from './physdev.ts';
import * as pvCpu from './pv-cpu.ts';
import * as refused from './refused.ts';
import { schedOp } from './sched-op.ts';
import { setTimerOp } from './timer.ts';
import { vcpuOp } from './vcpu-op.ts';
import { vmAssist } from './vm-assist.ts';
import { xenVersion } from './xen-version.ts';

export type GuestKind = 'pv32' | 'pv64' | 'hvm32' | 'hvm64';
const KINDS: readonly GuestKind[] = ['pv32', 'pv64', 'hvm32', 'hvm64'];

export interface HypercallRow {
  name: string;
  number: number;
  handler: Handler;
}

/** A row: name, number, a mark for each of pv32 pv64 hvm32 hvm64 (✓ or -), handler. */
type Row = readonly [name: string, number: number, kinds: string, handler: Handler];

// biome-ignore format: a table
const rows = (): readonly Row[] => [
  //                                  pv32 pv64 hvm32 hvm64
  ['mmu_update',                   1, '✓    ✓    -     -', mmuUpdate],
  ['set_gdt',                      2, '✓    ✓    -     -', setGdtCall],
  ['update_descriptor',           10, '✓    ✓    -     -', updateDescriptor],
  ['memory_op',                   12, '✓    ✓    ✓     ✓', memoryOp],
  ['multicall',                   13, '✓    ✓    ✓     ✓', multicall],
  ['update_va_mapping',           14, '✓    ✓    -     -', updateVaMapping],
  ['vm_assist',                   21, '✓    ✓    ✓     ✓', vmAssist],
  ['update_va_mapping_otherdomain', 22, '✓  ✓    -     -', updateVaMappingOtherdomain],
  ['mmuext_op',                   26, '✓    ✓    ✓     ✓', mmuextOp],
];

type Tables = Record<GuestKind, (HypercallRow | undefined)[]>;
// Built at first use: families and this file import each other by way of multicalls.
let tables: Tables | null = null;

function build(): Tables {
  const built: Tables = { pv32: [], pv64: [], hvm32: [], hvm64: [] };
  for (const [name, number, kinds, handler] of rows()) {
    const marks = kinds.split(/\s+/);
    KINDS.forEach((kind, i) => {
      if (marks[i] === '✓') built[kind][number] = { name, number, handler };
    });
  }
  return built;
}

/** The row of a number, or nothing where this kind of guest has no such hypercall (-ENOSYS). */
export function hypercallRow(kind: GuestKind, number: number): HypercallRow | undefined {
  tables ??= build();
  return tables[kind][number];
}
