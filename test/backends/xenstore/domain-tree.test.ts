// The tree of a new PV domain, beside what xenstore-ls shows of one that xl 4.17 made.
import { beforeEach, expect, it } from 'vitest';
import {
  type DomainTreeSpec,
  initDom0Tree,
  removeDomainTree,
  requestShutdown,
  writeDomainTree,
} from '../../../src/backends/xenstore/domain-tree.ts';
import type { XenStore } from '../../../src/backends/xenstore/store.ts';
import { Guest, makeStore } from './guest.ts';

const spec: DomainTreeSpec = {
  domid: 1,
  uuid: '9f3c1f10-3c5e-4a38-8a55-0123456789ab',
  name: 'guest',
  type: 'pv',
  maxVcpus: 2,
  onlineVcpus: 1,
  targetKb: 262144,
  maxKb: 262144,
  store: { ringRef: 0x1234, port: 1 },
  console: { ringRef: 0x1235, port: 2, tty: '/dev/pts/3' },
  kernel: 'vmlinuz',
  commandLine: 'console=hvc0',
  startTime: 1700000000.25,
};

let store: XenStore;

beforeEach(() => {
  store = makeStore();
  initDom0Tree(store.host);
});

it('writes libxl’s nodes with libxl’s permissions', () => {
  writeDomainTree(store.host, spec);
  const lines = store.host.list('/local/domain/1').trimEnd().split('\n');
  expect(lines.map(line => line.replace('/local/domain/1', '~'))).toEqual([
    '~ = ""   (n0,r1)',
    '~/attr = ""   (n1)',
    '~/console = ""   (n0,r1)',
    '~/console/backend = "/local/domain/0/backend/console/1/0"   (n0,r1)',
    '~/console/backend-id = "0"   (n1,r0)',
    '~/console/limit = "1048576"   (n0,r1)',
    '~/console/output = "pty"   (n0,r1)',
    '~/console/port = "2"   (n0,r1)',
    '~/console/ring-ref = "4661"   (n0,r1)',
    '~/console/tty = "/dev/pts/3"   (n0,r1)',
    '~/console/type = "xenconsoled"   (n0,r1)',
    '~/control = ""   (n0,r1)',
    '~/control/feature-poweroff = ""   (n1)',
    '~/control/feature-reboot = ""   (n1)',
    '~/control/feature-suspend = ""   (n1)',
    '~/control/platform-feature-multiprocessor-suspend = "1"   (n0,r1)',
    '~/control/platform-feature-xs_reset_watches = "1"   (n0,r1)',
    '~/control/shutdown = ""   (n1)',
    '~/control/sysrq = ""   (n1)',
    '~/cpu = ""   (n0,r1)',
    '~/cpu/0 = ""   (n0,r1)',
    '~/cpu/0/availability = "online"   (n0,r1)',
    '~/cpu/1 = ""   (n0,r1)',
    '~/cpu/1/availability = "offline"   (n0,r1)',
    '~/data = ""   (n1)',
    '~/device = ""   (n0,r1)',
    '~/device/suspend = ""   (n0,r1)',
    '~/device/suspend/event-channel = ""   (n1)',
    '~/domid = "1"   (n0,r1)',
    '~/drivers = ""   (n1)',
    '~/error = ""   (n1)',
    '~/feature = ""   (n1)',
    '~/memory = ""   (n0,r1)',
    '~/memory/static-max = "262144"   (n0,r1)',
    '~/memory/target = "262144"   (n0,r1)',
    '~/memory/videoram = "0"   (n0,r1)',
    '~/name = "guest"   (n0,r1)',
    '~/store = ""   (n0,r1)',
    '~/store/port = "1"   (n0,r1)',
    '~/store/ring-ref = "4660"   (n0,r1)',
    '~/vm = "/vm/9f3c1f10-3c5e-4a38-8a55-0123456789ab"   (n0,r1)',
  ]);
  expect(store.host.list('/local/domain/0/backend')).toContain(
    '/local/domain/0/backend/console/1/0/protocol = "vt100"   (n0,r1)\n',
  );
  expect(store.host.read('/vm/9f3c1f10-3c5e-4a38-8a55-0123456789ab/start_time')).toBe('1700000000.25');
  expect(store.host.permissions('/libxl/1')).toEqual([{ domid: 0, access: 'n' }]);
});

it('gives the guest what Linux needs of it, and no more', () => {
  writeDomainTree(store.host, spec);
  const guest = new Guest(store, 1);
  const steps: [Parameters<Guest['ask']>[0], string, string][] = [
    ['READ', 'control/platform-feature-xs_reset_watches|', '1'],
    ['RESET_WATCHES', '|', 'OK|'],
    ['WRITE', 'control/feature-poweroff|1', 'OK|'],
    ['WATCH', 'control/shutdown|ffffffff82a0|', 'OK|'],
    ['WATCH', 'memory/target|ffffffff82b0|', 'OK|'],
    ['READ', 'memory/target|', '262144'],
    ['READ', 'cpu/1/availability|', 'offline'],
    ['DIRECTORY', 'device|', 'suspend|'],
    ['READ', 'vm|', '/vm/9f3c1f10-3c5e-4a38-8a55-0123456789ab'],
    ['READ', '/vm/9f3c1f10-3c5e-4a38-8a55-0123456789ab/uuid|', '9f3c1f10-3c5e-4a38-8a55-0123456789ab'],
    ['WRITE', 'data/x|1', 'OK|'],
    ['WRITE', 'memory/target|1', '!EACCES'],
    ['WRITE', 'console/tty|/etc/passwd', '!EACCES'],
    ['READ', '/libxl/1/type|', '!EACCES'],
    ['DIRECTORY', '/local/domain/0|', '!EACCES'],
    ['READ', '/local/domain/0/backend/console/1/0/state|', '1'],
  ];
  for (const [operation, payload, answer] of steps) expect(guest.ask(operation, payload), payload).toBe(answer);
  guest.takeEvents();
  requestShutdown(store.host, 1, 'poweroff');
  expect(guest.takeEvents()).toEqual(['control/shutdown ffffffff82a0']);
  expect(guest.ask('READ', 'control/shutdown|')).toBe('poweroff');
  expect(guest.ask('WRITE', 'control/shutdown|')).toBe('OK|');
});

it('leaves nothing behind', () => {
  const before = store.dump().split('\n').length;
  writeDomainTree(store.host, spec);
  const guest = new Guest(store, 1);
  guest.ask('WRITE', 'data/x|1');
  removeDomainTree(store.host, spec);
  store.domainDestroyed(1);
  const after = store.dump();
  expect(after).not.toContain('domain/1');
  expect(after).not.toContain('9f3c');
  // /vm, /libxl and /local/domain/0/backend stay.
  expect(after.split('\n').length - before).toBe(3);
  expect(store.core.inconsistencies()).toEqual([]);
  writeDomainTree(store.host, spec);
  writeDomainTree(store.host, spec);
});
