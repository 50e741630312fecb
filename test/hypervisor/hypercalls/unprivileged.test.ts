import { beforeEach, describe, expect, it } from 'vitest';
import * as physdev from '../../../src/abi/xen/physdev.ts';
import { PHYSDEVOP } from '../../../src/abi/xen/physdev.ts';
import { SCHEDOP, schedRemoteShutdown, schedShutdown } from '../../../src/abi/xen/sched.ts';
import { VCPUOP } from '../../../src/abi/xen/vcpu.ts';
import * as version from '../../../src/abi/xen/version.ts';
import { XENVER } from '../../../src/abi/xen/version.ts';
import type { Domain } from '../../../src/hypervisor/domain.ts';
import { XenError } from '../../../src/hypervisor/errors.ts';
import { PageType } from '../../../src/hypervisor/memory/frame-table.ts';
import type { Vcpu } from '../../../src/hypervisor/vcpu.ts';
import { FakeHost } from '../fake-host.ts';

const E = {
  PERM: -1, NOENT: -2, SRCH: -3, NXIO: -6, TOOBIG: -7, ACCES: -13, FAULT: -14, BUSY: -16, EXIST: -17, NODEV: -19, INVAL: -22,
  NOSPC: -28, NOSYS: -38, NODATA: -61, OPNOTSUPP: -95,
} as const; // biome-ignore format: a table
const SELF = 0x7ff0;
const BAD = 0xffff_8000_0000_0000n;

let host: FakeHost;
let domain: Domain;
let vcpu: Vcpu;

beforeEach(() => {
  host = new FakeHost();
  domain = host.domain({ vcpus: 3 });
  [vcpu] = domain.vcpus;
});

const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes).replace(/\0+$/, '');

describe('xen_version', () => {
  const NR = 17;

  it('is 4.17, with strings that fill their buffers with zeros (XSA-122)', () => {
    expect(host.call(vcpu, NR, XENVER.version)).toBe(0x40011);
    const page = host.frame(domain);
    const cases: [number, number, string | null][] = [
      [XENVER.extraversion, 16, '.7'],
      [XENVER.compile_info, 144, null],
      [XENVER.capabilities, 1024, 'xen-3.0-x86_64 xen-3.0-x86_32p hvm-3.0-x86_32 hvm-3.0-x86_32p hvm-3.0-x86_64 '],
      [XENVER.changeset, 64, ''],
      [XENVER.guest_handle, 16, ''],
    ];
    for (const [cmd, size, expected] of cases) {
      host.bytes(page).fill(0xaa);
      expect(host.call(vcpu, NR, cmd, host.address(page))).toBe(0);
      const written = host.bytes(page).slice(0, size);
      expect(host.bytes(page)[size]).toBe(0xaa);
      expect(written.includes(0xaa)).toBe(false);
      if (expected !== null) expect(text(written)).toBe(expected);
    }
  });

  it('features of a PV guest: 5 6 7 13 17; another submap is EINVAL', () => {
    const [rc, a] = host.op(vcpu, NR, XENVER.get_features, version.xenFeatureInfo, { submapIdx: 0 });
    expect([rc, a.submap]).toEqual([0, (1 << 5) | (1 << 6) | (1 << 7) | (1 << 13) | (1 << 17)]);
    expect(host.op(vcpu, NR, XENVER.get_features, version.xenFeatureInfo, { submapIdx: 1 })[0]).toBe(E.INVAL);
    domain.vmAssist |= 8n;
    expect(host.op(vcpu, NR, XENVER.get_features, version.xenFeatureInfo, {})[1].submap & 16).toBe(16);
  });

  it('where the hypervisor begins, and the size of a page', () => {
    const [, a] = host.op(vcpu, NR, XENVER.platform_parameters, version.xenPlatformParameters, {});
    expect(a.virtStart).toBe(0xffff_8000_0000_0000n);
    const narrow = host.domain({ abi: 'pv32' });
    const [, b] = host.op(narrow.vcpus[0], NR, XENVER.platform_parameters, version.xenPlatformParameters, {});
    expect(b.virtStart).toBe(0xf580_0000n);
    expect(host.call(vcpu, NR, XENVER.pagesize, 0)).toBe(4096);
    expect(host.call(vcpu, NR, XENVER.pagesize, 1)).toBe(E.INVAL);
  });

  it('keeps the command line and the build id from guests', () => {
    const page = host.frame(domain);
    expect(host.call(vcpu, NR, XENVER.commandline, host.address(page))).toBe(0);
    expect(text(host.bytes(page))).toBe('<denied>');
    expect(host.call(vcpu, NR, XENVER.build_id, 0)).toBe(E.PERM);
    expect(host.call(vcpu, NR, 11, 0)).toBe(E.NOSYS);
    expect(host.call(vcpu, NR, XENVER.extraversion, BAD)).toBe(E.FAULT);
  });
});

