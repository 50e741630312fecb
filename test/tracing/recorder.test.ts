// What guests do, as lines and for Perfetto: calls decoded, events with where they arrive, grants, XenStore, scheduling.
import { beforeEach, describe, expect, test } from 'vitest';
import { member } from '../../src/abi/struct.ts';
import * as evtchn from '../../src/abi/xen/event-channel.ts';
import { EVTCHNOP } from '../../src/abi/xen/event-channel.ts';
import * as grant from '../../src/abi/xen/grant-table.ts';
import { GNTCOPY, GNTMAP, GNTTABOP } from '../../src/abi/xen/grant-table.ts';
import { enterAcpiSleep, XENPF } from '../../src/abi/xen/platform.ts';
import { SCHEDOP, schedShutdown } from '../../src/abi/xen/sched.ts';
import { VCPUOP, vcpuSetSingleshotTimer } from '../../src/abi/xen/vcpu.ts';
import { VIRQ } from '../../src/abi/xen/xen.ts';
import { XenStore } from '../../src/backends/xenstore/store.ts';
import { mapForHost } from '../../src/hypervisor/grants/host-access.ts';
import { encodeStrings, XS } from '../../src/protocols/xenstore.ts';
import { PerfettoTrace } from '../../src/tracing/perfetto.ts';
import type { TraceRecord, TraceWriter } from '../../src/tracing/record.ts';
import { TraceRecorder } from '../../src/tracing/recorder.ts';
import { TextTrace, traceLine } from '../../src/tracing/text.ts';
import { type Guest, TestHost } from '../hypervisor/harness.ts';
import { readTrace } from './perfetto-schema.ts';

class Both implements TraceWriter {
  readonly records: TraceRecord[] = [];
  private readonly parts: Uint8Array[] = [];
  private readonly writer = new PerfettoTrace(bytes => this.parts.push(bytes));
  write(record: TraceRecord): void {
    this.records.push(record);
    this.writer.write(record);
  }
  end(): void {
    this.writer.end();
  }
  get lines(): string[] {
    return this.records.map(record => traceLine(record).slice(15));
  }
  get perfetto(): Uint8Array {
    return Buffer.concat(this.parts);
  }
}

let host: TestHost;
let guest: Guest;
let trace: Both;
let recorder: TraceRecorder;
let now: bigint;

function start(filter = {}): void {
  trace = new Both();
  now = 1_234_567_890n;
  recorder = new TraceRecorder(trace, filter);
  recorder.start(() => now++);
  host.hypervisor.tracer = recorder;
}

beforeEach(() => {
  host = new TestHost(4096);
  guest = host.guest();
  start();
});

const bindVirq = () =>
  guest.call(
    'event_channel_op',
    EVTCHNOP.bind_virq,
    guest.put(evtchn.evtchnBindVirq, [{ virq: VIRQ.timer, vcpu: 0, port: 0 }]),
  );

describe('hypercalls', () => {
  test("show the operation, the struct's fields by Xen's names, and what came back", () => {
    bindVirq();
    guest.call(
      'vcpu_op',
      VCPUOP.set_singleshot_timer,
      0,
      guest.put(vcpuSetSingleshotTimer, [{ timeoutAbsNs: 5000n, flags: 0 }]),
    );
    guest.call('vcpu_op', VCPUOP.is_up, 7, 0);
    guest.call('console_io', 0, 5, guest.va(9));
    guest.call('event_channel_op', EVTCHNOP.send, 0xdead_0000_0000n);
    guest.updateVa(9, 0n);
    expect(trace.lines.filter(line => line.includes('hypercall'))).toEqual([
      'd1v0  hypercall event_channel_op(bind_virq, arg={virq=timer, vcpu=0, port=1}) = 0',
      'd1v0  hypercall vcpu_op(set_singleshot_timer, vcpuid=0, arg={timeout_abs_ns=5000, flags=0}) = 0',
      'd1v0  hypercall vcpu_op(is_up, vcpuid=7, arg=NULL) = -ENOENT',
      `d1v0  hypercall console_io(write, count=5, buffer=0x${guest.va(9).toString(16)}) = -EPERM`,
      'd1v0  hypercall event_channel_op(send, arg=0xdead00000000) = -EFAULT',
      `d1v0  hypercall update_va_mapping(va=0x${guest.va(9).toString(16)}, val=0x0, flags=UVMF_INVLPG) = 0`,
    ]);
  });

  test('show batches, each operation with the members that it uses', () => {
    guest.mmuext({ cmd: 6 });
    guest.mmuUpdate([[guest.entryAddress(1, 3), 0n]]);
    const [flush, update] = trace.lines;
    expect(flush).toBe(
      'd1v0  hypercall mmuext_op(uops=[{cmd=tlb_flush_local}], count=1, pdone=0x0, foreigndom=DOMID_SELF) = 0',
    );
    expect(update).toMatch(
      /mmu_update\(reqs=\[\{ptr=0x[0-9a-f]+, val=0\}\], count=1, pdone=0x0, foreigndom=DOMID_SELF\) = 0$/,
    );
    expect(trace.records[0].name).toBe('mmuext_op');
  });

  test('whose operation stands in memory are read there', () => {
    const at = guest.put(enterAcpiSleep, [{ valA: 1, valB: 2, sleepState: 5, flags: 0 }], 8);
    const view = new DataView(host.memory.memory.buffer);
    const frame = host.memory.frameOffset(guest.mfns[4]);
    view.setUint32(frame, XENPF.enter_acpi_sleep, true);
    view.setUint32(frame + 4, 0x03000001, true);
    guest.call('platform_op', at - 8n);
    // Refused: nothing was looked at, and nothing is here.
    expect(trace.lines).toEqual([`d1v0  hypercall platform_op(op=0x${(at - 8n).toString(16)}) = -EPERM`]);
  });

  test('that Xen does not have are shown with all registers', () => {
    host.hypervisor.tracer!.hypercall(guest.vcpu, {
      domain: 1, vcpu: 0, name: 'hypercall_63', number: 63, args: [1n, 2n], result: BigInt.asUintN(64, -38n),
    }); // biome-ignore format: a record
    expect(trace.lines).toEqual(['d1v0  hypercall hypercall_63(arg1=0x1, arg2=0x2) = -ENOSYS']);
  });
});

