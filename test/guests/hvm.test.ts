// What an HVM guest gets of Xen: hypercalls by mode and privilege, parameters, pages, upcalls.
import { expect } from 'vitest';
import { GNTMAP, gnttabMapGrantRef } from '../../src/abi/xen/grant-table.ts';
import { HVM_PARAM, HVMOP, xenHvmEvtchnUpcallVector } from '../../src/abi/xen/hvm.ts';
import { XENMAPSPACE, XENMEM, xenAddToPhysmap } from '../../src/abi/xen/memory.ts';
import { VCPUOP, vcpuRegisterVcpuInfo } from '../../src/abi/xen/vcpu.ts';
import { DOMID_SELF } from '../../src/hypervisor/domain-ids.ts';
import {
  al,
  dword,
  dx,
  eax,
  ebx,
  ecx,
  edx,
  mem,
  qword,
  rax,
  rdx,
} from '../../src/toolstack/init/assembler/assembler.ts';
import { grant, reservation } from './calls.ts';
import { fromUserMode, getParam, instructions, setParam, UPCALL_VECTOR, wrmsr } from './hvm-guest.ts';
import { code, evaluate, hypercall, read, record, statusIn, store, type Value, words } from './value.ts';
import { world } from './world.ts';

const guest = world();

const addToPhysmap = (space: number, idx: Value, gfn: Value): Value =>
  hypercall('memory_op', XENMEM.add_to_physmap, record(xenAddToPhysmap, { domid: DOMID_SELF, space, idx, gpfn: gfn }));
const gfnOf = (address: Value): Value =>
  code(a => {
    evaluate(a, address);
    a.shr(rax, 12);
  });

guest.hvm('calls the hypervisor from ring 0 by its vendor’s instruction', g => {
  g.tries('version', hypercall('xen_version', 0)).gets(0x40011);
  g.tries('version from user mode', fromUserMode(hypercall('xen_version', 0))).gets('-EPERM');
  g.tries('no such hypercall', hypercall(99)).gets('-ENOSYS');
  g.tries('a PV guest’s hypercall', hypercall('mmu_update', 0, 0, 0, 0)).gets('-ENOSYS');
  g.tries(
    'the other vendor’s instruction',
    instructions(a => a.vmcall()),
  ).gets('#UD');
  g.tries('a pointer to nothing', hypercall('xen_version', 1, 0x4000000000n)).gets('-EFAULT');
});

guest.hvm('fills the hypercall page at a page of its RAM and nowhere else', g => {
  const page = g.page(1, 'hypercall_page');
  g.tries('a hole', wrmsr(0x40000000, 0x40000000n)).gets('#GP(0)');
  g.tries('the second page', wrmsr(0x40000000, 0x100001n)).gets('#GP(0)');
  g.tries(
    'its page',
    instructions(a => {
      evaluate(a, page);
      a.mov(ecx, 0x40000000).xor(edx, edx).wrmsr();
    }),
  ).gets(0);
  g.tries(
    'a call through it',
    code(a => a.xor(eax, eax).lea(rax, mem('hypercall_page', 17 * 32)).push(rax).xor(eax, eax).mov(ecx, 0).xor(edx, edx)
      .db(0x31, 0xff, 0x31, 0xf6).pop(rax).call(rax)),
  ).gets(0x40011); // biome-ignore format: xor edi, edi; xor esi, esi
  g.tries(
    'the IRET stub, which is of no use',
    code(a => a.lea(rax, mem('hypercall_page', 23 * 32)).call(rax)),
  ).gets('#UD');
});

guest.hvm('sees Xen by CPUID', g => {
  const leaf = (number: number): Value =>
    code(a => a.mov(eax, number).xor(ecx, ecx).push(rax).cpuid().mov(dword('shown'), ebx).mov(dword('shown', 4), ecx).pop(rax)
      .mov(rax, qword('shown'))); // biome-ignore format: a sequence
  g.page(1, 'shown');
  g.tries('its signature', leaf(0x40000000)).gets(0x65584d4d566e6558n);
  const own = g.given(({ hostile }) => BigInt(hostile.id) << 32n);
  g.tries(
    'its vCPU and domain',
    code(a => {
      evaluate(a, leaf(0x40000004));
      a.xor(rax, own);
    }),
  ).gets(0);
});

guest.hvm('reads and writes parameters', g => {
  g.tries('store_pfn', getParam(HVM_PARAM.store_pfn)).gets(0xfeffcn);
  g.tries('console_pfn', getParam(HVM_PARAM.console_pfn)).gets(0xfefffn);
  g.tries('store_evtchn', getParam(HVM_PARAM.store_evtchn)).gets(1);
  g.tries('store_pfn, to write', setParam(HVM_PARAM.store_pfn, 5)).gets('-EPERM');
  g.tries('callback', setParam(HVM_PARAM.callback_irq, 1)).gets(0);
});

