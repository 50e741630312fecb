// A machine that plays a script instead of a kernel, for tests of what is made of a boot.

import type { BootedDomain, BootRequest, CrashRecord, DomainEnd } from '../../src/report/boot.ts';
import { checksum } from '../../src/toolstack/init/protocol.ts';

const encoder = new TextEncoder();

export interface Script {
  /** Printed one after the other, each in a turn of the event loop. */
  readonly console?: readonly string[];
  readonly log?: readonly string[];
  /** Null: it goes on for ever. */
  readonly end?: DomainEnd | null;
  readonly seenWhenHung?: CrashRecord | null;
}

export function play({ console = [], log = [], end, seenWhenHung = null }: Script): () => Promise<BootedDomain> {
  return async () => {
    let onData = (_: Uint8Array) => {};
    let onLog = (_: string) => {};
    let instructions = 0;
    let finish = (_: DomainEnd) => {};
    const finished = new Promise<DomainEnd>(resolve => {
      finish = resolve;
    });
    let destroyed = false;
    const turn = () => new Promise(resolve => setImmediate(resolve));
    void (async () => {
      await turn();
      for (const line of log) onLog(line);
      for (const text of console) {
        if (destroyed) return;
        instructions += 1000;
        onData(encoder.encode(text));
        await turn();
      }
      if (end !== null) finish(end ?? { reason: 'poweroff', crash: null });
    })();
    return {
      console: {
        onData: listener => {
          onData = listener;
        },
        write: async () => {},
      },
      onLog: listener => {
        onLog = listener;
      },
      get instructions() {
        return instructions;
      },
      wait: () => finished,
      inspect: () => seenWhenHung,
      control: null,
      destroy: () => {
        destroyed = true;
        finish({ reason: 'destroyed', crash: null });
      },
    };
  };
}

/** Only what reports look at. */
export const request = {
  image: { name: 'vmlinuz', sha256: 'ab'.repeat(32), release: '6.1.0-test', elf: { segments: [], sections: [] } },
  mode: 'pv',
  cpuModel: 'epyc',
  cpus: 2,
  memoryMiB: 512,
  initrd: new Uint8Array(0),
  commandLine: 'console=hvc0',
  clock: 'virtual',
} as unknown as BootRequest;

/** Lines of init's report, numbered and with checksums. */
export function reportText(entries: Readonly<Record<string, string>>, more: readonly string[] = []): string {
  const bodies = ['protocol 1', ...Object.entries(entries).map(([key, value]) => `${key} = ${value}`), ...more, 'done'];
  return bodies
    .map((body, i) => `${i + 1} ${body}`)
    .map(line => `domzero1: ${line} #${checksum(encoder.encode(line))}\r\n`)
    .join('');
}

/** What init reports on a PV guest of `request` where all is well. */
export const goodReport: Readonly<Record<string, string>> = {
  'uname/sysname': 'Linux',
  'uname/nodename': '(none)',
  'uname/release': '6.1.0-test',
  'uname/version': '#1',
  'uname/machine': 'x86_64',
  'cpus/online': '0-1',
  'hypervisor/type': 'xen',
  'hypervisor/guest_type': 'PV',
  'hypervisor/version/major': '4',
  'hypervisor/version/minor': '17',
  'hypervisor/version/extra': '.7',
  'device/xen/vbd-51712/nodename': 'device/vbd/51712',
  'device/xen/vbd-51712/state': 'Connected',
  'idle/seconds': '1.000050000',
  'idle/stat-before': 'cpu  0 0 124 0 0 0 0 0 0 0',
  'idle/stat-after': 'cpu  0 0 126 198 0 0 0 0 0 0',
  'log/alarms': '0',
};

export const kernelLines = [
  '[    0.000000] Linux version 6.1.0-test\r\n',
  '[    0.010000] Booting paravirtualized kernel on Xen\r\n',
  '[    1.000000] Run /init as init process\r\n',
];

export function crashRecord(change: Partial<CrashRecord> = {}): CrashRecord {
  return {
    domain: 1,
    vcpu: 0,
    reason: 'unhandled page fault',
    registers: { rip: 0xffffffff81000042n, rsp: 0xffffffff82000000n } as CrashRecord['registers'],
    rip: 0xffffffff81000042n,
    eventMask: true,
    inKernel: true,
    stack: [0xffffffff81000010n, 7n],
    hypercalls: [],
    ...change,
  };
}
