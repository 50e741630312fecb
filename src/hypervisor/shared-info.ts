// The page that Xen shares with a domain, as it is when the domain starts. Source: xen/include/public/xen.h (struct shared_info).
import { LEGACY_MAX_VCPUS } from '../abi/xen/xen.ts';
import type { Domain } from './domain.ts';
import { writeWallclock } from './time/time-info.ts';
import { VCPU_INFO_SIZE } from './vcpu-info.ts';

/** Makes it. Its vcpu_infos serve the first 32 vCPUs, with events masked as PV guests expect it. */
export function setUpSharedInfo(domain: Domain): void {
  const { frames, memory } = domain.hypervisor;
  if (domain.sharedInfoMfn === 0) domain.sharedInfoMfn = frames.allocateXen(domain.id, true);
  const page = memory.frameOffset(domain.sharedInfoMfn);
  for (let i = 0; i < LEGACY_MAX_VCPUS; i++) memory.u8[page + i * VCPU_INFO_SIZE + 1] = 1;
  for (const vcpu of domain.vcpus.slice(0, LEGACY_MAX_VCPUS)) {
    vcpu.info.at = page + vcpu.id * VCPU_INFO_SIZE;
    vcpu.time.updateTimeInfo(true);
  }
  writeWallclock(domain);
}
