import { execFileSync } from 'node:child_process';
import {
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ERRNO } from '../../../src/backends/9pfs/shared-folder.ts';
import { NO_FID, P9_VERSION, p9Header, readP9Directory } from '../../../src/protocols/p9.ts';
import { P9Client, ROOT, scratchDirectory, serverOf } from './client.ts';

const { EBADF, EEXIST, EINVAL, EISDIR, ELOOP, EMFILE, ENOENT, ENOMEM, ENOTDIR, EOPNOTSUPP, EPERM, EROFS } = ERRNO;
const S_IFCHR = 0o020000;

function share(isReadOnly = false) {
  const path = scratchDirectory();
  const server = serverOf(path, isReadOnly);
  return { path, server, client: new P9Client(message => server.handle(message)).attach() };
}

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

describe('a session', () => {
  it('begins with the version, and is forgotten with the next', () => {
    const { path, server, client } = share();
    const fid = client.walk('');
    client.call('lopen', { fid, flags: 0 });
    expect(server.fids).toBe(2);
    expect(client.call('version', { size: 1 << 20, version: P9_VERSION })).toEqual({
      size: 65536,
      version: P9_VERSION,
    });
    expect(server.fids).toBe(0);
    expect(client.try('getattr', { fid, mask: 0n })).toBe(EBADF);
    expect(client.try('version', { size: 100, version: P9_VERSION })).toBe(ERRNO.EMSGSIZE);
    expect(client.call('version', { size: 8192, version: '9P2000.u' }).version).toBe('unknown');
    expect(client.try('attach', { fid: 1, authFid: NO_FID, user: '', tree: '', uid: 0 })).toBe(EINVAL);
    expect(readdirSync(path)).toEqual([]);
  });

  it('answers what nobody knows, and what is too short, with errors', () => {
    const { server } = share();
    const unknown = Uint8Array.of(7, 0, 0, 0, 200, 9, 0);
    expect(p9Header(server.handle(unknown))).toEqual({ size: 11, type: 7, tag: 9 });
    expect(p9Header(server.handle(Uint8Array.of(8, 0, 0, 0, 110, 9, 0, 1)))).toEqual({ size: 11, type: 7, tag: 9 });
  });
});

