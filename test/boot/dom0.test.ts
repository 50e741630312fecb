// Stock kernels as Dom0, and what Debian's own tools say in one.
import { describe, expect, test } from 'vitest';
import { check, domzero, machineName, scratchPath } from './domzero.ts';
import { stockKernel, testWith } from './kernels.ts';
import { outputOf } from './script-initramfs.ts';
import { xenToolsInitramfs } from './xen-tools.ts';

describe.concurrent('as Dom0', { timeout: 3_600_000 }, () => {
  for (const machine of [{}, { cpus: 4 }, { cpu: 'skylake', memory: '256M' }]) {
    testWith('generic', machineName(machine), async kernel => {
      const { status, result, text } = await check(kernel, 'dom0', machine);
      expect(result.verdict, text).toBe('pass');
      expect(status).toBe(0);
      const { guest } = result;
      expect(guest?.hypervisor).toMatchObject({ type: 'xen', guestType: 'PV', version: '4.17.7' });
      expect(guest?.cpus.online).toHaveLength('cpus' in machine ? (machine.cpus ?? 1) : 1);
      expect(guest?.alarms).toMatchObject({ count: 0 });
    });
  }

  for (const machine of [{}, { cpus: 4, memory: '1G' }]) {
    testWith('generic', `PVH, ${machineName(machine)}`, async kernel => {
      const { status, result, text } = await check(kernel, 'dom0pvh', machine);
      expect(result.verdict, text).toBe('pass');
      expect(status).toBe(0);
      const { guest } = result;
      expect(guest?.hypervisor).toMatchObject({ type: 'xen', guestType: 'PVH', version: '4.17.7' });
      expect(guest?.cpus.online).toHaveLength('cpus' in machine ? (machine.cpus ?? 1) : 1);
      expect(guest?.alarms).toMatchObject({ count: 0 });
    });
  }

  testWith('cloud', 'is skipped, since the image itself says that it cannot be Dom0', async kernel => {
    const { status, out } = await domzero(['check', ...kernel, '--modes', 'dom0,dom0pvh']);
    expect(status, out).toBe(4);
    expect(out).toMatch(/dom0 +skip .*(?:dom0|CONFIG_XEN)/i);
    expect(out).toMatch(/dom0pvh +skip .*(?:dom0|CONFIG_XEN)/i);
  });
});

describe("Debian's tools in Dom0", { timeout: 600_000 }, () => {
  test('xl and the XenStore tools print what they print on genuine Xen', async context => {
    const kernel = stockKernel('generic', context);
    const commands = [
      'cat /proc/xen/capabilities',
      'xl info',
      'xl list',
      'xl vcpu-list',
      'xl uptime',
      'xl debug-keys q',
      'xl dmesg',
      'xenstore-write /tool/test hello; xenstore-read /tool/test; xenstore-ls /tool',
      'xenstore-watch -n 1 /tool/test',
      'lsevtchn 0',
      'xen-diag gnttab_query_size 0',
    ];
    const initrd = scratchPath('tools.cpio', await xenToolsInitramfs(kernel, commands));
    const { out } = await domzero([
      ...['run', ...kernel, '--mode', 'dom0', '--clock', 'virtual', '--cpus', '2', '--initrd', initrd],
      ...['--append', 'rdinit=/init quiet', '--timeout', '500'],
    ]);
    const [capabilities, info, list, vcpus, uptime, keys, dmesg, store, watch, channels, grants] = commands.map(
      (_, i) => outputOf(out, i),
    );
    expect(capabilities.lines, out).toEqual(['control_d']);

    expect(info.status).toBe(0);
    const values = Object.fromEntries(info.lines.map(line => line.split(/\s*: /, 2)));
    expect(values).toMatchObject({
      nr_cpus: '2',
      max_cpu_id: '1',
      nr_nodes: '1',
      cpu_mhz: '1000.000',
      virt_caps: expect.stringMatching(/\bpv\b.*\bhvm\b.*\bhap\b/),
      xen_major: '4',
      xen_minor: '17',
      xen_extra: '.7',
      xen_caps: 'xen-3.0-x86_64 xen-3.0-x86_32p hvm-3.0-x86_32 hvm-3.0-x86_32p hvm-3.0-x86_64 ',
      xen_scheduler: 'credit2',
      xen_pagesize: '4096',
      platform_params: 'virt_start=0xffff800000000000',
    });
    expect(Number(values.total_memory)).toBeGreaterThan(512);

    expect(list.lines[0]).toMatch(/^Name +ID +Mem VCPUs\tState\tTime\(s\)$/);
    expect(list.lines[1]).toMatch(/^Domain-0 +0 +512 +2 +r----- +\d+\.\d$/);
    expect(vcpus.lines.slice(1)).toEqual([
      expect.stringMatching(/^Domain-0 +0 +0 +0 +(?:r--|-b-) +\d+\.\d +all \/ all$/),
      expect.stringMatching(/^Domain-0 +0 +1 +0 +(?:r--|-b-) +\d+\.\d +all \/ all$/),
    ]);
    expect(uptime.lines[1]).toMatch(/^Domain-0 +0 +\d+:\d\d:\d\d/);
    expect([keys.status, dmesg.status]).toEqual([0, 0]);
    expect(dmesg.lines).toContain('(XEN) General information for domain 0:');
    expect(store).toEqual({ lines: ['hello', 'xenstored = ""', 'test = "hello"'], status: 0 });
    expect(watch).toEqual({ lines: ['/tool/test'], status: 0 });
    expect(channels.lines.join('\n')).toMatch(/VCPU 0/);
    expect(grants.lines[0]).toMatch(/^domid=0: nr_frames=\d+, max_nr_frames=\d+$/);
  });
});
