// The PV domain builder for 64-bit guests: from an empty domain to one whose first vCPU is ready to run. What it makes is what
// libxenguest makes (tools/libs/guest/xg_dom_x86.c, xg_dom_core.c); struct start_info: public/xen.h.
import { EM_X86_64, PT_LOAD } from '../../abi/elf.ts';
import { member, type Of } from '../../abi/struct.ts';
import { VGCF, vcpuGuestContext64 } from '../../abi/xen/arch-x86.ts';
import { dom0VgaConsoleInfo, SIF, startInfo } from '../../abi/xen/xen.ts';
import type { Domain, DomId } from '../../hypervisor/domain.ts';
import { PageFlag, PageType } from '../../hypervisor/memory/frame-table.ts';
import { loadContext } from '../../hypervisor/pv/context.ts';
import { FLAT_KERNEL_CS, FLAT_KERNEL_SS } from '../../hypervisor/pv/selectors.ts';
import { setUpSharedInfo } from '../../hypervisor/shared-info.ts';
import type { KernelImage } from '../image/kernel.ts';
import { BuildError } from './error.ts';
import { writeHypercallPage64 } from './hypercall-page.ts';
import { layOutPv, type MappedPart, type PvLayout } from './pv-layout.ts';

const PAGE = 4096;
const MAGIC = 'xen-3.0-x86_64';
const CMDLINE_BYTES = 1024;
/** Grant references that every toolstack seeds for its daemons. */
const GNTTAB_RESERVED_CONSOLE = 0;
const GNTTAB_RESERVED_XENSTORE = 1;
const NO_FRAME = 0xffffffffffffffffn;
const RFLAGS_START = 0x202n;

export interface PvBuildOptions {
  image: Pick<KernelImage, 'elf' | 'xen' | 'virtBase' | 'paddrOffset' | 'virtStart' | 'virtEnd' | 'entry' | 'name'>;
  initrd: Uint8Array | null;
  cmdline: string;
  /** Pages of memory; the domain's maxPages is at least that. */
  pages: number;
  /** Ports of the domain, unbound, for XenStore and the console; null where it starts without one of them, as the initial domain does. */
  storePort: number | null;
  consolePort: number | null;
  /** Whose domains serve them; Dom0 by default. */
  storeDomid?: DomId;
  consoleDomid?: DomId;
}

/** What the toolstack needs to know of the finished domain. */
export interface BuiltPv {
  layout: PvLayout;
  /** Machine frames of the two rings; 0 where there is none. */
  storeMfn: number;
  consoleMfn: number;
}

/** Fills an empty domain. Throws BuildError where the kernel cannot start like this, XenError (ENOMEM) where the host has no room. */
export function buildPv(domain: Domain, options: PvBuildOptions): BuiltPv {
  const { image } = options;
  if (image.elf.bits !== 64 || image.elf.machine !== EM_X86_64) {
    throw new BuildError(`${image.name}: 32-bit PV guests are not built yet`);
  }
  if (image.xen.source === 'none')
    throw new BuildError(`${image.name}: the kernel has no Xen notes, so it is no PV kernel`);
  const commandLine = new TextEncoder().encode(options.cmdline);
  if (commandLine.length >= CMDLINE_BYTES) {
    throw new BuildError(
      `the command line has ${commandLine.length} bytes; a PV guest takes at most ${CMDLINE_BYTES - 1}`,
    );
  }
  const { initP2m, modStartPfn } = image.xen;
  const layout = layOutPv({ ...pick(image), initP2m, modStartPfn }, options.pages, options.initrd?.length ?? 0, {
    xenstore: options.storePort !== null,
    console: options.consolePort !== null,
  });
  const memory = new GuestFrames(domain, options.pages);

  loadKernel(memory, options, layout);
  if (options.initrd && layout.initrd) memory.write(layout.initrd.pfn * PAGE, options.initrd);
  if (image.xen.hypercallPage !== null) fillHypercallPage(memory, image.xen.hypercallPage, layout);
  writeP2m(memory, layout.p2m, options.pages);
  setUpSharedInfo(domain);
  writeStartInfo(memory, options, layout, commandLine);
  const root = writePageTables(memory, layout);
  const storeMfn = layout.xenstore ? memory.mfn(layout.xenstore.pfn) : 0;
  const consoleMfn = layout.console ? memory.mfn(layout.console.pfn) : 0;
  if (layout.console) domain.grants.seed(GNTTAB_RESERVED_CONSOLE, options.consoleDomid ?? 0, consoleMfn);
  if (layout.xenstore) domain.grants.seed(GNTTAB_RESERVED_XENSTORE, options.storeDomid ?? 0, storeMfn);
  startVcpu(domain, image.entry, root, layout);
  return { layout, storeMfn, consoleMfn };
}

