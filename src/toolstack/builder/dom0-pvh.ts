// The builder of a PVH Dom0: RAM where the machine has RAM, the machine's firmware where it stands, its devices at their own addresses, and in front
// of them the interrupt controllers and the PCI configuration that Xen emulates. Source: xen/arch/x86/hvm/dom0_build.c.
import { E820 } from '../../abi/xen/memory.ts';
import { SIF } from '../../abi/xen/xen.ts';
import type { Domain, MemoryMapEntry } from '../../hypervisor/domain.ts';
import { ControlBus } from '../../hypervisor/hardware/control-bus.ts';
import { HvmBus } from '../../hypervisor/hvm/bus.ts';
import { apicIdOf, connectProcessors } from '../../hypervisor/hvm/hvm-vcpu.ts';
import { setUpSharedInfo } from '../../hypervisor/shared-info.ts';
import type { Board } from '../../machine/board.ts';
import { PCI_HOLE } from '../../machine/board.ts';
import { InterruptBus } from '../../machine/interrupts/interrupt-bus.ts';
import { PhysicalMemory } from '../../machine/physical-memory.ts';
import type { KernelImage } from '../image/kernel.ts';
import { dom0Madt, dom0Rsdp, dom0Xsdt, MachineTables } from './dom0-acpi.ts';
import { BuildError } from './error.ts';
import { startPvhKernel } from './pvh-kernel.ts';

const PAGE = 4096;
const PAGES_PER_MIB = 256;
const MIB_FRAMES = 256;
const GIB4 = 0x1_0000_0000n;
const LEAST_MIB = 16;

export interface Dom0PvhOptions {
  image: Pick<KernelImage, 'elf' | 'xen' | 'name'>;
  initrd: Uint8Array | null;
  cmdline: string;
  /** Pages of RAM. */
  pages: number;
  /** The machine, whose firmware has run. */
  board: Board;
}

/** Fills an empty HVM domain that drives the hardware. Throws BuildError where the kernel cannot start like this. */
export function buildDom0Pvh(domain: Domain, options: Dom0PvhOptions): void {
  const { pages, board } = options;
  const { hypervisor } = domain;
  const { frames, memory, processor, hardware } = hypervisor;
  const { physmap } = domain.hvm!;
  if (pages < LEAST_MIB * PAGES_PER_MIB) throw new BuildError(`Dom0 has at least ${LEAST_MIB} MiB of memory`);
  if (!hardware) throw new BuildError('the host has no machine that Dom0 could drive');
  setUpSharedInfo(domain);
  const map = memoryMap(hypervisor.machineMemoryMap, pages);
  const physical = new PhysicalMemory(memory, physmap.map, (mfn, offset, length) =>
    processor.wroteFrame(mfn, offset, length),
  );
  for (const { address, size, type } of map) {
    if (type !== E820.ram) continue;
    const first = Number(address) / PAGE;
    for (let gfn = first; gfn < first + Number(size) / PAGE; gfn++) physmap.add(gfn, frames.allocate(domain));
  }
  mapFirmware(domain, board);

  const machine = new MachineTables(board.physical, board.rsdp);
  const place = (bytes: Uint8Array): number => {
    const address = takeRam(map, bytes.length);
    physical.write(address, bytes);
    return address;
  };
  const madt = place(
    dom0Madt(
      machine,
      domain.vcpus.map(({ id }) => apicIdOf(id)),
    ),
  );
  const rsdp = place(dom0Rsdp(machine, place(dom0Xsdt(machine, madt))));
  domain.memoryMap = map;

  const interrupts = new InterruptBus();
  connectProcessors(domain, { bus: new HvmBus(domain, new ControlBus(hardware, interrupts)), interrupts });
  for (const { hvm } of domain.vcpus) hvm!.registers.mtrrs.setUpAsFirmware(PCI_HOLE.holeStart);
  const flags = SIF.privileged | SIF.initdomain;
  startPvhKernel(domain, physical, { ...options, map, rsdp, flags, lowEnd: Number(endOf(lastRam(map))) });
}

/** The machine's map, with so much RAM as Dom0 has; what it has not it must not use for anything else either. */
function memoryMap(machine: readonly MemoryMapEntry[], pages: number): MemoryMapEntry[] {
  const map: MemoryMapEntry[] = [];
  let left = BigInt(pages * PAGE);
  const toPage = (address: bigint): bigint => address & ~BigInt(PAGE - 1);
  for (const entry of machine) {
    if (entry.type !== E820.ram) {
      map.push({ ...entry });
      continue;
    }
    const address = toPage(entry.address + BigInt(PAGE - 1));
    const size = toPage(endOf(entry)) - address;
    const given = size < left ? size : left;
    if (given > 0n) map.push({ address, size: given, type: E820.ram });
    if (given < size) map.push({ address: address + given, size: size - given, type: E820.unusable });
    left -= given;
  }
  if (left > 0n) throw new BuildError('the machine has less memory than Dom0 is to have');
  return map;
}

const endOf = ({ address, size }: MemoryMapEntry): bigint => address + size;

/** The last RAM below 4 GiB. */
function lastRam(map: readonly MemoryMapEntry[]): MemoryMapEntry {
  return map.findLast(entry => entry.type === E820.ram && endOf(entry) <= GIB4)!;
}

/** Takes whole pages from the end of the RAM below 4 GiB for tables (pvh_steal_ram). Gives their address. */
function takeRam(map: MemoryMapEntry[], length: number): number {
  const ram = lastRam(map);
  const size = BigInt(Math.ceil(length / PAGE) * PAGE);
  ram.size -= size;
  const address = endOf(ram);
  map.splice(map.indexOf(ram) + 1, 0, { address, size, type: E820.acpi });
  return Number(address);
}

/**
 * The first MiB and the tables' region stand where they are. RAM of the first MiB is the domain's own, with what firmware has left there.
 */
function mapFirmware(domain: Domain, { physical: machine }: Board): void {
  const { frames, memory } = domain.hypervisor;
  const { physmap } = domain.hvm!;
  const page = new Uint8Array(PAGE);
  for (const [first, count] of domain.hypervisor.hardware!.reservedFrames) {
    for (let mfn = first; mfn < first + count && mfn < frames.count; mfn++) {
      if (physmap.typeOf(mfn) === 'none') physmap.addDirect(mfn);
      else if (mfn < MIB_FRAMES) {
        machine.read(mfn * PAGE, page);
        memory.u8.set(page, memory.frameOffset(physmap.mfnOf(mfn)));
      }
    }
  }
}
