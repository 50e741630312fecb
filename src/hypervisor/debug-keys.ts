// The debug keys of the hypervisor's console, which `xl debug-keys` presses too: dumps of its state into its log.
// Source of keys and of the lines' form: xen/common/keyhandler.c, xen/common/event_channel.c (dump_evtchn_info), xen/common/sched/core.c.

import { registersOf } from '../machine/processor/registers.ts';
import type { Domain } from './domain.ts';
import type { Channel } from './events/channel.ts';
import type { Hypervisor } from './hypervisor.ts';
import { Runstate } from './time/runstate.ts';
import type { Vcpu } from './vcpu.ts';

interface Key {
  readonly description: string;
  dump(hypervisor: Hypervisor): string[];
}

const hex = (value: bigint | number, digits = 16): string => value.toString(16).padStart(digits, '0');

const KEYS: Readonly<Record<string, Key>> = {
  '0': { description: 'dump Dom0 registers', dump: h => vcpusOf(h.domains.get(0)).flatMap(dumpRegisters) },
  d: {
    description: 'dump registers',
    dump: h => (h.loaded ? dumpRegisters(h.loaded) : ['*** Dumping CPU0: idle ***']),
  },
  e: { description: 'dump evtchn info', dump: h => all(h).flatMap(dumpChannels) },
  h: { description: 'show this message', dump: () => help() },
  m: { description: 'memory info', dump: dumpMemory },
  q: { description: 'dump domain (and guest debug) info', dump: h => all(h).flatMap(dumpDomain) },
  r: { description: 'dump run queues', dump: dumpRunQueue },
  '*': {
    description: 'dump all debug information',
    dump: h => Object.entries(KEYS).flatMap(([key, { dump }]) => ('*h'.includes(key) ? [] : dump(h))),
  },
};

/** Presses a key, given as its code; one that has no meaning says so. */
export function handleKey(hypervisor: Hypervisor, code: number): void {
  const name = String.fromCharCode(code);
  const key = Object.hasOwn(KEYS, name) ? KEYS[name] : null;
  if (!key) {
    hypervisor.log(`(XEN) '${/[ -~]/.test(name) ? name : `\\x${hex(code, 2)}`}' pressed -> unknown key`);
    return;
  }
  hypervisor.log(`(XEN) '${name}' pressed -> ${key.description}`);
  for (const line of key.dump(hypervisor)) hypervisor.log(`(XEN) ${line}`);
}

const all = ({ domains }: Hypervisor): Domain[] => [...domains.values()].sort((a, b) => a.id - b.id);
const vcpusOf = (domain: Domain | undefined): Vcpu[] => domain?.vcpus ?? [];

function help(): string[] {
  return Object.entries(KEYS).map(
    ([key, { description }]) => ` key '${key}' (ascii '${hex(key.charCodeAt(0), 2)}') => ${description}`,
  );
}

function dumpDomain(domain: Domain): string[] {
  const { id, pages, config, grants } = domain;
  const uuid = [...(config.handle ?? new Uint8Array(16))].map(byte => hex(byte, 2)).join('');
  return [
    `General information for domain ${id}:`,
    `    refcnt=1 dying=${domain.isDying ? 1 : 0} pause_count=${domain.pauseCount}`,
    `    nr_pages=${pages} xenheap_pages=0 shared_pages=0 paged_pages=0 dirty_cpus={} max_pages=${domain.maxPages}`,
    `    handle=${uuid.replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-')} vm_assist=${hex(domain.vmAssist, 8)}`,
    `    grant table: version ${grants.version}`,
    `VCPU information and callbacks for domain ${id}:`,
    ...domain.vcpus.map(vcpuLine),
  ];
}

