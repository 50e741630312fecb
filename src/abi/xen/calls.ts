// What every hypercall is given: its parameters by the names that xen/include/public has for them, which operation a number stands for and
// what its argument points at. For those who show calls; the handlers' own declarations say how arguments move.
import type { Type } from '../struct.ts';
import * as callback from './callback.ts';
import * as domctl from './domctl.ts';
import * as evtchn from './event-channel.ts';
import * as grant from './grant-table.ts';
import * as hvm from './hvm.ts';
import * as mca from './mca.ts';
import * as memory from './memory.ts';
import * as physdev from './physdev.ts';
import * as platform from './platform.ts';
import * as sched from './sched.ts';
import * as sysctl from './sysctl.ts';
import * as vcpu from './vcpu.ts';
import * as version from './version.ts';
import * as xen from './xen.ts';

export type Names = Readonly<Record<string, number>>;

/** How a number is shown. Without one: small numbers as they are, others in hexadecimal. u32: the low half. `bits`: flags by name. */
export type Form = 'u32' | 'decimal' | 'hex' | 'domain' | { readonly names: Names } | { readonly bits: Names };

export interface Parameter {
  readonly name: string;
  readonly form: Form | null;
}

/** Operations that are told apart by a number: in the first register, or in front of a union that the first register points at. */
export interface Operations {
  readonly numbers: Names;
  /** Bits of the register that are the number. */
  readonly mask: number;
  /** null: the number stands in memory, and the operation's struct as many bytes behind it. */
  readonly union: number | null;
  /** By name; those that have none are not here. */
  readonly structs: Readonly<Record<string, Type<unknown>>>;
}

export interface Call {
  readonly parameters: readonly Parameter[];
  readonly operations: Operations | null;
  /** The parameter that points at structs; -1 for none. */
  readonly pointer: number;
  /** The parameter that says how many there are; -1: one. */
  readonly count: number;
  /** What it points at, where that does not depend on an operation. */
  readonly struct: Type<unknown> | null;
  /** The parameter that points at text, `count` bytes of it. */
  readonly isText: boolean;
}

/** Parameters of 32 bits. */
const SMALL_NUMBERS = ['count', 'entries', 'vcpuid', 'reg', 'set', 'ss'];

function parameter(text: string): Parameter {
  if (SMALL_NUMBERS.includes(text)) return { name: text, form: 'u32' };
  return { name: text, form: text === 'domid' || text === 'foreigndom' ? 'domain' : null };
}

/** "cmd arg": parameters, with the forms of some. */
function call(names: string, forms: Readonly<Record<string, Form>> = {}, more: Partial<Call> = {}): Call {
  const parameters = names
    .split(' ')
    .filter(name => name !== '')
    .map(name => ({ ...parameter(name), ...(forms[name] ? { form: forms[name] } : {}) }));
  return { parameters, operations: null, pointer: -1, count: -1, struct: null, isText: false, ...more };
}

const WHOLE = 0xffffffff;

/** (cmd, …): a number in the first register, and a pointer in the last one or another. */
function commands(
  names: string,
  numbers: Names,
  structs: Operations['structs'],
  { mask = WHOLE, pointer = names.split(' ').length - 1, count = -1 } = {},
): Call {
  return call(names, {}, { operations: { numbers, mask, union: null, structs }, pointer, count });
}

/** (op): a struct whose first field is the number. */
function headed(numbers: Names, union: bigint, structs: Operations['structs']): Call {
  return call('op', {}, { operations: { numbers, mask: WHOLE, union: Number(union), structs }, pointer: 0 });
}

/** An array of structs. */
function array(names: string, struct: Type<unknown>, forms: Readonly<Record<string, Form>> = {}): Call {
  const at = (name: string) => names.split(' ').indexOf(name);
  return call(names, forms, { struct, pointer: 0, count: at('count') });
}

