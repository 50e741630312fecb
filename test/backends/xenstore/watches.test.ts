// Who is told of what, and in which order. Events read "path token".
import { beforeEach, describe, expect, it } from 'vitest';
import type { XenStore } from '../../../src/backends/xenstore/store.ts';
import { XENSTORE_SERVER_FEATURE } from '../../../src/protocols/xenstore-ring.ts';
import { Guest, makeStore } from './guest.ts';

let store: XenStore;
let guest: Guest;

function readableHome(domid: number): void {
  store.host.mkdir(`/local/domain/${domid}/data`);
  store.host.setPermissions(`/local/domain/${domid}`, [
    { domid: 0, access: 'n' },
    { domid, access: 'r' },
  ]);
  store.host.setPermissions(`/local/domain/${domid}/data`, [{ domid, access: 'n' }]);
}

beforeEach(() => {
  store = makeStore();
  readableHome(1);
  guest = new Guest(store, 1);
});

describe('watches', () => {
  it('fires once at first, then for every change at or below, with the path as it was written', () => {
    expect(guest.ask('WATCH', 'data|rel|')).toBe('OK|');
    expect(guest.ask('WATCH', '/local/domain/1/data/a|abs|')).toBe('OK|');
    expect(guest.takeEvents()).toEqual(['data rel', '/local/domain/1/data/a abs']);
    guest.ask('WRITE', 'data/a/b|1');
    expect(guest.takeEvents()).toEqual(['data/a/b rel', '/local/domain/1/data/a/b abs']);
    store.host.write('/local/domain/1/data/ab', '1');
    expect(guest.takeEvents()).toEqual(['data/ab rel']);
    guest.ask('MKDIR', 'data/a|');
    expect(guest.takeEvents()).toEqual([]);
    guest.ask('SET_PERMS', 'data/a|n1|r2|');
    expect(guest.takeEvents()).toEqual(['data/a rel', '/local/domain/1/data/a abs']);
  });

  it('puts the events of an operation before its acknowledgement, the first one after', () => {
    const order: string[] = [];
    const { connection } = store.core.connections
      .map(connection => ({ connection }))
      .find(entry => entry.connection.domid === 1 && entry.connection.domain !== null)!;
    const client = { watch: 4, write: 11 };
    const take = () => {
      for (let m = connection.pop(); m; m = connection.pop()) order.push(m.type === 15 ? 'event' : `reply ${m.type}`);
    };
    connection.onOutput = null;
    const payload = (text: string) => Uint8Array.from(text, char => char.charCodeAt(0));
    store.request(connection, { type: client.watch, reqId: 1, txId: 0, payload: payload('data\0t\0') });
    take();
    store.request(connection, { type: client.write, reqId: 2, txId: 0, payload: payload('data/x\0v') });
    take();
    expect(order).toEqual(['reply 4', 'event', 'event', 'reply 11']);
  });

  it('knows the ways to set one wrongly', () => {
    expect(guest.ask('WATCH', 'data|t|')).toBe('OK|');
    expect(guest.ask('WATCH', 'data|t|')).toBe('!EEXIST');
    expect(guest.ask('WATCH', '/local/domain/1/data|t|')).toBe('!EEXIST');
    expect(guest.ask('WATCH', 'data|u|rest')).toBe('OK|');
    expect(guest.ask('WATCH', 'data|')).toBe('!EINVAL');
    expect(guest.ask('WATCH', 'data|t|1|')).toBe('!EINVAL');
    expect(guest.ask('WATCH', 'da ta|t|')).toBe('!EINVAL');
    expect(guest.ask('WATCH', `@${'x'.repeat(2048)}|t|`)).toBe('!EINVAL');
    expect(guest.ask('UNWATCH', 'data|other|')).toBe('!ENOENT');
    expect(guest.ask('UNWATCH', 'data|t|')).toBe('OK|');
    expect(guest.ask('UNWATCH', 'data|t|')).toBe('!ENOENT');
    guest.takeEvents();
    guest.ask('WRITE', 'data/x|1');
    expect(guest.takeEvents()).toEqual(['data/x u']);
  });

  it('tells watches below a removed node of their own node, children first', () => {
    guest.ask('WRITE', 'data/a/b/c|1');
    for (const path of ['data', 'data/a', 'data/a/b/c', 'data/a/b/nothing'])
      guest.ask('WATCH', `${path}|${path.length}|`);
    guest.takeEvents();
    guest.ask('RM', 'data/a|');
    expect(guest.takeEvents()).toEqual(['data/a/b/c 10', 'data/a 4', 'data/a 6']);
  });

  it('holds a transaction’s events back until it is committed, one a path, in the order of first access', () => {
    guest.ask('WATCH', 'data|t|');
    guest.takeEvents();
    guest.ask('TRANSACTION_START', '|');
    guest.ask('WRITE', 'data/b|1', 1);
    guest.ask('WRITE', 'data/a|1', 1);
    guest.ask('WRITE', 'data/b|2', 1);
    expect(guest.takeEvents()).toEqual([]);
    guest.ask('TRANSACTION_END', 'T|', 1);
    expect(guest.takeEvents()).toEqual(['data/b t', 'data/a t']);
    guest.ask('TRANSACTION_START', '|');
    guest.ask('WRITE', 'data/c|1', 2);
    guest.ask('TRANSACTION_END', 'F|', 2);
    expect(guest.takeEvents()).toEqual([]);
    guest.ask('TRANSACTION_START', '|');
    guest.ask('RM', 'data/b|', 3);
    guest.ask('TRANSACTION_END', 'T|', 3);
    expect(guest.takeEvents()).toEqual(['data/b t']);
  });

  it('does not repeat an event that has not been seen yet', () => {
    guest.ask('WATCH', 'data|t|');
    guest.takeEvents();
    // The response ring is full of events, so that further ones wait behind it.
    for (let i = 0; i < 40; i++) store.host.write(`/local/domain/1/data/some-name-that-is-long-${i}`, '');
    for (let i = 0; i < 5; i++) store.host.write('/local/domain/1/data/again', String(i));
    expect(guest.takeEvents().filter(event => event === 'data/again t')).toHaveLength(1);
    store.host.write('/local/domain/1/data/again', '');
    expect(guest.takeEvents()).toEqual(['data/again t']);
  });

  it('tells only of what the watcher may read, could read before, or may read the parent of', () => {
    guest.ask('WATCH', '/|root|');
    guest.takeEvents();
    store.host.write('/secret/x', '1');
    expect(guest.takeEvents()).toEqual([]);
    store.host.write('/local/domain/1/unreadable', '1');
    store.host.setPermissions('/local/domain/1/unreadable', [{ domid: 0, access: 'n' }]);
    expect(guest.takeEvents()).toEqual(['/local/domain/1/unreadable root', '/local/domain/1/unreadable root']);
    store.host.write('/shared', '1');
    store.host.setPermissions('/shared', [{ domid: 0, access: 'r' }]);
    store.host.setPermissions('/shared', [{ domid: 0, access: 'n' }]);
    store.host.write('/shared', '2');
    expect(guest.takeEvents()).toEqual(['/shared root', '/shared root']);
  });

  it('takes a depth where the feature is on', () => {
    store = makeStore({ features: XENSTORE_SERVER_FEATURE.WATCHDEPTH });
    readableHome(1);
    guest = new Guest(store, 1);
    expect(guest.ask('WATCH', 'data|zero|0|')).toBe('OK|');
    expect(guest.ask('WATCH', 'data|one|1|')).toBe('OK|');
    expect(guest.ask('WATCH', 'data|minus|-1|')).toBe('!EINVAL');
    guest.takeEvents();
    guest.ask('WRITE', 'data|1');
    guest.ask('WRITE', 'data/a|1');
    guest.ask('WRITE', 'data/a/b|1');
    expect(guest.takeEvents()).toEqual(['data zero', 'data one', 'data/a one']);
  });
});

