// platform_op (7): what the domain that drives the machine tells Xen and asks it: time, firmware, processors, sleep.
// xen/include/public/platform.h; xen/arch/x86/platform_hypercall.c.
import { struct, u32, u64, ulong } from '../../abi/struct.ts';
import * as abi from '../../abi/xen/platform.ts';
import { FIRMWARE, FIRMWARE_INFO_BYTES, PCPU_FLAGS, PLATFORM_UNION, PM_INFO, XENPF } from '../../abi/xen/platform.ts';
import { type ErrnoName, XenError } from '../errors.ts';
import { writeWallclock } from '../time/time-info.ts';
import type { Vcpu } from '../vcpu.ts';
import type { Handler } from './copy.ts';
import { cpuSignature } from './cpu-signature.ts';
import { noOperation } from './not-built.ts';
import { requirePrivileged } from './permissions.ts';
import { type Member, member } from './union-member.ts';

export const XENPF_INTERFACE_VERSION = 0x03000001;

const NS = 1_000_000_000n;
/** ACPI's soft off. */
const S5 = 5;
/** The whole of struct xen_platform_op is copied in. */
const OP_BYTES = 136;

const refuse =
  (errno: ErrnoName): Member =>
  () => {
    throw new XenError(errno);
  };

/** The wall clock at a system time, for everybody. */
function setTime({ domain: { hypervisor } }: Vcpu, secs: bigint, nsecs: number, systemTime: bigint): void {
  if (BigInt(nsecs) >= NS) throw new XenError('EINVAL');
  hypervisor.clock.wallClockAtBoot = secs * NS + BigInt(nsecs) - systemTime;
  for (const domain of hypervisor.domains.values()) writeWallclock(domain);
}

const firmwareHead = struct('xenpf_firmware_info head', { type: u32, index: u32 });

/** What a BIOS has told: no disks, no display; nobody holds a shift key. */
const firmware: Member = ({ guest }, pointer) => {
  const { type, index } = guest.readStruct(pointer, firmwareHead);
  const known = Object.values(FIRMWARE) as number[];
  if (!known.includes(type)) throw new XenError('EINVAL');
  if (type === FIRMWARE.efiInfo) throw new XenError('ENOSYS'); // not started by EFI
  if (type !== FIRMWARE.kbdShiftFlags || index !== 0) throw new XenError('ESRCH');
  guest.write(pointer + BigInt(FIRMWARE_INFO_BYTES.kbdShiftFlags), new Uint8Array(1));
};

const readMemtype = struct('xenpf_read_memtype', { reg: u32, mfn: ulong, nrMfns: u64, type: u32 });
/** Variable MTRRs of a processor. */
const VARIABLE_RANGES = 8;
const FRAME = 4096;

/** One of the processors' variable MTRRs; one that is not in use has no frames. */
const memoryType = member(readMemtype, ({ domain }, { reg }) => {
  const { hardware } = domain.hypervisor;
  if (!hardware || reg >= VARIABLE_RANGES) throw new XenError('EINVAL');
  const { base = 0, size = 0, type = 0 } = hardware.memoryTypes[reg] ?? {};
  return { mfn: BigInt(base / FRAME), nrMfns: BigInt(size / FRAME), type };
});

const ALL_PROCESSORS = 0xffffffff;
const pminfoHead = struct('xenpf_set_processor_pminfo head', { id: u32, type: u32 });

/** Performance and idle states of a processor, as ACPI has them: Xen has no use for them on a machine without any. */
const pmInfo: Member = (vcpu, pointer) => {
  const { id, type } = vcpu.guest.readStruct(pointer, pminfoHead);
  // Of what a kernel can do about them it asks for all processors at once. Xen takes nothing away from it here.
  if (type === PM_INFO.pdc && id === ALL_PROCESSORS) return;
  if (type > PM_INFO.pdc || type === PM_INFO.tx || id >= vcpu.domain.hypervisor.processors)
    throw new XenError('EINVAL');
};

const OPERATIONS = new Map<number, Member>([
  [XENPF.settime32, member(abi.settime32, (vcpu, a) => setTime(vcpu, BigInt(a.secs), a.nsecs, a.systemTime))],
  [
    XENPF.settime64,
    member(abi.settime64, (vcpu, a) => {
      if (a.mbz !== 0) throw new XenError('EINVAL');
      setTime(vcpu, a.secs, a.nsecs, a.systemTime);
    }),
  ],
  // Linux changes none since page tables have them all.
  [XENPF.add_memtype, refuse('EINVAL')],
  [XENPF.del_memtype, refuse('EINVAL')],
  [XENPF.read_memtype, memoryType],
  [XENPF.microcode_update, refuse('EINVAL')],
  [XENPF.platform_quirk, refuse('EINVAL')],
  [XENPF.efi_runtime_call, refuse('ENOSYS')],
  [XENPF.firmware_info, firmware],
  [
    XENPF.enter_acpi_sleep,
    member(abi.enterAcpiSleep, ({ domain }, { sleepState }) => {
      const { hardware } = domain.hypervisor;
      if (sleepState !== S5 || !hardware) throw new XenError('EINVAL');
      hardware.powerOff();
    }),
  ],
  // Xen governs frequencies itself.
  [XENPF.change_freq, refuse('ENOSYS')],
  [XENPF.getidletime, refuse('ENOSYS')],
  [XENPF.set_processor_pminfo, pmInfo],
  [
    XENPF.get_cpuinfo,
    member(abi.pcpuInfo, ({ domain }, { xenCpuid }) => {
      const count = domain.hypervisor.processors;
      const maxPresent = count - 1;
      if (xenCpuid >= count) return { maxPresent, flags: PCPU_FLAGS.invalid };
      return { maxPresent, flags: PCPU_FLAGS.online, apicId: xenCpuid, acpiId: xenCpuid };
    }),
  ],
  [
    XENPF.get_cpu_version,
    member(abi.pcpuVersion, ({ domain }, { xenCpuid }) => {
      const { model } = domain.hypervisor.processor;
      const count = domain.hypervisor.processors;
      const maxPresent = count - 1;
      if (xenCpuid >= count) return { maxPresent, vendorId: new Uint8Array(12), family: 0, model: 0, stepping: 0 };
      return { maxPresent, vendorId: new TextEncoder().encode(model.vendor), ...cpuSignature(model) };
    }),
  ],
  // All processors of this machine are on from the start and stay so.
  [XENPF.cpu_online, refuse('EINVAL')],
  [XENPF.cpu_offline, refuse('EINVAL')],
  [XENPF.cpu_hotadd, refuse('EINVAL')],
  [XENPF.mem_hotadd, refuse('EINVAL')],
]);

const NAMES = new Map<number, string>(Object.entries(XENPF).map(([name, number]) => [number, name]));
const head = struct('xen_platform_op head', { cmd: u32, interfaceVersion: u32 });

export const platformOp: Handler = (vcpu, args) => {
  const { domain, guest } = vcpu;
  guest.read(args[0], OP_BYTES);
  const { cmd, interfaceVersion } = guest.readStruct(args[0], head);
  // Before the right to call it: tools find out versions by -EACCES.
  if (interfaceVersion !== XENPF_INTERFACE_VERSION) throw new XenError('EACCES');
  requirePrivileged(domain);
  const operation = OPERATIONS.get(cmd);
  if (!operation) return noOperation(domain, 'XENPF operation', NAMES.get(cmd));
  return operation(vcpu, args[0] + PLATFORM_UNION, undefined);
};