describe('vcpu_op', () => {
  const NR = 24;

  it('ends the count of processors with ENOENT, whatever is asked', () => {
    expect(host.call(vcpu, NR, VCPUOP.is_up, 0)).toBe(1);
    expect(host.call(vcpu, NR, VCPUOP.is_up, 2)).toBe(0);
    expect(host.call(vcpu, NR, VCPUOP.is_up, 3)).toBe(E.NOENT);
    expect(host.call(vcpu, NR, 99, 3)).toBe(E.NOENT);
    expect(host.call(vcpu, NR, 99, 0)).toBe(E.NOSYS);
    expect(host.call(vcpu, NR, VCPUOP.get_physid, 0)).toBe(E.INVAL);
  });

  it('up needs a context; down of the last vCPU is a poweroff', () => {
    expect(host.call(vcpu, NR, VCPUOP.up, 1)).toBe(E.INVAL);
    host.hypervisor.initialiseVcpu = (_caller, target) => {
      if (target.isInitialised) throw new XenError('EEXIST');
      target.isInitialised = true;
    };
    expect(host.call(vcpu, NR, VCPUOP.initialise, 1, 0)).toBe(0);
    expect(host.call(vcpu, NR, VCPUOP.initialise, 1, 0)).toBe(E.EXIST);
    expect(host.call(vcpu, NR, VCPUOP.up, 1)).toBe(0);
    expect(domain.vcpus[1].isUp).toBe(true);
    expect(host.call(vcpu, NR, VCPUOP.down, 0)).toBe(0);
    expect([vcpu.isUp, domain.shutdown]).toEqual([false, null]);
    expect(host.call(domain.vcpus[1], NR, VCPUOP.down, 1)).toBe(0);
    expect(domain.shutdown).toEqual({ code: 0 });
  });

  it('initialise needs a vcpu_info', () => {
    domain.vcpus[1].info.at = 0;
    expect(host.call(vcpu, NR, VCPUOP.initialise, 1, 0)).toBe(E.INVAL);
  });

  describe('register_vcpu_info', () => {
    const register = (id: number, mfn: number | bigint, offset: number): number => {
      const page = host.frame(domain);
      const at = host.memory.frameOffset(page);
      host.memory.view.setBigUint64(at, BigInt(mfn), true);
      host.memory.view.setUint32(at + 8, offset, true);
      return host.call(vcpu, NR, VCPUOP.register_vcpu_info, id, host.address(page));
    };

    it('moves it with all it says, and marks everything pending', () => {
      const page = host.frame(domain);
      vcpu.info.cr2 = 0x1234n;
      vcpu.info.upcallMask = true;
      expect(register(0, page, 128)).toBe(0);
      expect(vcpu.info.at).toBe(host.memory.frameOffset(page) + 128);
      expect(vcpu.info).toMatchObject({ cr2: 0x1234n, upcallMask: true, upcallPending: true });
      expect(vcpu.info.pendingSel).toBe((1n << 64n) - 1n);
      const { frames } = host.hypervisor;
      expect([frames.type[page], frames.typeCount[page], frames.refCount[page]]).toEqual([PageType.writable, 1, 2]);
      expect(host.memory.view.getUint32(vcpu.info.timeAt, true) % 2).toBe(0);
      expect(register(0, host.frame(domain), 0)).toBe(E.INVAL); // once
    });

    it('gives one to a vCPU that shared_info has no room for, masked', () => {
      domain.vcpus[1].info.at = 0;
      const page = host.frame(domain);
      host.bytes(page).fill(0xff);
      expect(register(1, page, 64)).toBe(0);
      const { info } = domain.vcpus[1];
      expect(info).toMatchObject({ upcallMask: true, upcallPending: true, cr2: 0n });
    });

    it('refuses bad places, foreign frames, and vCPUs that run', () => {
      const page = host.frame(domain);
      expect(register(0, page, 4096 - 63)).toBe(E.NXIO);
      expect(register(0, page, 4096 - 64 + 8)).toBe(E.NXIO);
      expect(register(0, page, 4)).toBe(E.NXIO);
      expect(register(0, 2000, 0)).toBe(E.INVAL);
      expect(register(0, 1n << 52n, 0)).toBe(E.INVAL);
      domain.vcpus[1].isUp = true;
      expect(register(1, page, 0)).toBe(E.INVAL);
      expect(register(0, page, 4096 - 64)).toBe(0);
    });
  });

  it('send_nmi takes no argument and wakes', () => {
    domain.vcpus[1].isBlocked = true;
    expect(host.call(vcpu, NR, VCPUOP.send_nmi, 1, 8)).toBe(E.INVAL);
    expect(host.call(vcpu, NR, VCPUOP.send_nmi, 1, 0)).toBe(0);
    expect([domain.vcpus[1].pv.nmiPending, domain.vcpus[1].isBlocked]).toEqual([true, false]);
  });
});

