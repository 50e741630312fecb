// Writing cpio archives in the "newc" format, the one that Linux unpacks as initramfs
// (Documentation/driver-api/early-userspace/buffer-format.rst).

const MAGIC = '070701';
const TRAILER = 'TRAILER!!!';

const S_IFMT = 0o170000;
const S_IFCHR = 0o020000;
const S_IFDIR = 0o040000;
const S_IFBLK = 0o060000;
const S_IFREG = 0o100000;
const S_IFLNK = 0o120000;

/** Permission bits of an entry where the default does not fit. */
export interface CpioOptions {
  readonly mode?: number;
}

/**
 * Collects entries and gives the archive. Everything belongs to root and is dated 0, so that the same entries give the same
 * bytes. A directory has to be added before what is in it: the kernel does not make parents.
 */
export class CpioWriter {
  private readonly parts: Uint8Array[] = [];
  private length = 0;
  private inode = 0;

  file(path: string, data: Uint8Array, options: CpioOptions = {}): this {
    return this.entry(path, S_IFREG | (options.mode ?? 0o644), data);
  }

  directory(path: string, options: CpioOptions = {}): this {
    return this.entry(path, S_IFDIR | (options.mode ?? 0o755));
  }

  symlink(path: string, target: string): this {
    return this.entry(path, S_IFLNK | 0o777, new TextEncoder().encode(target));
  }

  /** A device node, such as ('dev/console', 'character', 5, 1). */
  device(path: string, kind: 'character' | 'block', major: number, minor: number, options: CpioOptions = {}): this {
    const type = kind === 'character' ? S_IFCHR : S_IFBLK;
    return this.entry(path, type | (options.mode ?? 0o600), new Uint8Array(0), major, minor);
  }

  /** The whole archive, padded to 512 bytes; others may follow it. */
  finish(): Uint8Array {
    this.append(header({ inode: 0, mode: 0, links: 1, size: 0, major: 0, minor: 0 }, TRAILER), 4);
    this.append(new Uint8Array(0), 512);
    const archive = new Uint8Array(this.length);
    let at = 0;
    for (const part of this.parts) {
      archive.set(part, at);
      at += part.length;
    }
    return archive;
  }

  private entry(path: string, mode: number, data = new Uint8Array(0) as Uint8Array, major = 0, minor = 0): this {
    const name = path.replace(/^\/+/, '').replace(/\/+$/, '');
    if (name === '' || name === TRAILER || name.includes('\0'))
      throw new RangeError(`"${path}" cannot be in an archive`);
    if (data.length > 0xffffffff) throw new RangeError(`${path}: too large for the format`);
    const links = (mode & S_IFMT) === S_IFDIR ? 2 : 1;
    this.append(header({ inode: ++this.inode, mode, links, size: data.length, major, minor }, name), 4);
    this.append(data, 4);
    return this;
  }

  private append(bytes: Uint8Array, align: number): void {
    this.parts.push(bytes);
    this.length += bytes.length;
    const padding = (align - (this.length % align)) % align;
    if (padding > 0) this.parts.push(new Uint8Array(padding));
    this.length += padding;
  }
}

interface Header {
  readonly inode: number;
  readonly mode: number;
  readonly links: number;
  readonly size: number;
  readonly major: number;
  readonly minor: number;
}

/** Thirteen fields of eight hexadecimal digits after the magic, then the name with its NUL. */
function header(h: Header, name: string): Uint8Array {
  const encoded = new TextEncoder().encode(`${name}\0`);
  const [uid, gid, mtime, devMajor, devMinor, checksum] = [0, 0, 0, 0, 0, 0];
  const fields = [h.inode, h.mode, uid, gid, h.links, mtime, h.size, devMajor, devMinor, h.major, h.minor];
  const text = [...fields, encoded.length, checksum].map(field => field.toString(16).padStart(8, '0')).join('');
  const bytes = new Uint8Array(MAGIC.length + text.length + encoded.length);
  bytes.set(new TextEncoder().encode(MAGIC + text));
  bytes.set(encoded, MAGIC.length + text.length);
  return bytes;
}
