// The ring itself: partial messages, back-pressure, broken rings, reconnecting, and pages full of rubbish.
import fc from 'fast-check';
import { beforeEach, describe, expect, it } from 'vitest';
import { DomainConnection } from '../../../src/backends/xenstore/domain-connection.ts';
import type { XenStore } from '../../../src/backends/xenstore/store.ts';
import { pageU32, setPageU32, sharedPage } from '../../../src/protocols/shared-page.ts';
import { encodeMessage, encodeStrings, XS } from '../../../src/protocols/xenstore.ts';
import { Guest, makeStore } from './guest.ts';

const REQ_CONS = 2048;
const REQ_PROD = 2052;
const RSP_CONS = 2056;
const RSP_PROD = 2060;
const FEATURES = 2064;
const CONNECTION = 2068;
const ERROR = 2072;

let store: XenStore;
let guest: Guest;

beforeEach(() => {
  store = makeStore();
  store.host.mkdir('/local/domain/1/data');
  store.host.setPermissions('/local/domain/1/data', [{ domid: 1, access: 'n' }]);
  guest = new Guest(store, 1);
});

describe('a guest’s ring', () => {
  it('offers reconnecting and the error word', () => {
    expect(pageU32(guest.page, FEATURES)).toBe(3);
  });

  it('carries messages larger than itself', () => {
    const value = 'v'.repeat(2000);
    expect(guest.ask('WRITE', `data/x|${value}`)).toBe('OK|');
    expect(guest.ask('READ', 'data/x|')).toBe(value);
  });

  it('notifies for what it took and what it gave, and not otherwise', () => {
    const before = guest.notified;
    guest.connection.onEvent();
    expect(guest.notified).toBe(before);
    guest.send('READ', 'data/x\0');
    expect(guest.notified).toBe(before + 1);
  });

  it('asks no more of a guest that does not take its replies', () => {
    const reads: number[] = [];
    for (let i = 0; i < 60; i++) {
      const bytes = encodeMessage({ type: XS.GET_DOMAIN_PATH, reqId: 1000 + i, txId: 0, payload: encodeStrings('1') });
      const prod = pageU32(guest.page, REQ_PROD);
      if (prod + bytes.length - pageU32(guest.page, REQ_CONS) > 1024) break;
      for (const [at, byte] of bytes.entries()) guest.page[(prod + at) % 1024] = byte;
      setPageU32(guest.page, REQ_PROD, prod + bytes.length);
      reads.push(1000 + i);
      guest.connection.onEvent();
    }
    expect(store.core.domains.find(1)!.outstanding).toBe(20);
    expect(pageU32(guest.page, REQ_PROD) - pageU32(guest.page, REQ_CONS)).toBeGreaterThan(0);
    guest.receive();
    for (const reqId of reads) expect(guest.reply(reqId).type).toBe(XS.GET_DOMAIN_PATH);
    expect(store.core.domains.find(1)!.outstanding).toBe(0);
  });

  it('answers requests that come in one piece, in their order', () => {
    const first = guest.send('WRITE', 'data/x\0one');
    const second = guest.send('READ', 'data/x\0');
    expect(guest.reply(first).type).toBe(XS.WRITE);
    expect(guest.reply(second).payload).toEqual(Uint8Array.from([111, 110, 101]));
  });
});

