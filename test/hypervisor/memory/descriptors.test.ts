// Descriptors that a PV guest may have, and the hypercalls that install them.
import { beforeEach, describe, expect, it } from 'vitest';
import { ulong } from '../../../src/abi/struct.ts';
import type { Domain } from '../../../src/hypervisor/domain.ts';
import { gdtAddress } from '../../../src/hypervisor/memory/address-space.ts';
import { checkDescriptor } from '../../../src/hypervisor/memory/descriptors.ts';
import { PageType } from '../../../src/hypervisor/memory/frame-table.ts';
import { type Guest, PAGE, RO, RW, TestHost } from '../harness.ts';

const pv64 = { abi: 'pv64' } as Domain;
const pv32 = { abi: 'pv32' } as Domain;
const check = (domain: Domain, d: bigint): bigint | null => {
  const checked = checkDescriptor(domain, Number(d & 0xffffffffn), Number(d >> 32n));
  return checked && (BigInt(checked.high) << 32n) | BigInt(checked.low);
};

describe('checkDescriptor', () => {
  it('raises the privilege level of code and data', () => {
    expect(check(pv64, 0x00af9b000000ffffn)).toBe(0x00affb000000ffffn);
    expect(check(pv64, 0x00cf93000000ffffn)).toBe(0x00cff3000000ffffn);
    expect(check(pv32, 0x00c09b0000000fffn)).toBe(0x00c0bb0000000fffn); // ring 1
  });
  it('refuses 64-bit code to 32-bit guests and makes their flat segments reach all of memory', () => {
    expect(check(pv32, 0x00af9b000000ffffn)).toBeNull();
    expect(check(pv32, 0x00cffb000000ffffn)).toBe(0x00cffb000000ffffn);
    expect(check(pv32, 0x00cffb000000_67ffn | (0xfn << 48n))).toBe(0x00cffb000000ffffn);
  });
  it('lets through what faults when it is used', () => {
    expect(check(pv64, 0x00af1b000000ffffn)).toBe(0x00af1b000000ffffn); // not present
    expect(check(pv64, 0x0000800000000000n)).toBe(0x0000800000000000n); // type 0
  });
  it('disarms call gates and refuses all other system descriptors', () => {
    // gate to 0x0010, DPL 3: DPL becomes 0 and is kept in the selector
    expect(check(pv64, 0xaaaa_ec00_0010_bbbbn)).toBe(0xaaaa_8c00_0013_bbbbn);
    expect(check(pv64, 0xaaaa_ec01_0010_bbbbn)).toBeNull(); // parameters
    expect(check(pv64, 0xaaaa_ec00_e008_bbbbn)).toBeNull(); // Xen's own code segment
    expect(check(pv64, 0xaaaa_ec00_e033_bbbbn)).not.toBeNull();
    for (const type of [1n, 2n, 3n, 5n, 6n, 7n, 9n, 0xbn, 0xen, 0xfn]) {
      expect(check(pv64, (0x80n | type) << 40n), `type ${type}`).toBeNull();
    }
  });
});

describe('GDT hypercalls', () => {
  let host: TestHost;
  let guest: Guest;
  const page = 10;
  const setGdt = (mfns: number[], entries: number) => guest.try('set_gdt', guest.put(ulong, mfns.map(BigInt)), entries);
  const descriptorAt = (index: number) => {
    const raw = new Uint8Array(8);
    const access = { write: false, user: false };
    host.processor.readLinear(gdtAddress(guest.vcpu) + BigInt(index * 8), raw, access);
    return new DataView(raw.buffer).getBigUint64(0, true);
  };
  beforeEach(() => {
    host = new TestHost();
    guest = host.guest();
    guest.poke(page, 2, 0x00af9b000000ffffn);
  });

  it('takes frames that are mapped read-only at most, and shows them to the processor', () => {
    host.hypervisor.addressSpace.prepare(guest.vcpu);
    expect(descriptorAt(2)).toBe(0n);
    expect(setGdt([guest.mfns[page]], 512)).toBe('-EINVAL');
    guest.protect(page);
    expect(setGdt([guest.mfns[page]], 512)).toBe('0');
    expect(descriptorAt(2)).toBe(0x00affb000000ffffn);
    expect(guest.frames.type[guest.mfns[page]]).toBe(PageType.segDesc);
    expect(guest.try('update_va_mapping', guest.va(page), guest.entry(page, RW), 2)).toBe('-EBUSY');
    expect(descriptorAt(14 * 512 + 6)).toBe(0x00affb000000ffffn); // Xen's own: e030
    expect(setGdt([], 0)).toBe('0');
    expect(guest.updateVa(page, guest.entry(page, RW))).toBe(0);
    expect(descriptorAt(2)).toBe(0n);
  });

  it('keeps the old GDT where the new one is bad', () => {
    guest.protect(page);
    expect(setGdt([guest.mfns[page]], 8)).toBe('0');
    const other = host.guest();
    guest.run();
    expect(setGdt([guest.mfns[page], other.mfns[page]], 600)).toBe('-EINVAL');
    expect(setGdt([guest.mfns[page]], 14 * 512 + 1)).toBe('-EINVAL');
    expect(guest.try('set_gdt', 0x1000n, 8)).toBe('-EFAULT');
    expect(guest.vcpu.pv.gdtFrames).toEqual([guest.mfns[page]]);
    expect(guest.frames.typeCount[guest.mfns[page]]).toBe(1);
    guest.poke(11, 0, 0x0000890000000067n); // a TSS
    guest.protect(11);
    expect(setGdt([guest.mfns[11]], 1)).toBe('-EINVAL');
  });

  it('updates single descriptors in descriptor pages and in writable ones', () => {
    guest.protect(page);
    expect(setGdt([guest.mfns[page]], 8)).toBe('0');
    const at = (p: number, index: number) => guest.entryAddress(p, index);
    expect(guest.try('update_descriptor', at(page, 3), 0x00cf93000000ffffn)).toBe('0');
    expect(descriptorAt(3)).toBe(0x00cff3000000ffffn);
    expect(guest.try('update_descriptor', at(page, 3), 0x0000890000000067n)).toBe('-EINVAL');
    expect(guest.try('update_descriptor', at(page, 3) + 4n, 0n)).toBe('-EINVAL');
    expect(guest.try('update_descriptor', at(12, 0), 0x00cf93000000ffffn)).toBe('0');
    expect(guest.try('update_descriptor', at(PAGE.l1, 0), 0n)).toBe('-EINVAL');
    expect(guest.try('update_descriptor', 0n, 0n)).toBe('-EINVAL');
    expect(guest.try('update_descriptor', ~7n & 0xffffffffffffffffn, 0n)).toBe('-EINVAL');
    expect(guest.updateVa(page, guest.entry(page, RO))).toBe(0);
  });

  it('fixes the privilege level of the stack segment', () => {
    expect(guest.try('stack_switch', 0xe028, guest.va(9))).toBe('0');
    expect(guest.vcpu.pv).toMatchObject({ kernelSs: 0xe02b, kernelSp: guest.va(9) });
  });
});
