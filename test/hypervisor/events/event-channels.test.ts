import { beforeEach, describe, expect, it } from 'vitest';
import type { Of } from '../../../src/abi/struct.ts';
import * as abi from '../../../src/abi/xen/event-channel.ts';
import { EVTCHNOP, EVTCHNSTAT } from '../../../src/abi/xen/event-channel.ts';
import type { Domain } from '../../../src/hypervisor/domain.ts';
import type { Vcpu } from '../../../src/hypervisor/vcpu.ts';
import { FakeHost } from '../fake-host.ts';

const NR = 32;
const SELF = 0x7ff0;
const E = { PERM: -1, NOENT: -2, SRCH: -3, FAULT: -14, EXIST: -17, INVAL: -22, NOSPC: -28, NOSYS: -38 } as const;

let host: FakeHost;
let domain: Domain;
let vcpu: Vcpu;

const allocUnbound = (v: Vcpu, remoteDom: number, dom = SELF): [number, number] => {
  const [rc, a] = host.op(v, NR, EVTCHNOP.alloc_unbound, abi.evtchnAllocUnbound, { dom, remoteDom });
  return [rc, a.port];
};
const bindInterdomain = (v: Vcpu, remoteDom: number, remotePort: number): [number, number] => {
  const [rc, a] = host.op(v, NR, EVTCHNOP.bind_interdomain, abi.evtchnBindInterdomain, { remoteDom, remotePort });
  return [rc, a.localPort];
};
const bindVirq = (v: Vcpu, virq: number, id: number): number =>
  host.op(v, NR, EVTCHNOP.bind_virq, abi.evtchnBindVirq, { virq, vcpu: id })[0];
const simple = (v: Vcpu, cmd: 'close' | 'send' | 'unmask', port: number): number =>
  host.op(v, NR, EVTCHNOP[cmd], abi.evtchnClose, { port })[0];
const bindVcpu = (v: Vcpu, port: number, id: number): number =>
  host.op(v, NR, EVTCHNOP.bind_vcpu, abi.evtchnBindVcpu, { port, vcpu: id })[0];
const status = (v: Vcpu, port: number, dom = SELF): [number, Of<typeof abi.evtchnStatus>] =>
  host.op(v, NR, EVTCHNOP.status, abi.evtchnStatus, { dom, port });

const bitAt = (d: Domain, base: number, port: number): boolean =>
  (host.bytes(d.sharedInfoMfn)[base + (port >> 3)] & (1 << (port & 7))) !== 0;
const setBit = (d: Domain, base: number, port: number, on: boolean): void => {
  const bytes = host.bytes(d.sharedInfoMfn);
  if (on) bytes[base + (port >> 3)] |= 1 << (port & 7);
  else bytes[base + (port >> 3)] &= ~(1 << (port & 7));
};
const PENDING = 2048;
const MASK = 2560;

beforeEach(() => {
  host = new FakeHost();
  domain = host.domain({ vcpus: 3 });
  vcpu = domain.vcpus[0];
});

describe('ports', () => {
  it('come lowest first, from 1, and closed ones again', () => {
    expect(allocUnbound(vcpu, 0)).toEqual([0, 1]);
    expect(allocUnbound(vcpu, 0)).toEqual([0, 2]);
    expect(allocUnbound(vcpu, 0)).toEqual([0, 3]);
    expect(simple(vcpu, 'close', 2)).toBe(0);
    expect(allocUnbound(vcpu, 0)).toEqual([0, 2]);
    expect(allocUnbound(vcpu, 0)).toEqual([0, 4]);
  });

  it('end with ENOSPC at the limit of the toolstack', () => {
    domain = host.domain({ maxEventPorts: 10 });
    [vcpu] = domain.vcpus;
    for (let port = 1; port <= 10; port++) expect(allocUnbound(vcpu, 0)).toEqual([0, port]);
    expect(allocUnbound(vcpu, 0)[0]).toBe(E.NOSPC);
  });

  it('end with ENOSPC at 4096 with the 2-level ABI (XSA-317)', () => {
    domain = host.domain({ maxEventPorts: 1 << 20 });
    for (let port = 1; port < 4096; port++) expect(domain.events.allocUnbound(0)).toBe(port);
    expect(allocUnbound(domain.vcpus[0], 0)[0]).toBe(E.NOSPC);
  });

  it('a 32-bit domain has 1024', () => {
    domain = host.domain({ abi: 'pv32', maxEventPorts: 1 << 20 });
    for (let port = 1; port < 1024; port++) domain.events.allocUnbound(0);
    expect(() => domain.events.allocUnbound(0)).toThrow('ENOSPC');
  });
});

