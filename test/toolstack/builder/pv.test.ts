import { beforeAll, describe, expect, it } from 'vitest';
import { dom0VgaConsoleInfo, startInfo } from '../../../src/abi/xen/xen.ts';
import { R, SEG } from '../../../src/cpu/layout.ts';
import { CPU_MODELS } from '../../../src/cpu/models/index.ts';
import type { Domain } from '../../../src/hypervisor/domain.ts';
import { mapForHost } from '../../../src/hypervisor/grants/host-access.ts';
import { PageFlag, PageType } from '../../../src/hypervisor/memory/frame-table.ts';
import { type BuiltPv, buildPv, type PvBuildOptions } from '../../../src/toolstack/builder/pv.ts';
import { loadImage } from '../../../src/toolstack/image/index.ts';
import { concatBytes } from '../../../src/util/bytes.ts';
import { TestHost } from '../../hypervisor/harness.ts';
import { little, makeElf, note, text } from '../image/builders.ts';

const BASE = 0xffffffff80000000n;
/** Not a whole number of p2m frames. */
const PAGES = 24 * 256 + 100;
const PT_LOAD = 1;
const PT_NOTE = 4;

const xenNote = (type: number, value: bigint) => note('Xen', type, little(value, 8));

/** A kernel with text at 16 MiB, which ends in zeroed memory, and a segment that is linked at 0. */
function kernel(notes: readonly Uint8Array[]): Uint8Array {
  const code = Uint8Array.from({ length: 0x2800 }, (_, i) => (i * 7) & 0xff);
  return makeElf({
    entry: BASE + 0x1000100n,
    segments: [
      { type: PT_LOAD, vaddr: BASE + 0x1000000n, paddr: 0x1000000n, data: code, memorySize: 0x5000 },
      { type: PT_LOAD, vaddr: 0n, paddr: 0x1006000n, data: text('per-cpu'), memorySize: 0x1000 },
      { type: PT_NOTE, vaddr: 0n, data: concatBytes([...notes]) },
    ],
  });
}

const LINUX_NOTES = [
  xenNote(3, BASE),
  xenNote(4, 0n),
  xenNote(1, BASE + 0x1000200n),
  xenNote(15, 0x8000000000n),
  xenNote(16, 1n),
];

interface Built {
  host: TestHost;
  domain: Domain;
  built: BuiltPv;
}

async function build(notes: readonly Uint8Array[], options: Partial<PvBuildOptions> = {}): Promise<Built> {
  const image = await loadImage(kernel(notes), 'test');
  const host = new TestHost(16384);
  Object.assign(host.processor, { model: CPU_MODELS[0] });
  const domain = host.hypervisor.createDomain({ id: 5, name: 'test', abi: 'pv64', vcpus: 2, maxPages: PAGES + 256 });
  const all = { image, initrd: null, cmdline: 'a=1', pages: PAGES, storePort: 1, consolePort: 2, ...options };
  return { host, domain, built: buildPv(domain, all) };
}

/** Loads the first vCPU, so that linear addresses can be read. */
function load({ host, domain }: Built): void {
  const vcpu = domain.vcpus[0];
  host.processor.load(vcpu.stored);
  host.hypervisor.loaded = vcpu;
  host.processor.selectAddressSpace(BigInt(vcpu.pv.guestTable) << 12n);
}

function read({ host }: Built, address: bigint, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  host.processor.readLinear(address, bytes, { write: false, user: true });
  return bytes;
}

