import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { P9_MESSAGE_BYTES, VirtioP9 } from '../../../src/machine/virtio/p9.ts';
import { P9_VERSION, p9Request, readP9Reply } from '../../../src/protocols/p9.ts';
import { P9Client, scratchDirectory, serverOf } from '../../backends/9pfs/client.ts';
import { FACES, Machine, VirtioDriver } from './driver.ts';

describe.each(FACES)('virtio-9p, %s driver', face => {
  function share() {
    const path = scratchDirectory();
    writeFileSync(join(path, 'file'), 'hello');
    const machine = new Machine();
    const session = serverOf(path, false, P9_MESSAGE_BYTES);
    const driver = new VirtioDriver(machine, new VirtioP9(machine, { session, tag: 'share0' }), face).start();
    const exchange = (message: Uint8Array): Uint8Array => {
      const { length, written } = driver.request(0, [message.slice(0, 7), message.slice(7), 11, 4096])!;
      return Buffer.concat(written).subarray(0, length);
    };
    return { machine, session, driver, exchange };
  }

  it('tells its tag, and answers in the buffers that came with the request', () => {
    const { driver, exchange } = share();
    const tag = Array.from({ length: 6 }, (_, i) => String.fromCharCode(driver.readConfig(2 + i, 1)));
    expect([driver.readConfig(0, 2), tag.join('')]).toEqual([6, 'share0']);
    expect(new P9Client(exchange).attach(4096).read('file')).toBe('hello');
  });

  it('forgets everything when it is reset', () => {
    const { driver, exchange, session } = share();
    new P9Client(exchange).attach(4096);
    expect(session.fids).toBe(1);
    driver.status = 0;
    expect(session.fids).toBe(0);
  });

  it.each([
    ['without a message', [Uint8Array.of(1, 2, 3), 100]],
    ['without room for the reply', [p9Request('version', 1, { size: 8192, version: P9_VERSION }), 10]],
  ])('stops at a request %s', (_, parts) => {
    const { machine, driver, exchange } = share();
    expect(driver.request(0, parts)).toBeNull();
    expect(machine.lines).toHaveLength(1);
    driver.status = 0;
    driver.start();
    const reply = exchange(p9Request('version', 1, { size: 4096, version: P9_VERSION }));
    expect(readP9Reply('version', reply)).toEqual({ size: 4096, version: P9_VERSION });
  });
});