describe('interdomain channels', () => {
  let other: Domain;
  let there: Vcpu;
  beforeEach(() => {
    other = host.domain();
    [there] = other.vcpus;
  });

  it('are bound to a port that waits for the binder, and carry events both ways', () => {
    const [, port] = allocUnbound(vcpu, other.id);
    const [rc, remote] = bindInterdomain(there, domain.id, port);
    expect(rc).toBe(0);
    expect(bitAt(other, PENDING, remote)).toBe(true); // earlier events may have been lost
    expect(bitAt(domain, PENDING, port)).toBe(false);
    expect(simple(there, 'send', remote)).toBe(0);
    expect(bitAt(domain, PENDING, port)).toBe(true);
    setBit(other, PENDING, remote, false);
    expect(simple(vcpu, 'send', port)).toBe(0);
    expect(bitAt(other, PENDING, remote)).toBe(true);
  });

  it('are refused where the port waits for somebody else, is bound, or is none', () => {
    const [, port] = allocUnbound(vcpu, 77);
    expect(bindInterdomain(there, domain.id, port)[0]).toBe(E.INVAL);
    expect(bindInterdomain(there, domain.id, 60)[0]).toBe(E.INVAL);
    expect(bindInterdomain(there, domain.id, 4000)[0]).toBe(E.INVAL);
    expect(bindInterdomain(there, 99, 1)[0]).toBe(E.SRCH);
    const [, mine] = allocUnbound(vcpu, other.id);
    expect(bindInterdomain(there, domain.id, mine)[0]).toBe(0);
    expect(bindInterdomain(there, domain.id, mine)[0]).toBe(E.INVAL);
  });

  it('a refused binding leaves no port behind', () => {
    for (let i = 0; i < 5; i++) bindInterdomain(there, domain.id, 60);
    expect(allocUnbound(there, 0)).toEqual([0, 1]);
  });

  it('close makes the other end unbound, waiting for the closer; events to it are dropped', () => {
    const [, port] = allocUnbound(vcpu, other.id);
    const [, remote] = bindInterdomain(there, domain.id, port);
    expect(simple(there, 'close', remote)).toBe(0);
    expect(status(vcpu, port)[1]).toMatchObject({ status: EVTCHNSTAT.unbound, u: { unbound: { dom: other.id } } });
    expect(simple(vcpu, 'send', port)).toBe(0);
    expect(simple(there, 'send', remote)).toBe(E.INVAL);
    expect(bindInterdomain(there, domain.id, port)).toEqual([0, remote]);
  });

  it('work within one domain', () => {
    const [, a] = allocUnbound(vcpu, SELF);
    const [rc, b] = bindInterdomain(vcpu, SELF, a);
    expect(rc).toBe(0);
    simple(vcpu, 'send', b);
    expect(bitAt(domain, PENDING, a)).toBe(true);
    expect(simple(vcpu, 'close', a)).toBe(0);
    expect(status(vcpu, b)[1].status).toBe(EVTCHNSTAT.unbound);
  });

  it('another domain may not open, look at or reset our ports', () => {
    expect(allocUnbound(vcpu, 0, other.id)[0]).toBe(E.PERM);
    expect(allocUnbound(vcpu, 0, 99)[0]).toBe(E.SRCH);
    allocUnbound(there, 0);
    expect(status(vcpu, 1, other.id)[0]).toBe(E.PERM);
    expect(host.op(vcpu, NR, EVTCHNOP.reset, abi.evtchnReset, { dom: other.id })[0]).toBe(E.PERM);
  });

  it('the control domain may open ports for others, not reset a running one', () => {
    const control = host.domain({ id: 0, isPrivileged: true });
    expect(allocUnbound(control.vcpus[0], 0, other.id)).toEqual([0, 1]);
    expect(other.events.channelAt(1)).toMatchObject({ state: 'unbound', remoteDomain: 0 });
    expect(host.op(control.vcpus[0], NR, EVTCHNOP.reset, abi.evtchnReset, { dom: other.id })[0]).toBe(E.INVAL);
    other.pauseCount = 1;
    expect(host.op(control.vcpus[0], NR, EVTCHNOP.reset, abi.evtchnReset, { dom: other.id })[0]).toBe(0);
    expect(other.events.channelAt(1)!.state).toBe('free');
  });
});

