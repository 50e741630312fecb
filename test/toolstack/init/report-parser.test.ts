// The reader of init's report: with the kernel's own lines before, behind and in the middle of the report's.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { checksum, MARKER } from '../../../src/toolstack/init/protocol.ts';
import { unescaped } from '../../../src/toolstack/init/report-lines.ts';
import { cpuList, ReportParser } from '../../../src/toolstack/init/report-parser.ts';

const bytes = (text: string) => new TextEncoder().encode(text);
const line = (body: string, number: number) =>
  `${MARKER}${number} ${body} #${checksum(bytes(`${number} ${body}`))}\r\n`;
const lines = (...bodies: string[]) => ['protocol 1', ...bodies, 'done'].map((body, i) => line(body, i + 1));
const parse = (text: string) => {
  const parser = new ReportParser();
  parser.push(bytes(text));
  return parser.report;
};

describe('checksums', () => {
  it('are those that init computed under a real kernel', () => {
    expect(line('protocol 1', 1)).toBe('domzero1: 1 protocol 1 #e3a3\r\n');
    expect(line('uname/machine = x86_64', 10)).toBe('domzero1: 10 uname/machine = x86_64 #f55d\r\n');
  });
});

describe('a report', () => {
  it('of a PV guest is typed', () => {
    const report = parse(
      lines(
        'mount/proc = 0',
        'mount/xenfs ! 19',
        'uname/sysname = Linux',
        'uname/nodename = (none)',
        'uname/release = 6.1.0-56-amd64',
        'uname/version = #1 SMP Debian',
        'uname/machine = x86_64',
        'cmdline = console=hvc0 a="b\\\\c"',
        'cpus/online = 0-3',
        'cpus/possible = 0-1,4',
        'cpus/present = 0',
        'clocksource/current = xen',
        'clocksource/available = xen tsc ',
        'clockevent = xen',
        'hypervisor/type = xen',
        'hypervisor/guest_type = PV',
        'hypervisor/uuid = 0-0',
        'hypervisor/version/major = 4',
        'hypervisor/version/minor = 17',
        'hypervisor/version/extra = .7',
        'hypervisor/properties/features = 000228f0',
        'hypervisor/properties/changeset ! 13',
        'memory/total = 280304 kB',
        'device/xen/vbd-51712/nodename = device/vbd/51712',
        'device/xen/vbd-51712/devtype = vbd',
        'device/xen/vbd-51712/state = Connected',
        'device/xen/vif-0/nodename = device/vif/0',
        'device/xen/vif-0/devtype = vif',
        'device/xen/vif-0/state ! 2',
        'device/xen-backend ! 2',
        'device/block/xvda/size = 2048',
        'device/net/lo/address = 00:00:00:00:00:00',
        'device/net/lo/operstate = down',
        'idle/seconds = 1.000867401',
        'idle/stat-before = cpu  0 0 301 1057 0 0 10 1816 0 0',
        'idle/stat-before = intr 2241',
        'idle/stat-before = ctxt 1500',
        'idle/stat-after = cpu  1 2 303 1257 5 0 10 1820 0 0',
        'idle/stat-after = intr 2270',
        'idle/stat-after = ctxt 1524',
        'idle/interrupts-before =  24:       100        50   xen-percpu    -virq      timer0',
        'idle/interrupts-after =  24:       110        55   xen-percpu    -virq      timer0',
        'idle/interrupts-after = LOC:   1   2   Local timer: interrupts',
        'log/alarm = <4>[    0.1] WARNING: CPU: 0',
        'log/alarms = 3',
        'log/firmware-complaint = <4>[    0.1] [Firmware Bug]: x',
        'log/firmware-complaints = 1',
        'log/platform = <6>[    0.0] Hypervisor detected: Xen PV',
        'log/platform = <6>[    0.1] Booting paravirtualized kernel on Xen',
        'module//lib/a.ko = 0',
        'module//lib/b.ko ! 2',
        'disk/xvda = 0123abcd 0123abcd',
        'disk/xvdb ! 5',
        'network/eth1 ! 100',
        'network/eth0 = 3',
        'time/realtime = 1795338064',
        'tainted = 512',
        'uptime = 13.19 12.61',
      ).join(''),
    );
    expect(report).toEqual({
      protocol: 1,
      complete: true,
      lostLines: 0,
      uname: {
        sysname: 'Linux',
        nodename: '(none)',
        release: '6.1.0-56-amd64',
        version: '#1 SMP Debian',
        machine: 'x86_64',
      },
      hypervisor: {
        type: 'xen',
        guestType: 'PV',
        uuid: '0-0',
        version: '4.17.7',
        compilation: { compiler: null, compiledBy: null, compileDate: null },
        properties: {
          capabilities: null,
          changeset: null,
          features: '000228f0',
          pageSize: null,
          virtualStart: null,
        },
      },
      xenCapabilities: null,
      cmdline: 'console=hvc0 a="b\\c"',
      cpus: { online: [0, 1, 2, 3], possible: [0, 1, 4], present: [0] },
      cpuVendor: null,
      cpuModel: null,
      clocksource: 'xen',
      availableClocksources: ['xen', 'tsc'],
      clockevent: 'xen',
      memTotalKiB: 280304,
      xenDevices: [
        { name: 'vbd-51712', nodename: 'device/vbd/51712', devtype: 'vbd', state: 'Connected' },
        { name: 'vif-0', nodename: 'device/vif/0', devtype: 'vif', state: null },
      ],
      xenBackends: [],
      blockDevices: [{ name: 'xvda', sectors: 2048 }],
      netDevices: [{ name: 'lo', address: '00:00:00:00:00:00', state: 'down' }],
      idle: {
        nanoseconds: 1000867401,
        busyTicks: 5,
        idleTicks: 205,
        stolenTicks: 4,
        interrupts: 29,
        contextSwitches: 24,
        interruptCounts: [
          { name: '24', description: 'xen-percpu    -virq      timer0', count: 15 },
          { name: 'LOC', description: 'Local timer: interrupts', count: 3 },
        ],
      },
      uptimeSeconds: 13.19,
      realtimeSeconds: 1795338064,
      tainted: 512,
      alarms: { count: 3, lines: ['<4>[    0.1] WARNING: CPU: 0'] },
      firmwareComplaints: { count: 1, lines: ['<4>[    0.1] [Firmware Bug]: x'] },
      detectedHypervisor: 'Xen PV',
      bootedOn: 'Xen',
      modules: [
        { path: '/lib/a.ko', error: null },
        { path: '/lib/b.ko', error: 2 },
      ],
      diskChecks: [
        { name: 'xvda', written: '0123abcd', read: '0123abcd', error: null },
        { name: 'xvdb', written: null, read: null, error: 5 },
      ],
      networkChecks: [
        { name: 'eth1', echoes: null, error: 100 },
        { name: 'eth0', echoes: 3, error: null },
      ],
      failedMounts: { xenfs: 19 },
      exitStatus: null,
      exitSignal: null,
      absent: {
        'hypervisor/properties/changeset': 13,
        'device/xen/vif-0/state': 2,
        'device/xen-backend': 2,
        'module//lib/b.ko': 2,
        'disk/xvdb': 5,
        'network/eth1': 100,
      },
    });
  });

  it('of a command tells how it ended', () => {
    expect(parse(lines('command/exit = 3').join(''))).toMatchObject({ exitStatus: 3, exitSignal: null });
    expect(parse(lines('command/signal = 9').join(''))).toMatchObject({ exitStatus: null, exitSignal: 9 });
  });

  it('that stops early, or misses a line, is not complete', () => {
    const [first, second, last] = lines('tainted = 0');
    expect(parse(first + second)).toMatchObject({ complete: false, lostLines: 0, tainted: 0 });
    expect(parse(first + last)).toMatchObject({ complete: false, lostLines: 1, tainted: null });
    expect(parse(first + second.replace('= 0', '= 1') + last)).toMatchObject({ complete: false, lostLines: 1 });
    expect(parse(line('protocol 2', 1) + line('done', 2))).toMatchObject({ complete: false, protocol: 2 });
    expect(parse('')).toMatchObject({ complete: false, protocol: null, uname: null, idle: null });
  });

  it('ends with its last line, and takes no line twice', () => {
    const [first, second, last] = lines('tainted = 0');
    const report = parse(first + second + second + last + line('tainted = 1', 4));
    expect(report).toMatchObject({ complete: true, tainted: 0 });
  });
});

