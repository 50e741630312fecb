import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { httpReader } from '../../../src/backends/block/http-reader.ts';

const content = Uint8Array.from({ length: 5000 }, (_, i) => i & 0xff);

describe('httpReader', () => {
  let server: Server;
  let base: string;
  let tag = '"one"';

  beforeAll(async () => {
    server = createServer((request, response) => {
      const range = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '');
      if (request.url === '/gone') response.writeHead(404).end();
      else if (request.headers['if-match'] && request.headers['if-match'] !== tag) response.writeHead(412).end();
      else if (request.url === '/whole' || !range) response.writeHead(200).end(content);
      else {
        const [from, to] = [Number(range[1]), Number(range[2])];
        response.writeHead(206, { 'Content-Range': `bytes ${from}-${to}/${content.length}`, ETag: tag });
        response.end(content.subarray(from, to + 1));
      }
    });
    await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
    base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  });
  afterAll(() => void server.close());

  it('reads parts of a resource', async () => {
    const reader = await httpReader(`${base}/disk`, fetch);
    expect(reader.size).toBe(5000);
    expect(await reader.read(1000, 300)).toEqual(content.slice(1000, 1300));
  });

  it('says what is wrong with others', async () => {
    await expect(httpReader(`${base}/whole`, fetch)).rejects.toThrow('does not give parts');
    await expect(httpReader(`${base}/gone`, fetch)).rejects.toThrow('HTTP status 404');
  });

  it('does not mix two versions', async () => {
    const reader = await httpReader(`${base}/disk`, fetch);
    tag = '"two"';
    await expect(reader.read(0, 10)).rejects.toThrow('HTTP status 412');
  });
});
