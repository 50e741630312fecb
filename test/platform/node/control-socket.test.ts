import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { listenForControl, sendControl } from '../../../src/platform/node/control-socket.ts';

let folder: string;
let path: string;
const close: (() => void)[] = [];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'domzero-control-'));
  path = join(folder, 'socket');
});
afterEach(() => {
  for (const one of close.splice(0)) one();
  rmSync(folder, { recursive: true });
});

async function listening(answer: (line: string) => Promise<unknown>): Promise<void> {
  close.push((await listenForControl(path, answer)).close);
}

describe('a control socket', () => {
  it("is its owner's alone, and answers each line in order", async () => {
    const asked: string[] = [];
    await listening(async line => {
      asked.push(line);
      // The first takes longest.
      await new Promise(resolve => setTimeout(resolve, line === 'a' ? 30 : 0));
      return { line };
    });
    expect(statSync(path).mode & 0o077).toBe(0);
    const text = await new Promise<string>(resolve => {
      let got = '';
      const socket = connect(path, () => {
        socket.write('a\nb');
        socket.write('c\n\n');
      });
      socket.on('data', chunk => {
        got += chunk;
        if (got.split('\n').length > 3) socket.destroy();
      });
      socket.on('close', () => resolve(got));
    });
    expect(text).toBe('{"line":"a"}\n{"line":"bc"}\n{"line":""}\n');
    expect(asked).toEqual(['a', 'bc', '']);
    expect(await sendControl(path, 'block-attach disk.img, xvdb')).toEqual({ line: 'block-attach disk.img, xvdb' });
  });

  it('drops a client that never ends its line, and goes on', async () => {
    await listening(async line => line.length);
    await new Promise<void>(resolve => {
      const socket = connect(path, () => socket.write('x'.repeat(100_000)));
      socket.on('error', () => {});
      socket.on('close', () => resolve());
    });
    expect(await sendControl(path, 'abc')).toBe(3);
  });

  it('takes the place of one that nobody listens at, and of nothing else', async () => {
    const dead = createServer();
    await new Promise<void>(resolve => dead.listen(path, resolve));
    await expect(listenForControl(path, async () => null)).rejects.toThrow(`${path}: no socket can be made here`);
    await new Promise(resolve => dead.close(resolve));
    await listening(async () => 'alive');
    expect(await sendControl(path, '')).toBe('alive');
    const file = join(folder, 'file');
    writeFileSync(file, 'mine');
    await expect(listenForControl(file, async () => null)).rejects.toThrow('it is there already');
  });

  it('that is not there, or goes away, is told in a sentence', async () => {
    await expect(sendControl(path, 'x')).rejects.toThrow(`${path}: no machine listens here (ENOENT)`);
    await listening(() => {
      for (const one of close.splice(0)) one();
      return new Promise(() => {});
    });
    await expect(sendControl(path, 'destroy')).rejects.toThrow(`${path}: the machine has ended`);
  });
});