describe('sched_op', () => {
  const NR = 29;

  it('shuts the domain down for its reason, or the one that was announced', () => {
    expect(host.op(vcpu, NR, SCHEDOP.shutdown, schedShutdown, { reason: 0x101 })[0]).toBe(0);
    expect(domain.shutdown).toEqual({ code: 1 });
    const other = host.domain();
    expect(host.op(other.vcpus[0], NR, SCHEDOP.shutdown_code, schedShutdown, { reason: 3 })[0]).toBe(0);
    host.op(other.vcpus[0], NR, SCHEDOP.shutdown_code, schedShutdown, { reason: 5 });
    host.op(other.vcpus[0], NR, SCHEDOP.shutdown, schedShutdown, { reason: 0 });
    expect(other.shutdown).toEqual({ code: 3 });
  });

  it('shuts no other domain down', () => {
    const other = host.domain();
    const remote = (domainId: number): number =>
      host.op(vcpu, NR, SCHEDOP.remote_shutdown, schedRemoteShutdown, { domainId, reason: 0 })[0];
    expect(remote(other.id)).toBe(E.PERM);
    expect(remote(99)).toBe(E.SRCH);
    expect(remote(SELF)).toBe(E.SRCH);
    expect(other.shutdown).toBeNull();
  });

  it('yield, pin_override, unknown', () => {
    expect(host.call(vcpu, NR, SCHEDOP.yield)).toBe(0);
    expect(vcpu.mustYield).toBe(true);
    expect(host.call(vcpu, NR, SCHEDOP.pin_override, BAD)).toBe(E.PERM);
    expect(host.call(vcpu, NR, 8, 0)).toBe(E.NOSYS);
    expect(host.call(vcpu, NR, SCHEDOP.shutdown, BAD)).toBe(E.FAULT);
    expect(domain.shutdown).toBeNull();
  });
});

describe('physdev_op', () => {
  const NR = 33;
  const zeros = (cmd: keyof typeof PHYSDEVOP): number => {
    const page = host.frame(domain);
    return host.call(vcpu, NR, PHYSDEVOP[cmd], host.address(page));
  };

  it('set_iopl and set_iobitmap', () => {
    const iopl = (n: number): number => host.op(vcpu, NR, PHYSDEVOP.set_iopl, physdev.physdevSetIopl, { iopl: n })[0];
    expect(iopl(4)).toBe(E.INVAL);
    expect(iopl(1)).toBe(0);
    expect(vcpu.pv.iopl).toBe(1);
    const bitmap = (address: bigint, nrPorts: number): number =>
      host.op(vcpu, NR, PHYSDEVOP.set_iobitmap, physdev.physdevSetIobitmap, { bitmap: address, nrPorts })[0];
    expect(bitmap(BAD, 8)).toBe(E.INVAL);
    expect(bitmap(0x1000n, 65537)).toBe(E.INVAL);
    expect(bitmap(0x1000n, 65536)).toBe(0);
    expect([vcpu.pv.ioBitmap, vcpu.pv.ioBitmapPorts]).toEqual([0x1000n, 65536]);
  });

  it('interrupts exist but belong to nobody here', () => {
    const query = (irq: number): [number, number] => {
      const [rc, a] = host.op(vcpu, NR, PHYSDEVOP.irq_status_query, physdev.physdevIrqStatusQuery, { irq });
      return [rc, a.flags];
    };
    expect(query(3)).toEqual([0, 1]);
    expect(query(56)[0]).toBe(E.INVAL);
    expect(zeros('eoi')).toBe(E.INVAL);
    const free = (type: number) => host.op(vcpu, NR, PHYSDEVOP.get_free_pirq, physdev.physdevGetFreePirq, { type });
    expect(free(0)[1].pirq).toBe(55);
    expect(free(1)[1].pirq).toBe(16);
    for (let i = 0; i < 38; i++) expect(free(1)[0]).toBe(0);
    expect(free(1)[0]).toBe(E.NOSPC);
    expect(host.op(vcpu, NR, PHYSDEVOP.eoi, physdev.physdevEoi, { irq: 55 })[0]).toBe(0);
  });

  it('one page for EOIs may be registered, once (a guest does it too)', () => {
    const page = host.frame(domain);
    const register = (gmfn: number): number =>
      host.op(vcpu, NR, PHYSDEVOP.pirq_eoi_gmfn_v2, physdev.physdevPirqEoiGmfn, { gmfn: BigInt(gmfn) })[0];
    expect(register(2000)).toBe(E.INVAL);
    expect(register(page)).toBe(0);
    expect(register(page)).toBe(E.BUSY);
    expect(host.hypervisor.frames.typeCount[page]).toBe(1);
    domain.events.destroy();
    expect(host.hypervisor.frames.typeCount[page]).toBe(0);
  });

  it('refuses what only dom0 may do', () => {
    for (const cmd of [
      'apic_read',
      'apic_write',
      'alloc_irq_vector',
      'manage_pci_add',
      'manage_pci_remove',
      'manage_pci_add_ext',
      'setup_gsi',
      'pci_device_add',
      'pci_device_remove',
      'prepare_msix',
      'release_msix',
      'pci_mmcfg_reserved',
      'dbgp_op',
    ] as const) {
      // biome-ignore format: a table
      expect([cmd, zeros(cmd)]).toEqual([cmd, E.PERM]);
    }
    const self = host.op(vcpu, NR, PHYSDEVOP.map_pirq, physdev.physdevMapPirq, { domid: SELF });
    expect(self[0]).toBe(E.PERM);
    expect(host.op(vcpu, NR, PHYSDEVOP.unmap_pirq, physdev.physdevUnmapPirq, { domid: 99 })[0]).toBe(E.SRCH);
    expect(zeros('restore_msi')).toBe(E.NODEV);
    expect(host.op(vcpu, NR, PHYSDEVOP.setup_gsi, physdev.physdevSetupGsi, { gsi: 24 })[0]).toBe(E.INVAL);
    expect(host.call(vcpu, NR, 11, 0)).toBe(E.NOSYS);
    expect(host.call(vcpu, NR, PHYSDEVOP.apic_read, BAD)).toBe(E.FAULT);
  });
});

