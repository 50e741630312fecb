import { describe, expect, it } from 'vitest';
import { VirtioConsole } from '../../../src/machine/virtio/console.ts';
import { VirtioRng } from '../../../src/machine/virtio/rng.ts';
import { FACES, Machine, VirtioDriver } from './driver.ts';

const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);
const utf8 = (string: string): Uint8Array => new TextEncoder().encode(string);

describe.each(FACES)('virtio-rng, %s driver', face => {
  it('fills buffers, but no more than it will at a time', () => {
    const machine = new Machine();
    let next = 0;
    const device = new VirtioRng(machine, into => {
      for (let i = 0; i < into.length; i++) into[i] = next++;
    });
    const driver = new VirtioDriver(machine, device, face).start();
    expect(driver.request(0, [3, 4])).toEqual({
      length: 7,
      written: [Uint8Array.of(0, 1, 2), Uint8Array.of(3, 4, 5, 6)],
    });
    expect(driver.request(0, [10000])?.length).toBe(4096);
    expect(driver.request(0, [Uint8Array.of(1)])?.length).toBe(0);
  });
});

describe.each(FACES)('virtio-console, %s driver', face => {
  function console() {
    const machine = new Machine();
    const printed: string[] = [];
    const device = new VirtioConsole(machine, { output: bytes => void printed.push(text(bytes)), size: [80, 24] });
    return { driver: new VirtioDriver(machine, device, face), device, printed };
  }

  it('prints what the guest sends', () => {
    const { driver, printed } = console();
    driver.start();
    expect(driver.request(1, [utf8('Hello, '), utf8('world\n')])?.length).toBe(0);
    expect(printed.join('')).toBe('Hello, world\n');
    driver.request(1, [utf8('x'.repeat(9000))]);
    expect(printed.join('')).toHaveLength(13 + 9000);
  });

  it('types what fits and holds back the rest', () => {
    const { driver, device } = console();
    device.receive(utf8('ls'));
    driver.start();
    const first = driver.add(0, [1]);
    driver.kick(0);
    expect(driver.used(0)).toEqual([[first.head, 1]]);
    expect(device.waitingInput).toBe(1);
    const second = driver.add(0, [100]);
    device.receive(utf8(' -l'));
    expect(driver.used(0)).toEqual([[second.head, 4]]);
    expect(text(driver.bytes(second.addresses[0], 4))).toBe('s -l');
    expect(device.waitingInput).toBe(0);
  });

  it('tells the size of its terminal, and takes characters without queues', () => {
    const { driver, device, printed } = console();
    driver.start();
    expect([driver.readConfig(0, 2), driver.readConfig(2, 2)]).toEqual([80, 24]);
    device.resize(132, 50);
    expect([driver.readConfig(0, 2), driver.readConfig(2, 2)]).toEqual([132, 50]);
    expect(driver.takeIsr()).toBe(2);
    driver.writeConfig(8, 4, 0x21);
    expect(printed.join('')).toBe('!');
  });

  it('keeps input that waits in its state', () => {
    const { driver, device } = console();
    driver.start();
    device.receive(utf8('abc'));
    const state = structuredClone(driver.transport.save());
    const copy = console();
    copy.driver.transport.load(state);
    expect(copy.device.waitingInput).toBe(3);
  });
});