describe('files', () => {
  it('are made, written, read, found and removed', () => {
    const { path, client } = share();
    const fid = client.walk('');
    client.call('lcreate', { fid, name: 'file', flags: 0o2, mode: 0o640, gid: 0 });
    expect(client.call('write', { fid, offset: 0n, data: bytes('hello world') })).toEqual({ count: 11 });
    expect(Buffer.from(client.call('read', { fid, offset: 6n, count: 100 }).data).toString()).toBe('world');
    client.call('fsync', { fid, dataOnly: 0 });
    client.call('clunk', { fid });
    expect(readFileSync(join(path, 'file'), 'utf8')).toBe('hello world');
    expect(statSync(join(path, 'file')).mode & 0o777).toBe(0o640);
    const attributes = client.call('getattr', { fid: client.walk('file'), mask: 0x7ffn });
    const { size, ino, mtimeNs } = statSync(join(path, 'file'), { bigint: true });
    expect(attributes).toMatchObject({ size, links: 1n, mode: 0o100640, modifySeconds: mtimeNs / 1_000_000_000n });
    expect(attributes.qid).toMatchObject({ type: 0, path: ino });
    client.call('unlinkat', { directory: ROOT, name: 'file', flags: 0 });
    expect(client.tryWalk('file')).toBe(ENOENT);
  });

  it('change owner, mode, times and size', () => {
    const { path, client } = share();
    writeFileSync(join(path, 'file'), 'hello world');
    const fid = client.walk('file');
    const nothing = { mode: 0, uid: 0, gid: 0, size: 0n };
    const times = { accessSeconds: 0n, accessNs: 0n, modifySeconds: 1000n, modifyNs: 500_000_000n };
    client.call('setattr', { fid, valid: 0x01 | 0x08, ...nothing, mode: 0o4755, size: 5n, ...times });
    client.call('setattr', { fid, valid: 0x20 | 0x100, ...nothing, ...times });
    const { mode, mtimeMs, size, atimeMs } = statSync(join(path, 'file'));
    // No set-user-id: whoever runs us may be root.
    expect([mode & 0o7777, mtimeMs, size]).toEqual([0o755, 1_000_500, 5]);
    expect(atimeMs).toBeGreaterThan(1e12);
    const directory = client.walk('');
    expect(client.try('setattr', { fid: directory, valid: 0x08, ...nothing, ...times })).toBe(EISDIR);
  });

  it('stay what they are while open, when their name is gone', () => {
    const { path, client } = share();
    writeFileSync(join(path, 'file'), 'hello');
    const fid = client.walk('file');
    client.call('lopen', { fid, flags: 0 });
    client.call('unlinkat', { directory: ROOT, name: 'file', flags: 0 });
    expect(client.call('getattr', { fid, mask: 0n })).toMatchObject({ size: 5n, links: 0n });
    expect(Buffer.from(client.call('read', { fid, offset: 0n, count: 5 }).data).toString()).toBe('hello');
  });

  it('are renamed with what is below them, and linked', () => {
    const { path, client } = share();
    mkdirSync(join(path, 'a'));
    writeFileSync(join(path, 'a/file'), 'x');
    const below = client.walk('a/file');
    client.call('renameat', { oldDirectory: ROOT, oldName: 'a', newDirectory: ROOT, newName: 'b' });
    expect(client.call('getattr', { fid: below, mask: 0n }).size).toBe(1n);
    client.call('link', { directory: ROOT, fid: below, name: 'other' });
    expect(statSync(join(path, 'other')).ino).toBe(statSync(join(path, 'b/file')).ino);
    client.call('rename', { fid: below, directory: ROOT, name: 'moved' });
    expect(client.read('moved')).toBe('x');
    client.call('remove', { fid: below });
    expect(client.try('clunk', { fid: below })).toBe(EBADF);
    client.call('unlinkat', { directory: ROOT, name: 'b', flags: 0x200 });
    expect(readdirSync(path)).toEqual(['other']);
  });

  it('have names of any bytes', () => {
    const { path, client } = share();
    client.call('mkdir', { fid: ROOT, name: '\xff\xfe', mode: 0o755, gid: 0 });
    expect(readdirSync(path, { encoding: 'buffer' })).toEqual([Buffer.from([0xff, 0xfe])]);
    const fid = client.walk('\xff\xfe');
    client.call('symlink', { fid, name: '\xc3\xa4', target: '\xe0 b', gid: 0 });
    expect(client.call('readlink', { fid: client.walk('\xff\xfe/\xc3\xa4') }).target).toBe('\xe0 b');
    client.call('lopen', { fid, flags: 0 });
    const { data } = client.call('readdir', { fid, offset: 0n, count: 4096 });
    expect(readP9Directory(data).map(({ name }) => name)).toEqual(['.', '..', '\xc3\xa4']);
  });
});

describe('directories', () => {
  it('are listed in pieces, from anywhere', () => {
    const { path, client } = share();
    const names = Array.from({ length: 300 }, (_, i) => `file-${i}`);
    for (const name of names) writeFileSync(join(path, name), '');
    const fid = client.walk('');
    client.call('lopen', { fid, flags: 0 });
    const seen: { name: string; offset: bigint }[] = [];
    for (let offset = 0n; ; ) {
      const entries = readP9Directory(client.call('readdir', { fid, offset, count: 1000 }).data);
      if (entries.length === 0) break;
      seen.push(...entries);
      offset = entries.at(-1)!.offset;
    }
    expect(seen.map(({ name }) => name).sort()).toEqual(['.', '..', ...names].sort());
    const again = readP9Directory(client.call('readdir', { fid, offset: seen[9].offset, count: 1000 }).data);
    expect(again[0]).toMatchObject({ name: seen[10].name });
    expect(client.call('readdir', { fid, offset: 0n, count: 5 }).data).toHaveLength(0);
  });

  it('are no files, and files no directories', () => {
    const { path, client } = share();
    writeFileSync(join(path, 'file'), '');
    expect(client.try('lopen', { fid: client.walk(''), flags: 1 })).toBe(EISDIR);
    const file = client.walk('file');
    expect(client.try('lcreate', { fid: file, name: 'x', flags: 0, mode: 0o644, gid: 0 })).toBe(ENOTDIR);
    client.call('lopen', { fid: file, flags: 0 });
    expect(client.try('readdir', { fid: file, offset: 0n, count: 100 })).toBe(EBADF);
    expect(client.try('lopen', { fid: file, flags: 0 })).toBe(EBADF);
    expect(client.try('mkdir', { fid: ROOT, name: 'file', mode: 0o755, gid: 0 })).toBe(EEXIST);
  });
});

