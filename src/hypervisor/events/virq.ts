// Virtual interrupts. Source: xen/include/public/xen.h (VIRQ_*).

/** VIRQ_* by name. */
export const Virq = {
  timer: 0,
  debug: 1,
  console: 2,
  domExc: 3,
  tbuf: 4,
  debugger: 6,
  xenoprof: 7,
  conRing: 8,
  pcpuState: 9,
  memEvent: 10,
  argo: 11,
  enomem: 12,
  xenpmu: 13,
  /** VIRQ_MCA on x86. */
  arch0: 16,
} as const;

export const NR_VIRQS = 24;

const PER_VCPU = new Set<number>([Virq.timer, Virq.debug, Virq.xenoprof, Virq.xenpmu]);

/** A global VIRQ has one holder a domain, bound through vCPU 0; the others exist once a vCPU. */
export function isGlobalVirq(virq: number): boolean {
  return !PER_VCPU.has(virq);
}
