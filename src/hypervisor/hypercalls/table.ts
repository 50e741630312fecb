// The hypercall table: number, name, which kinds of guest have it, handler. Source: xen/include/public/xen.h, __HYPERVISOR_*.

import * as compat from './compat.ts';
import { consoleIo } from './console-io.ts';
import type { Handler } from './copy.ts';
import { setGdtCall, stackSwitch, updateDescriptor } from './descriptor.ts';
import { domctl } from './domctl.ts';
import { eventChannelOp } from './event-channel.ts';
import { grantTableOp } from './grant-table.ts';
import { hvmOp } from './hvm-op.ts';
import { mca } from './mca.ts';
import { memoryOp } from './memory-op.ts';
import { mmuUpdate, updateVaMapping, updateVaMappingOtherdomain } from './mmu.ts';
import { mmuextOp } from './mmuext.ts';
import { multicall } from './multicall.ts';
import { physdevOp } from './physdev.ts';
import { platformOp } from './platform-op.ts';
import * as pvCpu from './pv-cpu.ts';
import * as refused from './refused.ts';
import { schedOp } from './sched-op.ts';
import { sysctl } from './sysctl.ts';
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
  //                                    pv32 pv64 hvm32 hvm64
  ['set_trap_table',                 0, '✓    ✓    -     -', pvCpu.setTrapTable],
  ['mmu_update',                     1, '✓    ✓    -     -', mmuUpdate],
  ['set_gdt',                        2, '✓    ✓    -     -', setGdtCall],
  ['stack_switch',                   3, '✓    ✓    -     -', stackSwitch],
  ['set_callbacks',                  4, '✓    ✓    -     -', pvCpu.setCallbacks],
  ['fpu_taskswitch',                 5, '✓    ✓    -     -', pvCpu.fpuTaskswitch],
  ['sched_op_compat',                6, '✓    ✓    -     -', compat.schedOpCompat],
  ['platform_op',                    7, '✓    ✓    ✓     ✓', platformOp],
  ['set_debugreg',                   8, '✓    ✓    -     -', pvCpu.setDebugreg],
  ['get_debugreg',                   9, '✓    ✓    -     -', pvCpu.getDebugreg],
  ['update_descriptor',             10, '✓    ✓    -     -', updateDescriptor],
  ['memory_op',                     12, '✓    ✓    ✓     ✓', memoryOp],
  ['multicall',                     13, '✓    ✓    ✓     ✓', multicall],
  ['update_va_mapping',             14, '✓    ✓    -     -', updateVaMapping],
  ['set_timer_op',                  15, '✓    ✓    ✓     ✓', setTimerOp],
  ['event_channel_op_compat',       16, '✓    ✓    -     -', compat.eventChannelOpCompat],
  ['xen_version',                   17, '✓    ✓    ✓     ✓', xenVersion],
  ['console_io',                    18, '✓    ✓    ✓     ✓', consoleIo],
  ['physdev_op_compat',             19, '✓    ✓    -     -', compat.physdevOpCompat],
  ['grant_table_op',                20, '✓    ✓    ✓     ✓', grantTableOp],
  ['vm_assist',                     21, '✓    ✓    ✓     ✓', vmAssist],
  ['update_va_mapping_otherdomain', 22, '✓    ✓    -     -', updateVaMappingOtherdomain],
  ['iret',                          23, '✓    ✓    -     -', pvCpu.iret],
  ['vcpu_op',                       24, '✓    ✓    ✓     ✓', vcpuOp],
  ['set_segment_base',              25, '-    ✓    -     -', pvCpu.setSegmentBase],
  ['mmuext_op',                     26, '✓    ✓    ✓     ✓', mmuextOp],
  ['xsm_op',                        27, '✓    ✓    ✓     ✓', refused.xsmOp],
  ['nmi_op',                        28, '✓    ✓    -     -', pvCpu.nmiOp],
  ['sched_op',                      29, '✓    ✓    ✓     ✓', schedOp],
  ['callback_op',                   30, '✓    ✓    -     -', pvCpu.callbackOp],
  ['xenoprof_op',                   31, '✓    ✓    -     -', refused.xenoprofOp],
  ['event_channel_op',              32, '✓    ✓    ✓     ✓', eventChannelOp],
  ['physdev_op',                    33, '✓    ✓    ✓     ✓', physdevOp],
  ['hvm_op',                        34, '✓    ✓    ✓     ✓', hvmOp],
  ['sysctl',                        35, '✓    ✓    ✓     ✓', sysctl],
  ['domctl',                        36, '✓    ✓    ✓     ✓', domctl],
  ['kexec_op',                      37, '✓    ✓    -     -', refused.kexecOp],
  ['xenpmu_op',                     40, '✓    ✓    ✓     ✓', refused.xenpmuOp],
  ['dm_op',                         41, '✓    ✓    ✓     ✓', refused.dmOp],
  ['hypfs_op',                      42, '✓    ✓    ✓     ✓', refused.hypfsOp],
  ['mca',                           48, '✓    ✓    -     -', mca],
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
