// memory_op: reservations, the memory map, where the M2P is. Source: public/memory.h, xen/common/memory.c, xen/arch/x86/mm.c.
import { u16, ulong } from '../../abi/struct.ts';
import * as abi from '../../abi/xen/memory.ts';
import { XENMEM } from '../../abi/xen/memory.ts';
import type { Domain, MemoryMapEntry } from '../domain.ts';
import { XenError } from '../errors.ts';
import { M2P_VIRT_END, M2P_VIRT_START } from '../memory/address-space.ts';
import type { Vcpu } from '../vcpu.ts';
import { acquireResource } from './acquire-resource.ts';
import { type Args, type Handler, inout, input, type Nothing, op, output, type SubOperation, u32Arg } from './copy.ts';
import { memoryExchange } from './memory-exchange.ts';
import { decreaseReservation, increaseReservation, populatePhysmap } from './memory-reservation.ts';
import { requirePrivileged, resolveTarget } from './permissions.ts';
import { addToPhysmap, addToPhysmapBatch, removeFromPhysmap } from './physmap-op.ts';

/** The operation is in the low bits of the command; above it stands where a call that was cut goes on. */
const COMMAND_MASK = 0x3f;
export const EXTENT_SHIFT = 6;
const MAX_MAP_ENTRIES = 128;
/** Entries of the machine-to-physical table that its address range has room for. */
const M2P_ENTRIES = (M2P_VIRT_END - M2P_VIRT_START) / 8n;

function targetOf(vcpu: Vcpu, pointer: bigint): Domain {
  return resolveTarget(vcpu.domain, vcpu.guest.readStruct(pointer, u16));
}

const notOffered: SubOperation = () => {
  throw new XenError('EOPNOTSUPP');
};
/** The control domain's: -EPERM before anything is looked at. */
function privileged(operation: SubOperation): SubOperation {
  return (vcpu, pointer) => {
    requirePrivileged(vcpu.domain);
    return operation(vcpu, pointer);
  };
}

/** Frames that a domain is to get are not set aside: whether there are as many now is all that is said. */
const claimPages = op(input(abi.xenMemoryReservation), ({ domain }, a) => {
  const { extentStart, extentOrder, memFlags, nrExtents } = a;
  const target = domain.hypervisor.domains.get(a.domid);
  if (extentStart !== 0n || extentOrder !== 0 || memFlags !== 0 || !target) throw new XenError('EINVAL');
  requirePrivileged(domain);
  if (nrExtents > BigInt(domain.hypervisor.frames.free + target.pages)) throw new XenError('ENOMEM');
});

/** Populate-on-demand, of which no domain makes use: all that it has is there. */
const podTarget = op(inout(abi.xenPodTarget), ({ domain }, a) => {
  const target = domain.hypervisor.resolve(domain, a.domid);
  requirePrivileged(domain);
  return { totPages: BigInt(target.pages), podCachePages: 0n, podEntries: 0n };
});

/** Writes a memory map into a guest's buffer of entries of 20 bytes: address u64, size u64, type u32. */
function writeMap(vcpu: Vcpu, buffer: bigint, entries: readonly MemoryMapEntry[]): void {
  const raw = new Uint8Array(entries.length * abi.E820_ENTRY_BYTES);
  const view = new DataView(raw.buffer);
  entries.forEach((entry, i) => {
    const at = i * abi.E820_ENTRY_BYTES;
    view.setBigUint64(at, entry.address, true);
    view.setBigUint64(at + 8, entry.size, true);
    view.setUint32(at + 16, entry.type, true);
  });
  vcpu.guest.write(buffer, raw);
}

function readMap(vcpu: Vcpu, buffer: bigint, count: number): MemoryMapEntry[] {
  const raw = vcpu.guest.read(buffer, count * abi.E820_ENTRY_BYTES);
  const view = new DataView(raw.buffer);
  return Array.from({ length: count }, (_, i) => {
    const at = i * abi.E820_ENTRY_BYTES;
    return {
      address: view.getBigUint64(at, true),
      size: view.getBigUint64(at + 8, true),
      type: view.getUint32(at + 16, true),
    };
  });
}

/** The MFNs of the M2P's 2 MiB extents, for those who map it as DOMID_XEN's. */
function machphysMfnList(vcpu: Vcpu, a: { maxExtents: number; extentStart: bigint }): { nrExtents: number } {
  const { m2p } = vcpu.domain.hypervisor;
  const extents = Math.min(a.maxExtents, Math.ceil(m2p.frames / 512));
  const mfns = Array.from({ length: extents }, (_, i) => BigInt(m2p.firstMfn + i * 512));
  vcpu.guest.writeArray(a.extentStart, ulong, mfns);
  return { nrExtents: extents };
}

