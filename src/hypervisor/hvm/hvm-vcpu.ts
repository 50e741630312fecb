// An HVM domain's vCPU as hardware: a logical processor with a local APIC on its domain's own interrupt bus.
import { Exit } from '../../cpu/exits.ts';
import { Flag } from '../../cpu/flags.ts';
import { S } from '../../cpu/layout.ts';
import type { Bus } from '../../cpu/types.ts';
import { apicKindOf } from '../../machine/interrupts/apic-registers.ts';
import type { InterruptBus } from '../../machine/interrupts/interrupt-bus.ts';
import { LocalApic } from '../../machine/interrupts/local-apic.ts';
import { ProcessorBus } from '../../machine/interrupts/processor-bus.ts';
import { type InterruptSource, LogicalProcessor } from '../../machine/processor/logical-processor.ts';
import { type Domain, ShutdownReason } from '../domain.ts';
import { unblock } from '../events/wake.ts';
import type { Vcpu } from '../vcpu.ts';
import { handleHypercall } from './hypercall.ts';
import { HvmRegisters } from './registers.ts';
import { tripleFault } from './triple-fault.ts';
import type { UpcallTarget } from './upcalls.ts';

/** What the vCPUs of a domain have in common. */
export interface HvmPlatform {
  readonly bus: Bus;
  readonly interrupts: InterruptBus;
}

/** Gives a domain's vCPUs their processors. */
export function connectProcessors(domain: Domain, platform: HvmPlatform): void {
  for (const vcpu of domain.vcpus) {
    vcpu.hvm = new HvmVcpu(vcpu, platform);
    domain.hvm!.upcalls.targets[vcpu.id] = vcpu.hvm;
  }
}

/** APIC ids are even, as if every vCPU were one of a core's two threads. */
export const apicIdOf = (vcpu: number): number => vcpu * 2;

export class HvmVcpu implements UpcallTarget {
  readonly apic: LocalApic;
  readonly logical: LogicalProcessor;
  readonly registers: HvmRegisters;
  private readonly vcpu: Vcpu;
  /** The local APIC speaks up while it is being made. */
  private isWired = false;
  /** The local APIC was on when it last changed. */
  private accepted = false;

  constructor(vcpu: Vcpu, { bus, interrupts }: HvmPlatform) {
    const { domain } = vcpu;
    const { processor, clock } = domain.hypervisor;
    this.vcpu = vcpu;
    this.apic = new LocalApic({
      id: apicIdOf(vcpu.id),
      bootstrap: vcpu.id === 0,
      kind: apicKindOf(processor.model),
      clock: domain.hvm!.clock,
      tsc: () => this.logical.tsc,
      tscHz: clock.tscHz,
      bus: interrupts,
      processor: {
        changed: () => this.kick(),
        nmi: () => this.logical.nmi(),
        init: () => this.init(),
        startUp: vector => this.startUp(vector),
      },
    });
    this.registers = new HvmRegisters(vcpu, this.apic);
    this.logical = new LogicalProcessor({
      id: vcpu.id,
      processor,
      map: domain.hvm!.physmap.map,
      bus: new ProcessorBus(bus, this.apic),
      registers: this.registers,
      interrupts: this.interruptSource(),
      // Each waits for a Start-Up IPI, after an INIT too; what the builder gives a context runs at once.
      isBootProcessor: false,
      onShutdown: () => tripleFault(vcpu),
      onInit: () => this.apic.init(),
      onTscMove: () => this.apic.timer.tscChanged(),
      onVmcall: () => handleHypercall(vcpu),
      onFailure: error => domain.hypervisor.bug(domain, error),
    });
    vcpu.stored = this.logical.stored;
    this.isWired = true;
  }

  /** The domain's callback vector comes before whatever waits in the local APIC, and does not pass through it. */
  private interruptSource(): InterruptSource {
    const { vcpu, apic } = this;
    const { upcalls } = vcpu.domain.hvm!;
    return {
      pending: () => {
        const vector = upcalls.pendingVector(vcpu);
        return vector >= 0 ? vector : apic.pending();
      },
      acknowledge: () => {
        const callback = upcalls.pendingVector(vcpu);
        const vector = callback >= 0 ? callback : apic.acknowledge();
        const { tracer } = vcpu.domain.hypervisor;
        if (tracer && vector === upcalls.vectorOf(vcpu)) tracer.upcall(vcpu);
        return vector;
      },
      get cr8() {
        return apic.cr8;
      },
      set cr8(priority) {
        apic.cr8 = priority;
      },
    };
  }

  raise(vector: number): void {
    this.apic.inject(vector);
  }

  /** Something may wait that did not before: ends HLT, SCHEDOP_block and SCHEDOP_poll alike. */
  kick(): void {
    if (!this.isWired) return;
    const accepts = this.apic.acceptsVectors;
    if (accepts !== this.accepted) {
      this.accepted = accepts;
      // What was to be told while it was off.
      if (accepts) this.vcpu.domain.hvm!.upcalls.accepting(this.vcpu);
    }
    this.logical.inputsChanged();
    if (this.vcpu.isBlocked && this.interruptSource().pending() >= 0) unblock(this.vcpu);
  }

  /** An interrupt could be delivered now: hypercalls that wait for events return at once. */
  get eventsNeedDelivery(): boolean {
    const { cpu } = this.vcpu;
    return (cpu.get32(S.rflags) & Flag.IF) !== 0 && this.interruptSource().pending() >= 0;
  }

  private init(): void {
    // What has not run yet is as INIT leaves it.
    if (!this.vcpu.isInitialised) return;
    this.logical.init();
    this.vcpu.isUp = false;
  }

  private startUp(vector: number): void {
    this.logical.startUp(vector);
    if (!this.logical.isRunnable) return;
    this.vcpu.isInitialised = true;
    this.vcpu.isUp = true;
    this.vcpu.time.wake();
  }

  /** Deals with what ended run(). */
  handleExit(exit: number): void {
    const { vcpu, logical } = this;
    // With interrupts off nothing but an NMI could end it, and that is how processors are switched off.
    if (exit === Exit.halt && !(vcpu.cpu.get32(S.rflags) & Flag.IF)) this.down();
    else logical.handleExit(exit);
  }

  /** The processor is off until it is initialised again; the last one switches the domain off. */
  private down(): void {
    const { vcpu } = this;
    const { vcpus } = vcpu.domain;
    vcpu.isUp = false;
    if (!vcpus.some(other => other.isUp)) vcpu.domain.shutDown(ShutdownReason.poweroff);
  }
}
