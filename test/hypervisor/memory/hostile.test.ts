// A guest that tries everything: whatever it calls in whatever order, the frame table's counts stay true, no frame of another domain is
// reached, and nothing but a result comes back.
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { ulong } from '../../../src/abi/struct.ts';
import { XENMEM, xenMemoryExchange, xenMemoryReservation } from '../../../src/abi/xen/memory.ts';
import { type HYPERCALL, MMUEXT } from '../../../src/abi/xen/xen.ts';
import { GuestFault } from '../../../src/cpu/exits.ts';
import { DOMID_SELF } from '../../../src/hypervisor/domain-ids.ts';
import { mapLdtPage } from '../../../src/hypervisor/memory/descriptor-tables.ts';
import { type Guest, PAGE, TestHost } from '../harness.ts';
import { checkInvariants } from './invariants.ts';

// A small world, so that the same pages meet again and again: pages 0 to 9, a few slots, a few flags.
const PAGES = 10;
const dataPage = fc.integer({ min: PAGE.firstData, max: PAGES - 1 });
const level = fc.constantFrom(1, 2, 3, 4, 4);
const page = fc.integer({ min: 0, max: PAGES - 1 });
const slot = fc.constantFrom(0, 1, 2, 5, 9, 256, 260, 510, 511);
const flags = fc.constantFrom(0x63n, 0x21n, 0x67n, 0x65n, 0x25n, 0x27n, 0x63n, 0x167n, 0x6fn, 0n);
const LIST = 2048;

type Step = (guest: Guest) => unknown;

