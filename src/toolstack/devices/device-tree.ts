// The XenStore entries of any PV device, as libxl 4.17 writes them: the guest's half, the back end's half, and libxl's own notes. Source:
// libxl__device_generic_add() in tools/libs/light/libxl_device.c.
import type { HostAccess, HostClient } from '../../backends/xenstore/host-client.ts';
import { domainPath } from '../../backends/xenstore/paths.ts';
import type { XsPermission } from '../../protocols/xenstore.ts';

export interface DeviceTree {
  domid: number;
  /** vif, vbd, … */
  kind: string;
  /** The device's number in the guest. */
  index: number;
  /** Nodes of the back end beside those that every one has; undefined ones are left out. */
  back: Readonly<Record<string, string | undefined>>;
  front: Readonly<Record<string, string | undefined>>;
}

const INITIALISING = '1';

export function writeDeviceTree(store: HostClient, { domid, kind, index, back, front }: DeviceTree): void {
  const frontend = `${domainPath(domid)}/device/${kind}/${index}`;
  const backend = `${domainPath(0)}/backend/${kind}/${domid}/${index}`;
  const libxl = `/libxl/${domid}/device/${kind}/${index}`;
  const guests: XsPermission[] = [
    { domid, access: 'n' },
    { domid: 0, access: 'r' },
  ];
  const hosts: XsPermission[] = [
    { domid: 0, access: 'n' },
    { domid, access: 'r' },
  ];
  const backValues = { 'frontend-id': String(domid), online: '1', state: INITIALISING, ...back };
  store.transaction(access => {
    access.rmIfThere(libxl);
    writeAll(access, libxl, { frontend, backend });
    makeDirectory(access, frontend, guests);
    writeAll(access, frontend, { backend, 'backend-id': '0', state: INITIALISING, ...front });
    makeDirectory(access, backend, hosts);
    writeAll(access, backend, { frontend, ...backValues });
    writeAll(access, libxl, backValues);
  });
}

/** As `xl block-detach` and `xl network-detach` leave it. */
export function removeDeviceTree(
  store: HostClient,
  { domid, kind, index }: Pick<DeviceTree, 'domid' | 'kind' | 'index'>,
): void {
  store.transaction(access => {
    cleanUp(access, `${domainPath(domid)}/device/${kind}/${index}`);
    cleanUp(access, `${domainPath(0)}/backend/${kind}/${domid}/${index}`);
    access.rmIfThere(`/libxl/${domid}/device/${kind}/${index}`);
  });
}

/** Removes a node, and what is empty above it: libxl__xs_path_cleanup(). */
function cleanUp(access: HostAccess, path: string): void {
  access.rmIfThere(path);
  const parent = path.slice(0, path.lastIndexOf('/'));
  if (parent !== '' && access.read(parent) === '' && access.directory(parent)?.length === 0) cleanUp(access, parent);
}

function makeDirectory(access: HostAccess, path: string, permissions: readonly XsPermission[]): void {
  access.rmIfThere(path);
  access.mkdir(path);
  access.setPermissions(path, permissions);
}

function writeAll(access: HostAccess, base: string, values: Readonly<Record<string, string | undefined>>): void {
  for (const [name, value] of Object.entries(values)) if (value !== undefined) access.write(`${base}/${name}`, value);
}
