import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import type { SharedFolder } from '../../../src/backends/9pfs/shared-folder.ts';
import { openSharedFolder } from '../../../src/platform/node/shared-folder.ts';
import { NO_FID, P9_VERSION, p9Request, readP9Reply } from '../../../src/protocols/p9.ts';
import { setPageU32 } from '../../../src/protocols/shared-page.ts';
import { P9Client, ROOT, scratchDirectory } from './client.ts';
import { P9Front } from './front.ts';

const folders: SharedFolder[] = [];
afterEach(() => {
  for (const folder of folders.splice(0)) folder.close();
});

function share(options: ConstructorParameters<typeof P9Front>[1] = {}) {
  const path = scratchDirectory();
  const folder = openSharedFolder(path);
  folders.push(folder);
  return { path, front: new P9Front(folder, options) };
}

const IN = { cons: 0, prod: 4 } as const;
const OUT = { cons: 64, prod: 68 } as const;

describe('a front end', () => {
  it('is offered what QEMU offers', () => {
    const { front } = share();
    expect(front.back.features()).toEqual({ versions: '1', 'max-rings': '8', 'max-ring-page-order': '9' });
  });

  it('reads and writes through its rings, around their ends', () => {
    const { path, front } = share();
    const client = new P9Client(front.connect().exchange).attach();
    const text = Array.from({ length: 3000 }, (_, i) => `line ${i}\n`).join('');
    const fid = client.walk('');
    client.call('lcreate', { fid, name: 'file', flags: 2, mode: 0o644, gid: 0 });
    for (let at = 0; at < text.length; ) {
      const data = Buffer.from(text.slice(at, at + 5000));
      at += client.call('write', { fid, offset: BigInt(at), data }).count;
    }
    expect(readFileSync(join(path, 'file'), 'utf8')).toBe(text);
    let read = '';
    for (;;) {
      const { data } = client.call('read', { fid, offset: BigInt(read.length), count: 5000 });
      if (data.length === 0) break;
      read += Buffer.from(data).toString();
    }
    expect(read).toBe(text);
    expect(front.problem).toBeNull();
    front.back.disconnect();
    expect(front.domain.mapped).toBe(0);
    expect(front.domain.handlers.size).toBe(0);
  });

  it('that does not take its replies gets no further ones until it does', () => {
    const { path, front } = share({ order: 1 });
    writeFileSync(join(path, 'file'), 'x'.repeat(4000));
    const client = new P9Client(front.connect().exchange).attach(4096);
    const fid = client.walk('file');
    client.call('lopen', { fid, flags: 0 });
    for (let tag = 0; tag < 5; tag++) {
      front.requests.put(p9Request('read', tag, { fid, offset: 0n, count: 3000 }));
    }
    front.kick();
    for (let tag = 0; tag < 5; tag++) {
      const reply = front.reply()!;
      expect(reply[5]).toBe(tag);
      expect(readP9Reply('read', reply)).toMatchObject({ data: { length: 3000 } });
      expect(front.reply()).toBeNull();
      front.kick();
    }
  });

  it('that sends a part of a request is waited for', () => {
    const { front } = share();
    front.connect();
    const message = p9Request('version', 1, { size: 8192, version: P9_VERSION });
    for (const byte of message.slice(0, -1)) front.requests.put(Uint8Array.of(byte));
    front.kick();
    expect(front.reply()).toBeNull();
    front.requests.put(message.slice(-1));
    front.kick();
    expect(readP9Reply('version', front.reply()!)).toEqual({ size: 8192, version: P9_VERSION });
  });

  it.each([
    ['has an unknown version', { version: '2' }],
    ['has no rings', { 'num-rings': '0' }],
    ['has too many rings', { 'num-rings': '9' }],
    ['names a page that it did not grant', { 'ring-ref0': '77' }],
    ['names a port that is not open', { 'event-channel-0': '11' }],
  ])('that %s is refused, and keeps nothing', (_, nodes) => {
    const { front } = share();
    Object.assign(front.nodes, nodes);
    expect(() => front.connect()).toThrow();
    front.back.disconnect();
    expect(front.domain.mapped).toBe(0);
    expect(front.domain.handlers.size).toBe(0);
  });

  it.each([
    ['of no pages', 0],
    ['of too many pages', 10],
    ['of pages that it did not grant', 5],
  ])('with a ring %s is refused', (_, order) => {
    const { front } = share();
    setPageU32(front.indices, 128, order);
    expect(() => front.connect()).toThrow();
    front.back.disconnect();
    expect(front.domain.mapped).toBe(0);
  });

  it.each([
    ['more requests than a ring holds', (page: Uint8Array) => setPageU32(page, OUT.prod, 0x80000000)],
    ['replies taken that were never made', (page: Uint8Array) => setPageU32(page, IN.cons, 12345)],
  ])('that claims %s is cut off', (_, spoil) => {
    const { front } = share();
    front.connect();
    front.requests.put(p9Request('version', 1, { size: 8192, version: P9_VERSION }));
    spoil(front.indices);
    front.kick();
    expect(front.problem).toMatch(/indices out of range/);
    expect(front.domain.mapped).toBe(0);
  });

  it('that sends a message of an impossible size is cut off', () => {
    for (const size of [0, 6, 8193, 0xffffffff]) {
      const { front } = share();
      front.connect();
      const message = p9Request('version', 1, { size: 8192, version: P9_VERSION });
      new DataView(message.buffer).setUint32(0, size, true);
      front.requests.put(message);
      front.kick();
      expect(front.problem).toBe(`a request of ${size} bytes`);
    }
  });
});

