import fc from 'fast-check';
import { beforeEach, describe, expect, it } from 'vitest';
import * as abi from '../../../src/abi/xen/event-channel.ts';
import { EVTCHNOP } from '../../../src/abi/xen/event-channel.ts';
import type { Domain } from '../../../src/hypervisor/domain.ts';
import { WORD } from '../../../src/hypervisor/events/fifo.ts';
import { PageType } from '../../../src/hypervisor/memory/frame-table.ts';
import type { Vcpu } from '../../../src/hypervisor/vcpu.ts';
import { FakeHost } from '../fake-host.ts';

const NR = 32;
const EINVAL = -22;

let host: FakeHost;
let domain: Domain;
let vcpu: Vcpu;

const initControl = (id: number, gfn: number | bigint, offset = 0): [number, number] => {
  const [rc, a] = host.op(vcpu, NR, EVTCHNOP.init_control, abi.evtchnInitControl, {
    controlGfn: BigInt(gfn),
    offset,
    vcpu: id,
  });
  return [rc, a.linkBits];
};
const expandArray = (gfn: number | bigint): number =>
  host.op(vcpu, NR, EVTCHNOP.expand_array, abi.evtchnExpandArray, { arrayGfn: BigInt(gfn) })[0];
const setPriority = (port: number, priority: number): number =>
  host.op(vcpu, NR, EVTCHNOP.set_priority, abi.evtchnSetPriority, { port, priority })[0];

/** The guest's side of the ABI: takes the next event of a vCPU, most urgent queue first, as Linux does. */
class Guest {
  readonly control: number;
  readonly pages: number[] = [];
  private readonly heads = new Uint32Array(16);
  constructor(control: number) {
    this.control = control;
  }
  word(port: number): number {
    return host.memory.frameOffset(this.pages[port >> 10]) / 4 + (port & 1023);
  }
  get ready(): number {
    return host.memory.u32[host.memory.frameOffset(this.control) / 4];
  }
  set ready(value: number) {
    host.memory.u32[host.memory.frameOffset(this.control) / 4] = value;
  }
  /** Consumes events until nothing is ready; the ports in order. */
  drain(): number[] {
    const taken: number[] = [];
    const { u32 } = host.memory;
    const block = host.memory.frameOffset(this.control) / 4;
    let guard = 0;
    while (this.ready !== 0) {
      if (++guard > 10_000) throw new Error('a queue has no end');
      const priority = 31 - Math.clz32(this.ready & -this.ready);
      let head = this.heads[priority];
      if (head === 0) head = u32[block + 2 + priority];
      const at = this.word(head);
      const link = u32[at] & WORD.link;
      u32[at] &= ~(WORD.linked | WORD.link | WORD.busy);
      this.heads[priority] = link;
      if (link === 0) this.ready &= ~(1 << priority);
      if (u32[at] & WORD.pending && !(u32[at] & WORD.masked)) {
        u32[at] &= ~WORD.pending;
        taken.push(head);
      }
    }
    return taken;
  }
}

let guest: Guest;

function addPage(): number {
  const page = host.frame(domain);
  guest.pages.push(page);
  return page;
}

beforeEach(() => {
  host = new FakeHost();
  domain = host.domain({ vcpus: 2, maxEventPorts: 1 << 20 });
  [vcpu] = domain.vcpus;
  guest = new Guest(host.frame(domain));
});

