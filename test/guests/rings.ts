// The two pages that a guest shares with the host's daemons: its console and XenStore.
import { EVTCHNOP, evtchnSend } from '../../src/abi/xen/event-channel.ts';
import { startInfo } from '../../src/abi/xen/xen.ts';
import { CONSOLE_IN, CONSOLE_OUT } from '../../src/protocols/console.ts';
import { XENSTORE_REQ, XENSTORE_RSP } from '../../src/protocols/xenstore-ring.ts';
import {
  al,
  byte,
  dword,
  eax,
  ecx,
  edx,
  mem,
  qword,
  r8,
  rax,
  rcx,
  rdi,
} from '../../src/toolstack/init/assembler/assembler.ts';
import { M2P_BASE } from './runtime.ts';
import { all, type Computed, code, computed, evaluate, hypercall, record, store, sum, type Value } from './value.ts';

/** Where the guest sees the page, and the port that belongs to it. */
export interface Ring {
  page: Computed;
  notify: Computed;
}

function ring(frameAt: number, portAt: number): Ring {
  const page = computed(a => {
    a.mov(rax, qword('start_info')).mov(rax, qword(rax, frameAt));
    a.mov(rcx, M2P_BASE)
      .mov(rax, qword(rcx, rax, 8))
      .shl(rax, 12);
  });
  const port = computed(a => void a.mov(rax, qword('start_info')).mov(eax, dword(rax, portAt)));
  return { page, notify: hypercall('event_channel_op', EVTCHNOP.send, record(evtchnSend, { port })) };
}

const consoleAt = startInfo.offset('console', 64);
export const consoleRing: Ring = ring(consoleAt, consoleAt + 8);
export const storeRing: Ring = ring(startInfo.offset('storeMfn', 64), startInfo.offset('storeEvtchn', 64));

const INDICES = {
  request: XENSTORE_REQ,
  response: XENSTORE_RSP,
  output: CONSOLE_OUT,
  input: CONSOLE_IN,
} as const;

const pageOf = (name: keyof typeof INDICES): Computed =>
  name === 'request' || name === 'response' ? storeRing.page : consoleRing.page;

/** Sets a ring's indices. */
export function setIndices(name: keyof typeof INDICES, cons: Value, prod: Value): Computed {
  const { cons: consAt, prod: prodAt } = INDICES[name];
  return all(store(sum(pageOf(name), consAt), cons, 4), store(sum(pageOf(name), prodAt), prod, 4));
}

/** One of a ring's indices. */
export const index = (name: keyof typeof INDICES, which: 'cons' | 'prod'): Computed =>
  computed(a => {
    evaluate(a, sum(pageOf(name), INDICES[name][which]));
    a.mov(eax, dword(rax));
  });

const HEADER = 16;

/** Puts bytes where XenStore's request ring starts, and tells it that there are so many. */
export function sendsRequest(bytes: ArrayLike<number>, claimed: number = bytes.length): Computed {
  return all(
    computed(a => {
      const name = a.unique('request');
      a.section('data').label(name).db(bytes).section('text');
      evaluate(a, storeRing.page);
      a.mov(r8, rax).lea(rdi, mem(name)).xor(ecx, ecx);
      a.label(`${name}.byte`)
        .mov(al, byte(rdi, rcx, 1))
        .mov(byte(r8, rcx, 1), al);
      a.inc(ecx).cmp(ecx, bytes.length).jb(`${name}.byte`);
    }),
    setIndices('request', 0, claimed),
    storeRing.notify,
  );
}

/** A XenStore message: type, request, transaction, and length (which may lie). */
export function message(type: number, payload: string, length: number = payload.length): Uint8Array {
  const bytes = new Uint8Array(HEADER + payload.length);
  const view = new DataView(bytes.buffer);
  [type, 1, 0, length].forEach((word, i) => void view.setUint32(i * 4, word, true));
  bytes.set(new TextEncoder().encode(payload), HEADER);
  return bytes;
}

/** Waits for XenStore's first answer; the value is the word after its header. */
export const firstAnswer = (size: number): Computed =>
  code(a => {
    const wait = a.unique('answer');
    a.label(wait);
    evaluate(a, hypercall('sched_op', 0, 0));
    evaluate(a, storeRing.page);
    a.mov(edx, dword(rax, XENSTORE_RSP.prod))
      .cmp(edx, HEADER + size)
      .jb(wait);
    a.mov(rax, qword(rax, XENSTORE_RSP.buffer + HEADER));
  });

/** A type of XenStore message: XS_READ. */
export const XS_READ = 2;
