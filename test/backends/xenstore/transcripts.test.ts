// Requests and their answers, as a guest sees them. | stands for NUL, ! for an ERROR reply.
import { beforeEach, describe, expect, it } from 'vitest';
import type { XenStore } from '../../../src/backends/xenstore/store.ts';
import type { XsOperation } from '../../../src/protocols/xenstore.ts';
import { Guest, makeStore } from './guest.ts';

type Step = [XsOperation | number, string, string] | [XsOperation | number, string, string, number];

function play(guest: Guest, steps: Step[]): void {
  for (const [operation, payload, expected, txId] of steps) {
    expect(guest.ask(operation, payload, txId), `${operation} ${payload}`).toBe(expected);
  }
}

let store: XenStore;
let guest: Guest;

/** Domain 1 with a home that it can read, and a directory there of its own. */
function home(domid: number): void {
  store.host.write(`/local/domain/${domid}/name`, `guest${domid}`);
  store.host.setPermissions(`/local/domain/${domid}`, [
    { domid: 0, access: 'n' },
    { domid, access: 'r' },
  ]);
  store.host.setPermissions(`/local/domain/${domid}/name`, [
    { domid: 0, access: 'n' },
    { domid, access: 'r' },
  ]);
  store.host.mkdir(`/local/domain/${domid}/data`);
  store.host.setPermissions(`/local/domain/${domid}/data`, [{ domid, access: 'n' }]);
}

beforeEach(() => {
  store = makeStore();
  home(1);
  guest = new Guest(store, 1);
});

describe('reading and writing', () => {
  it('reads, writes, lists and removes', () => {
    play(guest, [
      ['READ', 'name|', 'guest1'],
      ['READ', '/local/domain/1/name|', 'guest1'],
      ['DIRECTORY', '/local/domain/1|', 'name|data|'],
      ['WRITE', 'data/a/b|x\0y', 'OK|'],
      ['READ', 'data/a/b|', 'x|y'],
      ['READ', 'data/a|', ''],
      ['DIRECTORY', 'data|', 'a|'],
      ['MKDIR', 'data/a|', 'OK|'],
      ['MKDIR', 'data/c|', 'OK|'],
      ['DIRECTORY', 'data|', 'a|c|'],
      ['RM', 'data/a|', 'OK|'],
      ['READ', 'data/a/b|', '!ENOENT'],
      ['DIRECTORY', 'data|', 'c|'],
      ['RM', 'data/gone|', 'OK|'],
      ['RM', 'data/gone/further|', '!ENOENT'],
      ['DIRECTORY', 'data/c|', ''],
    ]);
    expect(store.core.inconsistencies()).toEqual([]);
  });

  it('refuses malformed payloads and paths with EINVAL', () => {
    play(guest, [
      ['READ', 'name', '!EINVAL'],
      ['READ', '', '!EINVAL'],
      ['READ', 'name|more|', '!EINVAL'],
      ['READ', '|', '!EINVAL'],
      ['READ', '/local/domain/1/|', '!EINVAL'],
      ['READ', '/local//domain|', '!EINVAL'],
      ['READ', 'na me|', '!EINVAL'],
      ['READ', '@releaseDomain|', '!EINVAL'],
      ['WRITE', 'data/x', '!EINVAL'],
      ['WRITE', `data/${'x'.repeat(2044)}|`, '!EINVAL'],
      ['WRITE', `data/${'x'.repeat(1900)}|`, 'OK|'],
      ['RM', '/|', '!EACCES'],
      ['MKDIR', 'data|x', '!EINVAL'],
      ['GET_DOMAIN_PATH', '7|', '/local/domain/7|'],
      ['GET_DOMAIN_PATH', ' 7x|', '/local/domain/7|'],
      ['GET_DOMAIN_PATH', '7', '!EINVAL'],
    ]);
  });

  it('answers unknown, retired and reply-only types with ENOSYS', () => {
    for (const type of [15, 16, 20, 23, 24, 25, 26, 27, 0xffff, 0xffffffff])
      expect(guest.ask(type, '|')).toBe('!ENOSYS');
  });

  it('keeps domain management to the privileged', () => {
    for (const operation of [
      'CONTROL',
      'INTRODUCE',
      'RELEASE',
      'RESUME',
      'SET_TARGET',
      'IS_DOMAIN_INTRODUCED',
    ] as const) {
      expect(guest.ask(operation, '1|1|1|'), operation).toBe('!EACCES');
    }
  });

  it('lists long directories in parts', () => {
    const names = Array.from({ length: 500 }, (_, i) => `child-number-${i}`);
    for (const name of names) store.host.mkdir(`/local/domain/1/many/${name}`);
    store.host.setPermissions('/local/domain/1/many', [{ domid: 1, access: 'n' }]);
    expect(guest.ask('DIRECTORY', 'many|')).toBe('!E2BIG');
    let listed = '';
    const generations = new Set<string>();
    for (let part = ''; !part.endsWith('||'); ) {
      part = guest.ask('DIRECTORY_PART', `many|${listed.length}|`);
      expect(part.length).toBeLessThanOrEqual(4096);
      const bar = part.indexOf('|');
      generations.add(part.slice(0, bar));
      listed += part.slice(bar + 1);
    }
    expect(listed.slice(0, -2).split('|')).toEqual(names);
    expect(generations.size).toBe(1);
    expect(guest.ask('DIRECTORY_PART', 'many|999999|')).toMatch(/^\d+\|\|$/);
    expect(guest.ask('DIRECTORY_PART', 'many|')).toBe('!EINVAL');
  });
});

