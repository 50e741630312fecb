// What init reports of the machine that the kernel found, file by file.

import { reportDirectory, reportField, reportFile } from './files.ts';
import { routine } from './language/routine.ts';
import { reportIdle, reportLog, reportTime } from './observe.ts';

const FILES: ReadonlyArray<readonly [key: string, path: string]> = [
  ['cmdline', '/proc/cmdline'],
  ...['online', 'possible', 'present'].map(n => [`cpus/${n}`, `/sys/devices/system/cpu/${n}`] as const),
  ['clocksource/current', '/sys/devices/system/clocksource/clocksource0/current_clocksource'],
  ['clocksource/available', '/sys/devices/system/clocksource/clocksource0/available_clocksource'],
  ['clockevent', '/sys/devices/system/clockevents/clockevent0/current_device'],
  ...[
    'type',
    'guest_type',
    'uuid',
    'version/major',
    'version/minor',
    'version/extra',
    'compilation/compiler',
    'compilation/compiled_by',
    'compilation/compile_date',
    'properties/capabilities',
    'properties/changeset',
    'properties/features',
    'properties/pagesize',
    'properties/virtual_start',
  ].map(n => [`hypervisor/${n}`, `/sys/hypervisor/${n}`] as const),
  ['xen/capabilities', '/proc/xen/capabilities'],
];

/** Last, so that they tell of everything that came before. */
const FINAL_FILES = [
  ['tainted', '/proc/sys/kernel/tainted'],
  ['uptime', '/proc/uptime'],
] as const;

/** What stands after this name and a colon in the file. */
const FIELDS = [
  ['cpu/vendor', '/proc/cpuinfo', 'vendor_id'],
  ['cpu/model', '/proc/cpuinfo', 'model name'],
  ['memory/total', '/proc/meminfo', 'MemTotal'],
] as const;

const DIRECTORIES = [
  ['device/xen', '/sys/bus/xen/devices', ['nodename', 'devtype', 'state']],
  ['device/xen-backend', '/sys/bus/xen-backend/devices', ['nodename', 'devtype', 'state']],
  ['device/block', '/sys/block', ['size']],
  ['device/net', '/sys/class/net', ['address', 'operstate']],
] as const;

export const reportMachine = routine('report_machine', r => {
  for (const [key, path] of FILES) r.do(reportFile(key, path));
  for (const [key, path, field] of FIELDS) r.do(reportField(key, path, field));
  for (const [key, path, files] of DIRECTORIES) r.do(reportDirectory(key, path, files.map(f => `${f}\0`).join('')));
  r.do(reportIdle(), reportLog(), reportTime());
  for (const [key, path] of FINAL_FILES) r.do(reportFile(key, path));
});
