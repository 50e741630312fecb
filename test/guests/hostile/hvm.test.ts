// HVM guests that try what they must not: wild addresses and ports, physmap operations on what is not theirs, grants over their own RAM,
// states that no processor should be in. Each dies alone, or lives and has done nothing to anybody.
import { GNTMAP, GNTTABOP, gnttabMapGrantRef } from '../../../src/abi/xen/grant-table.ts';
import { HVM_PARAM, VCPU_HVM_MODE, vcpuHvmContext } from '../../../src/abi/xen/hvm.ts';
import {
  XENMAPSPACE,
  XENMEM,
  xenAddToPhysmap,
  xenAddToPhysmapBatch,
  xenRemoveFromPhysmap,
} from '../../../src/abi/xen/memory.ts';
import { VCPUOP, vcpuRegisterVcpuInfo } from '../../../src/abi/xen/vcpu.ts';
import { DOMID_SELF, DOMID_XEN } from '../../../src/hypervisor/domain-ids.ts';
import {
  al,
  cr3,
  dx,
  eax,
  ecx,
  edx,
  mem,
  qword,
  rax,
  rdi,
  rdx,
} from '../../../src/toolstack/init/assembler/assembler.ts';
import { grant, reservation } from '../calls.ts';
import { instructions, setParam, wrmsr } from '../hvm-guest.ts';
import { code, evaluate, hypercall, read, record, statusIn, store, type Value, words } from '../value.ts';
import { world } from '../world.ts';

const guest = world();

const gfnOf = (address: Value): Value =>
  code(a => {
    evaluate(a, address);
    a.shr(rax, 12);
  });
const addToPhysmap = (space: number, idx: Value, gpfn: Value, domid: Value = DOMID_SELF): Value =>
  hypercall('memory_op', XENMEM.add_to_physmap, record(xenAddToPhysmap, { domid, space, idx, gpfn }));

guest.hvm('reads and writes all over the hole and every port', g => {
  g.tries(
    'to write to all of the last GiB below 4 GiB, a word a page',
    instructions(a => {
      a.mov(edx, 0xc0000000).label('wild');
      // Its local APIC would do as it is told.
      a.cmp(edx, 0xfee00000).je('wild_next');
      a.mov(eax, edx).mov(qword(rax, 8), rax).mov(rax, qword(rax)).label('wild_next').add(edx, 0x1000).jne('wild');
    }),
  ).gets(0);
  g.tries(
    'to write to every port and read it',
    instructions(a => {
      a.xor(edx, edx).label('port').mov(eax, edx).out(dx, al).in(al, dx).out(dx, eax).in(eax, dx).inc(edx);
      a.cmp(edx, 0x10000).jne('port');
    }),
  ).gets(0);
});

guest.hvm('scribbles over its own rings, tables of firmware and Xen’s special pages', g => {
  for (const gfn of [0xfeff8, 0xfeff9, 0xfeffa, 0xfeffb, 0xfeffc, 0xfeffd, 0xfeffe, 0xfefff, 0xfc001]) {
    g.tries(
      `gfn 0x${gfn.toString(16)}`,
      instructions(a =>
        a
          .mov(rdi, gfn * 4096)
          .mov(eax, 0x5a5a5a5a)
          .mov(ecx, 1024)
          .rep()
          .stosd(),
      ),
    ).gets(0);
  }
});

