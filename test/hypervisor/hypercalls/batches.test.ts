// Batches: multicalls, counts of work done, and calls that are cut because they are long.
import { beforeEach, describe, expect, it } from 'vitest';
import { u32 } from '../../../src/abi/struct.ts';
import { HYPERCALL, MMUEXT, multicallEntry } from '../../../src/abi/xen/xen.ts';
import { dispatch } from '../../../src/hypervisor/hypercalls/dispatch.ts';
import { tracerOf } from '../../../src/hypervisor/tracer.ts';
import { BASE, type Guest, PAGE, pte, RO, RW, TestHost } from '../harness.ts';

describe('batches', () => {
  let host: TestHost;
  let guest: Guest;
  beforeEach(() => {
    host = new TestHost(4096);
    guest = host.guest();
  });

  const entry = (op: number, ...args: (bigint | number)[]) => ({
    op: BigInt(op),
    result: 0n,
    args: Array.from({ length: 6 }, (_, i) => BigInt.asUintN(64, BigInt(args[i] ?? 0))),
  });

  it('runs the calls of a multicall and gives each its result', () => {
    const calls = [
      entry(HYPERCALL.update_va_mapping, guest.va(9), guest.entry(9, RO), 2),
      entry(HYPERCALL.update_va_mapping, guest.va(9), guest.entry(PAGE.l1, RW), 2),
      entry(63),
      entry(HYPERCALL.multicall, 0, 0),
      entry(HYPERCALL.vm_assist, 0, 2),
    ];
    expect(guest.call('multicall', guest.put(multicallEntry, calls), calls.length)).toBe(0);
    const results = calls.map((_, i) => BigInt.asIntN(64, guest.got(multicallEntry, 0, i).result));
    expect(results).toEqual([0n, -16n, -38n, -22n, 0n]);
    expect(guest.try('multicall', 0x1000n, 1)).toBe('-EFAULT');
    expect(guest.try('multicall', 0xffff_8000_0000_0000n, 1)).toBe('-EFAULT');
  });

  it('cuts a long mmu_update, and the guest goes on where it was', () => {
    // One page of requests seen at many addresses: 40 pages of 256 requests.
    for (let i = 0; i < 256; i++) {
      guest.poke(PAGE.arguments, i * 2, guest.entryAddress(PAGE.l1, 60) | 2n);
      guest.poke(PAGE.arguments, i * 2 + 1, guest.entry(60, RW));
    }
    const l1 = 6;
    guest.protect(l1);
    const pages = 80;
    for (let i = 0; i < pages; i++) guest.poke(l1, i, guest.entry(PAGE.arguments, RO));
    expect(guest.mmuUpdate([[guest.entryAddress(PAGE.l2, 1), guest.entry(l1, 0x67n)]])).toBe(0);
    for (let i = 0; i < 256; i++) {
      guest.poke(PAGE.arguments, i * 2, guest.entryAddress(PAGE.l1, 60) | 2n);
      guest.poke(PAGE.arguments, i * 2 + 1, guest.entry(60, RW));
    }
    const done = guest.va(7);
    const count = pages * 256;
    const requests = BASE + 0x200000n;
    let calls = 0;
    host.hypervisor.tracer = tracerOf({ hypercall: () => calls++ });
    expect(guest.call('mmu_update', requests, count, done, 0x7ff0)).toBe(0);
    expect(calls).toBe(2);
    expect(u32.read(host.memory.view, host.memory.frameOffset(guest.mfns[7]), 64)).toBe(count);
  });

  it('cuts a call within a multicall', () => {
    const first = entry(HYPERCALL.vm_assist, 0, 2);
    const size = multicallEntry.size(64);
    const list = guest.put(multicallEntry, [first]);
    // All of the operations come from one page that is mapped at many addresses.
    for (let i = 0; i < 512; i++) guest.poke(8, i, BigInt(MMUEXT.tlb_flush_local));
    const l1 = 6;
    guest.protect(l1);
    for (let i = 0; i < 240; i++) guest.poke(l1, i, guest.entry(8, RO));
    expect(guest.mmuUpdateAt(2048, [[guest.entryAddress(PAGE.l2, 1), guest.entry(l1, 0x67n)]])).toBe(0);
    guest.put(multicallEntry, [first, entry(HYPERCALL.mmuext_op, BASE + 0x200000n, 40000, 0, 0x7ff0), entry(63)]);
    guest.run();
    dispatch(guest.vcpu, HYPERCALL.multicall, [list, 3n, 0n, 0n, 0n, 0n]);
    expect(guest.vcpu.contextReplaced).toBe(true);
    expect(guest.vcpu.cpu.gpr[7]).toBe(list + BigInt(size));
    expect(guest.vcpu.cpu.gpr[6]).toBe(2n);
  });

  it('stops at what it cannot read, having done what came before', () => {
    const update = [guest.entryAddress(PAGE.l1, 60), pte(guest.mfns[60], RO)] as const;
    const last = guest.va(63, 4096 - 16);
    guest.poke(63, 510, update[0]);
    guest.poke(63, 511, update[1]);
    expect(guest.try('mmu_update', last, 2, guest.va(9), 0x7ff0)).toBe('-EFAULT');
    expect(u32.read(host.memory.view, host.memory.frameOffset(guest.mfns[9]), 64)).toBe(1);
    expect(guest.peek(PAGE.l1, 60) & 2n).toBe(0n);
  });
});
