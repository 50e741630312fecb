// A message-signalled interrupt of the machine that a domain gets as the message which the domain itself has programmed.
// Source: xen/drivers/passthrough/x86/hvm.c (hvm_do_IRQ_dpci, vmsi_deliver_pirq).
import type { InterruptBus } from '../../machine/interrupts/interrupt-bus.ts';
import { XenError } from '../errors.ts';
import type { HostIrqs, MessageSource } from './host-irqs.ts';

/** Address and data as the domain has written them; they are read anew for every interrupt. */
export interface GuestMessage {
  readonly address: number;
  readonly data: number;
}

export class PassedMessage {
  private readonly irqs: HostIrqs;
  private readonly bus: InterruptBus;
  private readonly makeSource: () => MessageSource;
  private irq: number | null = null;

  /** @param bus the domain's own */
  constructor(irqs: HostIrqs, bus: InterruptBus, makeSource: () => MessageSource) {
    this.irqs = irqs;
    this.bus = bus;
    this.makeSource = makeSource;
  }

  /** What comes from now on is passed on. Nothing does where the machine has no vector left. */
  start(message: GuestMessage): void {
    if (this.irq !== null) return;
    try {
      this.irq = this.irqs.addMessage(this.makeSource());
      this.irqs.bind(this.irq, () => void this.bus.writeMsi(message.address, message.data));
    } catch (error) {
      if (!(error instanceof XenError)) throw error;
    }
  }

  stop(): void {
    if (this.irq === null) return;
    this.irqs.unbind(this.irq);
    this.irqs.removeMessage(this.irq);
    this.irq = null;
  }
}