describe('special events', () => {
  it('tells the privileged of domains that come and go, others only where allowed', () => {
    const seen: string[] = [];
    store.host.watch('@introduceDomain', path => seen.push(path));
    store.host.watch('@releaseDomain', path => seen.push(path));
    guest.ask('WATCH', '@releaseDomain|r|');
    expect(guest.takeEvents()).toEqual(['@releaseDomain r']);
    expect(seen.splice(0)).toEqual(['@introduceDomain', '@releaseDomain']);

    store.introduce(2);
    expect(seen.splice(0)).toEqual(['@introduceDomain']);
    store.introduce(2);
    expect(seen.splice(0)).toEqual([]);
    store.domainShutdown(2);
    store.domainShutdown(2);
    expect(seen.splice(0)).toEqual(['@releaseDomain']);
    store.domainDestroyed(2);
    store.domainDestroyed(2);
    expect(seen.splice(0)).toEqual(['@releaseDomain']);
    expect(guest.takeEvents()).toEqual([]);

    store.host.setPermissions('@releaseDomain', [
      { domid: 0, access: 'n' },
      { domid: 1, access: 'r' },
    ]);
    store.introduce(3);
    store.domainShutdown(3);
    store.domainDestroyed(3);
    expect(guest.takeEvents()).toEqual(['@releaseDomain r', '@releaseDomain r']);
  });

  it('removes what a dead domain owned', () => {
    guest.ask('WRITE', 'data/a|1');
    store.host.mkdir('/local/domain/1/data/hosts');
    const gone: string[] = [];
    store.host.watch('/local/domain/1', path => gone.push(path));
    gone.length = 0;
    store.domainDestroyed(1);
    expect(store.host.directory('/local/domain/1')).toEqual([]);
    expect(gone).toEqual(['/local/domain/1/data/a', '/local/domain/1/data/hosts', '/local/domain/1/data'].slice(-1));
    expect(store.core.domains.find(1)).toBeUndefined();
    expect(store.core.inconsistencies()).toEqual([]);
  });
});