/** Flags of update_va_mapping: an operation in the low bits, a set of vCPUs above them. */
const MAPPING_FLAGS: Form = {
  bits: { UVMF_TLB_FLUSH: xen.UVMF.tlbFlush, UVMF_INVLPG: xen.UVMF.invlpg, UVMF_ALL: xen.UVMF.all },
};
const CONSOLEIO = { write: 0, read: 1 } as const;
const { PLATFORM_UNION, XENPF, settime64, settime32, enterAcpiSleep, pcpuInfo, pcpuVersion } = platform;

export const CALLS: Readonly<Record<keyof typeof xen.HYPERCALL, Call>> = {
  set_trap_table: call('traps'),
  mmu_update: array('reqs count pdone foreigndom', xen.mmuUpdate),
  set_gdt: call('frames entries'),
  stack_switch: call('ss esp'),
  set_callbacks: call('event failsafe syscall'),
  fpu_taskswitch: call('set'),
  sched_op_compat: commands('cmd arg', sched.SCHEDOP, {}),
  platform_op: headed(XENPF, PLATFORM_UNION, {
    settime32,
    settime64,
    enter_acpi_sleep: enterAcpiSleep,
    get_cpuinfo: pcpuInfo,
    get_cpu_version: pcpuVersion,
  }),
  set_debugreg: call('reg value'),
  get_debugreg: call('reg'),
  update_descriptor: call('maddr desc', { maddr: 'hex', desc: 'hex' }),
  memory_op: commands(
    'cmd arg',
    memory.XENMEM,
    {
      increase_reservation: memory.xenMemoryReservation,
      decrease_reservation: memory.xenMemoryReservation,
      populate_physmap: memory.xenMemoryReservation,
      machphys_mfn_list: memory.xenMachphysMfnList,
      machphys_compat_mfn_list: memory.xenMachphysMfnList,
      add_to_physmap: memory.xenAddToPhysmap,
      add_to_physmap_batch: memory.xenAddToPhysmapBatch,
      remove_from_physmap: memory.xenRemoveFromPhysmap,
      memory_map: memory.xenMemoryMap,
      machine_memory_map: memory.xenMemoryMap,
      set_memory_map: memory.xenForeignMemoryMap,
      exchange: memory.xenMemoryExchange,
      machphys_mapping: memory.xenMachphysMapping,
      acquire_resource: memory.xenMemAcquireResource,
    },
    { mask: 0x3f },
  ),
  multicall: call('calls count'),
  update_va_mapping: call('va val flags', { va: 'hex', val: 'hex', flags: MAPPING_FLAGS }),
  set_timer_op: call('timeout', { timeout: 'decimal' }),
  event_channel_op_compat: call('op'),
  xen_version: commands('cmd arg', version.XENVER, {
    extraversion: version.xenExtraversion,
    compile_info: version.xenCompileInfo,
    capabilities: version.xenCapabilitiesInfo,
    changeset: version.xenChangesetInfo,
    platform_parameters: version.xenPlatformParameters,
    get_features: version.xenFeatureInfo,
    guest_handle: version.xenDomainHandle,
  }),
  console_io: { ...commands('cmd count buffer', CONSOLEIO, {}, { count: 1 }), isText: true },
  physdev_op_compat: call('op'),
  grant_table_op: commands(
    'cmd uop count',
    grant.GNTTABOP,
    {
      map_grant_ref: grant.gnttabMapGrantRef,
      unmap_grant_ref: grant.gnttabUnmapGrantRef,
      unmap_and_replace: grant.gnttabUnmapAndReplace,
      setup_table: grant.gnttabSetupTable,
      copy: grant.gnttabCopy,
      query_size: grant.gnttabQuerySize,
      set_version: grant.gnttabSetVersion,
      get_version: grant.gnttabGetVersion,
      get_status_frames: grant.gnttabGetStatusFrames,
      swap_grant_ref: grant.gnttabSwapGrantRef,
      cache_flush: grant.gnttabCacheFlush,
    },
    { mask: 0xfff, pointer: 1, count: 2 },
  ),
  vm_assist: call('cmd type', { cmd: { names: xen.VMASST_CMD }, type: { names: xen.VMASST_TYPE } }),
  update_va_mapping_otherdomain: call('va val flags domid', { va: 'hex', val: 'hex', flags: MAPPING_FLAGS }),
  iret: call(''),
  vcpu_op: commands('cmd vcpuid arg', vcpu.VCPUOP, {
    get_runstate_info: vcpu.vcpuRunstateInfo,
    register_runstate_memory_area: vcpu.vcpuRegisterArea,
    register_vcpu_time_memory_area: vcpu.vcpuRegisterArea,
    set_periodic_timer: vcpu.vcpuSetPeriodicTimer,
    set_singleshot_timer: vcpu.vcpuSetSingleshotTimer,
    register_vcpu_info: vcpu.vcpuRegisterVcpuInfo,
    get_physid: vcpu.vcpuGetPhysid,
  }),
  set_segment_base: call('which base', { which: { names: callback.SEGBASE }, base: 'hex' }),
  mmuext_op: array('uops count pdone foreigndom', xen.mmuextOp),
  xsm_op: call('op'),
  nmi_op: commands('cmd arg', callback.XENNMI, { register_callback: callback.xennmiCallback }),
  sched_op: commands('cmd arg', sched.SCHEDOP, {
    shutdown: sched.schedShutdown,
    shutdown_code: sched.schedShutdown,
    poll: sched.schedPoll,
    remote_shutdown: sched.schedRemoteShutdown,
    watchdog: sched.schedWatchdog,
    pin_override: sched.schedPinOverride,
  }),
  callback_op: commands('cmd arg', callback.CALLBACKOP, {
    register: callback.callbackRegister,
    unregister: callback.callbackUnregister,
  }),
  xenoprof_op: call('op arg'),
  event_channel_op: commands('cmd arg', evtchn.EVTCHNOP, {
    bind_interdomain: evtchn.evtchnBindInterdomain,
    bind_virq: evtchn.evtchnBindVirq,
    bind_pirq: evtchn.evtchnBindPirq,
    close: evtchn.evtchnClose,
    send: evtchn.evtchnSend,
    status: evtchn.evtchnStatus,
    alloc_unbound: evtchn.evtchnAllocUnbound,
    bind_ipi: evtchn.evtchnBindIpi,
    bind_vcpu: evtchn.evtchnBindVcpu,
    unmask: evtchn.evtchnUnmask,
    reset: evtchn.evtchnReset,
    reset_cont: evtchn.evtchnReset,
    init_control: evtchn.evtchnInitControl,
    expand_array: evtchn.evtchnExpandArray,
    set_priority: evtchn.evtchnSetPriority,
  }),
  physdev_op: commands('cmd arg', physdev.PHYSDEVOP, {
    irq_status_query: physdev.physdevIrqStatusQuery,
    eoi: physdev.physdevEoi,
    pirq_eoi_gmfn_v1: physdev.physdevPirqEoiGmfn,
    pirq_eoi_gmfn_v2: physdev.physdevPirqEoiGmfn,
    set_iopl: physdev.physdevSetIopl,
    set_iobitmap: physdev.physdevSetIobitmap,
    apic_read: physdev.physdevApic,
    apic_write: physdev.physdevApic,
    alloc_irq_vector: physdev.physdevIrq,
    map_pirq: physdev.physdevMapPirq,
    unmap_pirq: physdev.physdevUnmapPirq,
    manage_pci_add: physdev.physdevManagePci,
    manage_pci_remove: physdev.physdevManagePci,
    manage_pci_add_ext: physdev.physdevManagePciExt,
    restore_msi: physdev.physdevRestoreMsi,
    setup_gsi: physdev.physdevSetupGsi,
    get_free_pirq: physdev.physdevGetFreePirq,
    pci_mmcfg_reserved: physdev.physdevPciMmcfgReserved,
    pci_device_add: physdev.physdevPciDeviceAdd,
    pci_device_remove: physdev.physdevPciDevice,
    restore_msi_ext: physdev.physdevPciDevice,
    prepare_msix: physdev.physdevPciDevice,
    release_msix: physdev.physdevPciDevice,
  }),
  hvm_op: commands('cmd arg', hvm.HVMOP, {
    set_param: hvm.xenHvmParam,
    get_param: hvm.xenHvmParam,
    pagetable_dying: hvm.xenHvmPagetableDying,
    get_time: hvm.xenHvmGetTime,
    get_mem_type: hvm.xenHvmGetMemType,
    xentrace: hvm.xenHvmXentrace,
    set_evtchn_upcall_vector: hvm.xenHvmEvtchnUpcallVector,
  }),
  sysctl: headed(sysctl.SYSCTL, sysctl.SYSCTL_UNION, {
    readconsole: sysctl.readconsole,
    physinfo: sysctl.physinfo,
    sched_id: sysctl.schedId,
    getdomaininfolist: sysctl.getdomaininfolist,
    debug_keys: sysctl.debugKeys,
    cputopoinfo: sysctl.cputopoinfo,
    numainfo: sysctl.numainfo,
    cpupool_op: sysctl.cpupoolOp,
    get_cpu_levelling_caps: sysctl.cpuLevellingCaps,
  }),
  domctl: headed(domctl.DOMCTL, domctl.DOMCTL_UNION, {
    getdomaininfo: domctl.getdomaininfo,
    getvcpuinfo: domctl.getvcpuinfo,
    setvcpuaffinity: domctl.vcpuaffinity,
    getvcpuaffinity: domctl.vcpuaffinity,
    getnodeaffinity: domctl.nodeaffinity,
    gettscinfo: domctl.tscInfo,
  }),
  kexec_op: call('op arg'),
  tmem_op: call('op'),
  argo_op: call('cmd arg1 arg2 arg3 arg4'),
  xenpmu_op: commands('op arg', xen.XENPMU, {}),
  dm_op: call('domid count bufs'),
  hypfs_op: call('cmd arg1 arg2 arg3 arg4'),
  mca: headed(mca.MC, mca.MC_UNION, { fetch: mca.mcFetch, physcpuinfo: mca.mcPhyscpuinfo }),
};

