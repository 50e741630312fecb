// Where test guests run: one host for all tests of a file, and beside each guest under test an innocent one that must not notice.
import { afterEach, beforeAll, expect, test } from 'vitest';
import { EVTCHNOP, evtchnBindVirq } from '../../src/abi/xen/event-channel.ts';
import { SCHEDOP } from '../../src/abi/xen/sched.ts';
import { VCPUOP, vcpuSetSingleshotTimer } from '../../src/abi/xen/vcpu.ts';
import { VIRQ, vcpuInfo, vcpuTimeInfo } from '../../src/abi/xen/xen.ts';
import type { Domain } from '../../src/hypervisor/domain.ts';
import { type GuestDomain, Host, type HostOptions, ramForGuests } from '../../src/index.ts';
import { byte, cl, dword, eax, ecx, edx, qword, rax, rdx } from '../../src/toolstack/init/assembler/assembler.ts';
import { HvmGuest } from './hvm-guest.ts';
import { expectation, isRight, outcome, PvGuest, says } from './pv-guest.ts';
import { firstAnswer, message, sendsRequest, XS_READ } from './rings.ts';
import { all, type Computed, code, computed, evaluate, hypercall, record, sum } from './value.ts';

const GUEST_MIB = 5;
const GUESTS_MIB = 24;
/** System time within which every pair of guests is done. */
const PATIENCE_NS = 100_000_000n;
/** Periods of its timer that the innocent guest waits for, and their length. */
const ROUNDS = 20;
const PERIOD_NS = 100_000;
/** What the innocent guest keeps in its page, a word. */
export const SECRET = 0x7365_6372_6574_2121n;

/** Eight letters as a word in memory. */
function word(text: string): bigint {
  return new DataView(new TextEncoder().encode(text).buffer).getBigUint64(0, true);
}

/** What a test's guest can be told about. */
export interface World {
  host: Host;
  hostile: Domain;
  innocent: Domain;
  /** Machine frame of the innocent guest that holds an address. */
  innocentFrame(symbol: string): number;
  /** Machine frame of its top-level page table. */
  innocentRoot: number;
}

/** A domain with the labels of its program. */
export class Running {
  readonly guest: GuestDomain;
  readonly symbols: ReadonlyMap<string, bigint>;
  private readonly program: PvGuest<World>;
  /** Machine frames as the builder placed them, whatever the guest does to its M2P entries later. */
  private readonly p2m = new Map<number, number>();
  readonly output: string[] = [];

  constructor(guest: GuestDomain, program: PvGuest<World>, symbols: ReadonlyMap<string, bigint>) {
    this.guest = guest;
    this.program = program;
    this.symbols = symbols;
    const { frames, m2p } = guest.domain.hypervisor;
    for (let mfn = 0; mfn < frames.count; mfn++) {
      if (frames.owner[mfn] === guest.id) this.p2m.set(Number(m2p.get(mfn)), mfn);
    }
    const decoder = new TextDecoder();
    guest.console.onOutput(bytes => void this.output.push(decoder.decode(bytes)));
  }

  frame(symbol: string): number {
    const at = this.symbols.get(symbol);
    if (at === undefined) throw new Error(`no label ${symbol}`);
    return this.p2m.get(Number(at >> 12n))!;
  }

  private offset(symbol: string, index = 0): number {
    const at = this.symbols.get(symbol)!;
    return this.guest.domain.hypervisor.memory.frameOffset(this.frame(symbol)) + (Number(at) & 0xfff) + index * 8;
  }

  word(symbol: string, index = 0): bigint {
    return this.guest.domain.hypervisor.memory.view.getBigUint64(this.offset(symbol, index), true);
  }

  setWord(symbol: string, value: bigint): void {
    this.guest.domain.hypervisor.memory.view.setBigUint64(this.offset(symbol), value, true);
  }

  /** How the steps ended, against how they must. */
  steps(): { actual: string[]; expected: string[] } {
    const done = Number(this.word('steps'));
    const actual: string[] = [];
    const expected: string[] = [];
    this.program.steps.forEach((step, i) => {
      const ended = i < done ? outcome(this.word('results', i)) : null;
      actual.push(`${step.what}: ${ended ?? '(must not end)'}`);
      expected.push(`${step.what}: ${isRight(step, ended) ? (ended ?? '(must not end)') : expectation(step)}`);
    });
    return { actual, expected };
  }
}

const timeAt = (field: keyof typeof vcpuTimeInfo.fields): number =>
  vcpuInfo.offset('time', 64) + vcpuTimeInfo.offset(field, 64);

/** System time in ns, as public/xen.h says how to work it out from the time stamp counter. */
export const systemTime: Computed = computed(a => {
  const [left, scaled] = [a.unique('left'), a.unique('scaled')];
  a.rdtsc()
    .shl(rdx, 32)
    .or(rax, rdx)
    .sub(rax, qword('shared_info', timeAt('tscTimestamp')));
  a.movsx(ecx, byte('shared_info', timeAt('tscShift')))
    .test(ecx, ecx)
    .jns(left);
  a.neg(ecx).shr(rax, cl).jmp(scaled);
  a.label(left).shl(rax, cl).label(scaled);
  a.mov(edx, dword('shared_info', timeAt('tscToSystemMul')))
    .mul(rdx)
    .shrd(rax, rdx, 32);
  a.add(rax, qword('shared_info', timeAt('systemTime')));
});

