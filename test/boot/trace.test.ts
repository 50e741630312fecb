// `domzero trace` of stock kernels: the same bytes every time, nothing of it shows in the guest, and a viewer can read it.

import { readFileSync } from 'node:fs';
import { describe, expect } from 'vitest';
import type { Mode } from '../../src/toolstack/image/modes.ts';
import { readTrace } from '../tracing/perfetto-schema.ts';
import { domzero, scratchPath } from './domzero.ts';
import { testWith } from './kernels.ts';

async function trace(kernel: readonly string[], mode: Mode, file: string, more: readonly string[] = []) {
  const path = scratchPath(file);
  const { status, out, err } = await domzero(['trace', ...kernel, '--mode', mode, '-o', path, ...more]);
  expect(status, err).toBe(0);
  return { bytes: readFileSync(path), console: out };
}

describe.concurrent('a trace', { timeout: 1_800_000 }, () => {
  testWith('cloud', 'is the same twice, and the guest does not notice', async kernel => {
    const disk = scratchPath('disk.img', new Uint8Array(1 << 20));
    const devices = ['--cpus', '2', '--disk', `${disk},overlay`];
    const [first, second, untraced] = await Promise.all([
      trace(kernel, 'pv', 'first.txt', devices),
      trace(kernel, 'pv', 'second.txt', devices),
      domzero(['run', ...kernel, '--mode', 'pv', '--clock', 'virtual', ...devices]),
    ]);
    expect(Buffer.compare(first.bytes, second.bytes)).toBe(0);
    expect(untraced.status).toBe(0);
    expect(first.console).toBe(untraced.out);

    const text = first.bytes.toString();
    const lines = text.split('\n');
    expect(lines.length).toBeGreaterThan(10_000);
    expect(lines.pop()).toBe('');
    const form = /^ {0,3}\d+\.\d{9} (?:host|d\d+(?:v\d+)?) +(?:hypercall|event|grant|xenstore|sched) +\S/;
    expect(lines.filter(line => !form.test(line))).toEqual([]);
    // From the first instruction to the last call.
    const call = lines.find(line => line.includes(' hypercall '));
    expect(call).toMatch(
      /^ {3}0\.0000\d+ d1v0 {2}hypercall xen_version\(get_features, arg=\{submap_idx=0, submap=0x\w+\}\) = 0$/,
    );
    expect(lines.findLast(line => line.includes(' hypercall '))).toMatch(
      /sched_op\(shutdown, arg=\{reason=poweroff\}\) = 0$/,
    );
    const seen = [
      / d1v0 {2}event {5}send port \d+ to the host$/m,
      / d1v1 {2}event {5}upcall$/m,
      / host {2}grant {5}map d1 ref \d+ read-write$/m,
      / d1 {4}xenstore {2}request WRITE \(\d+\)(?: tx \d+)? "device\/vbd\/\d+\/state" "4"$/m,
      / d1 {4}xenstore {2}event "backend-id"|event "\/local\/domain\/0\/backend\/vbd\/1\/\d+\/state"/m,
      / d1v1 {2}sched {5}block$/m,
      /mmuext_op\(uops=\[\{cmd=new_baseptr, mfn=0x\w+\}, \{cmd=new_user_baseptr, mfn=0x\w+\}\], count=2/m,
      /vcpu_op\(up, vcpuid=1, arg=NULL\) = 0$/m,
    ];
    expect(seen.filter(what => !what.test(text))).toEqual([]);
    // Nothing that a stock kernel does is without a name.
    expect(lines.filter(line => /hypercall hypercall_|\(cmd=\d|cmd=0x/.test(line))).toEqual([]);
  });

  testWith('generic', 'of Dom0 is read by a viewer', async kernel => {
    const { bytes } = await trace(kernel, 'dom0', 'dom0.pftrace');
    const events = readTrace(bytes);
    const names = new Set(events.map(({ name }) => name));
    expect(events.length).toBeGreaterThan(10_000);
    for (const name of [
      'physdev_op.map_pirq',
      'platform_op.enter_acpi_sleep',
      'memory_op.machine_memory_map',
      'request WATCH',
      'run',
    ]) {
      expect(names).toContain(name);
    }
    expect(new Set(events.map(({ track }) => track))).toEqual(new Set(['host', 'd0', 'd0v0']));
    const timer = events.find(({ name, arguments: a }) => name === 'bind' && String(a.end).startsWith('VIRQ timer'));
    expect(timer).toMatchObject({ category: 'event', type: 'instant' });
  });

  testWith('cloud', 'of HVM guests has their parameters and upcalls', async kernel => {
    for (const mode of ['pvh', 'pvhvm'] as const) {
      const { bytes } = await trace(kernel, mode, `${mode}.txt`, ['--events', 'hypercall,event']);
      const text = bytes.toString();
      const wanted = [
        /hvm_op\(get_param, arg=\{domid=DOMID_SELF, index=console_evtchn, value=\w+\}\) = 0$/m,
        / d1v0 {2}event {5}upcall$/m,
      ];
      expect(wanted.filter(what => !what.test(text))).toEqual([]);
      expect(new Set(text.split('\n').map(line => line.slice(21, 31).trim()))).toEqual(
        new Set(['hypercall', 'event', '']),
      );
    }
  });
});
