// HVM_PARAM_*: what the toolstack tells an HVM domain, and the other way round. Who may read and write which stands here once.
// Source: xen/include/public/hvm/params.h; xen/arch/x86/hvm/hvm.c (hvm_allow_set_param, hvm_set_param, hvm_allow_get_param).
import { HVM_NR_PARAMS, HVM_PARAM } from '../../abi/xen/hvm.ts';
import { XenError } from '../errors.ts';

const P = HVM_PARAM;

/** The guest itself may write these. */
const GUEST_WRITES = new Set<number>([
  P.callback_irq, P.vm86_tss, P.vm86_tss_sized, P.acpi_ioports_location, P.vm_generation_id_addr, P.store_evtchn, P.console_evtchn,
  P.x87_fip_width,
]); // biome-ignore format: a list
/** The guest itself may read these. */
const GUEST_READS = new Set<number>([
  P.callback_irq, P.vm86_tss, P.vm86_tss_sized, P.acpi_ioports_location, P.vm_generation_id_addr, P.store_pfn, P.store_evtchn,
  P.console_pfn, P.console_evtchn, P.altp2m, P.x87_fip_width,
]); // biome-ignore format: a list
/** Not in use any more, for anybody. */
const OBSOLETE = new Set<number>([
  P.pae_enabled, P.dm_domain, P.memory_event_cr0, P.memory_event_cr3, P.memory_event_cr4, P.memory_event_int3, P.nestedhvm,
  P.memory_event_single_step, P.bufioreq_evtchn, P.memory_event_msr,
]); // biome-ignore format: a list
/** Once they are not 0 they stay as they are. */
const WRITTEN_ONCE = new Set<number>([
  P.viridian, P.ioreq_pfn, P.bufioreq_pfn, P.ioreq_server_pfn, P.nr_ioreq_server_pages, P.altp2m, P.mca_cap,
]); // biome-ignore format: a list

const HIGHEST_TIMER_MODE = 3n;
const HIGHEST_SHUTDOWN_REASON = 5n;
const IOREQ_SERVER_PAGES = 64n;
/** VM86_TSS_SIZED: the address below, the size above. A size that an old firmware does not give is 128. */
const TSS_OLD_SIZE = 128n << 32n;
const TSS_LEAST = 104n;
/** The structure with the whole interrupt redirection and I/O bitmaps. */
const TSS_MOST = 104n + 32n + 8192n + 1n;
const LOW = 0xffffffffn;

export class HvmParams {
  private readonly values = new BigUint64Array(HVM_NR_PARAMS);
  /** Told of values that mean something to the platform, before they are kept; may throw XenError. */
  onSet: ((index: number, value: bigint) => void) | null = null;

  /** A value, whoever may see it. */
  peek(index: number): bigint {
    return this.values[index];
  }

  /** The domain builder's way: no checks. */
  poke(index: number, value: bigint): void {
    this.values[index] = value;
  }

  /** HVMOP_get_param. `own`: the domain asks for its own. Throws EINVAL, EPERM. */
  get(index: number, own: boolean): bigint {
    if (OBSOLETE.has(index)) throw new XenError('EINVAL');
    if (own && !GUEST_READS.has(index)) throw new XenError('EPERM');
    if (index === P.vm86_tss) return this.values[P.vm86_tss_sized] & LOW;
    return this.values[index];
  }

  /** HVMOP_set_param. `crash` is called where a guest gives itself what only a broken one gives. Throws EINVAL, EPERM, EEXIST. */
  set(index: number, value: bigint, own: boolean, crash: (reason: string) => void): void {
    if (OBSOLETE.has(index)) throw new XenError('EINVAL');
    if (own && !GUEST_WRITES.has(index)) throw new XenError('EPERM');
    const old = this.values[index];
    if (WRITTEN_ONCE.has(index) && old !== 0n && old !== value) throw new XenError('EEXIST');
    switch (index) {
      case P.timer_mode:
        requireAtMost(value, HIGHEST_TIMER_MODE);
        break;
      case P.triple_fault_reason:
        requireAtMost(value, HIGHEST_SHUTDOWN_REASON);
        break;
      case P.nr_ioreq_server_pages:
        if (value === 0n) throw new XenError('EINVAL');
        requireAtMost(value, IOREQ_SERVER_PAGES);
        break;
      case P.x87_fip_width:
        if (value !== 0n && value !== 4n && value !== 8n) throw new XenError('EINVAL');
        break;
      // Views of memory that only introspection has, interfaces of another hypervisor, virtual machine checks beyond the two banks.
      case P.altp2m:
      case P.viridian:
      case P.mca_cap:
        if (value !== 0n) throw new XenError('EINVAL');
        break;
      case P.vm86_tss:
        if (value > LOW) refuseTss(own, crash);
        this.values[P.vm86_tss_sized] = value && value | TSS_OLD_SIZE;
        return;
      case P.vm86_tss_sized: {
        const size = value >> 32n;
        if (size < TSS_LEAST) refuseTss(own, crash);
        this.values[index] = size > TSS_MOST ? (value & LOW) | (TSS_MOST << 32n) : value;
        return;
      }
    }
    this.onSet?.(index, value);
    this.values[index] = value;
  }
}

function requireAtMost(value: bigint, most: bigint): void {
  if (value > most) throw new XenError('EINVAL');
}

function refuseTss(own: boolean, crash: (reason: string) => void): never {
  if (own) crash('HVM_PARAM_VM86_TSS is no place for a task state segment');
  throw new XenError('EINVAL');
}
