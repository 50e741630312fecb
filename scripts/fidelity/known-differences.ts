// Differences between our boots and genuine Xen's whose cause is known. docs/fidelity.md tells more about each.

export type Difference = 'only ours' | 'only theirs' | 'order' | 'arguments' | 'result';

interface Known {
  readonly call: RegExp;
  readonly differences: readonly Difference[];
  /** Holds against a trace of Dom0 only. */
  readonly dom0?: true;
  readonly cause: string;
}

const KNOWN: readonly Known[] = [
  {
    call: /^mmuext_op$/,
    differences: ['arguments'],
    cause: 'Xen paused within the batch, and the kernel makes the call again with bit 31 in the count',
  },
  {
    call: /^sched_op\.yield$/,
    differences: ['order', 'only ours', 'only theirs'],
    cause: "Linux yields while the console's ring is full: that depends on how fast the other end reads",
  },
  {
    call: /^sched_op\.poll$/,
    differences: ['only theirs'],
    cause: 'a contended spinlock: vCPUs take turns here and rarely meet',
  },
  {
    call: /^vcpu_op\.register_vcpu_time_memory_area$/,
    differences: ['only ours'],
    cause: 'the TSC is stable here, as on Xen with clocksource=tsc',
  },
  {
    call: /^xen_version\.(guest_handle|compile_info|capabilities|changeset|pagesize|platform_parameters)$/,
    differences: ['only ours'],
    cause: 'our init reads /sys/hypervisor',
  },
  {
    call: /^console_io\./,
    differences: ['result', 'only ours', 'only theirs'],
    dom0: true,
    cause: "only Dom0 may use Xen's own console",
  },
  { call: /^platform_op/, differences: ['only theirs'], dom0: true, cause: 'Dom0 looks after the machine' },
  {
    call: /^(memory_op\.machine_memory_map|memory_op\.memory_map|memory_op\.maximum_reservation)$/,
    differences: ['only theirs', 'only ours'],
    dom0: true,
    cause: "Dom0 starts from the machine's memory map, a guest from its own",
  },
  {
    call: /^memory_op\.exchange/,
    differences: ['only theirs'],
    dom0: true,
    cause: 'Dom0 wants memory that devices can reach',
  },
  {
    call: /^(physdev_op\..*|event_channel_op\.bind_pirq|mca)/,
    differences: ['only theirs'],
    dom0: true,
    cause: "Dom0 has the machine's devices",
  },
  {
    call: /^event_channel_op\.(alloc_unbound|close)$/,
    differences: ['only theirs'],
    dom0: true,
    cause: "Dom0 makes XenStore's event channel itself",
  },
  {
    call: /^event_channel_op\.alloc_unbound$/,
    differences: ['only theirs'],
    cause: 'the guest of the trace has a disk and a network interface',
  },
  {
    call: /^(iret|xen_version\.version|event_channel_op\.(send|expand_array|unmask)|update_va_mapping\.tlb_flush)$/,
    differences: ['order', 'arguments', 'only ours'],
    dom0: true,
    cause: 'another driver, or another moment of the same one, is the first to make it',
  },
  {
    call: /^(sched_op\.shutdown|xenpmu_op\.finish)/,
    differences: ['only ours'],
    dom0: true,
    cause: 'Dom0 powers off through ACPI',
  },
];

/** Why this is so; null where it is not known. `reference` is the domain of the trace. */
export function knownCause(call: string, difference: Difference, reference: number): string | null {
  const holds = (known: Known) => known.differences.includes(difference) && known.call.test(call);
  return KNOWN.find(known => holds(known) && (!known.dom0 || reference === 0))?.cause ?? null;
}
