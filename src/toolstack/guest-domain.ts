// A domain as the host's user has it: its console, its end, and what can be asked of it.
import type { DomainTreeSpec } from '../backends/xenstore/domain-tree.ts';
import { requestShutdown } from '../backends/xenstore/domain-tree.ts';
import type { HostClient } from '../backends/xenstore/host-client.ts';
import type { CrashRecord } from '../hypervisor/crash.ts';
import { type Domain, ShutdownReason } from '../hypervisor/domain.ts';
import { type HypercallRecord, lastHypercalls } from '../hypervisor/hypercalls/trace.ts';
import type { Board } from '../machine/board.ts';
import type { GuestConsole } from './guest-console.ts';

export type ShutdownName = keyof typeof ShutdownReason | 'unknown';

const NAMES = new Map<number, ShutdownName>(
  Object.entries(ShutdownReason).map(([name, code]) => [code, name as ShutdownName]),
);

export class GuestDomain {
  /** The domain's primary console. */
  readonly console: GuestConsole;
  /** The hypervisor's own object, for tools that look inside. */
  readonly domain: Domain;
  readonly tree: DomainTreeSpec;
  /** A PVHVM domain's own PC, for tools that look inside. */
  readonly board: Board | null;
  private readonly store: HostClient;

  constructor(domain: Domain, console: GuestConsole, tree: DomainTreeSpec, store: HostClient, board: Board | null) {
    this.domain = domain;
    this.console = console;
    this.tree = tree;
    this.store = store;
    this.board = board;
  }

  get id(): number {
    return this.domain.id;
  }

  get name(): string {
    return this.domain.name;
  }

  /** How the domain has ended; null while it lives. */
  get shutdown(): ShutdownName | null {
    const { shutdown } = this.domain;
    return shutdown === null ? null : (NAMES.get(shutdown.code) ?? 'unknown');
  }

  /** What there was to see when it crashed, by itself (a kernel panic) or by the hypervisor. */
  get crash(): CrashRecord | null {
    const { crashRecord } = this.domain;
    // Taken within the hypercall that ends the guest: that one has returned by now and is the last.
    return crashRecord && { ...crashRecord, hypercalls: this.lastHypercalls };
  }

  /** Its last hypercalls, oldest first. */
  get lastHypercalls(): HypercallRecord[] {
    return lastHypercalls(this.domain);
  }

  /** Asks the guest to end, as `xl shutdown` and `xl reboot` do; it decides when. */
  requestShutdown(how: 'poweroff' | 'reboot' | 'halt' = 'poweroff'): void {
    requestShutdown(this.store, this.id, how);
  }
}