describe('setting up', () => {
  it('gives link bits and holds the frames as writable pages', () => {
    expect(initControl(0, guest.control)).toEqual([0, 17]);
    expect(domain.events.isFifo).toBe(true);
    const { frames } = host.hypervisor;
    expect([frames.type[guest.control], frames.typeCount[guest.control]]).toEqual([PageType.writable, 1]);
    expect(expandArray(addPage())).toBe(0);
    expect(host.op(vcpu, NR, EVTCHNOP.reset, abi.evtchnReset, { dom: 0x7ff0 })[0]).toBe(0);
    expect(frames.typeCount[guest.control]).toBe(0);
    expect(frames.refCount[guest.control]).toBe(1);
    expect(domain.events.isFifo).toBe(false);
  });

  it('refuses bad frames, offsets and vCPUs, and leaves the 2-level ABI alone (XSA-188)', () => {
    expect(initControl(0, ~0n & ((1n << 64n) - 1n))[0]).toBe(EINVAL);
    expect(initControl(0, 1)[0]).toBe(EINVAL); // not ours
    expect(initControl(0, guest.control, 4096 - 64)[0]).toBe(EINVAL);
    expect(initControl(0, guest.control, 4)[0]).toBe(EINVAL);
    expect(initControl(2, guest.control)[0]).toBe(-2);
    expect(domain.events.isFifo).toBe(false);
    expect(expandArray(guest.control)).toBe(-95);
    expect(setPriority(1, 3)).toBe(-38);
    expect(initControl(0, guest.control, 4096 - 72)[0]).toBe(0);
    expect(initControl(0, guest.control)[0]).toBe(EINVAL); // once a vCPU
    expect(expandArray(1)).toBe(EINVAL);
  });

  it('refuses a page table as a control block', () => {
    const { frames } = host.hypervisor;
    frames.getPage(guest.control, domain.id);
    expect(frames.tryGetPageType(guest.control, PageType.l1)).toBe(true);
    expect(initControl(0, guest.control)[0]).toBe(EINVAL);
  });

  it('takes 128 pages of words', () => {
    initControl(0, guest.control);
    for (let i = 0; i < 128; i++) expect(expandArray(host.frame(domain))).toBe(0);
    expect(expandArray(host.frame(domain))).toBe(-28);
  });

  it('what was pending before is raised when its word exists', () => {
    const before = domain.events.bindIpi(0);
    domain.events.send(before);
    initControl(0, guest.control);
    const later = domain.events.bindIpi(0);
    domain.events.send(later);
    expect(guest.ready).toBe(0);
    vcpu.info.upcallPending = false;
    expandArray(addPage());
    expect(vcpu.info.upcallPending).toBe(true);
    expect(guest.drain()).toEqual([before, later]);
  });
});

