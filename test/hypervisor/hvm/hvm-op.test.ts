// hvm_op and the parameters of HVM domains: who may read and write what, in Xen's order of errors.
import { beforeEach, describe, expect, it } from 'vitest';
import * as abi from '../../../src/abi/xen/hvm.ts';
import { HVM_PARAM, HVMMEM, HVMOP } from '../../../src/abi/xen/hvm.ts';
import { DOMID_SELF } from '../../../src/hypervisor/domain-ids.ts';
import { TestHost } from '../harness.ts';
import { HvmGuest } from './hvm-guest.ts';

let host: TestHost;
let guest: HvmGuest;
beforeEach(() => {
  host = new TestHost();
  guest = new HvmGuest(host);
});

const param = (index: number, value = 0n, domid = DOMID_SELF) => ({ domid, pad: 0, index, value });
const set = (g: HvmGuest, index: number, value: bigint, domid?: number): string =>
  g.op('hvm_op', HVMOP.set_param, abi.xenHvmParam, param(index, value, domid));
const get = (g: HvmGuest, index: number, domid?: number): string =>
  g.op('hvm_op', HVMOP.get_param, abi.xenHvmParam, param(index, 0n, domid));

describe('parameters', () => {
  it('that the toolstack sets for the guest can be read by it and not written', () => {
    guest.hvm.params.poke(HVM_PARAM.store_pfn, 0xfeffcn);
    expect(get(guest, HVM_PARAM.store_pfn)).toBe('0');
    expect(guest.got(abi.xenHvmParam).value).toBe(0xfeffcn);
    expect(set(guest, HVM_PARAM.store_pfn, 1n)).toBe('-EPERM');
  });

  it('that are the toolstack’s alone', () => {
    for (const index of [HVM_PARAM.ioreq_pfn, HVM_PARAM.ident_pt, HVM_PARAM.acpi_s_state, HVM_PARAM.timer_mode, 3]) {
      expect([get(guest, index), set(guest, index, 0n)]).toEqual(['-EPERM', '-EPERM']);
    }
  });

  it('that are nobody’s any more, and that do not exist', () => {
    for (const index of [HVM_PARAM.pae_enabled, HVM_PARAM.nestedhvm, HVM_PARAM.bufioreq_evtchn]) {
      expect([get(guest, index), set(guest, index, 0n)]).toEqual(['-EINVAL', '-EINVAL']);
    }
    expect([get(guest, 39), set(guest, 0xffffffff, 0n, 99)]).toEqual(['-EINVAL', '-EINVAL']);
  });

  it('of other domains', () => {
    const other = new HvmGuest(host);
    const pv = host.guest();
    expect(get(guest, HVM_PARAM.store_pfn, 99)).toBe('-ESRCH');
    expect(get(guest, HVM_PARAM.store_pfn, pv.domain.id)).toBe('-EINVAL');
    expect(get(guest, HVM_PARAM.store_pfn, other.domain.id)).toBe('-EPERM');
    const control = new HvmGuest(host, { id: 0, isPrivileged: true });
    expect(set(control, HVM_PARAM.ioreq_pfn, 5n, other.domain.id)).toBe('0');
    expect(set(control, HVM_PARAM.ioreq_pfn, 6n, other.domain.id)).toBe('-EEXIST');
    expect(get(control, HVM_PARAM.ioreq_pfn, other.domain.id)).toBe('0');
    expect(control.got(abi.xenHvmParam).value).toBe(5n);
  });

  it('whose values are checked', () => {
    expect(set(guest, HVM_PARAM.x87_fip_width, 3n)).toBe('-EINVAL');
    expect(set(guest, HVM_PARAM.x87_fip_width, 8n)).toBe('0');
    // There are no power management registers to move.
    expect(set(guest, HVM_PARAM.acpi_ioports_location, 1n)).toBe('-ENODEV');
  });

  it('with an old firmware’s task state segment, and with one that is too large', () => {
    expect(set(guest, HVM_PARAM.vm86_tss, 0xfeff0000n)).toBe('0');
    expect(get(guest, HVM_PARAM.vm86_tss_sized)).toBe('0');
    expect(guest.got(abi.xenHvmParam).value).toBe((128n << 32n) | 0xfeff0000n);
    expect(get(guest, HVM_PARAM.vm86_tss)).toBe('0');
    expect(guest.got(abi.xenHvmParam).value).toBe(0xfeff0000n);
    expect(set(guest, HVM_PARAM.vm86_tss, 1n << 40n)).toBe('-EINVAL');
    expect(guest.domain.crashReason).toMatch(/task state segment/);
  });
});

