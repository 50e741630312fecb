// What init found, typed, from the console's bytes (PROTOCOL.md). A guest can print anything: nothing here throws, and
// what is kept is bounded.
import { PROTOCOL_VERSION } from './protocol.ts';
import { ReportLineReader, unescaped } from './report-lines.ts';

/** A PV device as its driver sees it. `state` is xenbus' word for it, such as Connected. */
export interface XenDevice {
  name: string;
  nodename: string | null;
  devtype: string | null;
  state: string | null;
}

export interface InterruptCount {
  /** LOC, CAL, 24: */
  name: string;
  description: string;
  /** How many there were, over all CPUs, while the machine slept. */
  count: number;
}

export interface IdleReport {
  /** What one second of sleep took by the guest's clock. */
  nanoseconds: number | null;
  /** Time of all CPUs together over the sleep, in ticks of 10 ms. */
  busyTicks: number | null;
  idleTicks: number | null;
  stolenTicks: number | null;
  interrupts: number | null;
  contextSwitches: number | null;
  interruptCounts: InterruptCount[];
}

/** Lines of the kernel's log: the first of them, and how many there are. */
export interface LogLines {
  count: number;
  lines: string[];
}

export interface InitReport {
  /** The version that the guest's init speaks; null before its first line. */
  protocol: number | null;
  /** All lines have come, the last one too. */
  complete: boolean;
  /** Lines that must have been there and were not understood. */
  lostLines: number;
  uname: { sysname: string; nodename: string; release: string; version: string; machine: string } | null;
  hypervisor: {
    type: string;
    guestType: string | null;
    uuid: string | null;
    /** For example "4.17.5"; null where one of its parts is missing. */
    version: string | null;
    compilation: { compiler: string | null; compiledBy: string | null; compileDate: string | null };
    properties: {
      capabilities: string | null;
      changeset: string | null;
      features: string | null;
      pageSize: string | null;
      virtualStart: string | null;
    };
  } | null;
  /** /proc/xen/capabilities, for example "control_d". */
  xenCapabilities: string | null;
  cmdline: string | null;
  /** CPU numbers. */
  cpus: { online: number[]; possible: number[]; present: number[] };
  cpuVendor: string | null;
  cpuModel: string | null;
  clocksource: string | null;
  availableClocksources: string[];
  clockevent: string | null;
  memTotalKiB: number | null;
  xenDevices: XenDevice[];
  /** Devices that this machine serves to others (Dom0). */
  xenBackends: XenDevice[];
  /** `sectors` of 512 bytes. */
  blockDevices: Array<{ name: string; sectors: number | null }>;
  netDevices: Array<{ name: string; address: string | null; state: string | null }>;
  idle: IdleReport | null;
  uptimeSeconds: number | null;
  /** The wall clock at the end of the report, seconds since 1970. */
  realtimeSeconds: number | null;
  /** The kernel's taint bits; 0 when nothing is wrong with it. */
  tainted: number | null;
  /** Lines of the kernel's log that tell of trouble. */
  alarms: LogLines | null;
  /** Lines of the kernel's log about firmware that is not as it should be, with which it can live. */
  firmwareComplaints: LogLines | null;
  /** "Xen HVM" where the log says "Hypervisor detected: Xen HVM". */
  detectedHypervisor: string | null;
  /** "bare hardware" where the log says "Booting paravirtualized kernel on bare hardware". */
  bootedOn: string | null;
  /** Modules that init was to load, in that order; `error` is null where it was loaded, else an error number. */
  modules: Array<{ path: string; error: number | null }>;
  /** Block devices that init wrote to and read: checksums, or an error number. */
  diskChecks: Array<{ name: string; written: string | null; read: string | null; error: number | null }>;
  /** Interfaces that init brought up: how many of its echo requests the gateway answered, or an error number. */
  networkChecks: Array<{ name: string; echoes: number | null; error: number | null }>;
  /** File systems that could not be mounted, with the error number. */
  failedMounts: Record<string, number>;
  /** How the command ended, where one was given. */
  exitStatus: number | null;
  exitSignal: number | null;
  /** What the kernel did not have: error numbers by key. */
  absent: Record<string, number>;
}

/** More than any honest report has. */
const ENTRY_LIMIT = 5000;
const CHARACTER_LIMIT = 4 << 20;
const CPU_LIMIT = 4096;

export class ReportParser {
  private readonly reader = new ReportLineReader();
  private readonly values = new Map<string, string[]>();
  private readonly errors = new Map<string, number>();
  /** Keys as they came. */
  private readonly order: string[] = [];
  private readonly numbers = new Set<number>();
  private entries = 0;
  private characters = 0;
  private last = 0;
  private protocol: number | null = null;
  private done = false;