describe('a built PV domain', () => {
  let b: Built;
  const initrd = Uint8Array.from({ length: 9000 }, (_, i) => (i * 13) & 0xff);
  beforeAll(async () => {
    b = await build(LINUX_NOTES, { initrd });
    load(b);
  });
  const p2m = (pfn: number): number => {
    const raw = read(b, 0x8000000000n + BigInt(pfn * 8), 8);
    return Number(new DataView(raw.buffer).getBigUint64(0, true));
  };

  it('has its segments by physical address, the rest zero', () => {
    const code = read(b, BASE + 0x1000000n, 0x7000);
    expect([...code.subarray(0, 0x2800)].every((byte, i) => byte === ((i * 7) & 0xff))).toBe(true);
    expect(code.subarray(0x2800, 0x6000).every(byte => byte === 0)).toBe(true);
    expect(new TextDecoder().decode(code.subarray(0x6000, 0x6007))).toBe('per-cpu');
  });

  it('has a p2m list at INIT_P2M that is the inverse of the M2P, with holes marked', () => {
    const { m2p, frames } = b.host.hypervisor;
    for (let pfn = 0; pfn < PAGES; pfn++) {
      const mfn = p2m(pfn);
      if (m2p.get(mfn) !== BigInt(pfn) || frames.owner[mfn] !== 5) expect([pfn, mfn]).toBe('a frame of the domain');
    }
    const last = b.built.layout.p2m.pages * 512;
    const raw = read(b, 0x8000000000n + BigInt((last - 1) * 8), 8);
    expect(raw.every(byte => byte === 0xff)).toBe(true);
  });

  it('maps all of its start, tables read-only, and nothing after it', () => {
    const { layout } = b.built;
    const { processor, memory } = b.host;
    const { frames } = b.host.hypervisor;
    let readOnly = 0;
    for (let pfn = 0, va = BASE; va < layout.virtEnd; pfn++, va += 4096n) {
      const at = processor.translate(va, { write: false, user: true });
      const mfn = (at - memory.ramBase) / 4096;
      if (mfn !== p2m(pfn)) expect(mfn).toBe(p2m(pfn));
      const isTable = frames.type[mfn] >= PageType.l1 && frames.type[mfn] <= PageType.l4 && frames.typeCount[mfn] > 0;
      let writable = true;
      try {
        processor.translate(va, { write: true, user: true });
      } catch {
        writable = false;
      }
      if (writable === isTable) expect(`pfn ${pfn}`).toBe(isTable ? 'read-only' : 'writable');
      if (isTable) readOnly++;
    }
    expect(readOnly).toBe(layout.pageTables.pages);
    expect(() => processor.translate(layout.virtEnd, { write: false, user: true })).toThrow();
  });

  it('has its tables pinned', () => {
    const { frames } = b.host.hypervisor;
    const root = b.domain.vcpus[0].pv.guestTable;
    expect(frames.flags[root] & PageFlag.pinned).not.toBe(0);
    expect(frames.type[root]).toBe(PageType.l4);
    expect(frames.typeCount[root]).toBe(2);
  });

  it('has a start_info that says where everything is', () => {
    const { layout, storeMfn, consoleMfn } = b.built;
    const raw = read(b, layout.startInfo.va, 1168);
    const info = startInfo.read(new DataView(raw.buffer), 0, 64);
    expect(new TextDecoder().decode(info.magic).replaceAll('\0', '')).toBe('xen-3.0-x86_64');
    expect(info.nrPages).toBe(BigInt(PAGES));
    expect(info.sharedInfo).toBe(BigInt(b.domain.sharedInfoMfn) << 12n);
    expect(info.flags).toBe(8);
    expect([info.storeMfn, info.storeEvtchn]).toEqual([BigInt(storeMfn), 1]);
    expect([info.console.domU.mfn, info.console.domU.evtchn]).toEqual([BigInt(consoleMfn), 2]);
    expect(info.ptBase).toBe(layout.pageTables.va);
    expect(info.nrPtFrames).toBe(BigInt(layout.pageTables.pages));
    expect(info.mfnList).toBe(0x8000000000n);
    expect([info.firstP2mPfn, info.nrP2mFrames]).toEqual([BigInt(layout.p2m.pfn), BigInt(layout.p2m.pages + 3)]);
    expect([info.modStart, info.modLen]).toEqual([BigInt(layout.initrd!.pfn), 9000n]);
    expect(new TextDecoder().decode(info.cmdLine).replaceAll('\0', '')).toBe('a=1');
    expect(storeMfn).toBe(p2m(layout.xenstore!.pfn));
  });

  it('without rings, as the initial domain, is told where its display is described: nowhere in particular', async () => {
    const initial = await build(LINUX_NOTES, { storePort: null, consolePort: null });
    load(initial);
    const raw = read(initial, initial.built.layout.startInfo.va, 4096);
    const info = startInfo.read(new DataView(raw.buffer), 0, 64);
    expect(info.console.dom0).toEqual({ infoOff: 1168, infoSize: 40 });
    expect([info.storeMfn, info.storeEvtchn]).toEqual([0n, 0]);
    const display = dom0VgaConsoleInfo.read(new DataView(raw.buffer), info.console.dom0.infoOff, 64);
    expect(display.videoType).toBe(0);
    expect(raw.subarray(1168).every(byte => byte === 0)).toBe(true);
    load(b);
  });

  it('has the initrd in frames that nothing maps', () => {
    const { layout } = b.built;
    const bytes = new Uint8Array(9000);
    for (let at = 0; at < 9000; at += 4096) {
      const frame = b.host.memory.frame(p2m(layout.initrd!.pfn + at / 4096));
      bytes.set(frame.subarray(0, Math.min(4096, 9000 - at)), at);
    }
    expect(bytes).toEqual(initrd);
    expect(layout.initrd!.va).toBeNull();
  });

  it('starts at ENTRY on the boot stack with everything masked', () => {
    const [first, second] = b.domain.vcpus;
    const { cpu } = first;
    expect(cpu.rip).toBe(BASE + 0x1000200n);
    expect(cpu.gpr[R.rsp]).toBe(b.built.layout.bootStack.va + 4096n);
    expect(cpu.gpr[R.rsi]).toBe(b.built.layout.startInfo.va);
    expect(cpu.rflags).toBe(0x202n);
    expect([SEG.cs, SEG.ss, SEG.ds, SEG.gs].map(i => cpu.readSegment(i).selector)).toEqual([0xe033, 0xe02b, 0, 0]);
    expect(first.pv.inKernel && first.isUp && first.isInitialised).toBe(true);
    expect(first.info.upcallMask && second.info.upcallMask).toBe(true);
    expect(second.isUp || second.isInitialised).toBe(false);
  });

  it('grants console and XenStore pages to their daemons', () => {
    const { memory } = b.host;
    expect(mapForHost(b.domain, 0, false).offset).toBe(memory.frameOffset(b.built.consoleMfn));
    expect(mapForHost(b.domain, 1, false).offset).toBe(memory.frameOffset(b.built.storeMfn));
  });
});