describe('events', () => {
  test('lead from who sends to who is told', () => {
    const other = host.guest();
    const port = guest.domain.events.allocUnbound(other.domain.id);
    const peer = other.domain.events.bindInterdomain(guest.domain, port);
    start();
    guest.call('event_channel_op', EVTCHNOP.send, guest.put(evtchn.evtchnSend, [{ port }]));
    expect(trace.lines).toEqual([
      `d1v0  event     send port ${port} to d2 port ${peer}`,
      `d2v0  event     raise port ${peer}`,
      `d1v0  hypercall event_channel_op(send, arg={port=${port}}) = 0`,
    ]);
    recorder.end();
    const [send, raise] = readTrace(trace.perfetto);
    expect(send).toMatchObject({ track: 'd1v0', name: 'send', category: 'event', type: 'instant', flows: [1n] });
    expect(raise).toMatchObject({ track: 'd2v0', name: 'raise', endingFlows: [1n], arguments: { port: BigInt(peer) } });
  });

  test('tell what ports are bound to, and that they are closed', () => {
    bindVirq();
    guest.domain.events.bindIpi(0);
    guest.domain.events.allocUnbound(0);
    guest.domain.events.close(2);
    expect(trace.lines.filter(line => line.includes(' event '))).toEqual([
      'd1    event     bind port 1 (VIRQ timer of v0)',
      'd1    event     bind port 2 (IPI of v0)',
      'd1    event     bind port 3 (unbound, for d0)',
      'd1    event     close port 2 (IPI of v0)',
    ]);
  });
});

describe('grants', () => {
  test('tell who uses whose page, and how', () => {
    const other = host.guest();
    const { grants } = other.domain;
    grants.setup(1);
    const at = host.memory.frameOffset(grants.entries.frames[0]) + 8 * 8;
    host.memory.view.setUint16(at, 1, true);
    host.memory.view.setUint16(at + 2, guest.domain.id, true);
    host.memory.view.setUint32(at + 4, other.mfns[9], true);
    host.memory.view.setUint16(at + 8, 1, true);
    host.memory.view.setUint16(at + 10, 0, true);
    host.memory.view.setUint32(at + 12, other.mfns[10], true);
    start({ categories: ['grant'] });
    const request = { hostAddr: 0n, flags: GNTMAP.device_map | GNTMAP.readonly, ref: 8, dom: other.domain.id };
    const map = [{ ...request, status: 0, handle: 0, devBusAddr: 0n }];
    guest.call('grant_table_op', GNTTABOP.map_grant_ref, guest.put(grant.gnttabMapGrantRef, map), 1);
    const mapped = guest.got(grant.gnttabMapGrantRef);
    const unmap = [{ hostAddr: 0n, devBusAddr: mapped.devBusAddr, handle: mapped.handle, status: 0 }];
    guest.call('grant_table_op', GNTTABOP.unmap_grant_ref, guest.put(grant.gnttabUnmapGrantRef, unmap), 1);
    const copy = {
      source: { u: member<{ ref: number; gmfn: bigint }>({ ref: 8 }), domid: other.domain.id, offset: 16 },
      dest: { u: member<{ ref: number; gmfn: bigint }>({ gmfn: BigInt(guest.mfns[9]) }), domid: 0x7ff0, offset: 0 },
      ...{ len: 32, flags: GNTCOPY.source_gref, status: 0 },
    };
    guest.call('grant_table_op', GNTTABOP.copy, guest.put(grant.gnttabCopy, [copy]), 1);
    const mapping = mapForHost(other.domain, 9, false);
    mapping.wrote(0, 64);
    mapping.release();
    expect(trace.lines).toEqual([
      'd1v0  grant     map d2 ref 8 read handle=0',
      'd1v0  grant     unmap d2 ref 8 read handle=0',
      'd1v0  grant     copy d2 ref 8 read from bytes 16-47',
      'host  grant     map d2 ref 9 read-write',
      'host  grant     write d2 ref 9 read-write bytes 0-63',
      'host  grant     unmap d2 ref 9 read-write',
    ]);
  });
});

