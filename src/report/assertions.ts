// What a pass asserts about what the built-in init reported: more than that user space was reached.

import { isDom0 as isDom0Mode, type Mode } from '../toolstack/image/modes.ts';
import { ECHOES } from '../toolstack/init/protocol.ts';
import type { InitReport } from '../toolstack/init/report-parser.ts';
import type { CheckedDevice } from './boot.ts';

export interface Expected {
  readonly mode: Mode;
  readonly cpus: number;
  /** uname -r of the image; empty where unknown. */
  readonly release: string;
  /** The mode as the kernel's log names it ("Booting paravirtualized kernel on …"), for kernels without sysfs' guest_type. */
  readonly bootLine: string | null;
  /** Devices that init was told to check. */
  readonly checked: readonly CheckedDevice[];
}

/** Of one CPU's time over the second in which init sleeps. Ticks of 10 ms. */
const BUSY_LIMIT = 50;
/** Interrupts in that second. An idle kernel has a few dozen a CPU, one with its tick on at 1000 Hz a thousand. */
const INTERRUPT_LIMIT_PER_CPU = 5000;
/** How long the second may take. Nanoseconds. */
const SLEEP_LIMIT = 3e9;

/** What does not hold, each as a clause without a full stop; empty for a pass. */
export function violations(report: InitReport, expected: Expected): string[] {
  const found = [
    modeViolation(report, expected),
    report.complete ? null : `init's report is not complete (${report.lostLines} lines are missing)`,
    releaseViolation(report, expected.release),
    cpuViolation(report, expected.cpus),
    ...deviceViolations(report),
    ...checkViolations(report),
    ...uncheckedViolations(report, expected),
    ...idleViolations(report, expected.cpus),
    alarmViolation(report),
  ];
  return found.filter(violation => violation !== null);
}

/** What /sys/hypervisor/guest_type says in each mode; null where there is no hypervisor. */
const GUEST_TYPE: Readonly<Record<Mode, readonly string[] | null>> = {
  native: null,
  dom0: ['PV'],
  dom0pvh: ['PVH'],
  pv: ['PV'],
  pvh: ['PVH'],
  pvhvm: ['HVM'],
};
/** What the kernel's log says it boots on, by guest_type (pv_info.name). */
const BOOT_LINES: Readonly<Record<string, RegExp>> = { PV: /^Xen$/, PVH: /^Xen PVH$/, HVM: /^Xen HVM$/ };

function modeViolation(report: InitReport, expected: Expected): string | null {
  const { hypervisor, xenCapabilities } = report;
  const { mode } = expected;
  const bootLine = report.bootedOn ?? expected.bootLine;
  const types = GUEST_TYPE[mode];
  if (types === null) return bareViolation(report, bootLine);
  if (hypervisor?.type !== 'xen') return 'the kernel did not find Xen';
  const { guestType } = hypervisor;
  const named = types.join(' or ');
  if (guestType !== null) {
    if (!types.includes(guestType)) return `the kernel says that it runs as ${guestType}, not as ${named}`;
  } else if (bootLine === null || !types.some(type => BOOT_LINES[type].test(bootLine))) {
    return `the kernel does not say that it runs as ${named} (it boots on "${bootLine ?? ''}")`;
  }
  const isDom0 = xenCapabilities?.includes('control_d') ?? hasDom0Feature(hypervisor.properties.features);
  if (isDom0Mode(mode) && !isDom0) return 'the kernel does not take itself for Dom0';
  if (!isDom0Mode(mode) && isDom0) return 'the kernel takes itself for Dom0';
  return null;
}

/** Where xenfs is a module that is not there, /sys/hypervisor/properties/features has it too (XENFEAT_dom0, bit 11). */
function hasDom0Feature(features: string | null): boolean {
  return (Number.parseInt(features ?? '0', 16) & (1 << 11)) !== 0;
}

