// Boots of the library's Host, as reports want them: one host a boot.

import { captureCrash } from '../hypervisor/crash.ts';
import { runnerOf } from '../hypervisor/schedule.ts';
import { BuildError, Host, ramForGuests } from '../index.ts';
import { yieldToEventLoop } from '../toolstack/event-loop.ts';
import { MODES, type Mode } from '../toolstack/image/modes.ts';
import type { BootedDomain, BootRequest, DomainEnd, EndReason } from './boot.ts';

/** Modes that there is a domain builder for. */
const BUILT: ReadonlySet<Mode> = new Set(['pv']);
/** What the kernel is told in each mode before what the user appends: where its console is. */
const CONSOLES: Readonly<Record<Mode, string>> = {
  native: 'console=ttyS0',
  dom0: 'console=hvc0',
  pv: 'console=hvc0',
  pvh: 'console=hvc0',
  pvhvm: 'console=ttyS0 console=hvc0',
};
/** A console for what happens before that one is there, and all messages on it. */
const EARLY_CONSOLES: Readonly<Record<Mode, string>> = {
  native: 'earlyprintk=ttyS0',
  dom0: 'earlyprintk=xen',
  pv: 'earlyprintk=xen',
  pvh: 'earlyprintk=xen',
  pvhvm: 'earlyprintk=ttyS0',
};
/** How long input waits before it is offered to a full console again. Milliseconds. */
const RETRY_MS = 5;

/** Why a mode cannot be run by this version, or null where it can. */
export function notBuilt(mode: Mode): string | null {
  return BUILT.has(mode) ? null : 'not built yet';
}

/**
 * The kernel's command line: the console of the mode, then what the user wants. A kernel that is to be quiet says nothing unless it
 * is in trouble; no early console then, which knows no levels.
 */
export function commandLine(mode: Mode, append: readonly string[], quiet = false): string {
  const wantsQuiet = append.some(part => /(?:^|\s)quiet(?:\s|$)/.test(part));
  const early = wantsQuiet ? '' : quiet ? 'quiet' : EARLY_CONSOLES[mode];
  return [CONSOLES[mode], early, ...append].filter(part => part !== '').join(' ');
}

/** StartDomain on a host of its own. Rejects with BuildError where the domain cannot be made. */
export async function startOnHost(request: BootRequest): Promise<BootedDomain> {
  if (!MODES.includes(request.mode) || notBuilt(request.mode) !== null) {
    throw new BuildError(`mode ${request.mode} is not built yet`);
  }
  const { image, initrd, cpus, memoryMiB } = request;
  const logListeners: Array<(line: string) => void> = [];
  const host = await Host.create({
    ramBytes: ramForGuests(memoryMiB),
    cpu: request.cpuModel,
    clock: request.clock,
    log: line => {
      for (const listener of logListeners) listener(line);
    },
  });
  const guest = host.createPvDomain({
    image: { ...image, modules: null },
    initrd,
    cmdline: request.commandLine,
    memoryMiB,
    vcpus: cpus,
  });
  const abort = new AbortController();
  let ended = false;

  async function run(): Promise<DomainEnd> {
    // Whoever was given the domain has its listeners in place before the first output.
    await yieldToEventLoop();
    const end = await host.run({
      until: () => guest.shutdown !== null,
      signal: abort.signal,
      // On a real clock input may come.
      whenIdle: request.clock === 'real' ? 'wait' : 'return',
    });
    ended = true;
    const reason: EndReason = guest.shutdown ?? (end === 'aborted' ? 'destroyed' : 'idle');
    return { reason, crash: guest.crash };
  }

  const finished = run();
  // Whoever waits hears of it; nobody may be waiting yet.
  finished.catch(() => {});
  return {
    console: {
      onData: listener => void guest.console.onOutput(listener),
      write: async bytes => {
        for (let rest = bytes; rest.length > 0 && !ended; ) {
          rest = rest.subarray(guest.console.write(rest));
          if (rest.length > 0) await new Promise(resolve => setTimeout(resolve, RETRY_MS));
        }
      },
    },
    onLog: listener => void logListeners.push(listener),
    get instructions() {
      return Number(host.instructions);
    },
    wait: () => finished,
    inspect: () => {
      const vcpu = host.hypervisor.loaded ?? guest.domain.vcpus[0];
      // Its stack can be read only while it is on the processor.
      if (guest.shutdown === null) host.scheduler.load(runnerOf(vcpu));
      return captureCrash(vcpu, null);
    },
    destroy: () => abort.abort(),
  };
}
