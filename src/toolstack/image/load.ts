// From files that a person gives to a kernel image: a kernel file by itself, or one or more distribution packages.

import { toHex } from '../../util/bytes.ts';
import { DebianPackage, isDebianPackage } from './debian-package.ts';
import { ImageError } from './error.ts';
import { type KernelImage, readKernel } from './kernel.ts';
import { ModuleTree } from './modules.ts';

export interface NamedFile {
  /** For messages and reports; usually the file's name without directories. */
  readonly name: string;
  readonly bytes: Uint8Array;
}

/** Reads one kernel file or package. Rejects with ImageError, whose message names the file and the problem. */
export function loadImage(bytes: Uint8Array, name: string): Promise<KernelImage> {
  return loadImages([{ name, bytes }]);
}

/**
 * Reads one kernel from files that belong together: a kernel file or a package, and packages with what that lacks (its
 * modules, or the kernel itself). The image has the name and digest of the file that holds the kernel.
 */
export async function loadImages(files: readonly NamedFile[]): Promise<KernelImage> {
  if (files.length === 0) throw new ImageError('no kernel was given');
  const packages: DebianPackage[] = [];
  const plain: NamedFile[] = [];
  const sources = new Map<DebianPackage, NamedFile>();
  for (const file of files) {
    if (isDebianPackage(file.bytes)) {
      const pack = new DebianPackage(file.bytes, file.name);
      packages.push(pack);
      sources.set(pack, file);
    } else {
      plain.push(file);
    }
  }
  if (plain.length > 1) throw new ImageError(`${plain[1].name}: a second kernel; only packages can be given together`);
  if (plain.length === 1) {
    const [file] = plain;
    // First the digest, for which the file may be copied, then the kernel: each takes tens of megabytes.
    const digest = await sha256(file.bytes);
    const kernel = await readKernel(file.bytes, file.name);
    const modules = packages.length > 0 && kernel.release !== '' ? new ModuleTree(kernel.release, packages) : null;
    return { ...kernel, name: file.name, sha256: digest, config: null, modules };
  }
  return loadFromPackages(packages, sources);
}

async function loadFromPackages(
  packages: readonly DebianPackage[],
  sources: ReadonlyMap<DebianPackage, NamedFile>,
): Promise<KernelImage> {
  // Packages of modules are large and have no kernel: look into them last.
  const order = [...packages].sort((a, b) => Number(isModulePackage(a)) - Number(isModulePackage(b)));
  for (const pack of order) {
    const content = findKernel(pack);
    if (content === null) continue;
    const file = sources.get(pack)!;
    const digest = await sha256(file.bytes);
    const kernel = await readKernel(content.kernel, `${pack.name}: ${content.path}`);
    const { release } = content;
    const config = content.config ?? findConfig(order, pack, release);
    const withModules = packages.filter(other => (other === pack ? content.hasModules : isModulePackage(other)));
    return {
      ...kernel,
      name: file.name,
      sha256: digest,
      config: config === null ? null : parseConfig(config),
      modules: withModules.length > 0 ? new ModuleTree(release, withModules) : null,
    };
  }
  throw new ImageError(missingKernel(packages));
}

interface PackageContent {
  readonly path: string;
  readonly kernel: Uint8Array;
  /** From the kernel's path. */
  readonly release: string;
  readonly config: Uint8Array | null;
  readonly hasModules: boolean;
}

const KERNEL_PATH = /^(?:boot\/vmlinu[xz]-(.+)|(?:usr\/)?lib\/modules\/([^/]+)\/vmlinu[xz])$/;
const CONFIG_PATH = /^(?:boot\/config-(.+)|(?:usr\/)?lib\/modules\/([^/]+)\/config)$/;
const MODULES_PATH = /^(?:usr\/)?lib\/modules\/[^/]+\/kernel\//;

/** The kernel and its configuration, which stand before the modules or in a package without any; stops reading there. */
function findKernel(pack: DebianPackage): PackageContent | null {
  let kernel: { path: string; release: string; bytes: Uint8Array } | null = null;
  let config: Uint8Array | null = null;
  let hasModules = false;
  for (const entry of pack.files()) {
    const match = KERNEL_PATH.exec(entry.path);
    if (match !== null && entry.type === 'file' && kernel === null) {
      kernel = { path: entry.path, release: match[1] ?? match[2], bytes: entry.read() };
    } else if (entry.type === 'file' && CONFIG_PATH.test(entry.path)) {
      config = entry.read();
    }
    hasModules ||= MODULES_PATH.test(entry.path);
    if (kernel !== null && hasModules) break;
  }
  if (kernel === null) return null;
  return { path: kernel.path, kernel: kernel.bytes, release: kernel.release, config, hasModules };
}

/** The kernel's configuration from another package (Debian's linux-base, since 7.x). */
function findConfig(packages: readonly DebianPackage[], except: DebianPackage, release: string): Uint8Array | null {
  for (const pack of packages) {
    if (pack === except || isModulePackage(pack)) continue;
    for (const entry of pack.files()) {
      const match = entry.type === 'file' ? CONFIG_PATH.exec(entry.path) : null;
      if (match !== null && (match[1] ?? match[2]) === release) return entry.read();
    }
  }
  return null;
}

function missingKernel(packages: readonly DebianPackage[]): string {
  const given = new Set(packages.map(pack => pack.control.get('Package') ?? ''));
  const names = packages.map(pack => pack.name).join(', ');
  const wanted = new Set(
    packages
      .flatMap(pack => pack.dependencies)
      .filter(name => /^linux-(?:image|binary|modules)-/.test(name) && !given.has(name)),
  );
  const [noun, verb] = packages.length === 1 ? ['the package', 'contains'] : ['the packages', 'contain'];
  const problem = `${names}: ${noun} ${verb} no kernel`;
  if (wanted.size === 0) return problem;
  return `${problem}; give also what it depends on: ${[...wanted].join(', ')}`;
}

const isModulePackage = (pack: DebianPackage) => /^linux-modules/.test(pack.control.get('Package') ?? '');

/** The options of a kernel's .config without their prefix; what "is not set" is absent. */
export function parseConfig(bytes: Uint8Array): Map<string, string> {
  const options = new Map<string, string>();
  for (const match of new TextDecoder().decode(bytes).matchAll(/^CONFIG_(\w+)=(.*)$/gm)) {
    options.set(match[1], match[2].replace(/^"(.*)"$/, '$1'));
  }
  return options;
}

async function sha256(bytes: Uint8Array): Promise<string> {
  const subtle = globalThis.crypto?.subtle;
  // Browsers have it on pages from https and localhost alone.
  if (subtle === undefined)
    throw new Error('SHA-256 is not available here: the page has to come from https or localhost');
  // The cast: a Uint8Array over shared memory is no BufferSource, and files are not read into such.
  return toHex(new Uint8Array(await subtle.digest('SHA-256', bytes as Uint8Array<ArrayBuffer>)));
}