describe('a read-only share', () => {
  it('is changed by nothing', () => {
    const { path, client } = share(true);
    writeFileSync(join(path, 'file'), 'hello');
    const fid = client.walk('file');
    const other = client.walk('file');
    const when = { accessSeconds: 0n, accessNs: 0n, modifySeconds: 0n, modifyNs: 0n };
    const refused = [
      client.try('lopen', { fid: other, flags: 2 }),
      client.try('lopen', { fid: other, flags: 0o1000 }),
      client.try('lcreate', { fid: client.walk(''), name: 'x', flags: 1, mode: 0o644, gid: 0 }),
      client.try('mkdir', { fid: ROOT, name: 'x', mode: 0o755, gid: 0 }),
      client.try('symlink', { fid: ROOT, name: 'x', target: 'y', gid: 0 }),
      client.try('mknod', { fid: ROOT, name: 'x', mode: 0o100644, major: 0, minor: 0, gid: 0 }),
      client.try('link', { directory: ROOT, fid, name: 'x' }),
      client.try('rename', { fid, directory: ROOT, name: 'x' }),
      client.try('renameat', { oldDirectory: ROOT, oldName: 'file', newDirectory: ROOT, newName: 'x' }),
      client.try('unlinkat', { directory: ROOT, name: 'file', flags: 0 }),
      client.try('setattr', { fid, valid: 1, mode: 0, uid: 0, gid: 0, size: 0n, ...when }),
      client.try('write', { fid, offset: 0n, data: bytes('x') }),
      client.try('remove', { fid: other }),
    ];
    expect(refused).toEqual(refused.map(() => EROFS));
    expect(client.read('file')).toBe('hello');
    expect(readdirSync(path)).toEqual(['file']);
  });
});

describe('there is no way out', () => {
  it('by names', () => {
    const { path, client } = share();
    mkdirSync(join(path, 'a'));
    for (const name of ['', '.', 'a/..', '../x', 'a/b', 'x\0y', '/etc/passwd']) {
      expect(client.try('walk', { fid: ROOT, newFid: 5, names: [name] })).toBe(EINVAL);
      expect(client.try('mkdir', { fid: ROOT, name, mode: 0o755, gid: 0 })).toBe(EINVAL);
    }
    expect(client.try('mkdir', { fid: ROOT, name: '..', mode: 0o755, gid: 0 })).toBe(EINVAL);
    expect(client.try('unlinkat', { directory: ROOT, name: '..', flags: 0x200 })).toBe(EINVAL);
    // The root is its own parent.
    const up = client.call('walk', { fid: ROOT, newFid: 6, names: ['a', '..', '..', '..', 'a'] });
    expect(up.qids[2].path).toBe(up.qids[1].path);
    expect(up.qids[4].path).toBe(up.qids[0].path);
    expect(readdirSync(path)).toEqual(['a']);
  });

  it('by links', () => {
    const { path, client } = share();
    const outside = scratchDirectory();
    writeFileSync(join(outside, 'secret'), 'secret', { mode: 0o600 });
    symlinkSync(outside, join(path, 'out'));
    symlinkSync(join(outside, 'secret'), join(path, 'file'));
    expect(client.tryWalk('out/secret')).not.toHaveProperty('fid');
    expect(client.try('lopen', { fid: client.walk('file'), flags: 0 })).toBe(ELOOP);
    expect(client.try('lopen', { fid: client.walk('out'), flags: 0 })).toBe(ELOOP);
    const making = { flags: 1, mode: 0o644, gid: 0 };
    expect(client.try('lcreate', { fid: client.walk('out'), name: 'new', ...making })).toBe(ENOTDIR);
    expect(client.try('lcreate', { fid: client.walk(''), name: 'file', ...making })).toBe(ELOOP);
    const when = { accessSeconds: 0n, accessNs: 0n, modifySeconds: 0n, modifyNs: 0n };
    const change = { fid: client.walk('file'), mode: 0o777, uid: 1, gid: 1, size: 0n, ...when };
    expect(client.try('setattr', { ...change, valid: 0x01 })).toBe(EOPNOTSUPP);
    expect(client.try('setattr', { ...change, valid: 0x08 })).toBe(EINVAL);
    client.try('setattr', { ...change, valid: 0x06 | 0x1b0 });
    client.call('link', { directory: ROOT, fid: client.walk('file'), name: 'hard' });
    expect(lstatSync(join(path, 'hard')).isSymbolicLink()).toBe(true);
    const after = statSync(join(outside, 'secret'));
    expect([after.mode & 0o777, after.size, after.uid, after.nlink]).toEqual([0o600, 6, process.getuid!(), 1]);
    expect(readdirSync(outside)).toEqual(['secret']);
  });

  it('by a directory that becomes a link between two requests', () => {
    const { path, client } = share();
    const outside = scratchDirectory();
    writeFileSync(join(outside, 'file'), 'secret');
    mkdirSync(join(path, 'a'));
    writeFileSync(join(path, 'a/file'), 'mine');
    const fid = client.walk('a/file');
    renameSync(join(path, 'a'), join(path, 'b'));
    symlinkSync(outside, join(path, 'a'));
    expect(client.try('lopen', { fid, flags: 2 })).toBe(ENOTDIR);
    expect(client.try('getattr', { fid, mask: 0n })).toBe(ENOTDIR);
    expect(client.try('unlinkat', { directory: ROOT, name: 'a', flags: 0x200 })).toBe(ENOTDIR);
    expect(readFileSync(join(outside, 'file'), 'utf8')).toBe('secret');
  });

  it('to devices and FIFOs, of which none is made or opened', () => {
    const { path, client } = share();
    execFileSync('mkfifo', [join(path, 'fifo')]);
    expect(client.try('lopen', { fid: client.walk('fifo'), flags: 0 })).toBe(EPERM);
    const node = { fid: ROOT, name: 'null', mode: S_IFCHR | 0o666, major: 1, minor: 3, gid: 0 };
    expect(client.try('mknod', node)).toBe(EPERM);
    expect(existsSync(join(path, 'null'))).toBe(false);
  });

  it('for the folder itself', () => {
    const { path, client } = share();
    expect(client.try('rename', { fid: client.walk(''), directory: ROOT, name: 'x' })).toBe(EINVAL);
    expect(client.try('remove', { fid: client.walk('') })).toBe(EINVAL);
    // It is the one that was opened, wherever it has gone.
    renameSync(path, `${path}-moved`);
    symlinkSync('/etc', path);
    expect(client.tryWalk('passwd')).toBe(ENOENT);
    rmSync(path);
    renameSync(`${path}-moved`, path);
  });
});

