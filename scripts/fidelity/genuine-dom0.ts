// Boots a kernel as Dom0 of genuine Xen: Debian's xen-hypervisor package under QEMU's emulation. Both must be installed.

import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';

/** What Xen itself and the firmware want beside Dom0. MiB. */
const XEN_MIB = 768;
/** SMAP and SMEP stop Xen's PV guests under this emulation; the rest makes the processor like ours, which has no AVX. */
const CPU = 'EPYC-Milan,-smap,-smep,-avx,-avx2,-f16c,-fma';

export interface GenuineDom0 {
  readonly kernel: string;
  readonly initrd: string;
  /** Appended to the kernel's command line. */
  readonly append: string;
  readonly memoryMiB: number;
  readonly cpus: number;
  /** The file that the serial port is written to: Xen's messages, and Dom0's console. */
  readonly console: string;
}

/** The command that runs it to its end. `folder` gets Xen's image. Throws where the package is missing. */
export function genuineDom0(options: GenuineDom0, folder: string): [command: string, args: string[]] {
  const { kernel, initrd, append, memoryMiB, cpus, console } = options;
  const name = readdirSync('/boot').find(entry => /^xen-4.*-amd64\.gz$/.test(entry));
  if (!name) throw new Error('genuine Xen is missing: apt-get install xen-hypervisor-4.17-amd64 qemu-system-x86');
  const xen = join(folder, 'xen');
  writeFileSync(xen, gunzipSync(readFileSync(join('/boot', name))));
  return [
    'qemu-system-x86_64',
    [
      ...[
        '-accel',
        'tcg',
        '-cpu',
        CPU,
        '-machine',
        'q35,hpet=on',
        '-smp',
        String(cpus),
        '-m',
        String(memoryMiB + XEN_MIB),
      ],
      // Nothing but what the board has by itself.
      ...[
        '-nodefaults',
        '-vga',
        'none',
        '-display',
        'none',
        '-no-reboot',
        '-monitor',
        'none',
        '-serial',
        `file:${console}`,
      ],
      ...['-kernel', xen, '-initrd', `${kernel} console=hvc0 ${append},${initrd}`],
      ...['-append', `console=com1 com1=115200 dom0_mem=${memoryMiB}M dom0_max_vcpus=${cpus}`],
    ],
  ];
}