guest.hvm('moves pages about its physical memory, and translations follow', g => {
  const page = g.page(2, 'here');
  const there = 0xc0000n;
  g.does(store(page, 0x1234));
  g.tries('to find nothing there', read(0xc0000000)).gets(0xffffffffffffffffn);
  g.prepares('to move it', addToPhysmap(XENMAPSPACE.gmfn, gfnOf(page), there));
  g.tries('to find it there', read(0xc0000000)).gets(0x1234);
  g.tries('to find it here', read(page)).gets(0xffffffffffffffffn);
  g.tries('to give it back', reservation('decrease_reservation', words(there), 1)).gets(1);
  g.tries('to find it there', read(0xc0000000)).gets(0xffffffffffffffffn);
  g.tries('to get another one here', reservation('populate_physmap', words(gfnOf(page)), 1)).gets(1);
  g.tries('to find zeros here', read(page)).gets(0);
});

guest.hvm('is told of events by its vector through its local APIC, and HLT ends', g => {
  const info = g.page(1, 'info');
  g.prepares(
    'to move its vcpu_info',
    hypercall('vcpu_op', VCPUOP.register_vcpu_info, 0, record(vcpuRegisterVcpuInfo, { mfn: gfnOf(info) })),
  );
  const vector = record(xenHvmEvtchnUpcallVector, { vcpu: 0, vector: UPCALL_VECTOR });
  g.prepares('to set the vector', hypercall('hvm_op', HVMOP.set_evtchn_upcall_vector, vector));
  g.prepares('to switch on its local APIC', store(0xfee000f0, 0x1ff, 4));
  // What registering has marked comes at once.
  g.tries(
    'to be told',
    instructions(a => a.sti().hlt().cli()),
  ).gets(0);
  g.tries(
    'how often',
    code(a => a.mov(rax, qword('upcalls'))),
  ).gets(1);
});

guest.hvm('has no devices but its log', g => {
  g.tries(
    'a port of nothing',
    code(a => a.mov(edx, 0x3f8).xor(eax, eax).in(al, dx)),
  ).gets(0xff);
  g.tries('memory of nothing', read(0xfed00000)).gets(0xffffffffffffffffn);
  g.tries(
    'the log',
    instructions(a => {
      for (const character of 'hello\n') a.mov(eax, character.charCodeAt(0)).out(0xe9, al);
    }),
  ).gets(0);
}, { afterwards: (_world, _hostile, log) => expect(log.join('\n')).toMatch(/^\(d\d+\) hello$/m) }); // biome-ignore format: as the others

guest.hvm('goes off when its last processor halts with interrupts off', g => {
  g.tries(
    'to halt',
    instructions(a => a.cli().hlt()),
  ).neverReturns();
});

guest.hvm('reboots by a triple fault', g => {
  g.tries(
    'to fault without handlers',
    instructions(a => a.lidt(mem('nothing')).ud2()),
  ).neverReturns();
  g.aside(a => a.section('data').align(8).label('nothing').dq(0, 0).section('text'));
}, { ends: 'reboot', because: /Triple fault - invoking HVM shutdown action 1/ }); // biome-ignore format: as the others

guest.hvm('reads a page that was granted for reading alone; what it writes there is lost', g => {
  const page = g.page(1, 'lent');
  const own = g.given(({ hostile }) => hostile.id);
  g.does(store(page, 0x77));
  g.prepares('to see its grant table', addToPhysmap(XENMAPSPACE.grantTable, 0, 0xc0000));
  // Entry 8, of version 1: the frame, the domain, GTF_permit_access and GTF_readonly.
  g.does(
    store(
      0xc0000040,
      code(a => {
        evaluate(a, gfnOf(page));
        a.shl(rax, 32).mov(rdx, own).shl(edx, 16).or(edx, 5).or(rax, rdx);
      }),
    ),
  );
  const map = (flags: number, label: string): Value =>
    grant('map_grant_ref', gnttabMapGrantRef, { hostAddr: 0xd0000000, flags, ref: 8, dom: own }, label);
  g.prepares('to map it for writing', map(GNTMAP.host_map, 'writable'));
  g.tries('its status', statusIn(gnttabMapGrantRef as never, 'writable')).gets(1);
  g.prepares('to map it for reading', map(GNTMAP.host_map | GNTMAP.readonly, 'readable'));
  g.tries('its status', statusIn(gnttabMapGrantRef as never, 'readable')).gets(0);
  g.tries('to read it', read(0xd0000000)).gets(0x77);
  g.does(store(0xd0000000, 0x88));
  g.tries('to find it as it was', read(0xd0000000)).gets(0x77);
  g.tries('here too', read(page)).gets(0x77);
});
