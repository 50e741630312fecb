// Disks of stock kernels: PV disks through the package's own xen-blkfront, virtio disks through virtio_blk, legacy and modern.

import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { basename } from 'node:path';
import { describe, expect } from 'vitest';
import { MemorySource } from '../../src/backends/block/memory-source.ts';
import {
  type GuestDomain,
  Host,
  type KernelImage,
  loadImages,
  type Machine,
  NativeMachine,
  ramForGuests,
} from '../../src/index.ts';
import { openDisk } from '../../src/platform/node/disks.ts';
import { parseDisk } from '../../src/toolstack/devices/disk-spec.ts';
import { Vbd } from '../../src/toolstack/devices/vbd.ts';
import { parseVdev } from '../../src/toolstack/devices/vdev.ts';
import { type Driver, driverModules } from '../../src/toolstack/image/drivers.ts';
import { builtinInitramfs } from '../../src/toolstack/init/initramfs.ts';
import { type InitReport, ReportParser } from '../../src/toolstack/init/report-parser.ts';
import { testWith } from './kernels.ts';

const MEMORY = 256;
const PATIENCE = 20_000_000_000n;
const CONNECTED = 4;

/** An initramfs whose init loads a driver and checks a disk. */
async function checking(image: KernelImage, driver: Driver, disk: string, parameters = ''): Promise<Uint8Array> {
  const names = driverModules(image, driver) ?? [];
  const modules = image.modules ? await image.modules.withDependencies(names) : [];
  const files = new Map(modules.map(({ name, bytes }) => [`/modules/${name}.ko`, bytes]));
  const loads = modules.map(({ name }) => ({
    do: 'module' as const,
    path: `/modules/${name}.ko`,
    ...(name === 'virtio_pci' && parameters !== '' ? { parameters } : {}),
  }));
  return builtinInitramfs({ bits: image.elf.bits, files, actions: [...loads, { do: 'disk', name: disk }] });
}

async function load(files: readonly string[]): Promise<KernelImage> {
  return loadImages(files.map(path => ({ name: basename(path), bytes: readFileSync(path) })));
}

/** What a machine prints, and what its init reports. */
class Witness {
  text = '';
  private readonly parser = new ReportParser();

  constructor(machine: Pick<Machine, 'console'>) {
    const decoder = new TextDecoder('latin1');
    machine.console.onOutput(bytes => {
      this.text += decoder.decode(bytes);
      this.parser.push(bytes);
    });
  }

  get report(): InitReport {
    return this.parser.report;
  }
}

interface Guest {
  host: Host;
  guest: GuestDomain;
  witness: Witness;
}

async function pvGuest(files: readonly string[], vcpus: number): Promise<Guest> {
  const image = await load(files);
  const initrd = await checking(image, 'xen disk', 'xvda');
  const host = await Host.create({ ramBytes: ramForGuests(MEMORY) });
  const guest = host.createPvDomain({ image, initrd, cmdline: 'console=hvc0', memoryMiB: MEMORY, vcpus });
  return { host, guest, witness: new Witness(guest) };
}

const xvd = (letter: string) => parseVdev(`xvd${letter}`)!;

function keepsData({ diskChecks }: InitReport, name: string): void {
  expect(diskChecks).toHaveLength(1);
  const [check] = diskChecks;
  expect(check).toMatchObject({ name, error: null });
  expect(check.read).toBe(check.written);
  expect(check.read).not.toBeNull();
}

/** The beginning of a disk, where init has written. */
function beginning(source: MemorySource): Uint8Array {
  const bytes = new Uint8Array(4096);
  source.read(0, [bytes], () => {});
  return bytes;
}

