/**
 * What the toolstack writes into XenStore for a new domain: the same nodes, values and permissions as libxl 4.17, in the
 * same transactions. Source: libxl__domain_make, libxl__build_post and libxl__device_console_add in tools/libs/light;
 * docs/misc/xenstore-paths.pandoc says what each means.
 */
import type { XsPermission } from '../../protocols/xenstore.ts';
import type { HostAccess, HostClient } from './host-client.ts';
import { domainPath } from './paths.ts';

export interface DomainTreeSpec {
  domid: number;
  /** 36 characters, lower case. */
  uuid: string;
  name: string;
  type: 'pv' | 'pvh' | 'hvm';
  maxVcpus: number;
  /** CPUs online from the start; by default all. */
  onlineVcpus?: number;
  /** What the guest should balloon to, and the most that it can have. KiB. */
  targetKb: number;
  maxKb: number;
  videoKb?: number;
  /** Ring pages as the guest was told of them (a machine frame for PV), and its ports. */
  store: { ringRef: number; port: number };
  console: { ringRef: number; port: number; tty?: string };
  kernel?: string;
  ramdisk?: string;
  commandLine?: string;
  /** Seconds since 1970. */
  startTime?: number;
  /** Further nodes below platform/. */
  platform?: Readonly<Record<string, string>>;
}

/** How much of the guest's output xenconsoled keeps; the guest is told so by console/limit. */
const CONSOLE_LIMIT = 1048576;
/** What libxl adds to maxmem on a HVM domain, taken back from memory/target. KiB. */
const MAXMEM_SLACK = 1024;

const NOBODY: readonly XsPermission[] = [{ domid: 0, access: 'n' }];

/** Owned by Dom0, readable by the guest. */
function readOnly(domid: number): readonly XsPermission[] {
  return [
    { domid: 0, access: 'n' },
    { domid, access: 'r' },
  ];
}

/** Owned by the guest, nobody else's business. */
function guestOwned(domid: number): readonly XsPermission[] {
  return [{ domid, access: 'n' }];
}

function makeNode(access: HostAccess, path: string, permissions: readonly XsPermission[]): void {
  access.write(path, '');
  access.setPermissions(path, permissions);
}

function writeAll(access: HostAccess, base: string, values: Readonly<Record<string, string | undefined>>): void {
  for (const [name, value] of Object.entries(values)) if (value !== undefined) access.write(`${base}/${name}`, value);
}

/** What is there of Dom0 before any guest: xen-init-dom0. */
export function initDom0Tree(client: HostClient): void {
  writeAll(client, domainPath(0), { domid: '0', name: 'Domain-0' });
  client.write('/local/pool/0/name', 'Pool-0');
}

/** The domain's directories, before it is built (libxl__domain_make). */
export function makeDomainTree(client: HostClient, spec: DomainTreeSpec): void {
  const { domid } = spec;
  const dom = domainPath(domid);
  const vm = `/vm/${spec.uuid}`;
  const libxl = `/libxl/${domid}`;
  const ro = readOnly(domid);
  const rw = guestOwned(domid);
  client.transaction(access => {
    for (const [path, permissions] of [
      [dom, ro],
      [vm, ro],
      [libxl, NOBODY],
    ] as const) {
      access.rmIfThere(path);
      makeNode(access, path, permissions);
    }
    makeNode(access, `${libxl}/device`, NOBODY);
    access.write(`${dom}/vm`, vm);
    access.write(`${dom}/name`, spec.name);
    access.write(`${vm}/name`, spec.name);

    for (const name of ['cpu', 'memory', 'device', 'control']) makeNode(access, `${dom}/${name}`, ro);
    makeNode(access, `${dom}/device/suspend/event-channel`, rw);
    if (spec.type === 'hvm') makeNode(access, `${dom}/hvmloader`, ro);
    for (const name of ['shutdown', 'feature-poweroff', 'feature-reboot', 'feature-suspend']) {
      makeNode(access, `${dom}/control/${name}`, rw);
    }
    if (spec.type === 'hvm') {
      for (const name of ['feature-s3', 'feature-s4']) makeNode(access, `${dom}/control/${name}`, rw);
    }
    makeNode(access, `${dom}/control/sysrq`, rw);
    for (const name of ['data', 'drivers', 'feature', 'attr', 'error']) makeNode(access, `${dom}/${name}`, rw);

    access.write(`${vm}/uuid`, spec.uuid);
    writeAll(access, `${dom}/platform`, spec.platform ?? {});
    access.write(`${dom}/control/platform-feature-multiprocessor-suspend`, '1');
    access.write(`${dom}/control/platform-feature-xs_reset_watches`, '1');
    access.write(`${libxl}/type`, spec.type);
  });
  client.write(`${libxl}/dm-version`, 'qemu_xen');
}

