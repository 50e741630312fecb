// sysctl (35): the host as the tools see it. Source: xen/include/public/sysctl.h; xen/common/sysctl.c, xen/arch/x86/sysctl.c.
import { struct, u32 } from '../../abi/struct.ts';
import { getdomaininfo } from '../../abi/xen/domctl.ts';
import { physdevPciDevice } from '../../abi/xen/physdev.ts';
import * as abi from '../../abi/xen/sysctl.ts';
import { CPUPOOL, PHYSCAP, SCHEDULER_CREDIT2, SYSCTL, SYSCTL_UNION } from '../../abi/xen/sysctl.ts';
import { handleKey } from '../debug-keys.ts';
import type { Domain } from '../domain.ts';
import { XenError } from '../errors.ts';
import type { Hypervisor } from '../hypervisor.ts';
import type { Vcpu } from '../vcpu.ts';
import { writeFirst } from './bitmaps.ts';
import type { Handler } from './copy.ts';
import { domainInfo, domainsFrom } from './domain-info.ts';
import { noOperation, notBuilt } from './not-built.ts';
import { requirePrivileged } from './permissions.ts';
import { type Member, member } from './union-member.ts';

/** Of Xen 4.17. */
export const XEN_SYSCTL_INTERFACE_VERSION = 0x15;

const SYSCTL_BYTES = 136;
const MAX_KEYS = 64;
/** Distance of a node to itself, as ACPI's SLIT counts. */
const LOCAL_DISTANCE = 10;
const PAGE_BYTES = 4096n;
/** Xen's default ratelimit of the scheduler (SCHED_DEFAULT_RATELIMIT_US). */
const RATE_LIMIT_US = 1000;
/** PCI devices that one call tells of; the caller asks on. */
const DEVICES_AT_ONCE = 64;

/** CPUID words in the order of Xen's feature sets (xen/include/public/arch-x86/cpufeatureset.h). */
const HW_CAP_WORDS: readonly (readonly [leaf: number, subleaf: number, register: 'eax' | 'ebx' | 'ecx' | 'edx'])[] = [
  [1, 0, 'edx'],
  [1, 0, 'ecx'],
  [0x80000001, 0, 'edx'],
  [0x80000001, 0, 'ecx'],
  [0xd, 1, 'eax'],
  [7, 0, 'ebx'],
  [7, 0, 'ecx'],
  [0x80000007, 0, 'edx'],
];

function hwCap({ processor: { model } }: Hypervisor): number[] {
  return HW_CAP_WORDS.map(([leaf, subleaf, register]) => {
    const row = model.leaves.find(r => r.leaf === leaf && (r.subleaf === null || r.subleaf === subleaf));
    return row?.[register] ?? 0;
  });
}

const readconsole = member(abi.readconsole, ({ domain, guest }, a) => {
  const { messages } = domain.hypervisor;
  const from = a.incremental ? a.index : messages.first;
  const { start, bytes } = messages.read(from, a.count);
  if (bytes.length > 0) guest.write(a.buffer, bytes);
  if (a.clear) messages.clear();
  return { index: start + bytes.length, count: bytes.length };
});

const physinfo = member(abi.physinfo, ({ domain: { hypervisor } }) => {
  const { frames, processor } = hypervisor;
  const nrCpus = hypervisor.processors;
  return {
    ...abi.physinfo.zero(),
    threadsPerCore: 1,
    coresPerSocket: nrCpus,
    nrCpus,
    maxCpuId: nrCpus - 1,
    nrNodes: 1,
    cpuKhz: processor.model.frequencyKHz,
    capabilities: PHYSCAP.hvm | PHYSCAP.pv | PHYSCAP.hap | PHYSCAP.gnttabV1 | PHYSCAP.gnttabV2,
    totalPages: BigInt(frames.count),
    freePages: BigInt(frames.free),
    maxMfn: BigInt(frames.count - 1),
    hwCap: hwCap(hypervisor),
  };
});

const domainList = member(abi.getdomaininfolist, ({ domain, guest }, a) => {
  const found = domainsFrom(domain, a.firstDomain).slice(0, a.maxDomains);
  guest.writeArray(a.buffer, getdomaininfo, found.map(domainInfo));
  return { numDomains: found.length };
});

const debugKeys = member(abi.debugKeys, ({ domain, guest }, a) => {
  for (const key of guest.read(a.keys, Math.min(a.nrKeys, MAX_KEYS))) handleKey(domain.hypervisor, key);
});

const topology = member(abi.cputopoinfo, (vcpu, a) => {
  const count = vcpu.domain.hypervisor.processors;
  if (a.cputopo === 0n) return { numCpus: count };
  const numCpus = Math.min(a.numCpus, count);
  const rows = Array.from({ length: numCpus }, (_, core) => ({ core, socket: 0, node: 0 }));
  vcpu.guest.writeArray(a.cputopo, abi.cputopo, rows);
  return { numCpus };
});

