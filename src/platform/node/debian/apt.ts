// Packages out of Debian's archive by its own tool: apt knows the mirrors and verifies signatures and checksums. Needs neither
// root nor a prepared machine: where the system's package lists lack something, lists of our own are kept in the cache.

import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';

/** The message is one sentence about what could not be obtained. */
export class AptError extends Error {
  constructor(problem: string, options?: ErrorOptions) {
    super(problem, options);
    this.name = 'AptError';
  }
}

/** A package's candidate as apt's metadata has it. */
export interface PackageInfo {
  readonly name: string;
  readonly version: string;
  /** Names it depends on, without versions. */
  readonly dependencies: readonly string[];
  /** The file's digest, lower-case hexadecimal, and its size in bytes. */
  readonly sha256: string;
  readonly size: number;
}

export type Notify = (line: string) => void;

/** $XDG_CACHE_HOME/domzero, by default ~/.cache/domzero. */
export function cacheDirectory(): string {
  const base = process.env.XDG_CACHE_HOME;
  return join(base?.startsWith('/') ? base : join(homedir(), '.cache'), 'domzero');
}

export class Apt {
  private readonly cache: string;
  private readonly notify: Notify;
  /** Options that make apt use lists of our own; empty while the system's serve. */
  private options: readonly string[] = [];
  private refreshed = false;

  constructor(notify: Notify = () => {}, cache = cacheDirectory()) {
    this.cache = cache;
    this.notify = notify;
  }

  /** What apt knows of a package. Fetches package lists where the system has none. Throws AptError. */
  show(name: string): PackageInfo {
    const known = this.lookUp(name);
    if (known !== null) return known;
    if (!this.refreshed) this.refresh();
    const found = this.lookUp(name);
    if (found === null)
      throw new AptError(`apt knows no package ${name}: its sources are not those of Debian for x86-64`);
    return found;
  }

  /** The path of a package's file, from the cache where it is there and has the digest that apt's metadata gives. */
  download(info: PackageInfo): string {
    const directory = join(this.cache, 'packages');
    const file = join(directory, `${info.name}_${info.version.replaceAll(':', '%3a')}_amd64.deb`);
    if (existsSync(file)) {
      if (digest(file) === info.sha256) return file;
      this.notify(`${file}: its checksum is not that of apt's metadata; downloading it again`);
    }
    this.notify(`downloading ${info.name} ${info.version} (${Math.round(info.size / 1e6)} MB) with apt-get`);
    mkdirSync(directory, { recursive: true });
    const room = mkdtempSync(join(directory, 'download-'));
    try {
      this.fetch(info, room);
      const [name] = readdirSync(room).filter(entry => entry.endsWith('.deb'));
      if (name === undefined) throw new AptError(`apt-get download gave no file for ${info.name}`);
      const found = digest(join(room, name));
      if (found !== info.sha256) {
        throw new AptError(
          `${info.name} ${info.version}: the file has the SHA-256 ${found}, apt's metadata ${info.sha256}`,
        );
      }
      renameSync(join(room, name), file);
      return file;
    } finally {
      rmSync(room, { recursive: true, force: true });
    }
  }

  private fetch(info: PackageInfo, directory: string): void {
    const get = () => this.run('apt-get', ['download', `${info.name}:amd64=${info.version}`], directory);
    const first = get();
    if (first.status === 0) return;
    // The system's lists may be older than what its mirror still has.
    if (!this.refreshed) this.refresh();
    const again = get();
    if (again.status !== 0) throw new AptError(`apt-get could not download ${info.name}: ${lastLine(again.stderr)}`);
  }

  private lookUp(name: string): PackageInfo | null {
    const { status, stdout } = this.run('apt-cache', ['show', '--no-all-versions', `${name}:amd64`]);
    return status === 0 ? parseControl(stdout) : null;
  }

  /** Package lists of our own, fresh. */
  private refresh(): void {
    this.refreshed = true;
    const state = join(this.cache, 'apt');
    for (const part of ['lists/partial', 'archives/partial']) mkdirSync(join(state, part), { recursive: true });
    // Without a status file apt-get does not run; nothing is installed as far as these lists are concerned.
    writeFileSync(join(state, 'status'), '');
    this.options = [
      ...['-o', `Dir::State=${state}`, '-o', `Dir::State::lists=${join(state, 'lists')}`],
      ...['-o', `Dir::State::status=${join(state, 'status')}`, '-o', `Dir::Cache=${state}`],
      ...['-o', 'APT::Architecture=amd64', '-o', 'APT::Architectures=amd64'],
    ];
    this.notify('fetching package lists with apt-get');
    const { status, stderr } = this.run('apt-get', ['update']);
    if (status !== 0) throw new AptError(`apt-get could not fetch package lists: ${lastLine(stderr)}`);
  }

  private run(command: string, args: readonly string[], cwd?: string) {
    const result = spawnSync(command, ['-q', ...this.options, '-o', 'APT::Sandbox::User=root', ...args], {
      encoding: 'utf8',
      maxBuffer: 64 << 20,
      env: { ...process.env, LC_ALL: 'C' },
      ...(cwd === undefined ? {} : { cwd }),
    });
    if ((result.error as NodeJS.ErrnoException | undefined)?.code === 'ENOENT') {
      throw new AptError('this machine has no apt: give the file of a kernel instead');
    }
    if (result.error)
      throw new AptError(`${command} could not be run: ${result.error.message}`, { cause: result.error });
    return result;
  }
}

/** The first paragraph of apt-cache's output; null where it describes no file. */
export function parseControl(text: string): PackageInfo | null {
  const fields = new Map<string, string>();
  for (const line of text.split('\n')) {
    if (line === '' && fields.size > 0) break;
    const match = /^([A-Za-z0-9-]+): ?(.*)$/.exec(line);
    if (match !== null) fields.set(match[1], match[2]);
  }
  const [name, version, sha256] = [fields.get('Package'), fields.get('Version'), fields.get('SHA256')];
  if (name === undefined || version === undefined || sha256 === undefined) return null;
  const dependencies = (fields.get('Depends') ?? '')
    .split(/[,|]/)
    .flatMap(item => item.trim().split(/[\s(:]/)[0] || []);
  return { name, version, dependencies, sha256: sha256.toLowerCase(), size: Number(fields.get('Size') ?? 0) };
}

function digest(file: string): string {
  return createHash('sha256').update(readFileSync(file)).digest('hex');
}

function lastLine(text: string): string {
  const lines = text.split('\n').filter(line => line.trim() !== '');
  return (lines.findLast(line => line.startsWith('E:')) ?? lines.at(-1) ?? 'it did not say why').replace(/^E: /, '');
}
