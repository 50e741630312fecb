// An initramfs with Debian's Xen tools, for tests that run them in Dom0.
import { scriptInitramfs } from './script-initramfs.ts';

/** The tools, and the packages of all libraries that they are linked with. */
const PACKAGES = [
  'xen-utils-4.17', 'xenstore-utils', 'libxenmisc4.17', 'libxencall1', 'libxendevicemodel1', 'libxenevtchn1',
  'libxenforeignmemory1', 'libxengnttab1', 'libxenhypfs1', 'libxenstore4', 'libxentoolcore1', 'libxentoollog1', 'libc6', 'libgcc-s1', 'libyajl2',
  'libuuid1', 'zlib1g', 'liblzma5', 'libbz2-1.0', 'liblzo2-2', 'libzstd1', 'libfdt1', 'libnl-3-200', 'libnl-route-3-200', 'libtinfo6',
] as const; // biome-ignore format: a list
const MODULES = ['xen_privcmd', 'xenfs', 'xen_evtchn', 'xen_gntdev', 'xen_gntalloc'];
const WANTED =
  /^(?:usr\/lib\/xen-4\.17\/bin\/(?:xl|xen-diag|lsevtchn|vchan-socket-proxy|xenstored|xen-init-dom0)|usr\/bin\/xenstore.*|(?:usr\/)?lib(?:64)?\/.*\.so[.\d]*)$/;

/** See scriptInitramfs. */
export function xenToolsInitramfs(kernel: readonly string[], commands: readonly string[]): Promise<Uint8Array> {
  return scriptInitramfs(kernel, commands, {
    ...{ modules: MODULES, packages: PACKAGES, wanted: WANTED },
    prepare: ['mount -t xenfs xenfs /proc/xen'],
  });
}
