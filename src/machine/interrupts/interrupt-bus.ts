// The bus between local APICs, I/O APICs and devices that send messages: who is meant by a destination, and how the end of a
// level-triggered interrupt finds its way back (SDM Vol. 3A, 11.6.2 and 11.8.5). Delivery is immediate and in order of attachment.
import type { Line } from '../chip.ts';
import { Delivery, type InterruptMessage, isMsi, messageOfMsi } from './interrupt-message.ts';

/** A local APIC as the bus sees it. */
export interface BusAgent {
  /** Whether it is among those meant. */
  isMeant(destination: number, logical: boolean): boolean;
  /** Takes a message for itself; false where it does not accept this kind now. */
  accept(message: InterruptMessage): boolean;
  /** Whether it would accept interrupts with vectors, and the priority of what its processor does now. */
  readonly acceptsVectors: boolean;
  readonly processorPriority: number;
  /** The pins LINT0 and LINT1. */
  lint(pin: 0 | 1, level: boolean): void;
}

/** Who hears of ends of level-triggered interrupts: an I/O APIC. */
export type EoiListener = (vector: number) => void;

/** The 8259A's side of an interrupt acknowledge cycle: its vector. */
export interface InterruptAcknowledger {
  acknowledge(): number;
}

export class InterruptBus {
  private readonly agents: BusAgent[] = [];
  private readonly listeners: EoiListener[] = [];
  /** Answers acknowledge cycles of ExtINT interrupts. Without one they are vector 0xff, a bus that nobody drives. */
  acknowledger: InterruptAcknowledger | null = null;
  /** Takes a device's message from the local APICs where it answers true: a hypervisor that makes events of interrupts. */
  divert: ((address: number, data: number) => boolean) | null = null;

  attach(agent: BusAgent): void {
    this.agents.push(agent);
  }

  onEoi(listener: EoiListener): void {
    this.listeners.push(listener);
  }

  /** Sends to whom the destination means. Returns whether somebody accepted it. */
  deliver(message: InterruptMessage): boolean {
    const meant = this.agents.filter(agent => agent.isMeant(message.destination, message.logical));
    return this.hand(message, message.delivery === Delivery.lowestPriority ? arbitrate(meant) : meant);
  }

  /** A shorthand: to everyone, or to everyone but the sender. */
  broadcast(message: InterruptMessage, except?: BusAgent): boolean {
    const others = this.agents.filter(agent => agent !== except);
    return this.hand(message, message.delivery === Delivery.lowestPriority ? arbitrate(others) : others);
  }

  /** A device's write of a message. False where the address is not one for messages: it goes to memory then. */
  writeMsi(address: number, data: number): boolean {
    if (!isMsi(address)) return false;
    if (this.divert?.(address, data)) return true;
    const message = messageOfMsi(address, data);
    if (message) this.deliver(message);
    return true;
  }

  /** A processor has finished with a level-triggered interrupt. */
  endOfInterrupt(vector: number): void {
    for (const listener of this.listeners) listener(vector);
  }

  /** The interrupt acknowledge cycle. */
  acknowledge(): number {
    return this.acknowledger ? this.acknowledger.acknowledge() & 0xff : 0xff;
  }

  /** The 8259A's INTR, which every LINT0 is tied to. */
  readonly intr: Line = level => {
    for (const agent of this.agents) agent.lint(0, level);
  };

  /** The NMI line of the board, which every LINT1 is tied to. */
  readonly nmi: Line = level => {
    for (const agent of this.agents) agent.lint(1, level);
  };

  private hand(message: InterruptMessage, to: readonly BusAgent[]): boolean {
    let accepted = false;
    for (const agent of to) accepted = agent.accept(message) || accepted;
    return accepted;
  }
}

/** The one with the lowest priority, of equals the first: what chipsets do, and the same in every run. */
function arbitrate(agents: readonly BusAgent[]): readonly BusAgent[] {
  let best: BusAgent | null = null;
  for (const agent of agents) {
    if (agent.acceptsVectors && (!best || agent.processorPriority < best.processorPriority)) best = agent;
  }
  return best ? [best] : [];
}