describe('a client', () => {
  it('cannot have more files open or remembered than there is room for', () => {
    const { path, server, client } = share();
    writeFileSync(join(path, 'file'), '');
    const opened: unknown[] = [];
    for (let i = 0; i < 1030; i++) opened.push(client.try('lopen', { fid: client.walk('file'), flags: 0 }));
    expect(opened.filter(reply => typeof reply === 'number')).toEqual(Array.from({ length: 6 }, () => EMFILE));
    let reply: unknown = null;
    for (let i = 0; reply !== ENOMEM && i < 200_000; i++) {
      reply = client.try('walk', { fid: ROOT, newFid: 10_000 + i, names: [] });
    }
    expect(reply).toBe(ENOMEM);
    server.close();
    expect(server.fids).toBe(0);
  }, 60_000);

  it('that sends anything at all gets a reply to each, and stays inside', () => {
    const outside = scratchDirectory();
    writeFileSync(join(outside, 'secret'), 'secret');
    const { path, server, client } = share();
    mkdirSync(join(path, 'a'));
    writeFileSync(join(path, 'a/file'), 'x');
    linkSync(join(path, 'a/file'), join(path, 'file'));
    symlinkSync(outside, join(path, 'out'));
    const types = Array.from({ length: 70 }, (_, i) => 8 + i * 2).filter(type => type < 124);
    const name = fc.constantFrom('a', 'file', 'out', '..', '.', '', 'secret', 'a/file', `../${outside}`, 'new');
    const part = fc.oneof(
      fc.integer({ min: 0, max: 255 }).map(value => Uint8Array.of(value)),
      fc.constantFrom(0, 1, 2, 3, 5, 0x200, 0xffffffff).map(value => new Uint8Array(Uint32Array.of(value).buffer)),
      name.map(text => Uint8Array.of(text.length & 255, 0, ...Buffer.from(text))),
    );
    const message = fc
      .tuple(fc.constantFrom(...types), fc.array(part, { maxLength: 8 }))
      .map(([type, parts]) => Buffer.concat([Uint8Array.of(0, 0, 0, 0, type, 1, 0), ...parts]));
    fc.assert(
      fc.property(fc.array(message, { minLength: 1, maxLength: 30 }), messages => {
        for (const request of messages) {
          const reply = server.handle(new Uint8Array(request));
          const { size, tag } = p9Header(reply);
          expect([size, tag]).toEqual([reply.length, 1]);
          expect(reply.length).toBeLessThanOrEqual(8192);
        }
        client.attach();
      }),
      { numRuns: 300 },
    );
    expect(readFileSync(join(outside, 'secret'), 'utf8')).toBe('secret');
    expect(readdirSync(outside)).toEqual(['secret']);
    if (existsSync(join(path, 'out'))) expect(readlinkSync(join(path, 'out'))).toBe(outside);
  });
});