describe('between kernel messages', () => {
  const kernel = fc
    .tuple(fc.double({ min: 0, max: 9999, noNaN: true }), fc.stringMatching(/^[a-z :=#.[\]()]{0,40}$/))
    .map(([time, text]) => `[${time.toFixed(6).padStart(12)}] ${text}\r\n`);
  const value = fc.stringMatching(/^[ -[\]-~]{0,60}$/);

  it('a report is read whole, however it is cut into pieces', () => {
    fc.assert(
      fc.property(
        fc.array(value, { maxLength: 8 }),
        fc.array(fc.tuple(kernel, fc.nat()), { maxLength: 8 }),
        fc.array(fc.nat(), { maxLength: 20 }),
        (values, messages, cuts) => {
          const report = lines(...values.map((v, i) => `device/net/n${i}/address = ${v}`));
          // A message stands at any place in a line of the report, at most one in each.
          const shuffled = report.map((text, i) => {
            const message = messages[i];
            if (!message) return text;
            const at = message[1] % (text.length - 1);
            return text.slice(0, at) + message[0] + text.slice(at);
          });
          const stream = bytes(`SeaBIOS\x1b[2J${shuffled.join('')}`);
          const parser = new ReportParser();
          const places = [...cuts.map(n => n % stream.length), stream.length].sort((a, b) => a - b);
          let from = 0;
          for (const to of places) {
            parser.push(stream.subarray(from, to));
            from = to;
          }
          const result = parser.report;
          expect(result.complete).toBe(true);
          expect(result.netDevices.map(d => d.address)).toEqual(values);
        },
      ),
      { numRuns: 300 },
    );
  });

  it('a cut line is mended over several messages, and where the marker itself was cut', () => {
    const [first, second, last] = lines('cmdline = quiet splash');
    const cut = (text: string, at: number) => `${text.slice(0, at)}[    1.000000] ata1: link down\r\n${text.slice(at)}`;
    expect(parse(cut(cut(first, 20), 10) + cut(cut(second, 30), 3) + last)).toMatchObject({
      complete: true,
      cmdline: 'quiet splash',
    });
  });

  it('a value that quotes the log is mended too', () => {
    const [first, second, last] = lines('log/alarm = <4>[    0.123456] Call Trace: x');
    const at = second.indexOf('Trace');
    const cut = `${second.slice(0, at)}[    2.000000] hello\r\n${second.slice(at)}`;
    expect(parse(first + cut + last).complete).toBe(true);
  });

  it('a command that ends without a newline does not hide what follows', () => {
    const [first, second, last] = lines('command/exit = 0');
    expect(parse(`${first}no newline${second}${last}`)).toMatchObject({ complete: true, exitStatus: 0 });
  });
});

describe('a hostile console', () => {
  it('never makes the reader throw', () => {
    const noise = fc.oneof(
      fc.uint8Array({ maxLength: 200 }),
      fc.string({ maxLength: 60 }).map(s => bytes(line(s.replace(/[^ -~]/g, ''), 7))),
      fc
        .constantFrom('__proto__ = 1', 'idle/seconds = x', 'cpus/online = 0-99999', 'device/net// = ', 'a ! b')
        .map(s => bytes(line(s, 9))),
      fc.constant(bytes(MARKER)),
    );
    fc.assert(
      fc.property(fc.array(noise, { maxLength: 30 }), chunks => {
        const parser = new ReportParser();
        for (const chunk of chunks) parser.push(chunk);
        expect(parser.report.complete).toBe(false);
      }),
    );
  });

  it('costs no more than its length, and keeps no more than a bound', () => {
    const parser = new ReportParser();
    const started = performance.now();
    parser.push(bytes(MARKER.repeat(100_000)));
    parser.push(bytes(`\n${`${MARKER.repeat(1500)}\n`.repeat(50)}`));
    for (let i = 1; i < 6000; i++) parser.push(bytes(line('log/alarm = x', i)));
    expect(parser.report.alarms).toBe(null);
    expect(parser.report.lostLines).toBe(0);
    expect(performance.now() - started).toBeLessThan(5000);
  });

  it('gives lists of CPUs a bound', () => {
    expect(cpuList('0-99999').length).toBe(4096);
    expect(cpuList('3,1-2,x,9-1,')).toEqual([3, 1, 2]);
  });
});

describe('escapes', () => {
  it('are undone', () => {
    expect(unescaped('a\\nb\\tc\\\\n \\xc3\\xa9 cut\\+')).toBe('a\nb\tc\\n é cut…');
    expect(unescaped('\\xff \\xzz \\')).toBe('\ufffd xzz ');
  });
});