describe('permissions', () => {
  it('hides what one may not see, and whether it exists', () => {
    store.host.write('/secret/key', 'x');
    play(guest, [
      ['READ', '/secret/key|', '!EACCES'],
      ['READ', '/secret/nothing|', '!EACCES'],
      ['READ', '/nothing|', '!EACCES'],
      ['DIRECTORY', '/local/domain|', '!EACCES'],
      ['READ', 'nothing|', '!ENOENT'],
      ['WRITE', 'nothing|x', '!EACCES'],
      ['WRITE', 'name|x', '!EACCES'],
      ['RM', 'name|', '!EACCES'],
      ['SET_PERMS', 'name|b1|', '!EACCES'],
    ]);
  });

  it('lets a domain own what it makes, with its parent’s other entries', () => {
    store.host.setPermissions('/local/domain/1/data', [
      { domid: 1, access: 'n' },
      { domid: 2, access: 'b' },
    ]);
    const other = new Guest(store, 2);
    play(guest, [
      ['WRITE', 'data/mine|1', 'OK|'],
      ['GET_PERMS', 'data/mine|', 'n1|b2|'],
    ]);
    play(other, [
      ['READ', '/local/domain/1/data/mine|', '1'],
      ['WRITE', '/local/domain/1/data/theirs|2', 'OK|'],
      ['GET_PERMS', '/local/domain/1/data/theirs|', 'n2|b2|'],
    ]);
    expect(guest.ask('READ', 'data/theirs|')).toBe('!EACCES');
  });

  it('gives nodes away to others but not their ownership', () => {
    const other = new Guest(store, 2);
    play(guest, [
      ['WRITE', 'data/x|1', 'OK|'],
      ['SET_PERMS', 'data/x|n1|r2|', 'OK|'],
      ['SET_PERMS', 'data/x|n2|', '!EPERM'],
      ['SET_PERMS', 'data/x|n99|', '!ENOENT'],
      ['SET_PERMS', 'data/x|q1|', '!EINVAL'],
      ['SET_PERMS', 'data/x|', '!EINVAL'],
      ['SET_PERMS', 'data/x|n1|r2|r3|r4|r5|r6|', '!ENOSPC'],
      ['SET_PERMS', '@releaseDomain|n1|', '!EACCES'],
      ['SET_PERMS', '@somethingElse|n1|', '!EINVAL'],
    ]);
    play(other, [
      ['READ', '/local/domain/1/data/x|', '1'],
      ['WRITE', '/local/domain/1/data/x|2', '!EACCES'],
      ['SET_PERMS', '/local/domain/1/data/x|n1|b2|', '!EACCES'],
    ]);
  });

  it('does not let a new domain inherit what its number’s former bearer could read', () => {
    let other = new Guest(store, 2);
    expect(guest.ask('WRITE', 'data/x|1')).toBe('OK|');
    expect(guest.ask('SET_PERMS', 'data/x|n1|r2|')).toBe('OK|');
    expect(other.ask('READ', '/local/domain/1/data/x|')).toBe('1');
    store.domainDestroyed(2);
    other = new Guest(store, 2);
    expect(other.ask('READ', '/local/domain/1/data/x|')).toBe('!EACCES');
  });

  it('lets a stub domain act for its target', () => {
    const stub = new Guest(store, 3);
    const dom0 = new Guest(store, 0);
    expect(guest.ask('WRITE', 'data/x|1')).toBe('OK|');
    expect(stub.ask('READ', '/local/domain/1/data/x|')).toBe('!EACCES');
    expect(dom0.ask('SET_TARGET', '3|1|')).toBe('OK|');
    expect(dom0.ask('SET_TARGET', '3|7|')).toBe('!ENOENT');
    expect(stub.ask('READ', '/local/domain/1/data/x|')).toBe('1');
    expect(stub.ask('SET_PERMS', '/local/domain/1/data/x|n1|r4|')).toBe('OK|');
    store.domainDestroyed(1);
    expect(stub.ask('READ', '/local/domain/1/name|')).toBe('!EACCES');
  });
});

