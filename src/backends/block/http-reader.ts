// Parts of a resource by HTTP (RFC 9110, section 14), with whatever speaks it here: fetch in browsers and in Node.js.
import type { RangeReader } from './range-source.ts';

/** The part of fetch() that is used. */
export type Fetch = (url: string, init: { method?: string; headers?: Record<string, string> }) => Promise<Answer>;

interface Answer {
  readonly status: number;
  readonly headers: { get(name: string): string | null };
  arrayBuffer(): Promise<ArrayBuffer>;
}

const PARTIAL = 206;
const OK = 200;

/** Asks how large the resource is. Rejects with a sentence where it cannot be read in parts. */
export async function httpReader(url: string, fetch: Fetch): Promise<RangeReader> {
  const first = await fetch(url, { headers: { Range: 'bytes=0-0' } });
  if (first.status === OK) throw new Error(`${url}: the server does not give parts of it`);
  if (first.status !== PARTIAL) throw new Error(`${url}: HTTP status ${first.status}`);
  const size = Number(/^bytes 0-0\/(\d+)$/.exec(first.headers.get('content-range') ?? '')?.[1]);
  if (!Number.isSafeInteger(size)) throw new Error(`${url}: the server does not say how large it is`);
  const tag = first.headers.get('etag');
  // parts of two versions would make a disk that never was
  const condition: Record<string, string> = tag && !tag.startsWith('W/') ? { 'If-Match': tag } : {};
  return {
    size,
    read: async (offset, length) => {
      const answer = await fetch(url, { headers: { Range: `bytes=${offset}-${offset + length - 1}`, ...condition } });
      if (answer.status !== PARTIAL) throw new Error(`${url}: HTTP status ${answer.status}`);
      return new Uint8Array(await answer.arrayBuffer());
    },
  };
}