/** What is known once it has been built (libxl__build_post); the domain can be introduced afterwards. */
export function publishDomainTree(client: HostClient, spec: DomainTreeSpec): void {
  const dom = domainPath(spec.domid);
  const slack = spec.type === 'hvm' && spec.maxKb > spec.targetKb ? MAXMEM_SLACK : 0;
  const videoKb = spec.videoKb ?? 0;
  const online = spec.onlineVcpus ?? spec.maxVcpus;
  client.transaction(access => {
    writeAll(access, dom, {
      'memory/static-max': String(spec.maxKb),
      'memory/target': String(spec.targetKb - videoKb - slack),
      'memory/videoram': String(videoKb),
      domid: String(spec.domid),
      'store/port': String(spec.store.port),
      'store/ring-ref': String(spec.store.ringRef),
    });
    for (let cpu = 0; cpu < spec.maxVcpus; cpu++) {
      access.write(`${dom}/cpu/${cpu}/availability`, cpu < online ? 'online' : 'offline');
    }
    writeAll(access, `/vm/${spec.uuid}`, {
      'image/ostype': spec.type === 'pv' ? 'linux' : undefined,
      'image/kernel': spec.kernel,
      start_time: spec.startTime?.toFixed(2),
      'image/ramdisk': spec.ramdisk,
      'image/cmdline': spec.commandLine,
    });
  });
}

/** The primary console: in the guest's tree for it to read only, and the backend's half (libxl__device_console_add). */
export function addConsoleTree(client: HostClient, spec: DomainTreeSpec): void {
  const { domid } = spec;
  const frontend = `${domainPath(domid)}/console`;
  const backend = `${domainPath(0)}/backend/console/${domid}/0`;
  const libxl = `/libxl/${domid}/device/console/0`;
  const ro = readOnly(domid);
  const backendValues = { 'frontend-id': String(domid), online: '1', state: '1', protocol: 'vt100' };
  client.transaction(access => {
    access.rmIfThere(libxl);
    writeAll(access, libxl, { frontend, backend });
    access.rmIfThere(frontend);
    access.mkdir(frontend);
    access.setPermissions(frontend, ro);
    access.write(`${frontend}/backend`, backend);
    const values: Record<string, string> = {
      'backend-id': '0',
      limit: String(CONSOLE_LIMIT),
      type: 'xenconsoled',
      output: 'pty',
      tty: spec.console.tty ?? '',
      port: String(spec.console.port),
      'ring-ref': String(spec.console.ringRef),
    };
    for (const [name, value] of Object.entries(values)) {
      access.write(`${frontend}/${name}`, value);
      // Of all these only backend-id is the frontend's own to change; the console's settings are not.
      const frontendOwned = name === 'backend-id';
      access.setPermissions(
        `${frontend}/${name}`,
        frontendOwned ? [...guestOwned(domid), { domid: 0, access: 'r' }] : ro,
      );
    }
    access.rmIfThere(backend);
    access.mkdir(backend);
    access.setPermissions(backend, ro);
    writeAll(access, backend, { frontend, ...backendValues });
    writeAll(access, libxl, backendValues);
  });
}

/** All of it, in libxl's order. Introduce the domain to the store afterwards. */
export function writeDomainTree(client: HostClient, spec: DomainTreeSpec): void {
  makeDomainTree(client, spec);
  publishDomainTree(client, spec);
  addConsoleTree(client, spec);
}

/** Asks the guest to power off, reboot, suspend, halt or crash: control/shutdown, which the guest clears once it obeys. */
export function requestShutdown(client: HostClient, domid: number, how: string): void {
  client.write(`${domainPath(domid)}/control/shutdown`, how);
}

/** What libxl removes when it destroys a domain. */
export function removeDomainTree(client: HostClient, { domid, uuid }: Pick<DomainTreeSpec, 'domid' | 'uuid'>): void {
  client.transaction(access => {
    const backends = `${domainPath(0)}/backend`;
    for (const kind of access.directory(backends) ?? []) {
      access.rmIfThere(`${backends}/${kind}/${domid}`);
      if (access.directory(`${backends}/${kind}`)?.length === 0) access.rm(`${backends}/${kind}`);
    }
    for (const path of [`/vm/${uuid}`, domainPath(domid), `/libxl/${domid}`]) access.rmIfThere(path);
  });
}