describe('transactions', () => {
  it('keeps changes to itself until committed', () => {
    const t = Number.parseInt(guest.ask('TRANSACTION_START', '|'), 10);
    expect(t).toBe(1);
    play(guest, [
      ['WRITE', 'data/x|1', 'OK|', t],
      ['READ', 'data/x|', '1', t],
      ['READ', 'data/x|', '!ENOENT'],
      ['DIRECTORY', 'data|', 'x|', t],
      ['DIRECTORY', 'data|', ''],
      ['TRANSACTION_START', '|', '!EBUSY', t],
      ['TRANSACTION_END', 'X|', '!EINVAL', t],
      ['TRANSACTION_END', 'T|', 'OK|', t],
      ['READ', 'data/x|', '1'],
      ['READ', 'data/x|', '!ENOENT', t],
      ['TRANSACTION_END', 'T|', '!ENOENT'],
    ]);
    expect(store.core.domains.find(1)!.nodes).toBe(2);
  });

  it('forgets what is aborted', () => {
    play(guest, [
      ['TRANSACTION_START', '|', '1|'],
      ['WRITE', 'data/x|1', 'OK|', 1],
      ['TRANSACTION_END', 'F|', 'OK|', 1],
      ['READ', 'data/x|', '!ENOENT'],
    ]);
    expect(store.core.domains.find(1)).toMatchObject({ nodes: 1, outstanding: 0 });
  });

  it('answers EAGAIN where something read has changed, and only then', () => {
    play(guest, [
      ['WRITE', 'data/a|1', 'OK|'],
      ['WRITE', 'data/b|1', 'OK|'],
      ['TRANSACTION_START', '|', '1|'],
      ['READ', 'data/a|', '1', 1],
      ['WRITE', 'data/b|2', 'OK|'],
      ['TRANSACTION_END', 'T|', 'OK|', 1],
      ['TRANSACTION_START', '|', '2|'],
      ['READ', 'data/a|', '1', 2],
      ['WRITE', 'data/a|2', 'OK|'],
      ['WRITE', 'data/b|3', 'OK|', 2],
      ['TRANSACTION_END', 'T|', '!EAGAIN', 2],
      ['READ', 'data/b|', '2'],
      ['TRANSACTION_END', 'T|', '!ENOENT', 2],
      // A missing node that has come into being is a change too.
      ['TRANSACTION_START', '|', '3|'],
      ['READ', 'data/new|', '!ENOENT', 3],
      ['WRITE', 'data/new|1', 'OK|'],
      ['TRANSACTION_END', 'T|', '!EAGAIN', 3],
      ['TRANSACTION_START', '|', '4|'],
      ['READ', 'data/a|', '2', 4],
      ['RM', 'data/a|', 'OK|'],
      ['TRANSACTION_END', 'T|', '!EAGAIN', 4],
    ]);
  });

  it('removes subtrees, and makes and removes in one', () => {
    play(guest, [
      ['WRITE', 'data/a/b|1', 'OK|'],
      ['TRANSACTION_START', '|', '1|'],
      ['RM', 'data/a|', 'OK|', 1],
      ['WRITE', 'data/tmp/x|1', 'OK|', 1],
      ['RM', 'data/tmp|', 'OK|', 1],
      ['READ', 'data/a/b|', '1'],
      ['TRANSACTION_END', 'T|', 'OK|', 1],
      ['DIRECTORY', 'data|', ''],
    ]);
    expect(store.core.domains.find(1)!.nodes).toBe(1);
    expect(store.core.inconsistencies()).toEqual([]);
  });

  it('ends with RESET_WATCHES', () => {
    play(guest, [
      ['TRANSACTION_START', '|', '1|'],
      ['WATCH', 'data|t|', 'OK|'],
      ['RESET_WATCHES', '|', 'OK|'],
      ['TRANSACTION_END', 'T|', '!ENOENT', 1],
      ['UNWATCH', 'data|t|', '!ENOENT'],
    ]);
    expect(store.core.domains.find(1)).toMatchObject({ watches: 0 });
  });
});