/** Fields that are not plain numbers, by struct. */
export const FIELD_FORMS: ReadonlyMap<Type<unknown>, Readonly<Record<string, Form>>> = new Map<
  Type<unknown>,
  Readonly<Record<string, Form>>
>([
  [xen.mmuextOp, { cmd: { names: xen.MMUEXT } }],
  [callback.callbackRegister, { type: { names: callback.CALLBACKTYPE } }],
  [callback.callbackUnregister, { type: { names: callback.CALLBACKTYPE } }],
  [evtchn.evtchnBindVirq, { virq: { names: xen.VIRQ } }],
  [evtchn.evtchnStatus, { status: { names: evtchn.EVTCHNSTAT } }],
  [sched.schedShutdown, { reason: { names: sched.SHUTDOWN } }],
  [sched.schedRemoteShutdown, { reason: { names: sched.SHUTDOWN } }],
  [sched.schedPoll, { timeout: 'decimal' }],
  [vcpu.vcpuSetPeriodicTimer, { periodNs: 'decimal' }],
  [vcpu.vcpuSetSingleshotTimer, { timeoutAbsNs: 'decimal' }],
  [memory.xenAddToPhysmap, { space: { names: memory.XENMAPSPACE } }],
  [memory.xenAddToPhysmapBatch, { space: { names: memory.XENMAPSPACE } }],
  [physdev.physdevMapPirq, { type: { names: physdev.MAP_PIRQ_TYPE }, devfn: 'hex' }],
  [physdev.physdevIrqStatusQuery, { flags: { bits: physdev.XENIRQSTAT } }],
  [hvm.xenHvmParam, { index: { names: hvm.HVM_PARAM } }],
  [hvm.xenHvmGetMemType, { memType: { names: hvm.HVMMEM } }],
  [grant.gnttabMapGrantRef, { flags: { bits: grant.GNTMAP }, status: { names: grant.GNTST } }],
  [grant.gnttabUnmapGrantRef, { status: { names: grant.GNTST } }],
  [grant.gnttabUnmapAndReplace, { status: { names: grant.GNTST } }],
  [grant.gnttabCopy, { flags: { bits: grant.GNTCOPY }, status: { names: grant.GNTST } }],
  [grant.gnttabSetupTable, { status: { names: grant.GNTST } }],
  [grant.gnttabQuerySize, { status: { names: grant.GNTST } }],
  [grant.gnttabGetStatusFrames, { status: { names: grant.GNTST } }],
  [grant.gnttabSwapGrantRef, { status: { names: grant.GNTST } }],
  [version.xenFeatureInfo, { submap: 'hex' }],
  [platform.pcpuInfo, { flags: { bits: platform.PCPU_FLAGS } }],
]);