const steps: fc.Arbitrary<[string, Step]>[] = [
  // What a kernel does to make a table, without the flush that it would ask for.
  fc.tuple(dataPage, level, slot, page, flags).map(([p, l, at, to, f]) => [
    `make L${l} of ${p} with [${at}] -> ${to} ${f.toString(16)}`,
    g => {
      g.host.processor.guestStore(g.va(p, at * 8), f && g.entry(to, f));
      return [g.updateVa(p, g.entry(p, 0x21n), 0), g.pin(l as 1 | 2 | 3 | 4, p)];
    },
  ]),
  fc
    .tuple(dataPage, dataPage, fc.constantFrom(0, 1), fc.constantFrom(0n, 0x25n, 0x25n, 0x67n))
    .map(([from, to, s, f]) => [
      `link ${from}[${s}] -> ${to} ${f.toString(16)}`,
      g => g.mmuUpdate([[g.entryAddress(from, s), f && g.entry(to, f)]]),
    ]),
  fc.tuple(dataPage, dataPage).map(([from, to]) => [
    `root ${from} with a linear entry for root ${to}`,
    g => {
      for (const p of [to, from]) {
        g.updateVa(p, g.entry(p, 0x21n), 0);
        g.pin(4, p);
      }
      return g.mmuUpdate([[g.entryAddress(from, 3), g.entry(to, 0x25n)]]);
    },
  ]),
  fc
    .tuple(dataPage)
    .map(([p]) => [
      `ldt in ${p}, read-only`,
      g => [
        g.updateVa(p, g.entry(p, 0x21n), 0),
        g.mmuext({ cmd: MMUEXT.set_ldt, linear: g.va(p), entries: 8 }),
        mapLdtPage(g.vcpu, 0),
      ],
    ]),
  fc
    .tuple(page, page, flags, fc.constantFrom(0, 1, 2))
    .map(([at, to, f, flush]) => [
      `va ${at} -> ${to} ${f.toString(16)} flush ${flush}`,
      g => g.updateVa(at, f && g.entry(to, f), flush),
    ]),
  fc
    .tuple(page, slot, page, flags, fc.constantFrom(0n, 2n))
    .map(([at, s, to, f, cmd]) => [
      `mmu ${at}[${s}] -> ${to} ${f.toString(16)}`,
      g => g.mmuUpdate([[g.entryAddress(at, s) | cmd, f && g.entry(to, f)]]),
    ]),
  fc
    .tuple(page, slot, page, flags)
    .map(([at, s, to, f]) => [
      `store ${at}[${s}] -> ${to} ${f.toString(16)}`,
      g => g.host.processor.guestStore(g.va(at, s * 8), f && g.entry(to, f)),
    ]),
  fc.tuple(page).map(([at]) => [`load ${at}`, g => g.host.processor.guestLoad(g.va(at))]),
  fc
    .tuple(page, fc.constantFrom(1, 2, 3, 4))
    .map(([p, level]) => [`pin L${level} ${p}`, g => g.pin(level as 1 | 2 | 3 | 4, p)]),
  fc.tuple(page).map(([p]) => [`unpin ${p}`, g => g.unpin(p)]),
  fc
    .tuple(page, fc.constantFrom(MMUEXT.new_baseptr, MMUEXT.new_user_baseptr, MMUEXT.clear_page))
    .map(([p, cmd]) => [`mmuext ${cmd} ${p}`, g => g.mmuext({ cmd, mfn: g.mfns[p] })]),
  fc.constant<[string, Step]>(['no user base', g => g.mmuext({ cmd: MMUEXT.new_user_baseptr, mfn: 0 })]),
  fc
    .tuple(page, page)
    .map(([a, b]) => [
      `gdt ${a} ${b}`,
      g => g.call('set_gdt', g.put(ulong, [BigInt(g.mfns[a]), BigInt(g.mfns[b])], LIST), 600),
    ]),
  fc.constant<[string, Step]>(['no gdt', g => g.call('set_gdt', 0n, 0)]),
  fc
    .tuple(page)
    .map(([p]) => [
      `ldt ${p}`,
      g => [g.mmuext({ cmd: MMUEXT.set_ldt, linear: g.va(p), entries: 8 }), mapLdtPage(g.vcpu, 0)],
    ]),
  fc.tuple(page).map(([p]) => [
    `give ${p}`,
    g => {
      const list = g.put(ulong, [BigInt(g.mfns[p])], LIST);
      const value = { extentStart: list, nrExtents: 1n, extentOrder: 0, memFlags: 0, domid: DOMID_SELF };
      return g.call('memory_op', XENMEM.decrease_reservation, g.put(xenMemoryReservation, [value]));
    },
  ]),
  fc.tuple(page).map(([p]) => [
    `take ${p}`,
    g => {
      const list = g.put(ulong, [BigInt(p)], LIST);
      const value = { extentStart: list, nrExtents: 1n, extentOrder: 0, memFlags: 0, domid: DOMID_SELF };
      if (g.call('memory_op', XENMEM.populate_physmap, g.put(xenMemoryReservation, [value])) === 1) {
        g.mfns[p] = Number(g.got(ulong, LIST));
      }
    },
  ]),
  fc.tuple(page, page).map(([a, b]) => [
    `exchange ${a} ${b}`,
    g => {
      const from = g.put(ulong, [BigInt(g.mfns[a]), BigInt(g.mfns[b])], LIST);
      const to = g.put(ulong, [BigInt(a)], LIST + 64);
      const common = { memFlags: 0, domid: DOMID_SELF };
      const value = {
        in: { extentStart: from, nrExtents: 2n, extentOrder: 0, ...common },
        out: { extentStart: to, nrExtents: 1n, extentOrder: 1, ...common },
        nrExchanged: 0n,
      };
      if (g.call('memory_op', XENMEM.exchange, g.put(xenMemoryExchange, [value])) === 0) {
        const mfn = Number(g.got(ulong, LIST + 64));
        [g.mfns[a], g.mfns[b]] = [mfn, mfn + 1];
      }
    },
  ]),
];

