// Guests that make hypercalls at random, with arguments that are often nearly right. Whatever becomes of them, the others and the host
// go on, and all memory comes back.
import { EVTCHNOP } from '../../../src/abi/xen/event-channel.ts';
import { GNTTABOP } from '../../../src/abi/xen/grant-table.ts';
import { XENMEM } from '../../../src/abi/xen/memory.ts';
import { PHYSDEVOP } from '../../../src/abi/xen/physdev.ts';
import { VCPUOP } from '../../../src/abi/xen/vcpu.ts';
import { HYPERCALL, MMUEXT } from '../../../src/abi/xen/xen.ts';
import { DOMID_SELF } from '../../../src/hypervisor/domain-ids.ts';
import type { PvGuest } from '../pv-guest.ts';
import { M2P_BASE } from '../runtime.ts';
import {
  entry,
  entryFor,
  hypercall,
  machineAddress,
  mfnOf,
  or,
  PTE,
  READ_ONLY,
  READ_WRITE,
  sum,
  tableFor,
  tableVa,
  type Value,
  words,
} from '../value.ts';
import { type World, world } from '../world.ts';

const SEEDS = Number(process.env.GUEST_SEEDS ?? 12);
const FIRST_SEED = Number(process.env.GUEST_FIRST_SEED ?? 1);
const CALLS = 120;

const guest = world();

/** Numbers below a limit, the same for each seed: the generator of Numerical Recipes' quick and dirty kind, its high bits. */
function generator(seed: number): (limit: number) => number {
  let state = (seed * 2654435761) >>> 0;
  return limit => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * limit);
  };
}

type Name = keyof typeof HYPERCALL;
/** What is drawn from; those that do most stand there more than once. sched_op and iret would only end the guest. */
const NAMES: readonly Name[] = [
  ...([
    'mmu_update',
    'mmu_update',
    'mmuext_op',
    'mmuext_op',
    'mmuext_op',
    'update_va_mapping',
    'update_va_mapping',
  ] as const),
  ...(['memory_op', 'memory_op', 'grant_table_op', 'grant_table_op', 'event_channel_op', 'event_channel_op'] as const),
  ...([
    'set_gdt',
    'update_descriptor',
    'vcpu_op',
    'physdev_op',
    'multicall',
    'set_debugreg',
    'fpu_taskswitch',
  ] as const),
  ...([
    'stack_switch',
    'set_segment_base',
    'vm_assist',
    'xen_version',
    'console_io',
    'set_timer_op',
    'callback_op',
  ] as const),
];

function write(g: PvGuest<World>, seed: number): void {
  const random = generator(seed);
  const one = <T>(list: readonly T[]): T => list[random(list.length)];
  const pages = [g.page(), g.page(), g.page(), g.page()];
  const foreign = g.given(w => w.innocentFrame('secret'));
  const root = g.given(w => w.innocentRoot);
  const other = g.given(({ innocent, hostile, innocentFrame }) => {
    innocent.grants.seed(20, hostile.id, innocentFrame('secret'), true);
    innocent.grants.seed(21, hostile.id, innocentFrame('offered'));
    return innocent.id;
  });
  const page = () => one(pages);
  const frame = (): Value =>
    one<() => Value>([
      () => mfnOf(page()),
      () => mfnOf(page()),
      () => tableFor(page(), 1 + random(4)),
      () => foreign,
      () => root,
      () => random(2000),
    ])();
  const pte = (): Value =>
    entry(frame(), one([READ_ONLY, READ_WRITE, READ_WRITE | PTE.ps, 0, PTE.p, PTE.p | PTE.rw | 0x10]));
  const address = (): Value =>
    one<() => Value>([
      page,
      page,
      () => sum(page(), 8 * random(512)),
      () => tableVa(page(), 1 + random(4)),
      () => M2P_BASE,
      () => 0x40000000,
    ])();
  const small = (): Value => one([0, 1, 2, 3, 4, 7, 12, 16, 255, 512, 4096, DOMID_SELF, 0xffffffff]);
  const any = (): Value =>
    one([
      small,
      small,
      frame,
      address,
      pte,
      () => other,
      () => machineAddress(page()),
      () => entryFor(page(), 1 + random(4)),
    ])();
  const struct = (): Value => words(...Array.from({ length: 2 + random(7) }, any));
  const pointer = (): Value => one([struct, struct, struct, address])();
  const op = (ops: Record<string, number>): number => one(Object.values(ops));

  const argumentsOf: Partial<Record<Name, () => Value[]>> = {
    mmu_update: () => [
      words(...Array.from({ length: 3 }, () => [or(entryFor(page(), 1 + random(4)), random(4)), pte()]).flat()),
      1 + random(3),
      one<Value>([0, page()]),
      one<Value>([DOMID_SELF, DOMID_SELF, other, 0x7ff1]),
    ],
    mmuext_op: () => [
      words(op(MMUEXT), one([frame, address])(), one([small, frame])(), op(MMUEXT), frame(), small()),
      1 + random(2),
      0,
      DOMID_SELF,
    ],
    update_va_mapping: () => [address(), pte(), random(8)],
    memory_op: () => [
      one([0, 1, 6, 11, op(XENMEM)]),
      // A reservation: extents, their number, order and flags, domain.
      words(words(frame(), frame(), frame()), 1 + random(3), random(3), DOMID_SELF, any(), any()),
    ],
    grant_table_op: () => [
      op(GNTTABOP),
      one([
        struct,
        // To map: where, flags and reference, domain.
        () => words(address(), random(64) + (20 + random(3)) * 2 ** 32, other, 0),
        // To unmap: where, bus address, handle.
        () => words(address(), one<Value>([0, 0, machineAddress(page())]), random(4)),
      ])(),
      1,
    ],
    event_channel_op: () => [
      op(EVTCHNOP),
      words(one<Value>([or(DOMID_SELF, random(2) * 0x7ff00000), random(8), small()]), small(), any()),
    ],
    set_gdt: () => [words(frame(), frame()), one([0, 512, 1024, 7168])],
    update_descriptor: () => [
      machineAddress(sum(page(), 8 * random(512))),
      one<Value>([0, 0x00cff3000000ffffn, 0x0000ec0000080000n, any()]),
    ],
    vcpu_op: () => [op(VCPUOP), random(2), pointer()],
    physdev_op: () => [op(PHYSDEVOP), pointer()],
    multicall: () => [words(one(Object.values(HYPERCALL)), 0, any(), any(), any(), any(), any(), any()), 1],
    callback_op: () => [random(2), pointer()],
    vm_assist: () => [random(2), one([2, 4, 5, 32])],
  };
  for (let i = 0; i < CALLS; i++) {
    const name = one(NAMES);
    g.does(hypercall(name, ...(argumentsOf[name]?.() ?? [any(), any(), any(), any()])));
  }
}

for (let seed = FIRST_SEED; seed < FIRST_SEED + SEEDS; seed++) {
  guest(`makes hypercalls at random, ${seed}`, g => write(g, seed), { ends: 'somehow', vcpus: 2 });
}