describe('other operations', () => {
  it('are refused on PV domains', () => {
    const pv = host.guest();
    pv.put(abi.xenHvmEvtchnUpcallVector, [{ vcpu: 0, vector: 0x30 }]);
    expect(pv.try('hvm_op', HVMOP.set_evtchn_upcall_vector, pv.va(4))).toBe('-EINVAL');
    expect(pv.try('hvm_op', HVMOP.flush_tlbs, 0)).toBe('-EINVAL');
  });

  it('take upcall vectors from 16 on, for vCPUs that exist', () => {
    const vector = (vcpu: number, value: number): string =>
      guest.op('hvm_op', HVMOP.set_evtchn_upcall_vector, abi.xenHvmEvtchnUpcallVector, { vcpu, vector: value });
    expect([vector(0, 15), vector(1, 0x30), vector(0, 0xf3)]).toEqual(['-EINVAL', '-ENOENT', '0']);
    expect(host.log).toContain('(XEN) d1v0: upcall vector f3');
  });

  it('flush, tell the time, and say what memory is', () => {
    expect(guest.try('hvm_op', HVMOP.flush_tlbs, 0)).toBe('0');
    expect(guest.try('hvm_op', HVMOP.flush_tlbs, 1)).toBe('-EINVAL');
    expect(guest.op('hvm_op', HVMOP.get_time, abi.xenHvmGetTime, { now: 5n })).toBe('0');
    const type = (pfn: bigint): number => {
      const value = { ...abi.xenHvmGetMemType.zero(), domid: DOMID_SELF, pfn };
      expect(guest.op('hvm_op', HVMOP.get_mem_type, abi.xenHvmGetMemType, value)).toBe('0');
      return guest.got(abi.xenHvmGetMemType).memType;
    };
    expect([type(0n), type(0x1000n), type(1n << 60n)]).toEqual([HVMMEM.ramRw, HVMMEM.mmioDm, HVMMEM.mmioDm]);
  });

  it('that are hints for shadow page tables, or views of memory that there are not', () => {
    const dying = (domid: number): string =>
      guest.op('hvm_op', HVMOP.pagetable_dying, abi.xenHvmPagetableDying, {
        ...abi.xenHvmPagetableDying.zero(),
        domid,
      });
    expect([dying(DOMID_SELF), dying(99), dying(new HvmGuest(host).domain.id)]).toEqual([
      '-EINVAL',
      '-ESRCH',
      '-EOPNOTSUPP',
    ]);
    expect(guest.try('hvm_op', HVMOP.altp2m, 0)).toBe('-EOPNOTSUPP');
    expect(guest.try('hvm_op', 12, 0)).toBe('-ENOSYS');
  });
});

it('answers 32-bit code by 32-bit structs', () => {
  guest.setMode(32);
  guest.hvm.params.poke(HVM_PARAM.console_evtchn, 2n);
  expect(get(guest, HVM_PARAM.console_evtchn)).toBe('0');
  expect(guest.got(abi.xenHvmParam).value).toBe(2n);
});

it('has the features of a translated guest, and none of its physical interrupts are event channels', () => {
  expect(guest.try('physdev_op', 13, 0x1000)).toBe('-ENOSYS');
  expect(guest.try('grant_table_op', 9, 0x1000, 1)).toBe('-ENOSYS');
  expect(guest.try('update_va_mapping', 0, 0, 0)).toBe('-ENOSYS');
});