function vcpuLine(vcpu: Vcpu): string {
  const { info, id } = vcpu;
  const running = vcpu.isLoaded ? 'T' : 'F';
  const upcall = vcpu.isInitialised
    ? `upcall_pend=${info.upcallPending ? 1 : 0} upcall_mask=${info.upcallMask ? 1 : 0}`
    : 'not initialised';
  return `    VCPU${id}: CPU0 [has=${running}] poll=${vcpu.pollPort} ${upcall}`;
}

function dumpChannels(domain: Domain): string[] {
  const { events } = domain;
  const lines = [`Event channel information for domain ${domain.id}:`, `Polling vCPUs: {}`, '    port [p/m/s]'];
  for (let port = 1; ; port++) {
    const channel = events.channelAt(port);
    if (!channel) return lines;
    if (channel.state !== 'free' && channel.state !== 'reserved') lines.push(channelLine(domain, channel));
  }
}

const STATES: Readonly<Record<Channel['state'], number>> = {
  free: 0,
  reserved: 1,
  unbound: 2,
  interdomain: 3,
  pirq: 4,
  virq: 5,
  ipi: 6,
};

function channelLine({ events }: Domain, channel: Channel): string {
  const { port, state, vcpu, remoteDomain, remotePort, irq } = channel;
  const bits = `${events.isPending(channel) ? 1 : 0}/${events.isMasked(channel) ? 1 : 0}/0`;
  const target: Partial<Record<Channel['state'], string>> = {
    unbound: ` d=${remoteDomain}`,
    interdomain: ` d=${remoteDomain} p=${remotePort}`,
    pirq: ` p=${irq}`,
    virq: ` v=${irq}`,
  };
  return `    ${String(port).padStart(4)} [${bits}]: s=${STATES[state]} n=${vcpu} x=0${target[state] ?? ''}`;
}

function dumpRegisters(vcpu: Vcpu): string[] {
  const r = registersOf(vcpu.cpu);
  const pair = (name: keyof typeof r): string => `${`${name}:`.padEnd(4)} ${hex(r[name])}`;
  return [
    `*** Dumping Dom${vcpu.domain.id} vcpu#${vcpu.id} state: ***`,
    `RIP:    ${hex(r.cs, 4)}:[<${hex(r.rip)}>]`,
    `RFLAGS: ${hex(r.rflags)}   CONTEXT: ${vcpu.domain.isPv ? 'pv' : 'hvm'} guest (${vcpu})`,
    [pair('rax'), pair('rbx'), pair('rcx')].join('   '),
    [pair('rdx'), pair('rsi'), pair('rdi')].join('   '),
    [pair('rbp'), pair('rsp'), pair('r8')].join('   '),
    [pair('r9'), pair('r10'), pair('r11')].join('   '),
    [pair('r12'), pair('r13'), pair('r14')].join('   '),
    [pair('r15'), pair('cr3'), pair('cr2')].join('   '),
  ];
}

function dumpMemory({ frames }: Hypervisor): string[] {
  const kib = (pages: number): number => pages * 4;
  return [
    'Physical memory information:',
    `    Xen heap: 0kB free`,
    `    heap: ${kib(frames.free)}kB free`,
    `    Dom heap: ${kib(frames.free)}kB free`,
  ];
}

function dumpRunQueue(hypervisor: Hypervisor): string[] {
  const states = ['running', 'runnable', 'blocked', 'offline'];
  const lines = [
    `sched_smt_power_savings: disabled`,
    `NOW=${hypervisor.clock.nowNs()}`,
    'Online Cpus: 0',
    'Cpupool 0:',
    'Cpus: 0',
    'Scheduler: round robin (domzero)',
  ];
  for (const domain of all(hypervisor)) {
    lines.push(`Domain: ${domain.id}`);
    for (const vcpu of domain.vcpus) {
      const { state } = vcpu.time.runstate;
      lines.push(
        `  ${vcpu.id}: [${domain.id}.${vcpu.id}] ${states[state] ?? state}${state === Runstate.running ? ' on CPU0' : ''}`,
      );
    }
  }
  return lines;
}