const nodes = member(abi.numainfo, ({ domain: { hypervisor }, guest }, a) => {
  if (a.meminfo === 0n && a.distance === 0n) return { numNodes: 1 };
  const numNodes = Math.min(a.numNodes, 1);
  if (numNodes === 0) return { numNodes };
  const { frames } = hypervisor;
  const memory = { memsize: BigInt(frames.count) * PAGE_BYTES, memfree: BigInt(frames.free) * PAGE_BYTES };
  if (a.meminfo !== 0n) guest.writeArray(a.meminfo, abi.meminfo, [memory]);
  if (a.distance !== 0n) guest.writeArray(a.distance, u32, [LOCAL_DISTANCE]);
  return { numNodes };
});

/** There is one pool with all processors and domains in it. */
const cpupool = member(abi.cpupoolOp, (vcpu, a) => {
  const { hypervisor } = vcpu.domain;
  switch (a.op) {
    case CPUPOOL.info:
      if (a.cpupoolId > 0) throw new XenError('ENOENT');
      writeFirst(vcpu, a.cpumap, hypervisor.processors);
      return { cpupoolId: 0, schedId: SCHEDULER_CREDIT2, nDom: hypervisor.domains.size };
    case CPUPOOL.freeinfo:
      writeFirst(vcpu, a.cpumap, 0);
      return undefined;
    default:
      return notBuilt(vcpu.domain, `cpupool operation ${a.op}`);
  }
});

/** Where PCI devices stand, of which nothing is known where there is one node. */
const deviceTopology = member(abi.pcitopoinfo, ({ domain, guest }, a) => {
  const { hardware } = domain.hypervisor;
  if (a.devs === 0n || a.nodes === 0n) throw new XenError('EINVAL');
  const numDevs = Math.min(a.numDevs, DEVICES_AT_ONCE);
  for (let i = 0; i < numDevs; i++) {
    const { seg, bus, devfn } = guest.readElement(a.devs, physdevPciDevice, i);
    const isThere = seg === 0 && hardware !== null && hardware.pci.readConfig(bus, devfn, 0, 2) !== 0xffff;
    guest.writeElement(a.nodes, u32, i, isThere ? abi.NO_NODE : abi.NO_DEVICE);
  }
  return { numDevs };
});

/** struct xen_sysctl_scheduler_op with its union as credit2 has it. */
const schedulerOp = struct('xen_sysctl_scheduler_op', {
  cpupoolId: u32,
  schedId: u32,
  cmd: u32,
  pad: u32,
  ratelimitUs: u32,
});

const scheduler = member(schedulerOp, ({ domain }, a) => {
  if (a.schedId !== SCHEDULER_CREDIT2 || a.cpupoolId !== 0) throw new XenError('EINVAL');
  if (a.cmd !== abi.SCHEDULER_COMMAND.getinfo) return notBuilt(domain, `scheduler operation ${a.cmd} on a pool`);
  return { ratelimitUs: RATE_LIMIT_US };
});

const unavailable: Member = () => {
  throw new XenError('ENODEV');
};

const OPERATIONS = new Map<number, Member>([
  [SYSCTL.readconsole, readconsole],
  [SYSCTL.physinfo, physinfo],
  [SYSCTL.sched_id, member(abi.schedId, () => ({ schedId: SCHEDULER_CREDIT2 }))],
  [SYSCTL.getdomaininfolist, domainList],
  [SYSCTL.debug_keys, debugKeys],
  [SYSCTL.cputopoinfo, topology],
  [SYSCTL.numainfo, nodes],
  [SYSCTL.cpupool_op, cpupool],
  [SYSCTL.scheduler_op, scheduler],
  [SYSCTL.pcitopoinfo, deviceTopology],
  [SYSCTL.get_cpu_levelling_caps, member(abi.cpuLevellingCaps, () => ({ caps: 0 }))],
  // Frequencies, idle states and cache allocation, of which this machine has none.
  [SYSCTL.get_pmstat, unavailable],
  [SYSCTL.pm_op, unavailable],
  [SYSCTL.psr_cmt_op, unavailable],
  [SYSCTL.psr_alloc, unavailable],
]);

const NAMES = new Map<number, string>(Object.entries(SYSCTL).map(([name, number]) => [number, name]));
const head = struct('xen_sysctl head', { cmd: u32, interfaceVersion: u32 });

export const sysctl: Handler = (vcpu: Vcpu, args) => {
  const { domain, guest }: { domain: Domain; guest: Vcpu['guest'] } = vcpu;
  guest.read(args[0], SYSCTL_BYTES);
  const { cmd, interfaceVersion } = guest.readStruct(args[0], head);
  // Before the right to call it: tools find out versions by -EACCES.
  if (interfaceVersion !== XEN_SYSCTL_INTERFACE_VERSION) throw new XenError('EACCES');
  requirePrivileged(domain);
  const operation = OPERATIONS.get(cmd);
  if (!operation) return noOperation(domain, 'sysctl', NAMES.get(cmd));
  return operation(vcpu, args[0] + SYSCTL_UNION, undefined);
};
