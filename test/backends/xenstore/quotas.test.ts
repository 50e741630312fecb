// A domain gets what xenstored's defaults allow and not more, and its use is counted exactly.
import { beforeEach, describe, expect, it } from 'vitest';
import type { XenStore } from '../../../src/backends/xenstore/store.ts';
import { childrenSize, nodeSize, ownerOf } from '../../../src/backends/xenstore/tree.ts';
import { Guest, makeStore } from './guest.ts';

let store: XenStore;
let guest: Guest;

beforeEach(() => {
  store = makeStore();
  store.host.mkdir('/local/domain/1/data');
  store.host.setPermissions('/local/domain/1/data', [{ domid: 1, access: 'n' }]);
  guest = new Guest(store, 1);
});

/** Counts what domain 1 owns, apart from the books that the store keeps. */
function audit(): { nodes: number; memory: number } {
  let nodes = 0;
  let memory = 0;
  for (const [path, node] of store.core.nodes) {
    if (ownerOf(node) !== 1) continue;
    nodes++;
    memory += nodeSize(node) + path.length;
  }
  return { nodes, memory };
}

describe('quotas', () => {
  it('limits nodes to 1000 a domain, also in a transaction', () => {
    let made = 1;
    for (let dir = 0; dir < 20; dir++) {
      for (let i = 0; i < 60; i++) {
        const answer = guest.ask('WRITE', `data/${dir}/${i}|`);
        if (answer !== 'OK|') {
          expect(answer).toBe('!ENOSPC');
          break;
        }
        made += i === 0 ? 2 : 1;
      }
    }
    expect(made).toBe(1000);
    expect(audit().nodes).toBe(1000);
    expect(store.core.domains.find(1)!.nodes).toBe(1000);
    expect(guest.ask('RM', 'data/0|')).toBe('OK|');
    expect(store.core.domains.find(1)!.nodes).toBe(939);
    guest.ask('TRANSACTION_START', '|');
    for (let i = 0; i < 61; i++) guest.ask('WRITE', `data/t/${i}|`, 1);
    expect(guest.ask('TRANSACTION_END', 'T|', 1)).toBe('!ENOSPC');
    expect(store.core.domains.find(1)).toMatchObject(audit());
    expect(store.core.inconsistencies()).toEqual([]);
  });

  it('limits a node to 2048 bytes, its children’s names included', () => {
    expect(guest.ask('WRITE', `data/x|${'v'.repeat(2015)}`)).toBe('OK|');
    expect(guest.ask('WRITE', `data/x|${'v'.repeat(2016)}`)).toBe('!ENOSPC');
    expect(guest.ask('WRITE', `data/y|${'v'.repeat(2016)}`)).toBe('!ENOSPC');
    expect(guest.ask('READ', 'data/y|')).toBe('!ENOENT');
    let answer = 'OK|';
    for (let i = 0; answer === 'OK|'; i++) answer = guest.ask('WRITE', `data/dir/${'n'.repeat(90)}${i}/below|`);
    expect(answer).toBe('!ENOSPC');
    const dir = store.core.nodes.get('/local/domain/1/data/dir')!;
    expect(childrenSize(dir)).toBeGreaterThan(1800);
    expect(store.core.domains.find(1)).toMatchObject(audit());
    expect(store.core.inconsistencies()).toEqual([]);
  });

  it('limits watches and transactions, by one more than the figure, as xenstored does', () => {
    for (let i = 0; i < 129; i++) expect(guest.ask('WATCH', `data|${i}|`)).toBe('OK|');
    expect(guest.ask('WATCH', 'data|more|')).toBe('!E2BIG');
    for (let i = 1; i <= 11; i++) expect(guest.ask('TRANSACTION_START', '|')).toBe(`${i}|`);
    expect(guest.ask('TRANSACTION_START', '|')).toBe('!ENOSPC');
    guest.ask('RESET_WATCHES', '|');
    expect(guest.ask('TRANSACTION_START', '|')).toBe('12|');
    expect(store.core.domains.find(1)).toMatchObject({ ...audit(), watches: 0, outstanding: 0 });
  });

  it('limits the nodes that a transaction touches, and fails it then', () => {
    guest.ask('TRANSACTION_START', '|');
    let answer = '';
    for (let i = 0; i < 1100 && answer !== '!ENOSPC'; i++) answer = guest.ask('READ', `data/${i}|`, 1);
    expect(answer).toBe('!ENOSPC');
    expect(guest.ask('TRANSACTION_END', 'T|', 1)).toBe('!ENOMEM');
    expect(store.core.domains.find(1)).toMatchObject(audit());
  });

  it('limits memory, so that neither transactions nor unread events grow for ever', () => {
    store = makeStore({ quotas: { memoryHard: 100_000 } });
    store.host.mkdir('/local/domain/1/data');
    store.host.setPermissions('/local/domain/1/data', [{ domid: 1, access: 'n' }]);
    store.host.mkdir('/public');
    store.host.setPermissions('/public', [{ domid: 0, access: 'r' }]);
    guest = new Guest(store, 1);
    guest.ask('WATCH', '/public|t|');
    guest.takeEvents();
    for (let i = 0; i < 5_000; i++) store.host.write(`/public/${i}`, '');
    expect(store.core.domains.find(1)!.memory).toBeLessThan(100_000);
    const events = guest.takeEvents();
    expect(events.length).toBeGreaterThan(1000);
    expect(events.length).toBeLessThan(5_000);
    let answer = 'OK|';
    guest.ask('TRANSACTION_START', '|');
    for (let i = 0; i < 200 && answer === 'OK|'; i++)
      answer = guest.ask('WRITE', `data/big${i}|${'v'.repeat(2000)}`, 1);
    expect(answer).toBe('!ENOMEM');
    guest.ask('TRANSACTION_END', 'F|', 1);
    expect(guest.ask('WRITE', 'data/small|1')).toBe('OK|');
  });

  it('does not hinder the host in what a greedy guest owns', () => {
    store = makeStore({ quotas: { memoryHard: 1000 } });
    store.host.mkdir('/local/domain/1/data');
    store.host.setPermissions('/local/domain/1/data', [{ domid: 1, access: 'n' }]);
    store.host.write('/local/domain/1/data/x', 'x'.repeat(2000));
    expect(store.host.read('/local/domain/1/data/x')).toHaveLength(2000);
  });

  it('lets a chain of a thousand nodes be made and removed', () => {
    const chain = `data${'/a'.repeat(998)}`;
    expect(guest.ask('WATCH', 'data|t|')).toBe('OK|');
    guest.takeEvents();
    expect(guest.ask('WRITE', `${chain}|x`)).toBe('OK|');
    expect(guest.ask('WRITE', `${chain}/a/a|x`)).toBe('!ENOSPC');
    expect(guest.ask('TRANSACTION_START', '|')).toBe('1|');
    expect(guest.ask('RM', 'data/a|', 1)).toBe('OK|');
    expect(guest.ask('TRANSACTION_END', 'T|', 1)).toBe('OK|');
    expect(store.core.domains.find(1)!.nodes).toBe(1);
    expect(guest.ask('WRITE', `${chain}|x`)).toBe('OK|');
    store.domainDestroyed(1);
    expect(store.core.inconsistencies()).toEqual([]);
  });

  it('does not apply to Dom0', () => {
    const dom0 = new Guest(store, 0);
    for (let i = 0; i < 1200; i++) expect(dom0.ask('WRITE', `/many/${i}|`)).toBe('OK|');
    expect(dom0.ask('WRITE', `/large|${'x'.repeat(4000)}`)).toBe('OK|');
    for (let i = 0; i < 140; i++) expect(dom0.ask('WATCH', `/many|${i}|`)).toBe('OK|');
  });
});