describe('other kernels', () => {
  it('without INIT_P2M and MOD_START_PFN: p2m and initrd are mapped', async () => {
    const b = await build([xenNote(3, BASE), xenNote(4, 0n)], { initrd: text('initrd!') });
    load(b);
    const { layout } = b.built;
    expect(new TextDecoder().decode(read(b, layout.initrd!.va!, 7))).toBe('initrd!');
    const raw = read(b, layout.startInfo.va, 1168);
    const info = startInfo.read(new DataView(raw.buffer), 0, 64);
    expect([info.flags, info.modStart, info.mfnList]).toEqual([0, layout.initrd!.va, layout.p2m.va]);
    expect([info.firstP2mPfn, info.nrP2mFrames]).toEqual([0n, 0n]);
    expect(b.domain.vcpus[0].cpu.rip).toBe(BASE + 0x1000100n);
  });

  it('with HYPERCALL_PAGE: the page has stubs', async () => {
    const b = await build([...LINUX_NOTES, xenNote(2, BASE + 0x1004000n)]);
    load(b);
    const page = read(b, BASE + 0x1004000n, 4096);
    const stub = (n: number): string => Buffer.from(page.subarray(n * 32, n * 32 + 16)).toString('hex');
    expect(stub(1)).toBe('514153b8010000000f05415b59c3cccc');
    expect(stub(23)).toBe('51415350b8170000000f05cccccccccc');
  });

  it('refuses what cannot be built, in words for the user', async () => {
    await expect(build(LINUX_NOTES, { cmdline: 'x'.repeat(1024) })).rejects.toThrow(/command line has 1024 bytes/);
    await expect(build([])).rejects.toThrow(/no PV kernel/);
    await expect(build([...LINUX_NOTES, xenNote(2, BASE + 0x1004001n)])).rejects.toThrow(/HYPERCALL_PAGE/);
    await expect(build(LINUX_NOTES, { pages: 16 * 256 })).rejects.toThrow(/16 MiB of memory are too little/);
    await expect(build(LINUX_NOTES, { pages: 1024 * 256 })).rejects.toThrow(/the host has only/);
  });
});
