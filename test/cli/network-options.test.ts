import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command } from 'commander';
import { afterAll, describe, expect, it } from 'vitest';
import { addNetworkOptions, type NetworkOptions, networkSetup } from '../../src/cli/network-options.ts';

const directory = mkdtempSync(join(tmpdir(), 'domzero-network-'));
afterAll(() => rmSync(directory, { recursive: true }));

const io = { out: () => {}, err: () => {} } as unknown as Parameters<typeof networkSetup>[1];

function options(...args: string[]): NetworkOptions {
  const command = addNetworkOptions(new Command())
    .exitOverride()
    .configureOutput({ writeErr: () => {} });
  command.parse(args, { from: 'user' });
  return command.opts();
}

describe('network options', () => {
  it('ask for nothing by default', async () => {
    expect((await networkSetup(options(), io)).setup).toEqual({ vifs: [] });
    const { setup } = await networkSetup(options('--net', 'none', '--vif', 'bridge=a'), io);
    expect(setup).toEqual({ vifs: [{ bridge: 'a' }] });
  });

  it('a way out comes with a device, and a forwarded port with a way out', async () => {
    for (const args of [
      ['--net', 'user'],
      ['--hostfwd', 'tcp::2222-:22'],
    ]) {
      const { setup } = await networkSetup(options(...args), io);
      expect(setup.vifs).toEqual([{}]);
      expect(setup.user).toBeTypeOf('function');
    }
    const { setup } = await networkSetup(options('--vif', 'mac=00:16:3e:00:00:01', '--vif', '', '--net', 'user'), io);
    expect(setup.vifs).toEqual([{ mac: 0x00163e000001 }, {}]);
  });

  it('write a capture until it is closed', async () => {
    const file = join(directory, 'x.pcap');
    const { setup, close } = await networkSetup(options('--pcap', file), io);
    setup.capture!(Uint8Array.of(1, 2, 3));
    close();
    setup.capture!(Uint8Array.of(4));
    expect([...readFileSync(file)]).toEqual([1, 2, 3]);
    await expect(networkSetup(options('--pcap', join(directory, 'no', 'x')), io)).rejects.toThrow(/no/);
    expect(existsSync(join(directory, 'no'))).toBe(false);
  });

  it.each([
    [['--vif', 'mac=x'], '"x" is no Ethernet address'],
    [['--hostfwd', 'tcp:22'], 'is not protocol:[address]:port'],
    [['--net', 'tap'], 'It is user, none, or unix:PATH.'],
  ])('%j is refused with a sentence', (args, message) => {
    expect(() => options(...args)).toThrow(message);
  });
});
