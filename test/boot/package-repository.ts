// A repository of packages as apt wants one, on this machine's loopback side: sources.list(5), "deb [trusted=yes] URL ./".

import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Apt } from '../../src/platform/node/debian/apt.ts';

export interface Repository {
  readonly port: number;
  /** What was asked for and was there, in this order. */
  readonly served: readonly string[];
  readonly server: Server;
}

/** Serves these packages of Debian's. Throws AptError where one cannot be had. */
export async function serveRepository(names: readonly string[]): Promise<Repository> {
  const apt = new Apt();
  const files = new Map<string, Buffer>();
  let list = '';
  for (const name of names) {
    const info = apt.show(name);
    const file = apt.download(info);
    const { stdout } = spawnSync('dpkg-deb', ['--field', file], { encoding: 'utf8' });
    files.set(`/${name}.deb`, readFileSync(file));
    list += `${stdout.trim()}\nFilename: ./${name}.deb\nSize: ${info.size}\nSHA256: ${info.sha256}\n\n`;
  }
  files.set('/./Packages', Buffer.from(list));
  const served: string[] = [];
  const server = createServer(({ url = '' }, response) => {
    const content = files.get(url) ?? files.get(url.replace('/./', '/'));
    if (content === undefined) {
      response.writeHead(404).end();
      return;
    }
    served.push(url);
    response.end(content);
  });
  await new Promise<void>(listening => server.listen(0, '127.0.0.1', listening));
  return { port: (server.address() as AddressInfo).port, served, server };
}