/** On bare hardware there is no hypervisor, by any of the kernel's ways to tell. */
function bareViolation({ hypervisor, detectedHypervisor }: InitReport, bootLine: string | null): string | null {
  const found = hypervisor?.type ?? detectedHypervisor;
  if (found !== null) return `the kernel found a hypervisor (${found})`;
  // Kernels without CONFIG_PARAVIRT say nothing.
  return bootLine === null || bootLine === 'bare hardware' ? null : `the kernel takes its machine for "${bootLine}"`;
}

function releaseViolation({ uname }: InitReport, release: string): string | null {
  if (uname === null) return 'the kernel does not say its version';
  return release === '' || uname.release === release ? null : `another kernel reported: ${uname.release}`;
}

function cpuViolation({ cpus }: InitReport, asked: number): string | null {
  const online = cpus.online.length;
  return online === asked ? null : `${online} of ${asked} CPUs are online`;
}

function deviceViolations({ xenDevices }: InitReport): string[] {
  return xenDevices
    .filter(({ state }) => state !== null && state !== 'Connected')
    .map(({ nodename, name, state }) => `${nodename ?? name} is ${state}, not Connected`);
}

/** What init was told to do, and to check. */
function checkViolations({ modules, diskChecks, networkChecks }: InitReport): Array<string | null> {
  return [
    ...modules.map(({ path, error }) =>
      error === null ? null : `the module ${path.replace(/^.*\//, '')} was not loaded (error ${error})`,
    ),
    ...diskChecks.map(({ name, written, read, error }) => {
      if (error !== null) return `${name} cannot be written and read (error ${error})`;
      return written === read ? null : `${name} does not give back what was written to it`;
    }),
    ...networkChecks.map(({ name, echoes, error }) => {
      if (error !== null) return `${name} does not come up (error ${error})`;
      return echoes === ECHOES ? null : `over ${name} the gateway answered ${echoes} of ${ECHOES} echo requests`;
    }),
  ];
}

/** Checks that should have been made. Under Xen the device is a PV one, and stays connected afterwards. */
function uncheckedViolations(report: InitReport, { checked, mode }: Expected): Array<string | null> {
  const { diskChecks, networkChecks, xenDevices } = report;
  const isGuest = mode === 'pv' || mode === 'pvh' || mode === 'pvhvm';
  const kinds = {
    disk: { checks: diskChecks, devtype: 'vbd', named: 'disk' },
    network: { checks: networkChecks, devtype: 'vif', named: 'network' },
  };
  return checked.map(device => {
    const { checks, devtype, named } = kinds[device];
    if (checks.length === 0) return `init did not check the ${named}`;
    return isGuest && !xenDevices.some(found => found.devtype === devtype) ? `the kernel has no PV ${named}` : null;
  });
}

function idleViolations({ idle }: InitReport, cpus: number): Array<string | null> {
  if (idle === null) return ['init did not report how idle the machine is'];
  const { nanoseconds, busyTicks, interrupts, interruptCounts } = idle;
  const most = [...interruptCounts].sort((a, b) => b.count - a.count)[0];
  return [
    nanoseconds !== null && nanoseconds > SLEEP_LIMIT
      ? `a sleep of one second took ${(nanoseconds / 1e9).toFixed(1)} s`
      : null,
    nanoseconds !== null && nanoseconds < 1e9 ? `a sleep of one second took ${nanoseconds} ns` : null,
    busyTicks !== null && busyTicks > BUSY_LIMIT
      ? `not idle when idle: ${busyTicks * 10} ms of CPU time in a second of sleep`
      : null,
    interrupts !== null && interrupts > INTERRUPT_LIMIT_PER_CPU * cpus
      ? `${interrupts} interrupts in a second of sleep${most === undefined ? '' : `, most of them ${most.name}`}`
      : null,
  ];
}

function alarmViolation({ alarms }: InitReport): string | null {
  if (alarms === null || alarms.count === 0) return null;
  const more = alarms.count > 1 ? ` (and ${alarms.count - 1} more lines)` : '';
  return `the kernel's log tells of trouble: ${alarms.lines[0]?.replace(/^(?:<\d+>)?\[[^\]]*\] /, '') ?? ''}${more}`;
}