it('keeps all counts true whatever a guest does to its own pages', () => {
  fc.assert(
    fc.property(fc.array(fc.oneof(...steps), { minLength: 10, maxLength: 50 }), fc.boolean(), (script, assist) => {
      const host = new TestHost(256);
      const free = host.hypervisor.frames.free;
      const guest = host.guest({ pages: 32 });
      if (assist) guest.call('vm_assist', 0, 2);
      // The argument page keeps its frame: a guest that loses it can only fault.
      const kept = guest.mfns[PAGE.arguments];
      for (const [name, step] of script) {
        try {
          step(guest);
        } catch (error) {
          if (!(error instanceof GuestFault)) throw error;
        }
        guest.mfns[PAGE.arguments] = kept;
        try {
          checkInvariants(host);
        } catch (error) {
          throw new Error(`after "${name}": ${(error as Error).message}`);
        }
      }
      host.hypervisor.destroyDomain(guest.domain);
      expect(host.hypervisor.frames.free).toBe(free);
    }),
    { numRuns: 200 },
  );
});

it('reaches nothing of another domain, by any frame number', () => {
  const host = new TestHost(256);
  const victim = host.guest({ pages: 32 });
  const attacker = host.guest({ pages: 32 });
  attacker.run();
  const { frames } = host.hypervisor;
  for (let mfn = 0; mfn < frames.count + 8; mfn++) {
    if (frames.owner[mfn] === attacker.domain.id) continue;
    for (const f of [0x67n, 0x25n]) {
      expect(attacker.updateVa(20, (BigInt(mfn) << 12n) | f)).toBeLessThan(0);
      expect(attacker.mmuUpdate([[attacker.entryAddress(PAGE.l2, 9), (BigInt(mfn) << 12n) | f]])).toBeLessThan(0);
    }
    for (const cmd of [0, 1, 2, 3, 4, 5, 15, 16, 17]) {
      if (mfn !== 0 || cmd !== MMUEXT.new_user_baseptr) expect(attacker.mmuext({ cmd, mfn })).toBeLessThan(0);
    }
    expect(attacker.mmuUpdate([[BigInt(mfn) << 12n, 0n]])).toBeLessThan(0);
    expect(attacker.mmuUpdate([[(BigInt(mfn) << 12n) | 1n, 0n]])).toBeLessThan(0);
    expect(attacker.call('update_descriptor', BigInt(mfn) << 12n, 0)).toBeLessThan(0);
  }
  checkInvariants(host);
  expect(victim.domain.pages).toBe(32);
});

const CALLS: (keyof typeof HYPERCALL)[] = [
  'mmu_update', 'set_gdt', 'stack_switch', 'update_descriptor', 'memory_op', 'multicall', 'update_va_mapping', 'vm_assist',
  'update_va_mapping_otherdomain', 'mmuext_op',
]; // biome-ignore format: a list

it('takes any arguments at all', () => {
  const host = new TestHost(256);
  const guest = host.guest({ pages: 32 });
  const interesting = fc.constantFrom(
    0n, 1n, 2n, 0x7ff0n, 0x80000000n, 0x80000001n, 0xffffffffn, guest.va(PAGE.arguments), guest.va(PAGE.l1), guest.va(31, 4090),
    0x7fff_ffff_ffffn, 0x8000_0000_0000n, 0xffff_8000_0000_0000n, 0xffff_8800_0000_0000n, (1n << 64n) - 1n, (1n << 64n) - 16n,
  ); // biome-ignore format: a list
  const argument = fc.oneof(
    interesting,
    fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }),
    fc.bigInt({ min: 0n, max: 64n }),
  );
  fc.assert(
    fc.property(
      fc.constantFrom(...CALLS),
      fc.array(argument, { minLength: 6, maxLength: 6 }),
      fc.array(argument, { minLength: 12, maxLength: 12 }),
      (name, args, words) => {
        guest.put(ulong, words);
        expect(Number.isInteger(guest.call(name, ...args))).toBe(true);
      },
    ),
    { numRuns: 3000 },
  );
  checkInvariants(host);
});