/** Operations that a cut call never comes back to: start_extent must be 0. */
const OPERATIONS = new Map<number, SubOperation>([
  [XENMEM.maximum_ram_page, vcpu => vcpu.domain.hypervisor.frames.count],
  [XENMEM.current_reservation, (vcpu, pointer) => targetOf(vcpu, pointer).pages],
  [XENMEM.maximum_reservation, (vcpu, pointer) => targetOf(vcpu, pointer).maxPages],
  [XENMEM.maximum_gpfn, (vcpu, pointer) => maximumGpfn(targetOf(vcpu, pointer))],
  [XENMEM.machphys_mfn_list, op(inout(abi.xenMachphysMfnList), machphysMfnList)],
  [XENMEM.machphys_compat_mfn_list, op(inout(abi.xenMachphysMfnList), machphysMfnList)],
  [
    XENMEM.machphys_mapping,
    op(output(abi.xenMachphysMapping), ({ domain }) => ({
      vStart: M2P_VIRT_START,
      vEnd: M2P_VIRT_END,
      maxMfn: domain.isPrivileged ? BigInt(domain.hypervisor.frames.count - 1) : M2P_ENTRIES - 1n,
    })),
  ],
  [
    XENMEM.memory_map,
    op(inout(abi.xenMemoryMap), (vcpu, a) => {
      const map = vcpu.domain.memoryMap;
      if (!map || map.length === 0) throw new XenError('ENOSYS');
      const entries = map.slice(0, a.nrEntries);
      writeMap(vcpu, a.buffer, entries);
      return { nrEntries: entries.length };
    }),
  ],
  [
    XENMEM.set_memory_map,
    op(input(abi.xenForeignMemoryMap), (vcpu, a) => {
      if (a.map.nrEntries > MAX_MAP_ENTRIES) throw new XenError('EINVAL');
      const target = resolveTarget(vcpu.domain, a.domid);
      target.memoryMap = readMap(vcpu, a.map.buffer, a.map.nrEntries);
    }),
  ],
  [
    XENMEM.machine_memory_map,
    privileged(
      op(inout(abi.xenMemoryMap), (vcpu, a) => {
        const map = vcpu.domain.hypervisor.machineMemoryMap;
        if (a.buffer === 0n) return { nrEntries: map.length };
        if (a.nrEntries < map.length) throw new XenError('EINVAL');
        writeMap(vcpu, a.buffer, map);
        return { nrEntries: map.length };
      }),
    ),
  ],
  [XENMEM.exchange, memoryExchange],
  [XENMEM.remove_from_physmap, removeFromPhysmap],
  [XENMEM.set_pod_target, podTarget],
  [XENMEM.get_pod_target, podTarget],
  [XENMEM.get_sharing_freed_pages, () => 0],
  [XENMEM.get_sharing_shared_pages, () => 0],
  [XENMEM.claim_pages, claimPages],
  [XENMEM.get_vnumainfo, notOffered],
  [XENMEM.acquire_resource, acquireResource],
]);

/** Operations that may be cut and go on where the command says. */
type Continued = (vcpu: Vcpu, pointer: bigint, start: number) => number | bigint | Nothing;
const CONTINUED = new Map<number, Continued>([
  [XENMEM.increase_reservation, increaseReservation],
  [XENMEM.decrease_reservation, decreaseReservation],
  [XENMEM.populate_physmap, populatePhysmap],
  [XENMEM.add_to_physmap, addToPhysmap],
  [XENMEM.add_to_physmap_batch, addToPhysmapBatch],
]);

const OF_THE_MACHINE = new Set<number>([XENMEM.machine_memory_map, XENMEM.machphys_mapping]);

/** memory_op(cmd, arg). The command is an int: what stands above it in the register means nothing (XSA-454). */
export const memoryOp: Handler = (vcpu: Vcpu, args: Args) => {
  const command = u32Arg(args[0]);
  const number = command & COMMAND_MASK;
  const start = command >>> EXTENT_SHIFT;
  // Of the machine an HVM guest sees nothing.
  if (!vcpu.domain.isPv && OF_THE_MACHINE.has(number)) throw new XenError('ENOSYS');
  const continued = CONTINUED.get(number);
  if (continued) return continued(vcpu, args[1], start);
  const operation = OPERATIONS.get(number);
  if (!operation) throw new XenError('ENOSYS');
  if (start !== 0) throw new XenError('EINVAL');
  return operation(vcpu, args[1]);
};

/** HVM: the highest frame that was ever mapped. PV: what the guest itself says is its last frame. */
function maximumGpfn(domain: Domain): number {
  const { memory } = domain.hypervisor;
  if (domain.hvm) return domain.hvm.physmap.highest;
  if (domain.sharedInfoMfn === 0) return -1;
  const at = memory.frameOffset(domain.sharedInfoMfn) + (domain.width === 64 ? MAX_PFN_64 : MAX_PFN_32);
  return memory.view.getUint32(at, true) - 1;
}
const MAX_PFN_64 = 3088;
const MAX_PFN_32 = 2316;