describe('virtual interrupts', () => {
  it('global ones are bound through vCPU 0, once; the others once a vCPU', () => {
    expect(bindVirq(vcpu, 0, 0)).toBe(0);
    expect(bindVirq(vcpu, 0, 0)).toBe(E.EXIST);
    expect(bindVirq(vcpu, 0, 1)).toBe(0);
    expect(bindVirq(vcpu, 1, 2)).toBe(0);
    expect(bindVirq(vcpu, 2, 1)).toBe(E.INVAL);
    expect(bindVirq(vcpu, 2, 0)).toBe(0);
    expect(bindVirq(vcpu, 2, 0)).toBe(E.EXIST);
    expect(bindVirq(vcpu, 24, 0)).toBe(E.INVAL);
    expect(bindVirq(vcpu, 0xffffffff, 0)).toBe(E.INVAL);
    expect(bindVirq(vcpu, 0, 3)).toBe(E.NOENT);
  });

  it('reach the vCPU that they are bound to, and can be bound again after close', () => {
    const port = domain.events.bindVirq(0, 1);
    domain.events.sendVcpuVirq(0, 0);
    expect(bitAt(domain, PENDING, port)).toBe(false);
    domain.events.sendVcpuVirq(1, 0);
    expect(bitAt(domain, PENDING, port)).toBe(true);
    expect(domain.vcpus[1].info.upcallPending).toBe(true);
    expect(domain.vcpus[0].info.upcallPending).toBe(false);
    expect(simple(vcpu, 'close', port)).toBe(0);
    expect(bitAt(domain, PENDING, port)).toBe(false);
    expect(bindVirq(vcpu, 0, 1)).toBe(0);
  });

  it('the control domain hears of every domain that stops', () => {
    const control = host.domain({ id: 0, isPrivileged: true });
    const port = control.events.bindVirq(3, 0);
    domain.shutDown(0);
    expect(bitAt(control, PENDING, port)).toBe(true);
  });
});

describe('who is told', () => {
  it('may be changed for all but IPIs and the VIRQs of vCPUs', () => {
    const [, unbound] = allocUnbound(vcpu, 0);
    const ipi = domain.events.bindIpi(1);
    const timer = domain.events.bindVirq(0, 0);
    const console = domain.events.bindVirq(2, 0);
    expect(bindVcpu(vcpu, unbound, 2)).toBe(0);
    expect(bindVcpu(vcpu, console, 1)).toBe(0);
    expect(bindVcpu(vcpu, ipi, 0)).toBe(E.INVAL);
    expect(bindVcpu(vcpu, timer, 1)).toBe(E.INVAL);
    expect(bindVcpu(vcpu, unbound, 3)).toBe(E.NOENT);
    expect(bindVcpu(vcpu, 50, 0)).toBe(E.INVAL);
    domain.events.sendGlobalVirq(2);
    expect(domain.vcpus[1].info.upcallPending).toBe(true);
  });

  it('a channel that is opened anew goes to vCPU 0 again', () => {
    const [, port] = allocUnbound(vcpu, 0);
    bindVcpu(vcpu, port, 2);
    simple(vcpu, 'close', port);
    expect(allocUnbound(vcpu, 0)).toEqual([0, port]);
    expect(status(vcpu, port)[1].vcpu).toBe(0);
  });

  it('an IPI goes to its vCPU', () => {
    const ipi = domain.events.bindIpi(2);
    expect(simple(vcpu, 'send', ipi)).toBe(0);
    expect(domain.vcpus.map(v => v.info.upcallPending)).toEqual([false, false, true]);
    expect(host.op(vcpu, NR, EVTCHNOP.bind_ipi, abi.evtchnBindIpi, { vcpu: 3 })[0]).toBe(E.NOENT);
  });
});

