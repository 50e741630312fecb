// platform_op (7): what the domain that drives the machine tells Xen and asks it: time, firmware, processors, sleep.
// xen/include/public/platform.h; xen/arch/x86/platform_hypercall.c.
import type { Of, Struct, Type } from '../../abi/struct.ts';
import * as abi from '../../abi/xen/platform.ts';
import { FIRMWARE, PCPU_FLAGS, PM_INFO, XENPF } from '../../abi/xen/platform.ts';
import type { Domain } from '../domain.ts';
import { type ErrnoName, XenError } from '../errors.ts';
import { writeWallclock } from '../time/time-info.ts';
import type { Vcpu } from '../vcpu.ts';
import { type Handler, type Nothing, type SubOperation, u32Arg } from './copy.ts';
import { notBuilt } from './not-built.ts';
import { requirePrivileged } from './permissions.ts';

export const XENPF_INTERFACE_VERSION = 0x03000001;

const NS = 1_000_000_000n;
/** ACPI's soft off. */
const S5 = 5;

type Whole<U> = Struct<{ cmd: Type<number>; interfaceVersion: Type<number>; u: Type<U> }>;

/** An operation on the union's member; what the handler returns is written back. */
function member<U>(type: Whole<U>, act: (vcpu: Vcpu, argument: U) => Partial<U> | Nothing): SubOperation {
  return (vcpu, pointer) => {
    const { u } = vcpu.guest.readStruct(pointer, type) as { u: U };
    const changed = act(vcpu, u);
    if (changed) vcpu.guest.updateStruct(pointer, type, { u: { ...u, ...changed } } as Partial<Of<Whole<U>>>);
  };
}

const refuse =
  (errno: ErrnoName): SubOperation =>
  () => {
    throw new XenError(errno);
  };

/** The wall clock at a system time, for everybody. */
function setTime({ domain: { hypervisor } }: Vcpu, secs: bigint, nsecs: number, systemTime: bigint): void {
  if (BigInt(nsecs) >= NS) throw new XenError('EINVAL');
  hypervisor.clock.wallClockAtBoot = secs * NS + BigInt(nsecs) - systemTime;
  for (const domain of hypervisor.domains.values()) writeWallclock(domain);
}

/** What a BIOS has told: no disks, no display; nobody holds a shift key. */
function firmware(_vcpu: Vcpu, { type, index }: { type: number; index: number }): { kbdShiftFlags: number } {
  if (type === FIRMWARE.kbdShiftFlags && index === 0) return { kbdShiftFlags: 0 };
  const known = Object.values(FIRMWARE) as number[];
  throw new XenError(known.includes(type) && type !== FIRMWARE.efiInfo ? 'ESRCH' : 'EINVAL');
}

function sleep({ domain }: Vcpu, { sleepState }: { sleepState: number }): void {
  const { hardware } = domain.hypervisor;
  if (sleepState !== S5 || !hardware) throw new XenError('EINVAL');
  hardware.powerOff();
}

function processorInfo({ domain }: Vcpu, { xenCpuid }: { xenCpuid: number }) {
  const count = processorsOf(domain);
  const maxPresent = count - 1;
  if (xenCpuid >= count) return { maxPresent, flags: PCPU_FLAGS.invalid };
  return { maxPresent, flags: PCPU_FLAGS.online, apicId: xenCpuid, acpiId: xenCpuid };
}

/** Performance and idle states of a processor, as ACPI has them: Xen has no use for them on a machine without any. */
function pmInfo(vcpu: Vcpu, { id, type }: { id: number; type: number }): void {
  if (type > PM_INFO.pdc || type === PM_INFO.tx) throw new XenError('EINVAL');
  if (id >= processorsOf(vcpu.domain)) throw new XenError('EINVAL');
}

const processorsOf = (domain: Domain): number => domain.hypervisor.hardware?.processors ?? 1;

const OPERATIONS = new Map<number, SubOperation>([
  [XENPF.settime32, member(abi.settime32, (vcpu, a) => setTime(vcpu, BigInt(a.secs), a.nsecs, a.systemTime))],
  [
    XENPF.settime64,
    member(abi.settime64, (vcpu, a) => {
      if (a.mbz !== 0) throw new XenError('EINVAL');
      setTime(vcpu, a.secs, a.nsecs, a.systemTime);
    }),
  ],
  // Memory types are the business of page tables alone on this machine.
  [XENPF.add_memtype, refuse('EINVAL')],
  [XENPF.del_memtype, refuse('EINVAL')],
  [XENPF.read_memtype, refuse('EINVAL')],
  [XENPF.microcode_update, refuse('EINVAL')],
  [XENPF.platform_quirk, refuse('EINVAL')],
  [XENPF.efi_runtime_call, refuse('ENOSYS')],
  [XENPF.firmware_info, member(abi.firmwareInfo, firmware)],
  [XENPF.enter_acpi_sleep, member(abi.enterAcpiSleep, sleep)],
  // Xen governs frequencies itself.
  [XENPF.change_freq, refuse('ENOSYS')],
  [XENPF.getidletime, refuse('ENOSYS')],
  [XENPF.set_processor_pminfo, member(abi.setProcessorPminfo, pmInfo)],
  [XENPF.get_cpuinfo, member(abi.pcpuInfo, processorInfo)],
  [
    XENPF.get_cpu_version,
    member(abi.pcpuVersion, (vcpu, { xenCpuid }) => {
      const { model } = vcpu.domain.hypervisor.processor;
      const count = processorsOf(vcpu.domain);
      if (xenCpuid >= count)
        return { maxPresent: count - 1, vendorId: new Uint8Array(12), family: 0, model: 0, stepping: 0 };
      return { maxPresent: count - 1, vendorId: new TextEncoder().encode(model.vendor), ...signature(model.leaves) };
    }),
  ],
  // All processors of this machine are on from the start and stay so.
  [XENPF.cpu_online, refuse('EINVAL')],
  [XENPF.cpu_offline, refuse('EINVAL')],
  [XENPF.cpu_hotadd, refuse('EINVAL')],
  [XENPF.mem_hotadd, refuse('EINVAL')],
]);

/** Family, model and stepping of CPUID leaf 1. */
function signature(leaves: readonly { leaf: number; eax: number }[]): {
  family: number;
  model: number;
  stepping: number;
} {
  const eax = leaves.find(({ leaf }) => leaf === 1)?.eax ?? 0;
  const base = (eax >>> 8) & 15;
  const extended = base >= 6 ? ((eax >>> 16) & 15) << 4 : 0;
  return {
    family: base === 15 ? base + ((eax >>> 20) & 0xff) : base,
    model: ((eax >>> 4) & 15) | extended,
    stepping: eax & 15,
  };
}

const NAMES = new Map<number, string>(Object.entries(XENPF).map(([name, number]) => [number, name]));

export const platformOp: Handler = (vcpu, args) => {
  const { domain, guest } = vcpu;
  const { cmd, interfaceVersion } = guest.readStruct(args[0], abi.xenPlatformOp);
  // Before the right to call it: tools find out versions by -EACCES.
  if (interfaceVersion !== XENPF_INTERFACE_VERSION) throw new XenError('EACCES');
  requirePrivileged(domain);
  const operation = OPERATIONS.get(cmd);
  if (!operation) return notBuilt(domain, `XENPF operation ${NAMES.get(cmd) ?? u32Arg(BigInt(cmd))}`);
  return operation(vcpu, args[0]);
};