guest.hvm('runs code where there is none', g => {
  g.tries('to call into the hole', instructions(a => a.mov(eax, 0xd0000000).call(rax))).gets(/^#(GP|UD)/);
}, { ends: 'somehow' }); // biome-ignore format: as the others

guest.hvm('has page tables where there is no RAM', g => {
  g.tries('to run on them', instructions(a => a.mov(eax, 0xd0000000).mov(cr3, rax).mov(rax, qword('gdt')))).neverReturns();
}, { ends: 'reboot', because: /Triple fault/ }); // biome-ignore format: as the others

guest.hvm('gives its whole memory away, itself included', g => {
  g.tries(
    'to give up every page',
    code(a => {
      // Downwards, so that the program goes last but for what it stands on.
      a.mov(qword('gfn'), 0x4ff).label('give');
      evaluate(a, reservation('decrease_reservation', words(qword('gfn')), 1));
      a.dec(qword('gfn')).jns('give');
    }),
  ).gets(/./);
  g.aside(a => a.section('data').align(8).label('gfn').dq(0).section('text'));
}, { ends: 'somehow' }); // biome-ignore format: as the others

guest.hvm('asks for pages at absurd places, and more than it may have', g => {
  for (const gfn of [1n << 24n, 1n << 36n, (1n << 52n) - 1n, (1n << 64n) - 1n]) {
    g.tries(`populate 0x${gfn.toString(16)}`, reservation('populate_physmap', words(gfn), 1)).gets(0);
    g.tries(`shared_info at 0x${gfn.toString(16)}`, addToPhysmap(XENMAPSPACE.sharedInfo, 0, gfn)).gets([
      '-ENOMEM',
      '-EINVAL',
    ]);
    g.tries(`decrease 0x${gfn.toString(16)}`, reservation('decrease_reservation', words(gfn), 1)).gets(0);
  }
  g.tries('2 MiB at once', reservation('populate_physmap', words(0x80000), 1, 9)).gets(0);
  g.tries(
    'pages until there are no more',
    code(a => {
      a.mov(qword('next'), 0x80000).label('more');
      evaluate(a, reservation('populate_physmap', words(qword('next')), 1));
      a.inc(qword('next')).test(rax, rax).jne('more').mov(rax, qword('next')).sub(rax, 0x80000);
    }),
  ).gets(/^(1\d\d|2\d\d)$/);
  g.aside(a => a.section('data').align(8).label('next').dq(0).section('text'));
});

guest.hvm('maps what is not its own', g => {
  const victim = g.given(({ innocent }) => innocent.id);
  const frame = g.given(({ innocentFrame }) => innocentFrame('secret'));
  const foreign = (domid: Value, idx: Value): Value => {
    const [idxs, gpfns, errs] = [words(idx), words(0x90000), words(0)];
    const u = { foreignDomid: domid };
    const fields = { domid: DOMID_SELF, space: XENMAPSPACE.gmfnForeign, size: 1, u, idxs, gpfns, errs };
    return hypercall('memory_op', XENMEM.add_to_physmap_batch, record(xenAddToPhysmapBatch, fields));
  };
  g.tries('the innocent one’s page', foreign(victim, frame)).gets(0); // the entry's own error says it
  g.tries('to find nothing there', read(0x90000000n)).gets(/^(#PF|0xffffffffffffffff|-EPERM)/);
  g.tries('Xen’s', foreign(DOMID_XEN, 0)).gets(0);
  g.tries('by another domain’s physmap', addToPhysmap(XENMAPSPACE.gmfn, 0, 0, victim)).gets('-EACCES');
  g.tries('devices', addToPhysmap(XENMAPSPACE.devMmio, 0xfee00, 0x90000)).gets('-EACCES');
  g.tries('a grant frame beyond the table', addToPhysmap(XENMAPSPACE.grantTable, 1n << 40n, 0x90000)).gets('-EINVAL');
  const remove = record(xenRemoveFromPhysmap, { domid: victim, gpfn: frame });
  g.tries('to take it from the innocent one', hypercall('memory_op', XENMEM.remove_from_physmap, remove)).gets(
    '-EACCES',
  );
});

guest.hvm('maps its own grants over its own program, and then over themselves', g => {
  const page = g.page(1, 'lent');
  const own = g.given(({ hostile }) => hostile.id);
  // Its grant table, at a hole.
  g.prepares('to see its grant table', addToPhysmap(XENMAPSPACE.grantTable, 0, 0xc0000));
  g.does(store(0xc0000040, code(a => {
    evaluate(a, gfnOf(page));
    a.shl(rax, 32).mov(rdx, own).shl(edx, 16).or(edx, 1).or(rax, rdx);
  }))); // biome-ignore format: an entry of version 1
  const map = (address: Value, label: string): Value => {
    const fields = { hostAddr: address, flags: GNTMAP.host_map, ref: 8, dom: own };
    return grant('map_grant_ref', gnttabMapGrantRef, fields, label);
  };
  g.prepares('to map it at a hole', map(0xd0000000, 'first'));
  g.tries('its status', statusIn(gnttabMapGrantRef as never, 'first')).gets(0);
  g.does(store(page, 0x77));
  g.tries('to see it there', read(0xd0000000)).gets(0x77);
  g.tries('to map it over itself', map(0xd0000000, 'second')).neverReturns();
}, { ends: 'crash', because: /is mapped over/ }); // biome-ignore format: as the others

guest.hvm('hands Xen pages that it then takes away', g => {
  const info = g.page(1, 'info');
  g.prepares(
    'to register a vcpu_info',
    hypercall('vcpu_op', VCPUOP.register_vcpu_info, 0, record(vcpuRegisterVcpuInfo, { mfn: gfnOf(info) })),
  );
  g.tries('to give the page up', reservation('decrease_reservation', words(gfnOf(info)), 1)).gets(1);
  g.tries('to get another there', reservation('populate_physmap', words(gfnOf(info)), 1)).gets(1);
  // Xen goes on with the one that it was given.
  g.tries('to be asked again', hypercall('sched_op', 0)).gets(0);
});

guest.hvm('initialises processors with contexts that no processor could have', g => {
  const context = (fields: object): Value =>
    hypercall('vcpu_op', VCPUOP.initialise, 1, record(vcpuHvmContext, fields as never));
  g.tries('of no mode', context({ mode: 7 })).gets('-EINVAL');
  g.tries('of 64 bits without paging', context({ mode: VCPU_HVM_MODE.bits64 })).gets('-EINVAL');
  const wild = { rip: 0xffff800000000000n, cr0: 0x80000001n, cr3: 0xfffffffffffff000n, cr4: 0x20, efer: 0x100, rsp: 1 };
  g.tries('whose tables are nowhere', context({ mode: VCPU_HVM_MODE.bits64, cpuRegs: { x8664: wild } })).gets(0);
  g.tries('up', hypercall('vcpu_op', VCPUOP.up, 1)).gets([0]);
  g.tries('to wait for it', code(a => a.mov(ecx, 1000000).label('wait').dec(ecx).jne('wait'))).neverReturns();
}, { vcpus: 2, ends: 'reboot', because: /v1 Triple fault/ }); // biome-ignore format: as the others

guest.hvm('writes nonsense into registers of the platform', g => {
  g.tries('APIC base on another page', wrmsr(0x1b, 0xdead0900n)).gets([0, '#GP(0)']);
  g.tries('APIC base with reserved bits', wrmsr(0x1b, 0xfee00fffn)).gets('#GP(0)');
  g.tries('MTRR of no type', wrmsr(0x2ff, 2n)).gets('#GP(0)');
  g.tries('a register that is none', wrmsr(0x12345, 0n)).gets('#GP(0)');
  g.tries('a callback of no kind', setParam(HVM_PARAM.callback_irq, 0xff00000000000000n)).gets(0);
  g.tries(
    'self-IPIs with every vector',
    instructions(a => {
      a.mov(eax, 0xfee00000).mov(ecx, 0x1ff).mov(mem(rax, 0xf0), ecx).mov(ecx, 0x40000).label('ipi');
      a.mov(mem(rax, 0x300), ecx).inc(ecx).cmp(ecx, 0x40100).jne('ipi');
    }),
  ).gets(0);
});

guest.hvm('maps grants with handles and flags of no sense', g => {
  for (const flags of [0, GNTMAP.device_map, GNTMAP.contains_pte | GNTMAP.host_map, 0xffff]) {
    g.prepares(`flags ${flags}`, grant('map_grant_ref', gnttabMapGrantRef, { flags, ref: 0, dom: 0 }, `map_${flags}`));
    g.tries('its status', statusIn(gnttabMapGrantRef as never, `map_${flags}`)).gets([1, 3]);
  }
  g.tries('unmap_and_replace', hypercall('grant_table_op', GNTTABOP.unmap_and_replace, 0, 1)).gets('-ENOSYS');
});