describe('a broken ring', () => {
  function expectDead(reason: string, code: number): void {
    expect(guest.brokenBy).toContain(reason);
    expect(guest.connection.broken).toContain(reason);
    expect(pageU32(guest.page, ERROR)).toBe(code);
    const page = guest.page.slice();
    const { notified } = guest;
    guest.connection.onEvent();
    store.host.write('/local/domain/1/data/x', '1');
    expect(guest.page).toEqual(page);
    expect(guest.notified).toBe(notified);
    expect(store.core.domains.find(1)).toMatchObject({ watches: 0, outstanding: 0, introduced: true });
  }

  it('with request indices out of range is told so and left alone', () => {
    guest.ask('WATCH', 'data|t|');
    guest.ask('TRANSACTION_START', '|');
    setPageU32(guest.page, REQ_PROD, pageU32(guest.page, REQ_CONS) + 1025);
    guest.connection.onEvent();
    expectDead('request ring', 2);
  });

  it('with response indices out of range likewise', () => {
    setPageU32(guest.page, RSP_CONS, pageU32(guest.page, RSP_PROD) + 1);
    guest.send('READ', 'data\0');
    expectDead('response ring', 2);
  });

  it('with response indices out of range found by somebody else’s write harms only itself', () => {
    guest.ask('WATCH', 'data|t|');
    guest.takeEvents();
    setPageU32(guest.page, RSP_CONS, pageU32(guest.page, RSP_PROD) + 1);
    store.host.write('/local/domain/1/data/x', '1');
    expect(store.host.read('/local/domain/1/data/x')).toBe('1');
    expectDead('response ring', 2);
  });

  it('with too long a request likewise', () => {
    const header = encodeMessage({ type: XS.WRITE, reqId: 1, txId: 0, payload: new Uint8Array(0) });
    setPageU32(header, 12, 4097);
    guest.page.set(header, pageU32(guest.page, REQ_PROD) % 1024);
    setPageU32(guest.page, REQ_PROD, pageU32(guest.page, REQ_PROD) + 16);
    guest.connection.onEvent();
    expectDead('longer than 4096', 3);
  });

  it('comes back to life when the domain is introduced again', () => {
    setPageU32(guest.page, REQ_PROD, pageU32(guest.page, REQ_CONS) + 1025);
    guest.connection.onEvent();
    store.introduce(1);
    expect([REQ_CONS, REQ_PROD, RSP_CONS, RSP_PROD, ERROR].map(at => pageU32(guest.page, at))).toEqual([0, 0, 0, 0, 0]);
    expect(guest.ask('READ', 'data|')).toBe('');
  });

  it('stays dead after the domain has been released', () => {
    store.domainDestroyed(1);
    guest.page.set(encodeMessage({ type: XS.READ, reqId: 9, txId: 0, payload: encodeStrings('data') }), 0);
    setPageU32(guest.page, REQ_PROD, pageU32(guest.page, REQ_CONS) + 21);
    const page = guest.page.slice();
    guest.connection.onEvent();
    expect(guest.page).toEqual(page);
  });
});

describe('reconnecting', () => {
  it('leaves nothing of the past', () => {
    guest.ask('WATCH', 'data|t|');
    guest.ask('TRANSACTION_START', '|');
    guest.takeEvents();
    store.host.write('/local/domain/1/data/x', '1');
    guest.page[pageU32(guest.page, REQ_PROD) % 1024] = 2;
    setPageU32(guest.page, REQ_PROD, pageU32(guest.page, REQ_PROD) + 1);
    setPageU32(guest.page, CONNECTION, 1);
    const { notified } = guest;
    guest.connection.onEvent();
    expect([REQ_CONS, REQ_PROD, RSP_CONS, RSP_PROD, CONNECTION].map(at => pageU32(guest.page, at))).toEqual([
      0, 0, 0, 0, 0,
    ]);
    expect(guest.notified).toBe(notified + 1);
    expect(guest.takeEvents()).toEqual([]);
    expect(guest.ask('TRANSACTION_END', 'T|', 1)).toBe('!ENOENT');
    expect(guest.ask('UNWATCH', 'data|t|')).toBe('!ENOENT');
  });
});