describe('the 2-level ABI', () => {
  const selector = (v: Vcpu): bigint => v.info.pendingSel;

  it('sets pending, selector and upcall in this order of need', () => {
    const ipi = domain.events.bindIpi(0);
    for (let i = 2; i <= 70; i++) domain.events.bindIpi(0);
    simple(vcpu, 'send', 70);
    expect(selector(vcpu)).toBe(2n);
    expect(vcpu.info.upcallPending).toBe(true);
    vcpu.info.upcallPending = false;
    simple(vcpu, 'send', 69);
    expect(vcpu.info.upcallPending).toBe(false); // the selector says so already
    simple(vcpu, 'send', ipi);
    expect(vcpu.info.upcallPending).toBe(true);
    expect(selector(vcpu)).toBe(3n);
  });

  it('a masked port only becomes pending; unmasking raises it', () => {
    const ipi = domain.events.bindIpi(1);
    setBit(domain, MASK, ipi, true);
    simple(vcpu, 'send', ipi);
    expect(bitAt(domain, PENDING, ipi)).toBe(true);
    expect(domain.vcpus[1].info.upcallPending).toBe(false);
    expect(simple(vcpu, 'unmask', ipi)).toBe(0);
    expect(bitAt(domain, MASK, ipi)).toBe(false);
    expect(domain.vcpus[1].info.upcallPending).toBe(true);
    expect(selector(domain.vcpus[1])).toBe(1n);
  });

  it('unmasking what is not pending, not masked or not bound raises nothing', () => {
    const ipi = domain.events.bindIpi(0);
    setBit(domain, MASK, ipi, true);
    expect(simple(vcpu, 'unmask', ipi)).toBe(0);
    setBit(domain, PENDING, ipi, true);
    expect(simple(vcpu, 'unmask', ipi)).toBe(0);
    setBit(domain, PENDING, 60, true);
    setBit(domain, MASK, 60, true);
    expect(simple(vcpu, 'unmask', 60)).toBe(0); // a closed port
    expect(bitAt(domain, MASK, 60)).toBe(true);
    expect(simple(vcpu, 'unmask', 64)).toBe(E.INVAL); // one that never was
    expect(vcpu.info.upcallPending).toBe(false);
  });

  it('a 32-bit domain has words of 32 bits', () => {
    domain = host.domain({ abi: 'pv32' });
    [vcpu] = domain.vcpus;
    for (let i = 1; i <= 40; i++) domain.events.bindIpi(0);
    domain.events.send(40);
    const page = host.bytes(domain.sharedInfoMfn);
    expect(page[2048 + 5]).toBe(1);
    expect([...page.subarray(0, 8)]).toEqual([1, 1, 0, 0, 2, 0, 0, 0]);
    page[2176 + 5] = 1;
    page[2048 + 5] = 0;
    page[4] = 0;
    vcpu.info.upcallPending = false;
    domain.events.send(40);
    expect(vcpu.info.upcallPending).toBe(false);
  });
});

describe('status', () => {
  it('tells what a port is', () => {
    const other = host.domain();
    const [, unbound] = allocUnbound(vcpu, 9);
    const [, mine] = allocUnbound(vcpu, other.id);
    const [, theirs] = bindInterdomain(other.vcpus[0], domain.id, mine);
    const ipi = domain.events.bindIpi(2);
    const virq = domain.events.bindVirq(1, 1);
    expect(status(vcpu, unbound)[1]).toMatchObject({ status: 1, vcpu: 0, u: { unbound: { dom: 9 } } });
    expect(status(vcpu, mine)[1]).toMatchObject({ status: 2, u: { interdomain: { dom: other.id, port: theirs } } });
    expect(status(vcpu, ipi)[1]).toMatchObject({ status: 5, vcpu: 2 });
    expect(status(vcpu, virq)[1]).toMatchObject({ status: 4, vcpu: 1, u: { virq: 1 } });
    expect(status(vcpu, 0)[1].status).toBe(0);
    expect(status(vcpu, 63)).toMatchObject([0, { status: 0 }]);
    expect(status(vcpu, 64)[0]).toBe(E.INVAL);
    expect(status(vcpu, 1, 99)[0]).toBe(E.SRCH);
  });
});

