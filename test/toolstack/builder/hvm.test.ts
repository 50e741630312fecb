// What the builders of PVH and PVHVM domains make: memory, special pages, parameters, what the kernel is told; and that it goes again.
import { beforeAll, describe, expect, it } from 'vitest';
import {
  HVM_PARAM,
  HVM_START_MAGIC,
  hvmMemmapTableEntry,
  hvmModlistEntry,
  hvmStartInfo,
} from '../../../src/abi/xen/hvm.ts';
import { E820 } from '../../../src/abi/xen/memory.ts';
import { R, S } from '../../../src/cpu/layout.ts';
import { ShutdownReason } from '../../../src/hypervisor/domain.ts';
import { runnerOf } from '../../../src/hypervisor/schedule.ts';
import { type GuestDomain, Host, type KernelImage, ramForGuests } from '../../../src/index.ts';
import { HvmGuest } from '../../guests/hvm-guest.ts';

const MIB = 1 << 20;
let image: KernelImage;
let host: Host;
beforeAll(async () => {
  ({ image } = await new HvmGuest('kernel').build());
  host = await Host.create({ ramBytes: ramForGuests(48) });
});

/** Guest-physical memory of a domain. */
function memoryOf({ domain }: GuestDomain) {
  const { memory } = domain.hypervisor;
  const at = (address: number): number =>
    memory.frameOffset(domain.hvm!.physmap.mfnOf(Math.floor(address / 4096))) + (address % 4096);
  return { view: memory.view, u8: memory.u8, at };
}

const text = (bytes: Uint8Array, at: number): string => {
  const end = bytes.indexOf(0, at);
  return new TextDecoder().decode(bytes.subarray(at, end));
};

/** Builds, looks, and takes down; all memory is free afterwards and no timer is left. */
function looksAt(guest: () => GuestDomain, look: (guest: GuestDomain) => void): void {
  const { frames, clock } = host.hypervisor;
  const { free } = frames;
  const built = guest();
  look(built);
  host.destroy(built);
  expect(frames.free).toBe(free);
  expect(clock.nextDeadline()).toBeNull();
}

describe('PVH', () => {
  const initrd = new TextEncoder().encode('an initramfs');
  const build = (options = {}) => host.createPvhDomain({ image, memoryMiB: 16, cmdline: 'a command line', ...options });

  it('starts in flat protected mode, with EBX at a start info that tells all', () => {
    looksAt(
      () => build({ initrd }),
      guest => {
        const [vcpu] = guest.domain.vcpus;
        const { cpu } = vcpu;
        expect([cpu.rip, cpu.get(S.cr0), cpu.rflags]).toEqual([0x100000n, 0x11n, 2n]);
        const { view, u8, at } = memoryOf(guest);
        const info = hvmStartInfo.read(view, at(Number(cpu.gpr[R.rbx])), 64);
        expect(info).toMatchObject({ magic: HVM_START_MAGIC, version: 1, nrModules: 1, rsdpPaddr: 0xfc008000n });
        expect(text(u8, at(Number(info.cmdlinePaddr)))).toBe('a command line');
        const module = hvmModlistEntry.read(view, at(Number(info.modlistPaddr)), 64);
        expect(module).toMatchObject({ size: BigInt(initrd.length) });
        expect(text(u8, at(Number(module.paddr)))).toBe('an initramfs');
        const map = Array.from({ length: info.memmapEntries }, (_, i) =>
          hvmMemmapTableEntry.read(view, at(Number(info.memmapPaddr)) + i * 24, 64),
        );
        expect(map[0]).toMatchObject({ addr: 0n, size: BigInt(16 * MIB), type: E820.ram });
        expect(map[1]).toMatchObject({ addr: 0xfeff8000n, size: 0x8000n, type: E820.reserved });
        expect(map[2]).toMatchObject({ addr: 0xfc001000n, type: E820.acpi });
        expect(text(u8, at(0xfc008000)).slice(0, 8)).toBe('RSD PTR ');
      },
    );
  });

  it('has its special pages where libxl puts them', () => {
    looksAt(build, guest => {
      const { physmap, params } = guest.domain.hvm!;
      expect(params.peek(HVM_PARAM.store_pfn)).toBe(0xfeffcn);
      expect(params.peek(HVM_PARAM.console_pfn)).toBe(0xfefffn);
      expect(params.peek(HVM_PARAM.ident_pt)).toBe(0xfeffe000n);
      for (let gfn = 0xfeff8; gfn <= 0xfefff; gfn++) expect(physmap.typeOf(gfn)).toBe('ram');
      expect(guest.domain.pages).toBeGreaterThan(16 * 256 + 8);
      const { view, at } = memoryOf(guest);
      expect(view.getUint32(at(0xfeffe004), true)).toBe(0x4000e7);
    });
  });

  it('needs an entry point and room for the kernel', () => {
    const none = { ...image, xen: { ...image.xen, phys32Entry: null } };
    expect(() => build({ image: none })).toThrow('no PVH entry point');
    expect(() => build({ memoryMiB: 1 })).toThrow(/memory to start/);
    expect(() => build({ initrd: new Uint8Array(16 * MIB) })).toThrow(/do not fit/);
    expect(() => build({ memoryMiB: 64 })).toThrow(/the host has only/);
    expect(() => build({ vcpus: 129 })).toThrow('a PVH guest has 1 to 128 processors');
    expect(host.domains.size).toBe(0);
  });
});