describe('a snapshot', () => {
  it('resumes in the middle of a request, a reply, a transaction', () => {
    guest.ask('WATCH', 'data|t|');
    guest.takeEvents();
    guest.ask('TRANSACTION_START', '|');
    guest.ask('WRITE', 'data/x|in transaction', 1);
    // More events than the ring holds, and half a request.
    for (let i = 0; i < 60; i++) store.host.write(`/local/domain/1/data/event-number-${i}`, '');
    const request = encodeMessage({ type: XS.GET_DOMAIN_PATH, reqId: 77, txId: 0, payload: encodeStrings('1') });
    const prod = pageU32(guest.page, REQ_PROD);
    for (const [at, byte] of request.subarray(0, 17).entries()) guest.page[(prod + at) % 1024] = byte;
    setPageU32(guest.page, REQ_PROD, prod + 17);
    guest.connection.onEvent();

    const saved = JSON.stringify([store.save().generation, store.dump()]);
    const state = store.save();
    const ring = guest.connection.save();
    expect(ring.sent).toBeGreaterThan(0);
    expect(ring.incoming).toHaveLength(17);

    const restored = makeStore();
    restored.load(structuredClone(state));
    expect(JSON.stringify([restored.save().generation, restored.dump()])).toBe(saved);
    expect(restored.save()).toEqual(state);

    const connection = new DomainConnection({
      store: restored,
      connection: restored.connectionOf(1)!,
      page: sharedPage(guest.page),
      notify: () => {},
    });
    connection.load(ring);
    Object.defineProperty(guest, 'connection', { value: connection });
    for (const [at, byte] of request.subarray(17).entries()) guest.page[(prod + 17 + at) % 1024] = byte;
    setPageU32(guest.page, REQ_PROD, prod + request.length);
    connection.onEvent();
    expect(guest.takeEvents()).toEqual(Array.from({ length: 60 }, (_, i) => `data/event-number-${i} t`));
    expect(guest.reply(77).type).toBe(XS.GET_DOMAIN_PATH);
    expect(guest.ask('READ', 'data/x|', 1)).toBe('in transaction');
    expect(guest.ask('TRANSACTION_END', 'F|', 1)).toBe('OK|');
    expect(restored.core.domains.find(1)).toMatchObject({ outstanding: 0, watches: 1 });
  });
});

describe('a hostile guest', () => {
  const rubbish = fc.record({
    bytes: fc.uint8Array({ minLength: 0, maxLength: 300 }),
    at: fc.nat(4095),
    words: fc.array(fc.tuple(fc.constantFrom(REQ_CONS, REQ_PROD, RSP_CONS, RSP_PROD, CONNECTION), fc.nat(0xffffffff)), {
      maxLength: 4,
    }),
  });

  it('can write anything into its page without a word being thrown or another domain noticing', () => {
    fc.assert(
      fc.property(fc.array(rubbish, { maxLength: 20 }), steps => {
        const victim = new Guest((store = makeStore()), 2);
        const attacker = new Guest(store, 1);
        store.host.write('/local/domain/2/name', 'victim');
        const tree = store.dump();
        for (const { bytes, at, words } of steps) {
          attacker.page.set(bytes.subarray(0, 4096 - at), at);
          for (const [offset, value] of words) setPageU32(attacker.page, offset, value);
          attacker.connection.onEvent();
        }
        expect(store.dump()).toBe(tree);
        expect(victim.ask('READ', 'name|')).toBe('!EACCES');
      }),
    );
  });

  const path = fc.constantFrom(
    'data',
    'data/a',
    'data/a/b',
    '/local/domain/1/data/c',
    '/',
    '@x',
    '@releaseDomain',
    'bad path',
  );
  const payload = fc.oneof(
    fc.tuple(path, fc.constantFrom('', 'v', 'T', 'n1', 'r2', 't', '0', '1|2')).map(([a, b]) => `${a}\0${b}\0`),
    path.map(one => `${one}\0`),
    fc.constantFrom('T\0', 'F\0', '\0', '', '1\0'),
    fc.string({ unit: 'binary-ascii', maxLength: 40 }),
  );
  const request = fc.record({ type: fc.nat(27), payload, txId: fc.constantFrom(0, 0, 1, 2, 3) });

  it('can ask anything in any order; the books stay balanced and the tree sound', () => {
    fc.assert(
      fc.property(fc.array(request, { maxLength: 60 }), requests => {
        store = makeStore();
        store.host.mkdir('/local/domain/1/data');
        store.host.setPermissions('/local/domain/1/data', [{ domid: 1, access: 'n' }]);
        const attacker = new Guest(store, 1);
        for (const { type, payload: text, txId } of requests) attacker.reply(attacker.send(type, text, txId));
        expect(store.core.inconsistencies()).toEqual([]);
        const domain = store.core.domains.find(1)!;
        let owned = 0;
        for (const node of store.core.nodes.values()) if (node.perms[0]!.domid === 1) owned++;
        expect(domain).toMatchObject({ nodes: owned, outstanding: 0 });
        expect(store.save().connections[0]!.watches).toHaveLength(domain.watches);
        store.domainDestroyed(1);
        expect(store.core.inconsistencies()).toEqual([]);
        expect(store.host.directory('/local/domain/1')).toEqual([]);
      }),
      { numRuns: 150 },
    );
  });
});