function pick({ virtBase, paddrOffset, virtStart, virtEnd }: PvBuildOptions['image']) {
  return { virtBase, paddrOffset, virtStart, virtEnd };
}

/** The domain's memory by guest frame number. */
class GuestFrames {
  readonly domain: Domain;
  private readonly p2m: Uint32Array;

  /** Takes all pages of the domain from the host. */
  constructor(domain: Domain, pages: number) {
    const { frames, m2p } = domain.hypervisor;
    if (frames.free < pages) {
      const mib = (n: number): number => Math.floor(n / 256);
      throw new BuildError(`the host has only ${mib(frames.free)} MiB free for a domain of ${mib(pages)} MiB`);
    }
    this.domain = domain;
    this.p2m = new Uint32Array(pages);
    for (let pfn = 0; pfn < pages; pfn++) {
      const mfn = frames.allocate(domain);
      this.p2m[pfn] = mfn;
      m2p.set(mfn, BigInt(pfn));
    }
  }

  get pages(): number {
    return this.p2m.length;
  }

  mfn(pfn: number): number {
    return this.p2m[pfn];
  }

  /** Byte offset in the engine memory of a guest frame. */
  offset(pfn: number): number {
    return this.domain.hypervisor.memory.frameOffset(this.p2m[pfn]);
  }

  frame(pfn: number): Uint8Array {
    return this.domain.hypervisor.memory.frame(this.p2m[pfn]);
  }

  /** Copies bytes to guest-physical addresses from `address` on. */
  write(address: number, bytes: Uint8Array): void {
    const { u8 } = this.domain.hypervisor.memory;
    for (let at = 0; at < bytes.length; ) {
      const inPage = (address + at) % PAGE;
      const count = Math.min(PAGE - inPage, bytes.length - at);
      u8.set(bytes.subarray(at, at + count), this.offset(Math.floor((address + at) / PAGE)) + inPage);
      at += count;
    }
  }
}

/** Segments go where their physical addresses say; their virtual ones may be anything (per-CPU data is linked at 0). */
function loadKernel(memory: GuestFrames, { image }: PvBuildOptions, layout: PvLayout): void {
  const end = (layout.kernel.pfn + layout.kernel.pages) * PAGE;
  for (const segment of image.elf.segments) {
    if (segment.type !== PT_LOAD || segment.memorySize === 0) continue;
    const address = Number(segment.paddr - image.paddrOffset);
    if (address < 0 || address + segment.memorySize > end) {
      throw new BuildError(`${image.name}: a segment lies outside of the memory that the kernel asks for`);
    }
    memory.write(address, segment.data.subarray(0, segment.fileSize));
  }
}

function fillHypercallPage(memory: GuestFrames, address: bigint, layout: PvLayout): void {
  const pfn = Number((address - layout.virtBase) >> 12n);
  if (address < layout.virtBase || address % 4096n !== 0n || pfn >= layout.kernel.pfn + layout.kernel.pages) {
    throw new BuildError('the HYPERCALL_PAGE note does not name a page of the kernel');
  }
  writeHypercallPage64(memory.frame(pfn));
}