describe.concurrent('PV disks', { timeout: 900_000 }, () => {
  testWith('generic', 'keep data, come, go and grow while the guest runs', async kernel => {
    const { host, guest, witness } = await pvGuest(kernel, 2);
    const source = new MemorySource({ size: 16 << 20 });
    const first = new Vbd(host, guest, { vdev: xvd('a'), source });
    const growing = new MemorySource({ size: 1 << 20, sectorSize: 4096 });
    const second = new Vbd(host, guest, { vdev: xvd('b'), source: growing });
    const third = new Vbd(host, guest, {
      vdev: xvd('c'),
      source: new MemorySource({ size: 1 << 20 }),
      isReadOnly: true,
    });
    let isGone = false;
    let late: Vbd | null = null;
    let content: Uint8Array = new Uint8Array(0);
    await host.run({
      instructions: PATIENCE,
      until: () => {
        if (!late && [first, second, third].every(({ state }) => state === CONNECTED)) {
          growing.resize(2 << 20);
          second.resized();
          third.detach(() => {
            isGone = true;
          });
          late = new Vbd(host, guest, { vdev: xvd('d'), source: new MemorySource({ size: 3 << 20 }), isCdrom: true });
        }
        if (guest.shutdown !== null) content = beginning(source);
        return guest.shutdown !== null;
      },
    });
    expect(guest.shutdown).toBe('poweroff');
    keepsData(witness.report, 'xvda');
    expect(content.some(byte => byte !== 0)).toBe(true);
    expect(witness.text).toMatch(
      /xvda: flush diskcache: enabled; persistent grants: enabled; indirect descriptors: enabled/,
    );
    expect(isGone).toBe(true);
    const sizes = witness.report.blockDevices.map(({ name, sectors }) => [name, sectors] as const);
    expect(sizes.sort(([x], [y]) => x.localeCompare(y))).toEqual([
      ['xvda', 32768],
      ['xvdb', 4096],
      ['xvdd', 6144],
    ]);
    // A guest that powers off lets go of its disks; a host that destroys it finds nothing of them left.
    const { domain } = guest;
    host.destroy(guest);
    expect([...domain.grants.uses()]).toEqual([]);
    expect(host.store.host.list('/local/domain/0/backend')).not.toContain('vbd');
  });

  testWith('cloud', 'may be a resource by HTTP, with an overlay', async kernel => {
    const image = await load(kernel);
    const content = new Uint8Array(4 << 20).fill(5);
    const asked: string[] = [];
    const server = createServer(({ headers: { range = '' } }, response) => {
      const [first, last] = range.replace('bytes=', '').split('-').map(Number);
      asked.push(range);
      response.writeHead(206, { 'Content-Range': `bytes ${first}-${last}/${content.length}` });
      response.end(content.subarray(first, last + 1));
    });
    await new Promise<void>(listening => server.listen(0, '127.0.0.1', listening));
    const target = `http://127.0.0.1:${(server.address() as AddressInfo).port}/disk.img`;
    const source = await openDisk(parseDisk(`${target},overlay`));
    const initrd = await checking(image, 'xen disk', 'xvda');
    const host = await Host.create({ ramBytes: ramForGuests(MEMORY) });
    const guest = host.createPvDomain({ image, initrd, cmdline: 'console=hvc0', memoryMiB: MEMORY });
    const witness = new Witness(guest);
    new Vbd(host, guest, { vdev: xvd('a'), source });
    await host.run({ instructions: PATIENCE, until: () => guest.shutdown !== null });
    keepsData(witness.report, 'xvda');
    expect(asked.length).toBeGreaterThan(1);
    source.close();
    server.close();
  });

  testWith('cloud', 'leave nothing behind where their guest is destroyed in the middle of it', async kernel => {
    const { host, guest } = await pvGuest(kernel, 1);
    const { domain } = guest;
    const disk = new Vbd(host, guest, { vdev: xvd('a'), source: new MemorySource({ size: 1 << 20 }) });
    const free = host.hypervisor.frames.free;
    await host.run({ instructions: PATIENCE, until: () => disk.state === CONNECTED || guest.shutdown !== null });
    expect(disk.state).toBe(CONNECTED);
    // The ring, at least.
    expect([...domain.grants.uses()].length).toBeGreaterThan(2);
    host.destroy(guest);
    expect([...domain.grants.uses()]).toEqual([]);
    expect(host.hypervisor.frames.free).toBeGreaterThan(free);
    expect(host.hypervisor.domains.size).toBe(0);
  });
});

describe.concurrent('virtio disks', { timeout: 900_000 }, () => {
  for (const [face, parameters] of [
    ['modern', ''],
    ['legacy', 'force_legacy=1'],
  ] as const) {
    testWith('generic', `keep data of a ${face} driver on a bare machine`, async kernel => {
      const image = await load(kernel);
      const source = new MemorySource({ size: 16 << 20 });
      const initrd = await checking(image, 'virtio disk', 'vda', parameters);
      const cmdline = 'console=ttyS0';
      const machine = await NativeMachine.create({ image, initrd, cmdline, memoryMiB: MEMORY, disks: [source] });
      const witness = new Witness(machine);
      await machine.run({ instructions: PATIENCE, until: () => machine.shutdown !== null });
      keepsData(witness.report, 'vda');
      expect(beginning(source).some(byte => byte !== 0)).toBe(true);
      expect(witness.text).toMatch(/virtio_blk virtio0: \[vda\] 32768 512-byte logical blocks/);
    });
  }
});