describe("the control domain's calls", () => {
  const control = (nr: number, cmd: number, interfaceVersion: number, domid = 0, v = vcpu): number => {
    const page = host.frame(v.domain);
    const at = host.memory.frameOffset(page);
    host.memory.view.setUint32(at, cmd, true);
    host.memory.view.setUint32(at + 4, interfaceVersion, true);
    host.memory.view.setUint16(at + 8, domid, true);
    return host.call(v, nr, host.address(page));
  };

  it('look at the interface version first, then at the right', () => {
    for (let v = 0; v < 128; v++) expect(control(35, 27, v)).toBe(v === 0x15 ? E.PERM : E.ACCES);
    expect(control(7, 50, 0x03000000)).toBe(E.ACCES);
    expect(control(7, 50, 0x03000001)).toBe(E.PERM);
    expect(control(36, 5, 0x14)).toBe(E.ACCES);
    expect(control(36, 5, 0x15, 99)).toBe(E.PERM);
    expect(control(36, 1, 0x15, 99)).toBe(E.PERM);
    expect(control(36, 3, 0x15, 99)).toBe(E.SRCH);
    expect(control(36, 3, 0x15, domain.id)).toBe(E.PERM);
    expect(control(36, 3, 0x15, SELF)).toBe(E.SRCH);
    for (const nr of [7, 35, 36]) expect(host.call(vcpu, nr, BAD)).toBe(E.FAULT);
  });

  it('say clearly that they are not built', () => {
    const dom0 = host.domain({ id: 0, isPrivileged: true });
    expect(control(35, 27, 0x15, 0, dom0.vcpus[0])).toBe(E.NOSYS);
    expect(host.log.at(-1)).toBe('(XEN) d0: sysctl livepatch_op is not built yet');
  });

  it('the rest answers as a Xen of the usual build', () => {
    expect(host.call(vcpu, 27)).toBe(E.NOSYS);
    expect(host.call(vcpu, 31)).toBe(E.NOSYS);
    expect(host.call(vcpu, 37)).toBe(E.PERM);
    expect(host.call(vcpu, 38)).toBe(E.NOSYS);
    expect(host.call(vcpu, 39)).toBe(E.NOSYS);
    expect(host.call(vcpu, 40, 4)).toBe(E.OPNOTSUPP);
    expect(host.call(vcpu, 42, 0)).toBe(E.PERM);
    expect(host.call(vcpu, 48)).toBe(E.PERM);
    expect(host.call(vcpu, 49)).toBe(E.NOSYS);
    expect(host.call(vcpu, 63)).toBe(E.NOSYS);
    expect(host.call(vcpu, 11)).toBe(E.NOSYS);
    expect(host.call(vcpu, 41, 5, 4)).toBe(E.TOOBIG);
    expect(host.call(vcpu, 41, 99, 1)).toBe(E.SRCH);
    expect(host.call(vcpu, 41, domain.id, 1)).toBe(E.PERM);
    expect(host.call(vcpu, 41, host.domain().id, 1)).toBe(E.PERM);
  });

  it('console_io is refused to guests before anything is looked at', () => {
    expect(host.call(vcpu, 18, 0, 0x80000000, BAD)).toBe(E.PERM);
    expect(host.call(vcpu, 18, 1, 1, BAD)).toBe(E.PERM);
    expect(host.call(vcpu, 18, 7)).toBe(E.PERM);
  });

  it('console_io of the control domain', () => {
    const dom0 = host.domain({ id: 0, isPrivileged: true }).vcpus[0];
    let out = '';
    host.hypervisor.onConsoleOutput = (_domain, bytes) => {
      out += text(bytes);
    };
    const page = host.frame(dom0.domain);
    host.bytes(page).set(new TextEncoder().encode('hello'));
    expect(host.call(dom0, 18, 0, 5, host.address(page))).toBe(0);
    expect(out).toBe('hello');
    expect(host.call(dom0, 18, 0, 0x80000000, BAD)).toBe(E.FAULT);
    expect(host.call(dom0, 18, 0, 0x80000000, 0x10000n)).toBe(0);
    expect(dom0.continuation?.[1]).toBe(0x80000000n - 65536n);
    dom0.continuation = null;
    expect(host.call(dom0, 18, 1, 0x80000000, BAD)).toBe(E.TOOBIG);
    expect(host.call(dom0, 18, 1, 10, BAD)).toBe(0);
    expect(host.call(dom0, 18, 2)).toBe(E.NOSYS);
  });
});

