// domctl (36): a domain as the tools see it. Making domains with it is not built. Source: xen/include/public/domctl.h; xen/common/domctl.c.
import { struct, u16, u32 } from '../../abi/struct.ts';
import * as abi from '../../abi/xen/domctl.ts';
import { AFFINITY, DOMCTL, DOMCTL_UNION, SCHEDOP, SCHEDULER_OP_BYTES } from '../../abi/xen/domctl.ts';
import { SCHEDULER_CREDIT2 } from '../../abi/xen/sysctl.ts';
import type { Domain } from '../domain.ts';
import { XenError } from '../errors.ts';
import type { Vcpu } from '../vcpu.ts';
import { writeFirst } from './bitmaps.ts';
import type { Handler } from './copy.ts';
import { domainInfo, domainsFrom, isRunning, timeOf } from './domain-info.ts';
import { noOperation, notBuilt } from './not-built.ts';
import { requirePrivileged } from './permissions.ts';
import { type Member, member } from './union-member.ts';

/** Of Xen 4.17. */
export const XEN_DOMCTL_INTERFACE_VERSION = 0x15;

const DOMCTL_BYTES = 144;
const DOMID_IO = 0x7ff1;
const DOMID_INVALID = 0x7ff4;
/** What credit2 gives a domain that nobody has weighed. */
const DEFAULT_WEIGHT = 256;

function vcpuOf(domain: Domain, id: number): Vcpu {
  const vcpu = domain.vcpus[id];
  if (!vcpu) throw new XenError(id >= domain.vcpus.length ? 'EINVAL' : 'ESRCH');
  return vcpu;
}

function pause(caller: Vcpu, domain: Domain): void {
  if (caller.domain === domain) throw new XenError('EINVAL');
  domain.pauseCount++;
}

function unpause(domain: Domain): void {
  if (domain.pauseCount === 0) throw new XenError('EINVAL');
  domain.pauseCount--;
  if (domain.pauseCount === 0) for (const vcpu of domain.vcpus) vcpu.time.wake();
}

/** The domain is gone with this call, unless somebody has pages of its own. */
function destroy(caller: Vcpu, domain: Domain): void {
  if (caller.domain === domain) throw new XenError('EINVAL');
  domain.hypervisor.destroyDomain(domain);
}

const vcpuInfo = member(abi.getvcpuinfo, (_caller, a, domain: Domain) => {
  const vcpu = vcpuOf(domain, a.vcpu);
  return {
    online: vcpu.isUp ? 1 : 0,
    blocked: vcpu.isBlocked ? 1 : 0,
    running: isRunning(vcpu) ? 1 : 0,
    cpuTime: timeOf(vcpu),
    cpu: 0,
  };
});

/** Every vCPU may run on every processor. */
const affinity = member(abi.vcpuaffinity, (caller, a, domain: Domain) => {
  vcpuOf(domain, a.vcpu);
  if (!(a.flags & (AFFINITY.hard | AFFINITY.soft))) throw new XenError('EINVAL');
  if (a.flags & AFFINITY.hard) writeFirst(caller, a.cpumapHard, domain.hypervisor.processors);
  if (a.flags & AFFINITY.soft) writeFirst(caller, a.cpumapSoft, domain.hypervisor.processors);
});

const schedulerHead = struct('xen_domctl_scheduler_op head', { schedId: u32, cmd: u32, weight: u16, cap: u16 });

const scheduler: Member<Domain> = ({ guest, domain: caller }, pointer) => {
  const { schedId, cmd } = guest.readStruct(pointer, schedulerHead);
  if (schedId !== SCHEDULER_CREDIT2) throw new XenError('EINVAL');
  if (cmd !== SCHEDOP.getinfo) notBuilt(caller, `scheduler operation ${cmd} on a domain`);
  const info = new Uint8Array(4);
  new DataView(info.buffer).setUint16(0, DEFAULT_WEIGHT, true);
  guest.write(pointer + BigInt(SCHEDULER_OP_BYTES.weight), info);
};

const OPERATIONS = new Map<number, Member<Domain>>([
  [DOMCTL.destroydomain, (vcpu, _pointer, domain) => destroy(vcpu, domain)],
  [DOMCTL.pausedomain, (vcpu, _pointer, domain) => pause(vcpu, domain)],
  [DOMCTL.unpausedomain, (_vcpu, _pointer, domain) => unpause(domain)],
  [DOMCTL.getvcpuinfo, vcpuInfo],
  [DOMCTL.getvcpuaffinity, affinity],
  [DOMCTL.scheduler_op, scheduler],
  [
    DOMCTL.getnodeaffinity,
    member(abi.nodeaffinity, (vcpu, a) => {
      writeFirst(vcpu, a.nodemap, 1);
    }),
  ],
  [
    DOMCTL.gettscinfo,
    member(abi.tscInfo, ({ domain: { hypervisor } }) => ({
      tscMode: 0,
      gtscKhz: hypervisor.processor.model.frequencyKHz,
      incarnation: 0,
      elapsedNsec: hypervisor.clock.nowNs(),
    })),
  ],
]);

const NAMES = new Map<number, string>(Object.entries(DOMCTL).map(([name, number]) => [number, name]));
const head = struct('xen_domctl head', { cmd: u32, interfaceVersion: u32, domain: u16 });

export const domctl: Handler = (vcpu, args) => {
  const { domain: caller, guest } = vcpu;
  guest.read(args[0], DOMCTL_BYTES);
  const a = guest.readStruct(args[0], head);
  // Before the right to call it: tools find out versions by -EACCES.
  if (a.interfaceVersion !== XEN_DOMCTL_INTERFACE_VERSION) throw new XenError('EACCES');
  // The domain must exist before anyone asks whether the caller may; DOMID_SELF is no domain here.
  const target = caller.hypervisor.domains.get(a.domain);
  if (!needsNoDomain(a.cmd, a.domain) && !target) throw new XenError('ESRCH');
  requirePrivileged(caller);
  if (a.cmd === DOMCTL.getdomaininfo) return getInfo(vcpu, args[0], a.domain);
  const operation = OPERATIONS.get(a.cmd);
  if (!operation || !target) return noOperation(caller, 'domctl', NAMES.get(a.cmd));
  return operation(vcpu, args[0] + DOMCTL_UNION, target);
};

/** The domain with this id, or the next one. */
function getInfo({ domain, guest }: Vcpu, pointer: bigint, id: number): void {
  const [found] = domainsFrom(domain, id);
  if (!found) throw new XenError('ESRCH');
  guest.updateStruct(pointer, head as never, { domain: found.id } as never);
  guest.writeArray(pointer + DOMCTL_UNION, abi.getdomaininfo, [domainInfo(found)]);
}

function needsNoDomain(cmd: number, id: number): boolean {
  switch (cmd) {
    case DOMCTL.createdomain:
    case DOMCTL.getdomaininfo:
      return true;
    case DOMCTL.assign_device:
    case DOMCTL.deassign_device:
      return id === DOMID_IO;
    case DOMCTL.test_assign_device:
    case DOMCTL.vm_event_op:
      return id === DOMID_INVALID;
    default:
      return false;
  }
}