describe('queues', () => {
  beforeEach(() => {
    initControl(0, guest.control);
    expandArray(addPage());
  });

  it('are served in order of priority, then of events', () => {
    const [a, b, c] = [0, 0, 0].map(() => domain.events.bindIpi(0));
    expect(setPriority(c, 2)).toBe(0);
    for (const port of [b, a, c, b]) domain.events.send(port);
    expect(guest.ready).toBe((1 << 7) | (1 << 2));
    expect(guest.drain()).toEqual([c, b, a]);
    expect(setPriority(a, 16)).toBe(EINVAL);
    expect(setPriority(60, 1)).toBe(-13);
    expect(setPriority(1 << 17, 1)).toBe(EINVAL);
  });

  it('upcalls come once for a queue', () => {
    const [a, b] = [0, 0].map(() => domain.events.bindIpi(0));
    domain.events.send(a);
    expect(vcpu.info.upcallPending).toBe(true);
    vcpu.info.upcallPending = false;
    domain.events.send(b);
    expect(vcpu.info.upcallPending).toBe(false);
  });

  it('a masked event is not linked; unmasking links it', () => {
    const port = domain.events.bindIpi(0);
    host.memory.u32[guest.word(port)] |= WORD.masked;
    domain.events.send(port);
    expect(host.memory.u32[guest.word(port)]).toBe((WORD.pending | WORD.masked) >>> 0);
    domain.events.unmask(port);
    expect(guest.drain()).toEqual([port]);
  });

  it('a vCPU without a control block loses its events, and nothing else happens', () => {
    const port = domain.events.bindIpi(1);
    domain.events.send(port);
    expect(host.memory.u32[guest.word(port)]).toBe(0);
    expect(domain.vcpus[1].info.upcallPending).toBe(false);
  });

  it('a closed port whose word is still linked is not given out again', () => {
    const port = domain.events.bindIpi(0);
    domain.events.send(port);
    domain.events.close(port);
    expect(host.memory.u32[guest.word(port)] & WORD.pending).toBe(0);
    expect(domain.events.bindIpi(0)).not.toBe(port);
    expect(guest.drain()).toEqual([]);
    expect(domain.events.bindIpi(0)).toBe(port);
  });

  it('what the guest left in the link of a tail is replaced', () => {
    const [a, b] = [0, 0].map(() => domain.events.bindIpi(0));
    domain.events.send(a);
    host.memory.u32[guest.word(a)] |= 0x15555;
    domain.events.send(b);
    expect(host.memory.u32[guest.word(a)] & WORD.link).toBe(b);
    expect(guest.drain()).toEqual([a, b]);
  });

  it('ports reach beyond 4096', () => {
    for (let i = 1; i < 5; i++) expandArray(addPage());
    let port = 0;
    while (port < 4500) port = domain.events.bindIpi(0);
    domain.events.send(port);
    expect(guest.drain()).toEqual([4500]);
  });

  it('no event is lost or doubled under any order of sends, priorities, masks and consumption', () => {
    const step = fc.oneof(
      { weight: 6, arbitrary: fc.record({ send: fc.nat(5) }) },
      { weight: 2, arbitrary: fc.record({ priority: fc.nat(15), of: fc.nat(5) }) },
      { weight: 1, arbitrary: fc.record({ mask: fc.nat(5) }) },
      { weight: 1, arbitrary: fc.record({ unmask: fc.nat(5) }) },
      { weight: 1, arbitrary: fc.record({ move: fc.nat(5), to: fc.nat(1) }) },
      { weight: 3, arbitrary: fc.constant({ drain: true }) },
    );
    const second = new Guest(host.frame(domain));
    initControl(1, second.control);
    second.pages.push(...guest.pages);
    const ports = Array.from({ length: 6 }, () => domain.events.allocUnbound(domain.id));
    const senders = ports.map(port => domain.events.bindInterdomain(domain, port));
    const drainAll = (): number[] => [...guest.drain(), ...second.drain()];
    drainAll();
    fc.assert(
      fc.property(fc.array(step, { maxLength: 80 }), steps => {
        for (const port of ports) host.memory.u32[guest.word(port)] &= ~WORD.masked;
        for (const port of ports) domain.events.unmask(port);
        drainAll();
        const sent = new Set<number>();
        const masked = new Set<number>();
        const check = (): void => {
          const taken = drainAll();
          const expected = [...sent].filter(port => !masked.has(port));
          expect([...taken].sort((x, y) => x - y)).toEqual(expected.sort((x, y) => x - y));
          for (const port of taken) sent.delete(port);
        };
        for (const s of steps) {
          if ('send' in s) {
            domain.events.send(senders[s.send]);
            sent.add(ports[s.send]);
          } else if ('priority' in s) domain.events.setPriority(ports[s.of], s.priority);
          else if ('mask' in s) {
            host.memory.u32[guest.word(ports[s.mask])] |= WORD.masked;
            masked.add(ports[s.mask]);
          } else if ('unmask' in s) {
            domain.events.unmask(ports[s.unmask]);
            masked.delete(ports[s.unmask]);
          } else if ('move' in s) domain.events.bindVcpu(ports[s.move], s.to);
          else check();
        }
        for (const port of ports) domain.events.unmask(port);
        masked.clear();
        check();
      }),
      { numRuns: 200 },
    );
  });

  it('survives a guest that scribbles over its words and control block', () => {
    const ports = Array.from({ length: 5 }, () => domain.events.bindIpi(0));
    fc.assert(
      fc.property(
        fc.array(fc.record({ at: fc.nat(1023), value: fc.nat(0xffffffff), port: fc.nat(4), priority: fc.nat(15) })),
        steps => {
          const others = host.hypervisor.memory.frame(domain.sharedInfoMfn).slice(2048);
          for (const { at, value, port, priority } of steps) {
            host.memory.u32[host.memory.frameOffset(guest.pages[0]) / 4 + at] = value;
            host.memory.u32[host.memory.frameOffset(guest.control) / 4 + (at % 18)] = value;
            domain.events.setPriority(ports[port], priority);
            domain.events.send(ports[port]);
            domain.events.unmask(ports[port]);
          }
          expect(host.hypervisor.memory.frame(domain.sharedInfoMfn).slice(2048)).toEqual(others);
        },
      ),
    );
  });
});