describe('hvm_op of a PV guest', () => {
  it('is EINVAL for all that is HVM', () => {
    const page = host.frame(domain);
    host.memory.view.setUint16(host.memory.frameOffset(page), SELF, true);
    const at = host.address(page);
    for (const cmd of [0, 1, 9, 15, 23]) expect([cmd, host.call(vcpu, 34, cmd, at)]).toEqual([cmd, E.INVAL]);
    expect(host.call(vcpu, 34, 5, 0)).toBe(E.INVAL);
    expect(host.call(vcpu, 34, 0, BAD)).toBe(E.FAULT);
    expect(host.call(vcpu, 34, 24, 8)).toBe(E.INVAL);
    expect(host.call(vcpu, 34, 24, 0)).toBe(0);
    expect(host.call(vcpu, 34, 25, 0)).toBe(E.OPNOTSUPP);
    for (const cmd of [2, 3, 4, 12, 13, 26]) expect(host.call(vcpu, 34, cmd, at)).toBe(E.NOSYS);
    host.clock.advance(77n);
    expect(host.call(vcpu, 34, 10, at)).toBe(0);
    expect(host.memory.view.getBigUint64(host.memory.frameOffset(page), true)).toBe(77n);
  });
});

describe('the oldest interface', () => {
  it('event_channel_op_compat has its command in the struct', () => {
    const page = host.frame(domain);
    const { view } = host.memory;
    const at = host.memory.frameOffset(page);
    view.setUint32(at, 7, true); // bind_ipi
    view.setUint32(at + 4, 1, true);
    expect(host.call(vcpu, 16, host.address(page))).toBe(0);
    expect(view.getUint32(at + 8, true)).toBe(1);
    expect(domain.events.channelAt(1)).toMatchObject({ state: 'ipi', vcpu: 1 });
    view.setUint32(at, 11, true);
    expect(host.call(vcpu, 16, host.address(page))).toBe(E.NOSYS);
  });

  it('sched_op_compat takes registers; physdev_op_compat a struct after a word', () => {
    expect(host.call(vcpu, 6, 3)).toBe(E.NOSYS);
    expect(host.call(vcpu, 6, 2, 1)).toBe(0);
    expect(domain.shutdown).toEqual({ code: 1 });
    const page = host.frame(domain);
    const { view } = host.memory;
    view.setUint32(host.memory.frameOffset(page), 6, true);
    view.setUint32(host.memory.frameOffset(page) + 8, 2, true);
    expect(host.call(vcpu, 19, host.address(page))).toBe(0);
    expect(vcpu.pv.iopl).toBe(2);
  });
});