describe('whatever a front end writes', () => {
  type Step =
    | { do: 'bytes'; bytes: Uint8Array }
    | { do: 'index'; at: number; value: number }
    | { do: 'request'; fid: number; name: string }
    | { do: 'take' }
    | { do: 'kick' };
  const step: fc.Arbitrary<Step> = fc.oneof(
    fc.record({ do: fc.constant('bytes' as const), bytes: fc.uint8Array({ maxLength: 40 }) }),
    fc.record({
      do: fc.constant('index' as const),
      at: fc.constantFrom(IN.cons, IN.prod, OUT.cons, OUT.prod, 128, 132),
      value: fc.oneof(fc.integer({ min: 0, max: 20_000 }), fc.constantFrom(0x7fffffff, 0x80000000, 0xffffffff)),
    }),
    fc.record({
      do: fc.constant('request' as const),
      fid: fc.integer({ min: 0, max: 3 }),
      name: fc.constantFrom('a', '..', 'file', '/'),
    }),
    fc.record({ do: fc.constant('take' as const) }),
    fc.record({ do: fc.constant('kick' as const) }),
  );

  it('the back end ends each turn, and gives everything back', () => {
    const { path, front: first } = share();
    writeFileSync(join(path, 'file'), 'hello');
    first.back.disconnect();
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), fc.integer({ min: 1, max: 3 }), (steps, order) => {
        const folder = openSharedFolder(path);
        const front = new P9Front(folder, { order }).connect();
        front.requests.put(p9Request('version', 1, { size: 4096, version: P9_VERSION }));
        const attach = { fid: ROOT, authFid: NO_FID, user: '', tree: '', uid: 0 };
        front.requests.put(p9Request('attach', 1, attach));
        for (const one of steps) {
          if (one.do === 'bytes' && front.requests.free >= one.bytes.length) front.requests.put(one.bytes);
          else if (one.do === 'index') setPageU32(front.indices, one.at, one.value);
          else if (one.do === 'request') {
            const { fid, name } = one;
            const message = p9Request('walk', 2, { fid, newFid: (fid + 1) & 3, names: [name] });
            if (front.requests.free >= message.length) front.requests.put(message);
          } else if (one.do === 'take') front.replies.drop(Math.max(0, Math.min(front.replies.waiting, 100)));
          else if (one.do === 'kick') front.kick();
        }
        front.kick();
        front.back.disconnect();
        front.kick();
        expect(front.domain.mapped).toBe(0);
        expect(front.domain.handlers.size).toBe(0);
        folder.close();
      }),
      { numRuns: 300 },
    );
    expect(readFileSync(join(path, 'file'), 'utf8')).toBe('hello');
  });
});
