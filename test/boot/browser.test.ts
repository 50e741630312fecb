// The library in a browser: bundled for it, in a worker of a page, a stock kernel boots as it does in Node.js, to the instruction.
import { existsSync, readFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { basename } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { type Browser, chromium } from 'playwright-core';
import { afterAll, describe, expect } from 'vitest';
import type { Mode } from '../../src/toolstack/image/modes.ts';
import { type Booted, boot } from './browser/one-boot.ts';
import type { WorkerAnswer, WorkerOrder } from './browser/worker.ts';
import { testWith } from './kernels.ts';

/** Where distributions put it; DOMZERO_CHROMIUM names another. */
const PROGRAMS = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];
const program = process.env.DOMZERO_CHROMIUM ?? PROGRAMS.find(path => existsSync(path));
/** What is booted there, each compared with the same boot here. */
const BOOTS = [
  { mode: 'pv', jit: true },
  { mode: 'pv', jit: false },
  { mode: 'native', jit: true },
] as const;
/** No connections of the browser's own. A container's root has no sandbox. */
const ARGS = ['--no-sandbox', '--disable-gpu', '--disable-background-networking', '--disable-component-update'];

const servers: Server[] = [];
const browsers: Browser[] = [];
afterAll(async () => {
  for (const browser of browsers) await browser.close();
  for (const server of servers) server.close();
});

/** Serves these bodies, by path, on this machine alone. Gives the address. */
async function serve(bodies: Readonly<Record<string, readonly [type: string, body: string | Uint8Array]>>) {
  const server = createServer((request, response) => {
    const found = bodies[request.url ?? ''];
    response.writeHead(found ? 200 : 404, { 'content-type': found?.[0] ?? 'text/plain' }).end(found?.[1] ?? '');
  });
  servers.push(server);
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

async function bundle(): Promise<string> {
  const worker = fileURLToPath(new URL('./browser/worker.ts', import.meta.url));
  const { outputFiles } = await build({
    entryPoints: [worker],
    bundle: true,
    format: 'esm',
    platform: 'browser',
    write: false,
  });
  return outputFiles[0].text;
}

/** Boots in a worker of this page. */
const inPage = (page: Awaited<ReturnType<Browser['newPage']>>, order: WorkerOrder): Promise<WorkerAnswer> =>
  page.evaluate(
    wanted =>
      new Promise<WorkerAnswer>((resolve, reject) => {
        const worker = new Worker('/worker.js', { type: 'module' });
        worker.onmessage = ({ data }) => {
          worker.terminate();
          resolve(data);
        };
        worker.onerror = event => reject(new Error(event.message));
        worker.postMessage(wanted);
      }),
    order,
  );

describe.skipIf(program === undefined)(`in a browser${program === undefined ? ': no Chromium here' : ''}`, () => {
  testWith('cloud', 'boots in Chromium as in Node.js, interpreted and compiled', async ([file]) => {
    const kernel = new Uint8Array(readFileSync(file));
    const origin = await serve({
      '/': ['text/html', '<!doctype html><title>domzero</title>'],
      '/worker.js': ['text/javascript', await bundle()],
      '/kernel': ['application/octet-stream', kernel],
    });
    const browser = await chromium.launch({ executablePath: program!, args: ARGS });
    browsers.push(browser);
    const page = await browser.newPage();
    await page.goto(`${origin}/`);

    const name = basename(file);
    const here = new Map<Mode, Booted>();
    for (const { mode, jit } of BOOTS) {
      const answer = await inPage(page, { url: '/kernel', name, mode, jit });
      if ('failed' in answer) throw new Error(answer.failed);
      expect(answer.booted).toMatchObject({ verdict: 'pass' });
      if (!here.has(mode)) here.set(mode, await boot({ kernel, name, mode, jit }));
      expect(answer.booted).toEqual(here.get(mode));
    }
  });
});
