// Packages out of Debian's archive by its own tool: apt knows the mirrors and verifies signatures and checksums. Needs neither
// root nor a prepared machine: where the system's package lists lack something (another architecture's packages, say), lists
// of our own are kept in the cache.

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
  statSync,
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

/** As Debian names them. */
export type Architecture = 'amd64' | 'i386';

/** $XDG_CACHE_HOME/domzero, by default ~/.cache/domzero. */
export function cacheDirectory(): string {
  const base = process.env.XDG_CACHE_HOME;
  return join(base?.startsWith('/') ? base : join(homedir(), '.cache'), 'domzero');
}

export interface AptOptions {
  readonly notify?: Notify;
  readonly cache?: string;
  readonly architecture?: Architecture;
  /** A release of Debian by its name, instead of the system's own: "trixie". */
  readonly release?: string;
}

/** Where every release of Debian is. */
const ARCHIVE = 'http://deb.debian.org/debian';
/** How long lists of our own are taken for what the mirror has. Milliseconds. */
const KEPT_MS = 24 * 3600 * 1000;

/** Which package lists apt looks into, in the order in which they are tried. */
type Lists = 'system' | 'kept' | 'fresh';

export class Apt {
  readonly architecture: Architecture;
  private readonly cache: string;
  private readonly notify: Notify;
  private readonly release: string | null;
  private lists: Lists = 'system';
  private updateProblem: string | null = null;

  constructor({ notify = () => {}, cache = cacheDirectory(), architecture = 'amd64', release }: AptOptions = {}) {
    this.release = release ?? null;
    this.cache = cache;
    this.notify = notify;
    this.architecture = architecture;
    // The system's lists are those of its own release.
    if (this.release !== null) this.nextLists();
  }

  /** What apt knows of a package. Fetches package lists where neither the system nor the cache has them. Throws AptError. */
  show(name: string): PackageInfo {
    do {
      const known = this.lookUp(name);
      if (known !== null) return known;
    } while (this.nextLists());
    const sources = `its sources are not those of Debian for ${this.architecture}`;
    throw new AptError(`apt knows no package ${name}: ${this.updateProblem ?? sources}`);
  }

  /** The path of a package's file, from the cache where it is there and has the digest that apt's metadata gives. */
  download(info: PackageInfo): string {
    const directory = join(this.cache, 'packages');
    const file = join(directory, `${info.name}_${info.version.replaceAll(':', '%3a')}_${this.architecture}.deb`);
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

  /** Debian's archives as apt has them configured here: lines for a sources.list, and the release's name. Throws AptError. */
  sources(): { readonly suite: string; readonly sources: string } {
    do {
      const fields = 'deb $(REPO_URI) $(CODENAME) $(COMPONENT)';
      const { stdout } = this.run('apt-get', [
        'indextargets',
        '--format',
        fields,
        'Created-By: Packages',
        'Origin: Debian',
      ]);
      const lines = [...new Set(stdout.split('\n').filter(line => line !== ''))];
      // The archive's own name is what those of its updates begin with.
      const [suite] = lines.map(line => line.split(' ')[2]).sort((a, b) => a.length - b.length);
      if (suite !== undefined) return { suite, sources: `${lines.join('\n')}\n` };
    } while (this.nextLists());
    throw new AptError('apt has no sources of Debian');
  }

  private fetch(info: PackageInfo, directory: string): void {
    for (;;) {
      const { status, stderr } = this.run('apt-get', ['download', this.qualified(info.name, info.version)], directory);
      if (status === 0) return;
      // Lists may be older than what the mirror still has.
      if (!this.nextLists()) throw new AptError(`apt-get could not download ${info.name}: ${lastLine(stderr)}`);
    }
  }

  private lookUp(name: string): PackageInfo | null {
    const { status, stdout } = this.run('apt-cache', ['show', '--no-all-versions', this.qualified(name)]);
    return status === 0 ? parseControl(stdout) : null;
  }

  private qualified(name: string, version?: string): string {
    return `${name}:${this.architecture}${version === undefined ? '' : `=${version}`}`;
  }

  /** Has apt look further: into lists of our own as they were kept, then into fresh ones. False where there is nothing further. */
  private nextLists(): boolean {
    if (this.lists === 'fresh') return false;
    if (this.lists === 'system') {
      this.lists = 'kept';
      const updated = statSync(join(this.state, 'status'), { throwIfNoEntry: false })?.mtimeMs ?? 0;
      if (Date.now() - updated < KEPT_MS) return true;
    }
    this.lists = 'fresh';
    for (const part of ['lists/partial', 'archives/partial']) mkdirSync(join(this.state, part), { recursive: true });
    if (this.release !== null) writeFileSync(this.sourceList, `deb ${ARCHIVE} ${this.release} main\n`);
    // Without a status file apt-get does not run; nothing is installed as far as these lists are concerned.
    writeFileSync(join(this.state, 'status'), '');
    this.notify(
      `fetching package lists for ${this.release ?? ''} ${this.architecture} with apt-get`.replace('  ', ' '),
    );
    const { status, stderr } = this.run('apt-get', ['update']);
    // One source of several may be out of reach, and what the others have suffice.
    if (status !== 0) this.updateProblem = `not all package lists could be fetched (${lastLine(stderr)})`;
    return true;
  }

  /** Where lists of our own are. */
  private get state(): string {
    return join(this.cache, `apt-${this.release === null ? '' : `${this.release}-`}${this.architecture}`);
  }

  private get sourceList(): string {
    return join(this.state, 'sources.list');
  }

  /** Options that make apt use lists of our own. */
  private get options(): readonly string[] {
    const { state, architecture } = this;
    if (this.lists === 'system') return [];
    return [
      ...['-o', `Dir::State=${state}`, '-o', `Dir::State::lists=${join(state, 'lists')}`],
      ...['-o', `Dir::State::status=${join(state, 'status')}`, '-o', `Dir::Cache=${state}`],
      ...(this.release === null
        ? []
        : ['-o', `Dir::Etc::SourceList=${this.sourceList}`, '-o', 'Dir::Etc::SourceParts=/dev/null']),
      ...['-o', `APT::Architecture=${architecture}`, '-o', `APT::Architectures=${architecture}`],
    ];
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