describe('privileged requests', () => {
  it('introduces, releases, resumes and asks', () => {
    const attached: number[][] = [];
    store = makeStore({ attach: (connection, gfn, port) => void attached.push([connection.domid, gfn, port]) });
    const dom0 = new Guest(store, 0);
    play(dom0, [
      ['IS_DOMAIN_INTRODUCED', '5|', 'F|'],
      ['INTRODUCE', '5|1234|7|', 'OK|'],
      ['INTRODUCE', '5|1234|0|', '!EINVAL'],
      ['INTRODUCE', '5|1234', '!EINVAL'],
      ['INTRODUCE', '50|1|1|', '!ENOENT'],
      ['IS_DOMAIN_INTRODUCED', '5|', 'T|'],
      ['IS_DOMAIN_INTRODUCED', '0|', 'T|'],
      ['IS_DOMAIN_INTRODUCED', '32752|', 'T|'],
      ['RESUME', '5|', 'OK|'],
      ['RESUME', '0|', '!EINVAL'],
      ['RELEASE', '5|', 'OK|'],
      ['RELEASE', '5|', '!ENOENT'],
      ['IS_DOMAIN_INTRODUCED', '5|', 'F|'],
    ]);
    expect(attached).toEqual([
      [0, 0, 0],
      [5, 1234, 7],
    ]);
  });

  it('has control commands', () => {
    const logged: string[] = [];
    store = makeStore({ log: text => logged.push(text) });
    const dom0 = new Guest(store, 0);
    play(dom0, [
      ['CONTROL', 'check|', 'OK|'],
      ['CONTROL', 'print|hello|', 'OK|'],
      ['CONTROL', 'constructor|', '!EINVAL'],
      ['CONTROL', '', '!EINVAL'],
      ['CONTROL', 'quota|set|watches|3|', 'OK|'],
      ['CONTROL', 'quota|set|watches|0|', '!EINVAL'],
      ['CONTROL', 'quota|77|', '!ENOENT'],
    ]);
    expect(dom0.ask('CONTROL', 'quota|')).toContain('watches          :        3 Watches per domain\n');
    expect(dom0.ask('CONTROL', 'quota|0|')).toContain('nodes           :        3\n');
    expect(logged).toEqual(['hello']);
  });
});
