// From a console to a verdict: what a boot is seen to do, and what it is judged to be.
import { describe, expect, test } from 'vitest';
import { type BootOptions, type Goal, runBoot } from '../../src/report/run-boot.ts';
import type { Result } from '../../src/report/verdict.ts';
import { crashRecord, goodReport, kernelLines, play, reportText, request, type Script } from './fake-boot.ts';

const REPORT: Goal = { kind: 'report' };

function boot(script: Script, options: Partial<BootOptions> = {}): Promise<Result> {
  return runBoot(request, play(script), { goal: REPORT, timeoutSeconds: 5, reproduce: 'again', ...options });
}
const reporting = (change: Record<string, string> = {}) => [...kernelLines, reportText({ ...goodReport, ...change })];
const names = (result: Result) => result.stages.map(stage => stage.name);

describe('the report as goal', () => {
  test('a boot whose report holds passes, by all stages', async () => {
    const result = await boot({ console: reporting() });
    expect([result.verdict, result.reason]).toEqual([
      'pass',
      'Xen PV 4.17.7, 2 CPUs, 1 device Connected, idle when idle, powered off',
    ]);
    expect(names(result)).toEqual(['loaded', 'started', 'kernel', 'userspace', 'report', 'powered off']);
    expect(result.guest?.uname?.release).toBe('6.1.0-test');
    expect(result.crash).toBeNull();
    expect(result.instructions).toBe(4000);
  });

  test('bytes may be split anywhere', async () => {
    const all = reporting().join('');
    const pieces = Array.from({ length: Math.ceil(all.length / 7) }, (_, i) => all.slice(i * 7, i * 7 + 7));
    expect((await boot({ console: pieces })).verdict).toBe('pass');
  });

  test.each<[string, Record<string, string>, string]>([
    ['a lost CPU', { 'cpus/online': '0' }, '1 of 2 CPUs are online'],
    ['another mode', { 'hypervisor/guest_type': 'HVM' }, 'the kernel says that it runs as HVM, not as PV'],
    ['another hypervisor', { 'hypervisor/type': 'kvm' }, 'the kernel did not find Xen'],
    ['Dom0', { 'xen/capabilities': 'control_d' }, 'the kernel takes itself for Dom0'],
    ['Dom0 without xenfs', { 'hypervisor/properties/features': '00000800' }, 'the kernel takes itself for Dom0'],
    ['another kernel', { 'uname/release': '5.0' }, 'another kernel reported: 5.0'],
    ['a device', { 'device/xen/vbd-51712/state': 'Initialising' }, 'device/vbd/51712 is Initialising, not Connected'],
    ['a slow sleep', { 'idle/seconds': '5.000000000' }, 'a sleep of one second took 5.0 s'],
    ['a short sleep', { 'idle/seconds': '0.000000012' }, 'a sleep of one second took 12 ns'],
    ['a busy CPU', { 'idle/stat-after': 'cpu  0 0 224 0 0 0 0 0 0 0' }, 'not idle when idle: 1000 ms of CPU time'],
    ['a network without answers', { 'network/eth0': '2' }, 'over eth0 the gateway answered 2 of 3 echo requests'],
    ['a forgetful disk', { 'disk/xvda': '01 02' }, 'xvda does not give back what was written to it'],
    [
      'trouble in the log',
      { 'log/alarms': '2', 'log/alarm': '<4>[    1.0] WARNING: x' },
      'tells of trouble: WARNING: x (and 1 more',
    ],
  ])('%s fails', async (_, change, reason) => {
    const result = await boot({ console: reporting(change) });
    expect(result.verdict).toBe('fail');
    expect(result.reason).toContain(reason);
  });

  test('what init could not do fails, with the error', async () => {
    const failures = ['module//lib/x.ko ! 8', 'disk/xvda ! 5', 'network/eth0 ! 19'];
    const result = await boot({ console: [...kernelLines, reportText(goodReport, failures)] });
    expect(result.reason).toBe(
      'the module x.ko was not loaded (error 8); xvda cannot be written and read (error 5); eth0 does not come up (error 19)',
    );
  });

  test('what init was to check has to be checked', async () => {
    const checking = (report: Record<string, string>) =>
      runBoot({ ...request, checked: ['disk', 'network'] }, play({ console: [...kernelLines, reportText(report)] }), {
        goal: REPORT,
        timeoutSeconds: 5,
        reproduce: '',
      });
    expect((await checking(goodReport)).reason).toBe('init did not check the disk; init did not check the network');
    const checks = { ...goodReport, 'disk/xvda': '01 01', 'network/eth0': '3' };
    expect((await checking(checks)).reason).toBe('the kernel has no PV disk; the kernel has no PV network');
    const devices = { 'device/xen/vbd-51712/devtype': 'vbd', 'device/xen/vif-0/devtype': 'vif' };
    expect((await checking({ ...checks, ...devices })).verdict).toBe('pass');
  });

  test('a pass tells of checked devices and of complaints about firmware', async () => {
    const more = { 'disk/xvda': '01 01', 'network/eth0': '3', 'log/firmware-complaints': '2' };
    const { reason } = await boot({ console: reporting(more) });
    expect(reason).toContain('xvda keeps data, eth0 reaches its gateway, 2 complaints about firmware, idle when idle');
  });

  describe('on bare hardware', () => {
    const { 'hypervisor/type': _, 'hypervisor/guest_type': __, ...bare } = goodReport;
    const native = (report: Record<string, string>) =>
      runBoot({ ...request, mode: 'native' }, play({ console: ['x\r\n', reportText(report)] }), {
        goal: REPORT,
        timeoutSeconds: 5,
        reproduce: '',
      });
    const platform = (line: string) => native({ ...bare, 'log/platform': `<6>[    0.0] ${line}` });

    test('there is no hypervisor, by any way to tell', async () => {
      expect((await native(bare)).reason).toMatch(/^no hypervisor, 2 CPUs/);
      expect((await platform('Booting paravirtualized kernel on bare hardware')).verdict).toBe('pass');
      expect((await native(goodReport)).reason).toBe('the kernel found a hypervisor (xen)');
      expect((await platform('Hypervisor detected: KVM')).reason).toBe('the kernel found a hypervisor (KVM)');
      expect((await platform('Booting paravirtualized kernel on Xen HVM')).reason).toBe(
        'the kernel takes its machine for "Xen HVM"',
      );
    });
  });

  test('a report with a lost line fails', async () => {
    const lines = reportText(goodReport).split('\r\n');
    const result = await boot({ console: [...kernelLines, [...lines.slice(0, 8), ...lines.slice(9)].join('\r\n')] });
    expect([result.verdict, result.reason]).toEqual(['fail', expect.stringContaining('1 lines are missing')]);
  });

  test('old kernels say in their log what they run on', async () => {
    const { 'hypervisor/guest_type': _, ...rest } = goodReport;
    expect((await boot({ console: [...kernelLines, reportText(rest)] })).verdict).toBe('pass');
    const result = await boot({ console: [kernelLines[0], kernelLines[2], reportText(rest)] });
    expect(result.reason).toContain('does not say that it runs as PV');
  });

  test.each([
    ['poweroff', 'it powered off without a word from init, after the stage "userspace"'],
    ['reboot', 'it ended with "reboot" after the stage "userspace"'],
    ['idle', 'it hangs after the stage "userspace": no CPU waits for anything that could still happen'],
  ] as const)('without a report, an end by %s fails', async (reason, text) => {
    const result = await boot({ console: [...kernelLines, 'sh: hello\r\n'], end: { reason, crash: null } });
    expect([result.verdict, result.reason]).toEqual(['fail', text]);
  });

  test('what still runs at the end of its time is a timeout, with what there was to see', async () => {
    const script = { console: kernelLines, end: null, seenWhenHung: crashRecord({ reason: null }) };
    const result = await boot(script, { timeoutSeconds: 0.05 });
    expect([result.verdict, result.reason]).toEqual([
      'timeout',
      'still running after 0.05 s, after the stage "kernel"',
    ]);
    expect(result.consoleTail.at(-1)).toBe('[    1.000000] Run /init as init process');
  });

  test('a machine that cannot be made is an error of the tool', async () => {
    const result = await runBoot(request, () => Promise.reject(new Error('no memory left')), {
      goal: REPORT,
      timeoutSeconds: 1,
      reproduce: '',
    });
    expect([result.verdict, result.reason, result.stages]).toEqual(['error', 'no memory left', []]);
  });
});