/** Blocks until an event comes: of the timer, which is set for so many nanoseconds from now. */
export const sleepFor = (ns: number): Computed =>
  all(
    // The event must not come before the guest sleeps; that unmasks.
    code(a => a.mov(byte('shared_info', 1), 1)),
    hypercall(
      'vcpu_op',
      VCPUOP.set_singleshot_timer,
      0,
      record(vcpuSetSingleshotTimer, { timeoutAbsNs: sum(systemTime, ns) }),
    ),
    hypercall('sched_op', SCHEDOP.block, 0),
  );

/** Keeps a secret in its memory, sleeps and wakes by its timer, and at the end looks whether all is as it was. */
function innocent(): PvGuest<World> {
  const guest = new PvGuest<World>('innocent');
  guest.page(1, 'secret');
  guest.page(1, 'offered');
  guest.prepares(
    'to keep a secret',
    code(a => a.mov(rax, SECRET).mov(qword('secret'), rax).xor(eax, eax)),
  );
  guest.prepares(
    'to bind its timer',
    hypercall('event_channel_op', EVTCHNOP.bind_virq, record(evtchnBindVirq, { virq: VIRQ.timer })),
  );
  guest.prepares(
    `to sleep ${ROUNDS} times`,
    code(a => {
      const again = a.unique('again');
      a.label(again);
      evaluate(a, sleepFor(PERIOD_NS));
      // Some work of its own.
      a.mov(ecx, 2000).label(`${again}.work`).dec(ecx).jne(`${again}.work`);
      a.cmp(qword('events'), ROUNDS).jb(again).xor(eax, eax);
    }),
  );
  guest
    .tries(
      'to find its secret',
      code(a => a.mov(rax, qword('secret'))),
    )
    .gets(SECRET);
  guest.prepares('to ask XenStore for its name', sendsRequest(message(XS_READ, 'name\0')));
  guest.tries('to be told it', firstAnswer(8)).gets(word('innocent'));
  guest.does(says('innocent\n'));
  return guest;
}

export interface Ending {
  /** How the domain ends: by its own power-off (default), by a crash, or not at all; `somehow` is any of these. */
  ends?: 'poweroff' | 'crash' | 'reboot' | 'never' | 'somehow';
  /** What the log says of its crash. */
  because?: RegExp;
  vcpus?: number;
  /** Further looks at host and guests once they have ended, before they are destroyed. */
  afterwards?: (world: World, hostile: Running, log: readonly string[]) => void;
}

/** A file's host. Call it once at the top of a file. */
export function world(options: Partial<HostOptions> = {}) {
  let host: Host;
  const log: string[] = [];
  beforeAll(async () => {
    host = await Host.create({ ramBytes: ramForGuests(GUESTS_MIB), ...options, log: line => void log.push(line) });
  });

  // A test that failed must not be another's failure.
  afterEach(() => {
    for (const left of [...host.domains.values()]) host.destroy(left);
  });

  async function start(program: PvGuest<World>, vcpus = 1): Promise<Running> {
    const { image, symbols } = await program.build();
    const domain = { image, memoryMiB: GUEST_MIB, vcpus, name: program.name };
    const guest = program instanceof HvmGuest ? host.createPvhDomain(domain) : host.createPvDomain(domain);
    return new Running(guest, program, symbols);
  }

  /** A test: a guest, written by `write`, runs beside the innocent one, and the host has all its memory back afterwards. */
  function pvGuest(title: string, write: (guest: PvGuest<World>) => void, ending: Ending = {}): void {
    runs(title, () => new PvGuest<World>('hostile'), write, ending);
  }

  /** The same with an HVM guest; the innocent one is a PV guest. */
  function hvmGuest(title: string, write: (guest: HvmGuest<World>) => void, ending: Ending = {}): void {
    runs(title, () => new HvmGuest<World>('hostile'), write, ending);
  }

  function runs<G extends PvGuest<World>>(
    title: string,
    make: () => G,
    write: (guest: G) => void,
    ending: Ending,
  ): void {
    test(title, async () => {
      const { ends = 'poweroff', because, vcpus, afterwards } = ending;
      log.length = 0;
      const { frames } = host.hypervisor;
      const free = frames.free;
      const program = make();
      write(program);
      const victim = await start(innocent());
      const hostile = await start(program, vcpus);
      const here: World = {
        host,
        hostile: hostile.guest.domain,
        innocent: victim.guest.domain,
        innocentFrame: symbol => victim.frame(symbol),
        innocentRoot: victim.guest.domain.vcpus[0].pv.guestTable,
      };
      for (const { label, find } of program.givens) hostile.setWord(label, BigInt(find(here)));
      const deadline = host.timeNs + PATIENCE_NS;
      const isDone = (): boolean =>
        ends === 'never' || ends === 'somehow'
          ? hostile.word('steps') >= program.steps.length - 1
          : hostile.guest.shutdown !== null;
      await host.run({ until: () => (victim.guest.shutdown !== null && isDone()) || host.timeNs > deadline });

      const { actual, expected } = hostile.steps();
      expect(actual).toEqual(expected);
      if (ends !== 'somehow') {
        expect(hostile.guest.shutdown, log.slice(0, 8).join('\n')).toBe(ends === 'never' ? null : ends);
      }
      if (because) expect(log.join('\n')).toMatch(because);
      expect(log.filter(line => line.includes('BUG'))).toEqual([]);

      const own = victim.steps();
      expect(own.actual).toEqual(own.expected);
      expect(victim.guest.shutdown).toBe('poweroff');
      afterwards?.(here, hostile, log);
      host.destroy(hostile.guest);
      expect(victim.output.join('')).toBe('innocent\n');
      host.destroy(victim.guest);
      expect(frames.free, 'frames that are free again').toBe(free);
      expect([...host.hypervisor.domains.keys()]).toEqual([]);
    });
  }
  return Object.assign(pvGuest, { hvm: hvmGuest });
}