test('XenStore: requests, replies and watch events, with their strings', () => {
  const store = new XenStore({ domainExists: () => true, trace: recorder.store.bind(recorder) });
  const connection = store.introduce(1);
  const message = (type: number, reqId: number, payload: Uint8Array) => ({ type, reqId, txId: 0, payload });
  store.host.mkdir('/local/domain/1');
  store.host.setPermissions('/local/domain/1', [{ domid: 1, access: 'n' }]);
  store.request(connection, message(XS.WATCH, 1, encodeStrings('data', 'token')));
  store.request(connection, message(XS.WRITE, 2, new Uint8Array([...encodeStrings('data/x'), 0x68, 0x69])));
  store.request(connection, message(XS.READ, 3, encodeStrings('nothing')));
  expect(trace.lines).toEqual([
    'd1    xenstore  request WATCH (1) "data" "token"',
    'd1    xenstore  reply WATCH (1) "OK"',
    'd1    xenstore  event "data" "token"',
    'd1    xenstore  request WRITE (2) "data/x" "hi"',
    'd1    xenstore  event "data/x" "token"',
    'd1    xenstore  reply WRITE (2) "OK"',
    'd1    xenstore  request READ (3) "nothing"',
    'd1    xenstore  reply ERROR (3) "ENOENT"',
  ]);
});

test('a vCPU that runs is a slice, which ends with the trace at the latest', () => {
  recorder.scheduling(guest.vcpu, 'run');
  guest.call('sched_op', SCHEDOP.yield);
  recorder.end();
  expect(trace.lines).toEqual([
    'd1v0  sched     run',
    'd1v0  sched     yield',
    'd1v0  hypercall sched_op(yield, arg=NULL) = 0',
    'd1v0  sched     stop',
  ]);
  expect(readTrace(trace.perfetto).map(({ type, name }) => `${type} ${name}`)).toEqual([
    'begin run',
    'instant yield',
    'instant sched_op.yield',
    'end null',
  ]);
});

test('only what is asked for is written', () => {
  const other = host.guest();
  start({ categories: ['hypercall', 'sched'], domain: 2 });
  bindVirq();
  other.call('event_channel_op', EVTCHNOP.bind_ipi, other.put(evtchn.evtchnBindIpi, [{ vcpu: 0, port: 0 }]));
  expect(trace.lines).toEqual(['d2v0  hypercall event_channel_op(bind_ipi, arg={vcpu=0, port=1}) = 0']);
});

test('times are in columns, in seconds of the machine', () => {
  let text = '';
  const lines = new TextTrace(bytes => {
    text += new TextDecoder().decode(bytes);
  });
  recorder = new TraceRecorder(lines);
  recorder.start(() => 12_003_000_004n);
  host.hypervisor.tracer = recorder;
  guest.call('sched_op', SCHEDOP.shutdown, guest.put(schedShutdown, [{ reason: 3 }]));
  recorder.end();
  expect(text).toBe('  12.003000004 d1v0  hypercall sched_op(shutdown, arg={reason=crash}) = 0\n');
});

test('many records of much: structs, arrays, long text and large numbers come out as they went in', () => {
  const fields = Array.from(
    { length: 40 },
    (_, i) => [`field${i % 7}x${i}`, { fields: [['inner', ['a'.repeat(i * 40), { fields: [['n', i]] }]]] }] as const,
  );
  for (let i = 0; i < 200; i++) {
    trace.write({
      timeNs: BigInt(i) << 33n, domain: i % 3 === 0 ? null : i % 5, vcpu: i % 3 === 0 ? null : i % 130, category: 'event', name: `n${i % 11}`,
      text: '', fields: [...fields, ['big', (1n << 64n) - 1n], ['unicode', 'ü…𝄞'.repeat(i)]],
    }); // biome-ignore format: a record
  }
  trace.end();
  const events = readTrace(trace.perfetto);
  expect(events).toHaveLength(200);
  expect(events[199].time).toBe(199n << 33n);
  expect(events[199].arguments.big).toBe((1n << 64n) - 1n);
  expect(events[199].arguments.unicode).toBe('ü…𝄞'.repeat(199));
  expect(events[7].arguments.field4x39).toEqual({ inner: ['a'.repeat(39 * 40), { n: 39n }] });
});
