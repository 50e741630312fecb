// What tools are told of a domain: XEN_DOMCTL_getdomaininfo, and its list by XEN_SYSCTL_getdomaininfolist (xen/common/domctl.c, getdomaininfo()).
import type { Of } from '../../abi/struct.ts';
import { DOMINF, DOMINF_SHUTDOWN_SHIFT, EMULATION, type getdomaininfo } from '../../abi/xen/domctl.ts';
import type { Domain } from '../domain.ts';
import { Runstate, runstateAt } from '../time/runstate.ts';
import type { Vcpu } from '../vcpu.ts';

/** ns that a vCPU has run. */
export function timeOf(vcpu: Vcpu): bigint {
  return runstateAt(vcpu.time.runstate, vcpu.domain.hypervisor.clock.nowNs()).time[Runstate.running];
}

export const isRunning = (vcpu: Vcpu): boolean => vcpu.isLoaded;

export function domainInfo(domain: Domain): Of<typeof getdomaininfo> {
  const { vcpus, hvm, shutdown } = domain;
  const online = vcpus.filter(({ isUp }) => isUp);
  let flags = 0;
  if (domain.isDying) flags |= DOMINF.dying;
  if (shutdown) flags |= DOMINF.shutdown | (shutdown.code << DOMINF_SHUTDOWN_SHIFT);
  if (domain.pauseCount > 0) flags |= DOMINF.paused;
  if (online.some(isRunning)) flags |= DOMINF.running;
  else if (online.every(({ isBlocked }) => isBlocked)) flags |= DOMINF.blocked;
  if (hvm) flags |= DOMINF.hvm | DOMINF.hap;
  return {
    domain: domain.id,
    pad1: 0,
    flags,
    totPages: BigInt(domain.pages),
    maxPages: BigInt(domain.maxPages),
    outstandingPages: 0n,
    shrPages: 0n,
    pagedPages: 0n,
    sharedInfoFrame: BigInt(domain.sharedInfoMfn),
    cpuTime: vcpus.reduce((sum, vcpu) => sum + timeOf(vcpu), 0n),
    nrOnlineVcpus: online.length,
    maxVcpuId: vcpus.length - 1,
    ssidref: 0,
    handle: domain.config.handle ?? new Uint8Array(16),
    cpupool: 0,
    gpaddrBits: 0,
    pad2: new Uint8Array(7),
    archConfig: { emulationFlags: hvm ? EMULATION.lapic : 0, miscFlags: 0 },
  };
}

/** Domains in order of their ids, from one on. */
export function domainsFrom(domain: Domain, first: number): Domain[] {
  return [...domain.hypervisor.domains.values()].filter(({ id }) => id >= first).sort((a, b) => a.id - b.id);
}
