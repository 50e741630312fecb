// How an HVM domain's vCPUs are told of events: by a vector of their own through the local APIC, by the domain's callback vector without
// it, or by a level on an interrupt line of the platform. The upcall mask of vcpu_info has no meaning for them.
// Source: xen/arch/x86/hvm/irq.c (hvm_set_callback_via, hvm_assert_evtchn_irq, hvm_set_callback_irq_level, hvm_vcpu_has_pending_irq).
import { CALLBACK_TYPE } from '../../abi/xen/hvm.ts';
import type { Domain } from '../domain.ts';
import type { Vcpu } from '../vcpu.ts';

/** A way to tell the domain: HVM_PARAM_CALLBACK_IRQ. */
type Via =
  | { kind: 'none' }
  | { kind: 'vector'; vector: number }
  | { kind: 'gsi'; gsi: number }
  | { kind: 'pciIntx'; device: number; pin: number };

const NONE: Via = { kind: 'none' };

/** The platform's interrupt lines that a callback can use. */
export interface CallbackLines {
  /** GSIs that exist: 1 to gsis - 1 may be used. */
  readonly gsis: number;
  gsi(gsi: number, level: boolean): void;
  /** Pin 0 (A) to 3 (D) of a device on PCI bus 0. */
  pciIntx(device: number, pin: number, level: boolean): void;
}

/** A vCPU's side of it. */
export interface UpcallTarget {
  /** An edge-triggered interrupt through the local APIC; lost where that is disabled. */
  raise(vector: number): void;
  /** What waits for the vCPU has changed: it wakes up and looks. */
  kick(): void;
}

export class Upcalls {
  /** Null where the platform has no interrupt controllers but local APICs. */
  lines: CallbackLines | null = null;
  /** By vCPU; set when the domain gets its processors. */
  readonly targets: UpcallTarget[] = [];
  private readonly domain: Domain;
  private readonly vectors: number[] = [];
  private via: Via = NONE;
  private isAsserted = false;

  constructor(domain: Domain) {
    this.domain = domain;
  }

  /** HVMOP_set_evtchn_upcall_vector. What waits is told again. */
  setVector(vcpu: Vcpu, vector: number): void {
    this.vectors[vcpu.id] = vector;
    this.assert(vcpu);
  }

  /** Events come by vectors, at least to vCPU 0, and need no interrupt line. */
  get useVectors(): boolean {
    return this.via.kind === 'vector' || (this.vectors[0] ?? 0) !== 0;
  }

  /** INIT and VCPUOP_initialise forget a vCPU's vector. */
  resetVector(vcpu: Vcpu): void {
    this.vectors[vcpu.id] = 0;
  }

  /** HVM_PARAM_CALLBACK_IRQ. Lines need a platform that has them; without it only vectors are of effect. */
  setVia(value: bigint): void {
    const via = viaOf(value, this.lines?.gsis ?? 0);
    if (via.kind !== 'vector' && !this.lines) return;
    if (this.isAsserted) this.drive(false);
    this.via = via;
    if (this.isAsserted) this.drive(true);
    for (const vcpu of this.domain.vcpus) if (vcpu.isUp) this.assert(vcpu);
  }

  /** A vCPU's upcall flag went from 0 to 1. */
  raised(vcpu: Vcpu): void {
    this.assert(vcpu);
  }

  /** A vCPU's local APIC takes interrupts from now on: it has missed what came before. */
  accepting(vcpu: Vcpu): void {
    const vector = this.vectors[vcpu.id] ?? 0;
    if (vector !== 0 && vcpu.info.upcallPending) this.targets[vcpu.id]?.raise(vector);
  }

  /** The vector that is to be injected into the vCPU without its local APIC's help; negative for none. */
  pendingVector(vcpu: Vcpu): number {
    return this.via.kind === 'vector' && vcpu.info.upcallPending ? this.via.vector : -1;
  }

  /** The vector that tells a vCPU of events, however it gets there; negative for none. */
  vectorOf(vcpu: Vcpu): number {
    return this.vectors[vcpu.id] || (this.via.kind === 'vector' ? this.via.vector : -1);
  }

  /** Before a vCPU runs: the line goes down once the guest has cleared vCPU 0's flag. */
  guestRuns(): void {
    if (this.isAsserted && !this.domain.vcpus[0].info.upcallPending) this.updateLine();
  }

  private assert(vcpu: Vcpu): void {
    const vector = this.vectors[vcpu.id] ?? 0;
    if (vector !== 0) this.targets[vcpu.id]?.raise(vector);
    else if (this.via.kind === 'vector') this.targets[vcpu.id]?.kick();
    else if (vcpu.id === 0) this.updateLine();
  }

  private updateLine(): void {
    const asserted = this.domain.vcpus[0].info.upcallPending;
    if (asserted === this.isAsserted) return;
    this.isAsserted = asserted;
    this.drive(asserted);
  }

  private drive(level: boolean): void {
    const { via, lines } = this;
    if (via.kind === 'gsi') lines?.gsi(via.gsi, level);
    else if (via.kind === 'pciIntx') lines?.pciIntx(via.device, via.pin, level);
  }
}

function viaOf(value: bigint, gsis: number): Via {
  const low = Number(value & 0xffffffffn);
  switch (Number(value >> 56n)) {
    case CALLBACK_TYPE.gsi: {
      const gsi = low & 0xff;
      return gsi === 0 || gsi >= gsis ? NONE : { kind: 'gsi', gsi };
    }
    case CALLBACK_TYPE.pciIntx:
      return { kind: 'pciIntx', device: (low >> 11) & 31, pin: low & 3 };
    case CALLBACK_TYPE.vector:
      return { kind: 'vector', vector: low & 0xff };
    default:
      return NONE;
  }
}