function writeP2m(memory: GuestFrames, p2m: MappedPart, pages: number): void {
  const { view } = memory.domain.hypervisor.memory;
  const entries = (p2m.pages * PAGE) / 8;
  for (let pfn = 0; pfn < entries; pfn++) {
    const at = memory.offset(p2m.pfn + (pfn >> 9)) + (pfn & 511) * 8;
    view.setBigUint64(at, pfn < pages ? BigInt(memory.mfn(pfn)) : NO_FRAME, true);
  }
}

function writeStartInfo(memory: GuestFrames, options: PvBuildOptions, layout: PvLayout, commandLine: Uint8Array): void {
  const { domain } = memory;
  const { initrd } = layout;
  const unmappedInitrd = initrd !== null && initrd.va === null;
  const mapsP2m = layout.p2mFrames > 0;
  startInfo.write(
    domain.hypervisor.memory.view,
    memory.offset(layout.startInfo.pfn),
    {
      ...startInfo.zero(),
      magic: new TextEncoder().encode(MAGIC),
      nrPages: BigInt(options.pages),
      sharedInfo: BigInt(domain.sharedInfoMfn) << 12n,
      flags: (unmappedInitrd ? SIF.modStartPfn : 0) | (domain.drivesHardware ? SIF.privileged | SIF.initdomain : 0),
      storeMfn: layout.xenstore ? BigInt(memory.mfn(layout.xenstore.pfn)) : 0n,
      storeEvtchn: options.storePort ?? 0,
      console: consoleOf(memory, options, layout),
      ptBase: layout.pageTables.va,
      nrPtFrames: BigInt(layout.pageTables.pages),
      mfnList: layout.p2m.va,
      modStart: initrd === null ? 0n : (initrd.va ?? BigInt(initrd.pfn)),
      modLen: BigInt(options.initrd?.length ?? 0),
      cmdLine: commandLine,
      firstP2mPfn: mapsP2m ? BigInt(layout.p2m.pfn) : 0n,
      nrP2mFrames: BigInt(layout.p2mFrames),
    },
    64,
  );
}

/** The initial domain has no ring: after start_info it finds what display there is, all zeroes where there is none. */
function consoleOf(memory: GuestFrames, options: PvBuildOptions, layout: PvLayout): Of<typeof startInfo>['console'] {
  if (layout.console) {
    return member({ domU: { mfn: BigInt(memory.mfn(layout.console.pfn)), evtchn: options.consolePort ?? 0 } });
  }
  return member({ dom0: { infoOff: startInfo.size(64), infoSize: dom0VgaConsoleInfo.size(64) } });
}

/** Writes the tables, has them validated and pins them. Returns the top-level table's machine frame. */
function writePageTables(memory: GuestFrames, layout: PvLayout): number {
  const { domain } = memory;
  const { frames, memory: engine } = domain.hypervisor;
  layout.tables.entries(
    pfn => memory.mfn(pfn),
    (table, index, entry) => engine.view.setBigUint64(memory.offset(table) + index * 8, entry, true),
  );
  const root = memory.mfn(layout.tables.rootPfn);
  const rc = frames.getPageAndType(root, domain.id, PageType.l4);
  if (rc !== 0) throw new Error(`the builder's own page tables were refused (${rc})`);
  frames.flags[root] |= PageFlag.pinned;
  return root;
}

function startVcpu(domain: Domain, entry: bigint, root: number, layout: PvLayout): void {
  const stack = layout.bootStack.va + BigInt(PAGE);
  const context = vcpuGuestContext64.zero();
  context.flags = BigInt(VGCF.inKernel | VGCF.online);
  context.userRegs.rip = entry;
  context.userRegs.rsp = stack;
  context.userRegs.rsi = layout.startInfo.va;
  context.userRegs.rflags = RFLAGS_START;
  context.userRegs.cs = FLAT_KERNEL_CS;
  context.userRegs.ss = FLAT_KERNEL_SS;
  context.kernelSs = BigInt(FLAT_KERNEL_SS);
  context.kernelSp = stack;
  context.ctrlreg[3] = BigInt(root) << 12n;
  loadContext(domain.vcpus[0], context);
}