describe('the host’s own client', () => {
  it('is called when the store is at rest, in order, and may write in its callback', () => {
    const log: string[] = [];
    store.host.watch('/local/domain/1/data', path => {
      log.push(path);
      if (path.endsWith('state')) store.host.write('/local/domain/1/data/answer', store.host.read(path)!);
    });
    guest.ask('WATCH', 'data/answer|t|');
    guest.takeEvents();
    expect(guest.ask('WRITE', 'data/state|4')).toBe('OK|');
    expect(log).toEqual(['/local/domain/1/data', '/local/domain/1/data/state', '/local/domain/1/data/answer']);
    expect(guest.ask('READ', 'data/answer|')).toBe('4');
    expect(guest.takeEvents()).toEqual(['data/answer t']);
  });

  it('stops when told to, and lists the tree', () => {
    let calls = 0;
    const stop = store.host.watch('/local', () => calls++);
    stop();
    stop();
    store.host.write('/local/x', 'tab\there "quoted"');
    expect(calls).toBe(1);
    expect(store.dump()).toContain('/local/x = "tab\\there "quoted""   (n0)\n');
    expect(store.dump()).toContain('/local/domain/1 = ""   (n0,r1)\n');
    const other = store.client();
    other.watch('/', () => calls++);
    other.close();
    store.host.write('/local/y', '');
    expect(calls).toBe(2);
  });

  it('writes in transactions, all or nothing', () => {
    store.host.transaction(access => {
      access.write('/t/a', '1');
      access.write('/t/b', '2');
      expect(store.host.exists('/t')).toBe(false);
    });
    expect(store.host.directory('/t')).toEqual(['a', 'b']);
    expect(() =>
      store.host.transaction(access => {
        access.rm('/t');
        throw new Error('changed my mind');
      }),
    ).toThrow('changed my mind');
    expect(store.host.directory('/t')).toEqual(['a', 'b']);
    expect(() => store.host.write('no space', '')).toThrow('EINVAL');
    expect(store.host.read('/nothing')).toBeUndefined();
  });
});