  /** The console's next bytes, split anywhere. Gives the lines of the report that they completed, as they came. */
  push(bytes: Uint8Array): string[] {
    const bodies: string[] = [];
    for (const { number, body } of this.reader.push(bytes)) {
      if (this.done || this.numbers.has(number)) continue;
      if (++this.entries > ENTRY_LIMIT || (this.characters += body.length) > CHARACTER_LIMIT) continue;
      this.numbers.add(number);
      this.last = Math.max(this.last, number);
      this.take(body);
      bodies.push(body);
    }
    return bodies;
  }

  /** Has init come so far as to power the machine off? */
  get finished(): boolean {
    return this.done;
  }

  private take(body: string) {
    const first = /^protocol (\d+)$/.exec(body);
    if (first) this.protocol = Number(first[1]);
    if (body === 'done') this.done = true;
    const [, key, sign, value] = /^(\S+) ([=!]) ([\s\S]*)$/.exec(body) ?? [];
    if (key === undefined) return;
    const name = unescaped(key);
    if (!this.values.has(name) && !this.errors.has(name)) this.order.push(name);
    if (sign === '!') this.errors.set(name, Number(value));
    else if (this.values.has(name)) this.values.get(name)?.push(unescaped(value));
    else this.values.set(name, [unescaped(value)]);
  }

  /** All that is known so far. */
  get report(): InitReport {
    const idle = idleReport(this.values);
    const exit = this.number('command/exit');
    const mounts = [...this.errors].filter(([key]) => key.startsWith('mount/'));
    const lost = this.last - this.numbers.size;
    return {
      protocol: this.protocol,
      complete: this.done && lost === 0 && this.protocol === PROTOCOL_VERSION,
      lostLines: lost,
      uname: this.uname(),
      hypervisor: this.hypervisor(),
      xenCapabilities: this.text('xen/capabilities'),
      cmdline: this.text('cmdline'),
      cpus: { online: this.cpus('online'), possible: this.cpus('possible'), present: this.cpus('present') },
      cpuVendor: this.text('cpu/vendor'),
      cpuModel: this.text('cpu/model'),
      clocksource: this.text('clocksource/current'),
      availableClocksources: (this.text('clocksource/available') ?? '').split(/\s+/).filter(word => word !== ''),
      clockevent: this.text('clockevent'),
      memTotalKiB: this.number('memory/total'),
      xenDevices: this.xenDevices('device/xen'),
      xenBackends: this.xenDevices('device/xen-backend'),
      blockDevices: this.devices('device/block').map(name => ({
        name,
        sectors: this.number(`device/block/${name}/size`),
      })),
      netDevices: this.devices('device/net').map(name => ({
        name,
        address: this.text(`device/net/${name}/address`),
        state: this.text(`device/net/${name}/operstate`),
      })),
      idle,
      uptimeSeconds: this.number('uptime'),
      realtimeSeconds: this.number('time/realtime'),
      tainted: this.number('tainted'),
      alarms: this.logLines('log/alarm'),
      firmwareComplaints: this.logLines('log/firmware-complaint'),
      detectedHypervisor: this.platform(/Hypervisor detected: (.*)$/),
      bootedOn: this.platform(/Booting paravirtualized kernel on (.*)$/),
      modules: this.named('module').map(path => ({ path, error: this.error(`module/${path}`) })),
      diskChecks: this.named('disk').map(name => {
        const [written = null, read = null] = this.text(`disk/${name}`)?.split(' ') ?? [];
        return { name, written, read, error: this.error(`disk/${name}`) };
      }),
      networkChecks: this.named('network').map(name => ({
        name,
        echoes: this.number(`network/${name}`),
        error: this.error(`network/${name}`),
      })),
      failedMounts: Object.fromEntries(mounts.map(([key, errno]) => [key.slice('mount/'.length), errno])),
      exitStatus: exit,
      exitSignal: this.number('command/signal'),
      absent: Object.fromEntries([...this.errors].filter(([key]) => !key.startsWith('mount/'))),
    };
  }

  private text(key: string): string | null {
    return this.values.get(key)?.[0] ?? null;
  }

  /** The number that a value starts with. */
  private number(key: string): number | null {
    const digits = /^\d+(\.\d+)?/.exec(this.text(key) ?? '')?.[0];
    return digits === undefined ? null : Number(digits);
  }

  private uname(): InitReport['uname'] {
    const [sysname, nodename, release, version, machine] = ['sysname', 'nodename', 'release', 'version', 'machine'].map(
      field => this.text(`uname/${field}`),
    );
    if (sysname === null || nodename === null || release === null || version === null || machine === null) return null;
    return { sysname, nodename, release, version, machine };
  }

