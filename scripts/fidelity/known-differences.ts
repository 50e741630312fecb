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
    differences: ['only theirs', 'only ours', 'order'],
    cause: 'a contended spinlock: vCPUs take turns here, and whether they meet at one is a matter of instructions',
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
    call: /^event_channel_op\.alloc_unbound$/,
    differences: ['only theirs'],
    dom0: true,
    cause: 'nobody serves XenStore there yet, so Dom0 makes the channel; here the host does from the start',
  },
  {
    call: /^physdev_op\.eoi$/,
    differences: ['only theirs'],
    dom0: true,
    cause: 'a level-triggered interrupt came, of the network card there; here nothing interrupts by a line',
  },
  {
    call: /^physdev_op\.pci_mmcfg_reserved$/,
    differences: ['only ours'],
    dom0: true,
    cause: 'PCI configuration space in memory (ECAM), which an i440FX has not',
  },
  {
    call: /^memory_op\.current_reservation$/,
    differences: ['only ours'],
    dom0: true,
    cause: "the newer kernel's balloon driver asks (6.12.117; the trace has 6.12.107)",
  },
  {
    call: /^event_channel_op\.alloc_unbound$/,
    differences: ['only theirs'],
    cause: 'the guest of the trace has a disk and a network interface',
  },
  {
    call: /^(iret|event_channel_op\.send)$/,
    differences: ['order'],
    dom0: true,
    cause: 'the first interrupt, or the first event to another vCPU, comes a little earlier or later',
  },
];

/** Why this is so; null where it is not known. `reference` is the domain of the trace. */
export function knownCause(call: string, difference: Difference, reference: number): string | null {
  const holds = (known: Known) => known.differences.includes(difference) && known.call.test(call);
  return KNOWN.find(known => holds(known) && (!known.dom0 || reference === 0))?.cause ?? null;
}