describe('crashes', () => {
  const panic = [
    '[    2.0] VFS: Cannot open root device "xvda1"\r\n'.replace('2.0', '2.000000'),
    '[    2.100000] Kernel panic - not syncing: VFS: Unable to mount root fs\r\n',
    '[    2.200000] RIP: e030:mount_root+0x12/0x40\r\n',
  ];

  test('a panic is a crash whatever the end is called, told with what led to it', async () => {
    const result = await boot({ console: [...kernelLines, ...panic], end: { reason: 'reboot', crash: null } });
    expect([result.verdict, result.reason]).toEqual(['crash', 'kernel panic: VFS: Unable to mount root fs']);
    expect(result.crash?.panic).toContain('[    2.000000] VFS: Cannot open root device "xvda1"');
    expect(result.crash?.symbol).toBe('mount_root+0x12/0x40');
  });

  test('the mark of an early console does not hide a panic', async () => {
    const early = [
      '(early) [    0.000000] Linux\r\n',
      '(early) [    0.0] x\r\n',
      '(early) PANIC: early exception 0x0e\r\n',
    ];
    const lines = early.map(line => line.replace('(early) PANIC', '(early) [    0.000001] PANIC'));
    const result = await boot({ console: lines, end: { reason: 'crash', crash: crashRecord() } });
    expect(result.reason).toBe('kernel panic: PANIC: early exception 0x0e');
  });

  test('a kernel that hangs after its panic is ended', async () => {
    const over = '[    2.300000] ---[ end Kernel panic - not syncing: VFS ]---\r\n';
    const result = await boot({ console: [...kernelLines, ...panic, over], end: null });
    expect(result.verdict).toBe('crash');
    expect(result.wallSeconds).toBeLessThan(4);
  });

  test('a crash that only the hypervisor saw has its registers, stack, log and last hypercalls', async () => {
    const hypercall = { domain: 1, vcpu: 0, number: 29, name: 'sched_op' };
    const hypercalls = [{ ...hypercall, args: [2n, 0xffff8000n, 0n, 0n, 0n], result: BigInt.asUintN(64, -22n) }];
    const log = ['(XEN) d1v0 Unhandled page fault'];
    const result = await boot({ console: [], log, end: { reason: 'crash', crash: crashRecord({ hypercalls }) } });
    expect([result.verdict, result.reason]).toEqual(['crash', 'unhandled page fault at 0xffffffff81000042']);
    expect(result.crash).toMatchObject({
      rip: '0xffffffff81000042',
      vcpu: 0,
      registers: { rip: '0xffffffff81000042', rsp: '0xffffffff82000000' },
      stack: [
        { value: '0xffffffff81000010', symbol: null },
        { value: '0x0000000000000007', symbol: null },
      ],
      hypercalls: [{ vcpu: 0, call: 'sched_op(shutdown, arg=0xffff8000)', result: '-EINVAL' }],
      xenLog: log,
    });
  });
});

describe("a user's own initramfs as goal", () => {
  test('its first output is a pass', async () => {
    const result = await boot(
      { console: [...kernelLines, 'hello\r\n'], end: null },
      { goal: { kind: 'output', expect: null } },
    );
    expect([result.verdict, result.reason]).toEqual(['pass', 'output of user space was seen']);
  });

  test("the kernel's lines are none of its output", async () => {
    const lines = [...kernelLines, '[    1.1] late\r\n'.replace('1.1', '1.100000')];
    const result = await boot({ console: lines }, { goal: { kind: 'output', expect: null } });
    expect([result.verdict, result.reason]).toEqual([
      'fail',
      'it powered off after the stage "kernel", before output of user space was seen',
    ]);
  });

  test('a pattern is looked for in whole lines', async () => {
    const goal: Goal = { kind: 'output', expect: /^login:/ };
    expect((await boot({ console: [...kernelLines, 'log', 'in: \r\n'], end: null }, { goal })).verdict).toBe('pass');
    expect((await boot({ console: [...kernelLines, 'no login:\r\n'] }, { goal })).verdict).toBe('fail');
  });
});