  private hypervisor(): InitReport['hypervisor'] {
    const type = this.text('hypervisor/type');
    if (type === null) return null;
    const at = (key: string) => this.text(`hypervisor/${key}`);
    const [major, minor] = [at('version/major'), at('version/minor')];
    return {
      type,
      guestType: at('guest_type'),
      uuid: at('uuid'),
      version: major === null || minor === null ? null : `${major}.${minor}${at('version/extra') ?? ''}`,
      compilation: {
        compiler: at('compilation/compiler'),
        compiledBy: at('compilation/compiled_by'),
        compileDate: at('compilation/compile_date'),
      },
      properties: {
        capabilities: at('properties/capabilities'),
        changeset: at('properties/changeset'),
        features: at('properties/features'),
        pageSize: at('properties/pagesize'),
        virtualStart: at('properties/virtual_start'),
      },
    };
  }

  private cpus(which: string): number[] {
    return cpuList(this.text(`cpus/${which}`) ?? '');
  }

  /** Lines that came each as `key`, and their number as `keys`. */
  private logLines(key: string): LogLines | null {
    const count = this.number(`${key}s`);
    return count === null ? null : { count, lines: this.values.get(key) ?? [] };
  }

  private platform(pattern: RegExp): string | null {
    for (const line of this.values.get('log/platform') ?? []) {
      const found = pattern.exec(line);
      if (found !== null) return found[1];
    }
    return null;
  }

  private error(key: string): number | null {
    return this.errors.get(key) ?? null;
  }

  /** What stands behind this prefix, in the order of the report. */
  private named(prefix: string): string[] {
    return this.order.filter(key => key.startsWith(`${prefix}/`)).map(key => key.slice(prefix.length + 1));
  }

  /** Names of a directory's entries, in the order of the report. */
  private devices(directory: string): string[] {
    const names = this.named(directory)
      .filter(rest => rest.includes('/'))
      .map(rest => rest.slice(0, rest.lastIndexOf('/')));
    return [...new Set(names)];
  }

  private xenDevices(directory: string): XenDevice[] {
    return this.devices(directory).map(name => ({
      name,
      nodename: this.text(`${directory}/${name}/nodename`),
      devtype: this.text(`${directory}/${name}/devtype`),
      state: this.text(`${directory}/${name}/state`),
    }));
  }
}

/** `0-2,5` as numbers (the kernel's cpulist format). */
export function cpuList(text: string): number[] {
  const cpus: number[] = [];
  for (const part of text.split(',')) {
    const range = /^\s*(\d{1,5})(?:-(\d{1,5}))?\s*$/.exec(part);
    if (!range) continue;
    const end = Number(range[2] ?? range[1]);
    for (let cpu = Number(range[1]); cpu <= end && cpus.length < CPU_LIMIT; cpu++) cpus.push(cpu);
  }
  return cpus;
}

/** Fields of /proc/stat's cpu lines (Documentation/filesystems/proc.rst): user, nice, system, idle, iowait, … */
const IDLE = [3, 4];
const BUSY = [0, 1, 2, 5, 6];
const STEAL = 7;

function idleReport(values: ReadonlyMap<string, string[]>): IdleReport | null {
  const seconds = values.get('idle/seconds')?.[0];
  if (seconds === undefined) return null;
  const stat = (when: string, name: string): number[] | undefined =>
    values
      .get(`idle/stat-${when}`)
      ?.map(line => line.split(/\s+/))
      .find(words => words[0] === name)
      ?.slice(1)
      .map(Number);
  const grown = (name: string, fields: readonly number[]): number | null => {
    const before = stat('before', name);
    const after = stat('after', name);
    if (!before || !after) return null;
    const sum = fields.reduce((n, field) => n + (after[field] ?? 0) - (before[field] ?? 0), 0);
    return Number.isFinite(sum) ? sum : null;
  };
  return {
    nanoseconds: Math.round(Number(seconds) * 1e9),
    busyTicks: grown('cpu', BUSY),
    idleTicks: grown('cpu', IDLE),
    stolenTicks: grown('cpu', [STEAL]),
    interrupts: grown('intr', [0]),
    contextSwitches: grown('ctxt', [0]),
    interruptCounts: interruptCounts(values),
  };
}

function interruptCounts(values: ReadonlyMap<string, string[]>): InterruptCount[] {
  const before = new Map((values.get('idle/interrupts-before') ?? []).map(interruptLine).map(i => [i.name, i.count]));
  return (values.get('idle/interrupts-after') ?? [])
    .map(interruptLine)
    .map(({ name, description, count }) => ({ name, description, count: count - (before.get(name) ?? 0) }))
    .filter(({ count }) => count !== 0);
}

/** `LOC:   219   172   Local timer interrupts`: a count for each CPU, added up. */
function interruptLine(line: string): InterruptCount {
  const [, name, counts, description] = /^\s*([^:]*):((?:\s+\d+(?=\s|$))*)\s*(.*)$/s.exec(line) ?? [];
  const count = (counts ?? '')
    .split(/\s+/)
    .filter(word => word !== '')
    .reduce((n, word) => n + Number(word), 0);
  return { name: name ?? line, description: description ?? '', count };
}
