// The control domain's hypercalls that carry an interface version: another one is -EACCES, whoever asks and for whatever, by which tools find
// out. It comes before the right to call, and changes nothing. Source: do_domctl(), do_sysctl(), do_platform_op() of Xen 4.17.
import { expect, it } from 'vitest';
import { struct, u16, u32 } from '../../../src/abi/struct.ts';
import { DOMCTL } from '../../../src/abi/xen/domctl.ts';
import { XENPF } from '../../../src/abi/xen/platform.ts';
import { SYSCTL } from '../../../src/abi/xen/sysctl.ts';
import { TestHost } from '../harness.ts';

const head = struct('head', { cmd: u32, interfaceVersion: u32, domain: u16 });

it.each([
  ['sysctl', SYSCTL.sched_id, 0x15],
  ['domctl', DOMCTL.pausedomain, 0x15],
  ['platform_op', XENPF.get_cpuinfo, 0x03000001],
] as const)('%s', (name, cmd, version) => {
  const host = new TestHost();
  const dom0 = host.guest({ id: 0, isPrivileged: true });
  const guest = host.guest();
  const asked = (caller: typeof dom0, interfaceVersion: number, operation: number = cmd): string =>
    caller.try(name, caller.put(head, [{ cmd: operation, interfaceVersion, domain: guest.domain.id }]));
  for (const caller of [dom0, guest]) {
    for (const other of [0, version - 1, version + 1, 0xffffffff]) {
      expect(asked(caller, other)).toBe('-EACCES');
      expect(asked(caller, other, 999)).toBe('-EACCES');
    }
  }
  expect(guest.domain.pauseCount).toBe(0);
  expect(asked(guest, version)).toBe('-EPERM');
  expect(asked(dom0, version)).toBe('0');
  expect(guest.domain.pauseCount).toBe(name === 'domctl' ? 1 : 0);
});