describe('reset', () => {
  it('closes everything', () => {
    const other = host.domain();
    const [, theirs] = allocUnbound(other.vcpus[0], domain.id);
    bindInterdomain(vcpu, other.id, theirs);
    domain.events.bindVirq(0, 0);
    expect(host.op(vcpu, NR, EVTCHNOP.reset, abi.evtchnReset, { dom: SELF })[0]).toBe(0);
    expect(other.events.channelAt(theirs)).toMatchObject({ state: 'unbound', remoteDomain: domain.id });
    expect(allocUnbound(vcpu, 0)).toEqual([0, 1]);
    expect(bindVirq(vcpu, 0, 0)).toBe(0);
  });
});

describe('backends in the host', () => {
  it('are told outside of the hypercall, once for many, and once at first', () => {
    const [, port] = allocUnbound(vcpu, 0);
    let heard = 0;
    const end = domain.events.bindHost(port, () => heard++);
    expect(heard).toBe(0);
    host.hypervisor.hostEvents.deliver();
    expect(heard).toBe(1);
    simple(vcpu, 'send', port);
    simple(vcpu, 'send', port);
    expect(heard).toBe(1);
    expect(host.hypervisor.hostEvents.deliver()).toBe(1);
    expect(heard).toBe(2);
    end.notify();
    expect(bitAt(domain, PENDING, port)).toBe(true);
    expect(status(vcpu, port)[1]).toMatchObject({ status: 2, u: { interdomain: { dom: 0 } } });
  });

  it('bind only to a port that waits for their domain', () => {
    const [, port] = allocUnbound(vcpu, 5);
    expect(() => domain.events.bindHost(port, () => {})).toThrow('EINVAL');
    expect(() => domain.events.bindHost(99, () => {})).toThrow('EINVAL');
    expect(domain.events.bindHost(port, () => {}, 5).isConnected).toBe(true);
    expect(() => domain.events.bindHost(port, () => {}, 5)).toThrow('EINVAL');
  });

  it('hear nothing after either side has closed', () => {
    const [, port] = allocUnbound(vcpu, 0);
    let heard = 0;
    const end = domain.events.bindHost(port, () => heard++);
    simple(vcpu, 'close', port);
    host.hypervisor.hostEvents.deliver();
    expect(heard).toBe(0);
    expect(end.isConnected).toBe(false);
    end.notify();
    end.close();
    const [, again] = allocUnbound(vcpu, 0);
    expect(again).toBe(port);
    expect(bitAt(domain, PENDING, port)).toBe(false);
    const second = domain.events.bindHost(port, () => {});
    second.close();
    expect(status(vcpu, port)[1]).toMatchObject({ status: 1, u: { unbound: { dom: 0 } } });
  });
});

describe('hostile arguments', () => {
  it('ports out of any range are EINVAL, unreadable structs EFAULT, unknown operations ENOSYS', () => {
    for (const cmd of ['close', 'send', 'unmask'] as const) {
      for (const port of [1, 4096, 131072, 0x7fffffff, 0x80000000, 0xffffffff]) {
        const rc = simple(vcpu, cmd, port);
        expect(rc).toBe(cmd === 'unmask' && port === 1 ? 0 : E.INVAL);
      }
    }
    expect(simple(vcpu, 'close', 0)).toBe(E.INVAL);
    expect(simple(vcpu, 'send', 0)).toBe(E.INVAL);
    for (let cmd = 0; cmd < 15; cmd++) {
      for (const pointer of [0xffff_8000_0000_0000n, 1n << 47n, 0xffff_ffff_ffff_ffffn, 0x7000_0000n]) {
        expect(host.call(vcpu, NR, cmd, pointer)).toBe(E.FAULT);
      }
    }
    expect(host.call(vcpu, NR, 15, 0)).toBe(E.NOSYS);
    expect(host.call(vcpu, NR, 0xffffffff, 0)).toBe(E.NOSYS);
    expect(domain.shutdown).toBeNull();
  });

  it('pirqs are not for domains without devices', () => {
    const bind = (pirq: number): number =>
      host.op(vcpu, NR, EVTCHNOP.bind_pirq, abi.evtchnBindPirq, { pirq, flags: 0 })[0];
    expect(bind(1)).toBe(E.PERM);
    expect(bind(56)).toBe(E.INVAL);
    expect(bind(0xffffffff)).toBe(E.INVAL);
  });
});