type Value = Readonly<Record<string, unknown>>;
/** The member of each union of a struct that is in use, null for none. `field`: what the struct is called in the one around it. */
export type ChooseMembers = (value: Value, field: string, around: Value) => Readonly<Record<string, string | null>>;

/** Structs whose unions have another member in use than the first. */
export const UNION_MEMBERS: ReadonlyMap<Type<unknown>, ChooseMembers> = new Map<Type<unknown>, ChooseMembers>([
  [xen.mmuextOp, ({ cmd }) => MMUEXT_MEMBERS.get(Number(cmd)) ?? { arg1: null, arg2: null }],
  [evtchn.evtchnStatus, ({ status }) => ({ u: STATUS_MEMBERS.get(Number(status)) ?? null })],
  [
    grant.gnttabCopyPtr,
    (_value, field, around) => {
      const isGrant = Number(around.flags) & (field === 'source' ? grant.GNTCOPY.source_gref : grant.GNTCOPY.dest_gref);
      return { u: isGrant ? 'ref' : 'gmfn' };
    },
  ],
]);

const { MMUEXT } = xen;
const NOTHING_ELSE = { arg2: null } as const;
const MMUEXT_MEMBERS = new Map<number, Readonly<Record<string, string | null>>>([
  ...[MMUEXT.pin_l1_table, MMUEXT.pin_l2_table, MMUEXT.pin_l3_table, MMUEXT.pin_l4_table, MMUEXT.unpin_table, MMUEXT.new_baseptr,
    MMUEXT.new_user_baseptr, MMUEXT.clear_page, MMUEXT.mark_super, MMUEXT.unmark_super].map(cmd => [cmd, { arg1: 'mfn', ...NOTHING_ELSE }] as const),
  ...[MMUEXT.invlpg_local, MMUEXT.invlpg_all].map(cmd => [cmd, { arg1: 'linearAddr', ...NOTHING_ELSE }] as const),
  [MMUEXT.tlb_flush_multi, { arg1: null, arg2: 'vcpumask' }],
  [MMUEXT.invlpg_multi, { arg1: 'linearAddr', arg2: 'vcpumask' }],
  [MMUEXT.set_ldt, { arg1: 'linearAddr', arg2: 'nrEnts' }],
  [MMUEXT.copy_page, { arg1: 'mfn', arg2: 'srcMfn' }],
]); // biome-ignore format: a table
const { EVTCHNSTAT } = evtchn;
const STATUS_MEMBERS = new Map<number, string>([
  [EVTCHNSTAT.unbound, 'unbound'],
  [EVTCHNSTAT.interdomain, 'interdomain'],
  [EVTCHNSTAT.pirq, 'pirq'],
  [EVTCHNSTAT.virq, 'virq'],
]);

const HYPERCALL_NAMES = new Map<number, string>(Object.entries(xen.HYPERCALL).map(([name, number]) => [number, name]));

/** A hypercall by its number; undefined for one that Xen does not have. */
export function callOf(number: number): { readonly name: string; readonly call: Call } | undefined {
  const name = HYPERCALL_NAMES.get(number) as keyof typeof xen.HYPERCALL | undefined;
  return name && { name, call: CALLS[name] };
}

/** The name of a value of an enumeration. */
export function nameIn(names: Names, value: number): string | null {
  for (const name in names) if (names[name] === value) return name;
  return null;
}

/** The name of the operation that a call's registers say; null where there is none, or it stands in memory. */
export function operationOf({ operations }: Call, args: readonly bigint[]): string | null {
  if (!operations || operations.union !== null || args.length === 0) return null;
  return nameIn(operations.numbers, Number(args[0] & BigInt(operations.mask)));
}