describe('PVHVM', () => {
  const build = (options = {}) => host.createPvHvmDomain({ image, memoryMiB: 16, ...options });

  it('has a PC of its own, whose timers end with it', () => {
    looksAt(build, guest => {
      const [vcpu] = guest.domain.vcpus;
      host.scheduler.load(runnerOf(vcpu));
      // Channel 0 of the 8254, every 65536 ticks for ever.
      const { bus, clock } = { bus: host.hypervisor.processor.bus, clock: host.hypervisor.clock };
      for (const [port, value] of [[0x43, 0x34], [0x40, 0], [0x40, 0]]) bus.portWrite(port, 1, value); // biome-ignore format: pairs
      expect(clock.nextDeadline()).not.toBeNull();
      guest.domain.shutDown(ShutdownReason.poweroff);
      expect(clock.nextDeadline()).toBeNull();
      for (const [port, value] of [[0x43, 0x34], [0x40, 0], [0x40, 0]]) bus.portWrite(port, 1, value); // biome-ignore format: pairs
      expect(clock.nextDeadline()).toBeNull();
      host.scheduler.unload();
    });
  });

  it('stands where hvmloader and QEMU put it', () => {
    looksAt(build, guest => {
      expect(guest.domain.memoryMap?.map(({ address, size, type }) => [address, address + size, type])).toEqual([
        [0n, 0x9fc00n, E820.ram],
        [0x9fc00n, 0xa0000n, E820.reserved],
        [0xf0000n, 0x100000n, E820.reserved],
        [0x100000n, BigInt(16 * MIB), E820.ram],
        [0xfc000000n, 0xfc040000n, E820.nvs],
        [0xfc040000n, 0x100000000n, E820.reserved],
      ]);
      const { view, at } = memoryOf(guest);
      const text = (address: number, length: number): string =>
        String.fromCharCode(...Array.from({ length }, (_, i) => view.getUint8(at(address + i))));
      expect(text(0xf6800, 8)).toBe('RSD PTR ');
      const root = view.getUint32(at(0xf6810), true);
      expect([text(root, 4), root >= 0xfc00a000]).toEqual(['RSDT', true]);
      host.scheduler.load(runnerOf(guest.domain.vcpus[0]));
      const { bus } = host.hypervisor.processor;
      // its registers: 48 inputs, the version without an EOI register; there is no PCI Express
      bus.write(0xfec00000n, 4, 1n);
      expect([bus.read(0xfec00010n, 4), bus.read(0xe0000000n, 4)]).toEqual([0x2f0011n, 0xffffffffn]);
      host.scheduler.unload();
    });
  });

  it('moves ACPI’s registers where the guest wants them', () => {
    looksAt(build, guest => {
      const { params } = guest.domain.hvm!;
      host.scheduler.load(runnerOf(guest.domain.vcpus[0]));
      const { bus } = host.hypervisor.processor;
      const control = (): number[] => [0xb004, 0x1f44].map(port => bus.portRead(port, 2));
      expect([params.peek(HVM_PARAM.acpi_ioports_location), ...control()]).toEqual([1n, 1, 0xffff]);
      guest.domain.hvm!.onAcpiPorts?.(0);
      expect(control()).toEqual([0xffff, 1]);
      guest.domain.hvm!.onAcpiPorts?.(1);
      expect(control()).toEqual([1, 0xffff]);
      host.scheduler.unload();
    });
  });

  it('shows the platform device, and takes what its driver says', () => {
    looksAt(build, guest => {
      host.scheduler.load(runnerOf(guest.domain.vcpus[0]));
      const { bus } = host.hypervisor.processor;
      const config = (slot: number, register: number): number => {
        bus.portWrite(0xcf8, 4, (0x80000000 | (slot << 11) | register) >>> 0);
        return bus.portRead(0xcfc, 4);
      };
      expect([config(0, 0), config(1, 0), config(2, 0)]).toEqual([0x12378086, 0x70008086, 0x00015853]);
      expect(config(2, 8) >>> 8).toBe(0xff8000);
      expect([bus.portRead(0x10, 2), bus.portRead(0x12, 1)]).toEqual([0x49d2, 1]);
      bus.portWrite(0x12, 2, 3);
      bus.portWrite(0x10, 4, 0x20600);
      expect(bus.portRead(0x10, 2)).toBe(0x49d2);
      bus.portWrite(0x10, 2, 0xffff);
      host.scheduler.unload();
    });
  });

  it('wants some memory', () => {
    expect(() => build({ memoryMiB: 8 })).toThrow('at least 16 MiB');
    expect(host.domains.size).toBe(0);
  });
});
