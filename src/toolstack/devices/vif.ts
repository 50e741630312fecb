/**
 * A PV network device of a domain: the XenStore entries that libxl 4.17 writes for a `vif = ["..."]` line, and its back end on a network's port.
 * Sources: tools/libs/light/libxl_nic.c, docs/man/xl-network-configuration.5.pod.
 */
import type { NetworkPort } from '../../backends/net/link.ts';
import { Netback } from '../../backends/net/netback/netback.ts';
import { type MacAddress, macText, parseMac } from '../../backends/net/packet/addresses.ts';
import { BackendDevice } from '../../backends/xenbus/backend-device.ts';
import type { HostClient } from '../../backends/xenstore/host-client.ts';
import { domainPath } from '../../backends/xenstore/paths.ts';
import type { Domain } from '../../hypervisor/domain.ts';
import { writeDeviceTree } from './device-tree.ts';
import { frontendDomain } from './frontend-domain.ts';
import { DeviceSpecError } from './spec-error.ts';

export interface VifSpec {
  mac?: MacAddress;
  bridge?: string;
  script?: string;
  /** What the guest is told of, for tools in it. */
  ip?: string;
  mtu?: number;
}

const DEFAULT_BRIDGE = 'xenbr0';
const DEFAULT_SCRIPT = '/etc/xen/scripts/vif-bridge';
const LEAST_MTU = 68;
const MOST_MTU = 65535 - 14;
/** Xen's own range of addresses. */
const XEN_OUI = 0x00163e;

/** Reads `mac=00:16:3e:01:02:03,bridge=xenbr0`, as in a domain's configuration file. Throws DeviceSpecError. */
export function parseVif(text: string): VifSpec {
  const spec: VifSpec = {};
  for (const part of text.split(',')) {
    const setting = part.trim();
    if (setting === '') continue;
    const [, key, value] = /^(\w+)\s*=\s*(.*)$/.exec(setting) ?? ['', setting, ''];
    if (value === '') throw new DeviceSpecError(`a vif is described by key=value, not "${setting}"`);
    if (key === 'mac') {
      const mac = parseMac(value!);
      if (mac === null) throw new DeviceSpecError(`"${value}" is no Ethernet address`);
      spec.mac = mac;
    } else if (key === 'mtu') {
      const mtu = Number(value);
      if (!/^\d+$/.test(value!) || mtu < LEAST_MTU || mtu > MOST_MTU) {
        throw new DeviceSpecError(`an mtu is from ${LEAST_MTU} to ${MOST_MTU}, not "${value}"`);
      }
      spec.mtu = mtu;
    } else if (key === 'bridge' || key === 'script' || key === 'ip') spec[key] = value!;
    else if (key === 'type' && value === 'vif') continue;
    else throw new DeviceSpecError(`${key} of a vif is not built`);
  }
  return spec;
}

/** The bridge that a device is on. */
export const bridgeOf = (spec: VifSpec): string => spec.bridge ?? DEFAULT_BRIDGE;

/** Its own Ethernet address, or one out of Xen's range. */
export function vifMac(spec: VifSpec, domid: number, index: number): MacAddress {
  return spec.mac ?? XEN_OUI * 2 ** 24 + ((domid & 0xffff) << 8) + (index & 0xff);
}

export interface VifOptions {
  store: HostClient;
  domain: Domain;
  /** Number among the domain's network devices, from 0. */
  index: number;
  spec: VifSpec;
  /** What the device is plugged into. */
  port: NetworkPort;
  /** Processors of the host: queues that the guest may have. */
  queues?: number;
}

/** Writes the entries and starts the back end, which finds the front end when the guest runs. */
export function attachVif({ store, domain, index, spec, port, queues = 1 }: VifOptions): BackendDevice {
  const { id } = domain;
  const mac = vifMac(spec, id, index);
  const backend = `${domainPath(0)}/backend/vif/${id}/${index}`;
  const frontend = `${domainPath(id)}/device/vif/${index}`;
  writeDeviceTree(store, {
    domid: id,
    kind: 'vif',
    index,
    back: {
      script: spec.script ?? DEFAULT_SCRIPT,
      mac: macText(mac),
      ip: spec.ip,
      bridge: bridgeOf(spec),
      handle: String(index),
      type: 'vif',
    },
    front: { handle: String(index), mac: macText(mac), mtu: String(spec.mtu ?? port.mtu) },
  });
  // What the script does on a host with bridges of its own: here the port is there already.
  store.write(`${backend}/hotplug-status`, 'connected');
  const driver = new Netback({
    domain: frontendDomain(domain),
    port,
    maxQueues: queues,
    broken: reason => device.fail(reason),
  });
  const device: BackendDevice = new BackendDevice({ store, backendPath: backend, frontendPath: frontend, driver });
  return device;
}
