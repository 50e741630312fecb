import { beforeEach, describe, expect, it } from 'vitest';
import { ALL_ABILITIES, connectPorts, type NetworkPort, wholeFrame } from '../../../src/backends/net/link.ts';
import { writeEthernet } from '../../../src/backends/net/packet/ethernet.ts';
import { PcapWriter, tapPort } from '../../../src/backends/net/pcap.ts';
import { Switch } from '../../../src/backends/net/switch.ts';
import { UserNetwork } from '../../../src/backends/net/user/user-network.ts';
import { concatBytes, toHex } from '../../../src/util/bytes.ts';
import { FakeClock } from './fake-clock.ts';
import { GuestStack } from './guest-stack.ts';
import { pattern } from './tcp/pair.ts';
import { FakeSockets } from './user/fake-sockets.ts';

const BROADCAST = 0xffffffffffff;
const frame = (destination: number, source: number, length = 60) => {
  const bytes = new Uint8Array(length);
  writeEthernet(bytes, { destination, source, type: 0x1234 });
  return wholeFrame(bytes);
};

let bridge: Switch;
let ports: NetworkPort[];
let got: string[];
let full: Set<number>;

beforeEach(() => {
  bridge = new Switch();
  got = [];
  full = new Set();
  ports = [0, 1, 2].map(n => {
    const port = bridge.addPort();
    port.attach({
      accepts: ALL_ABILITIES,
      receive: ({ bytes }) => {
        if (full.has(n)) return false;
        got.push(`${n}:${bytes[5]}${bytes.length === 60 ? '' : ` ${bytes.length}`}`);
        return true;
      },
    });
    return port;
  });
});

const take = () => got.splice(0);

describe('the switch', () => {
  it('floods what it does not know, and learns from whom frames come', () => {
    ports[0]!.send(frame(2, 1));
    expect(take()).toEqual(['1:2', '2:2']);
    ports[1]!.send(frame(1, 2));
    expect(take()).toEqual(['0:1']);
    ports[0]!.send(frame(2, 1));
    expect(take()).toEqual(['1:2']);
    ports[0]!.send(frame(BROADCAST, 1));
    expect(take()).toEqual(['1:255', '2:255']);
    ports[0]!.send(frame(0x01005e000001, 1));
    expect(take()).toEqual(['1:1', '2:1']);
    ports[0]!.send(frame(1, 3));
    expect(take()).toEqual([]);
  });

  it('follows a guest that moves, and forgets one that is gone', () => {
    ports[0]!.send(frame(BROADCAST, 1));
    ports[2]!.send(frame(BROADCAST, 1));
    take();
    ports[1]!.send(frame(1, 2));
    expect(take()).toEqual(['2:1']);
    bridge.removePort(ports[2]!);
    ports[1]!.send(frame(1, 2));
    expect(take()).toEqual(['0:1']);
    ports[2]!.send(frame(1, 9));
    expect(take()).toEqual([]);
  });

  it('remembers a bounded number of addresses', () => {
    for (let mac = 2; mac < 200_000; mac += 2) ports[0]!.send(frame(0, mac));
    expect(bridge.known).toBe(1024);
  });

  it('keeps what a device has no room for, in order, up to a bound', () => {
    full.add(1);
    ports[1]!.send(frame(BROADCAST, 2));
    take();
    const reused = frame(2, 1);
    for (let i = 0; i < 5000; i++) {
      reused.bytes = reused.bytes.slice(0, 60);
      ports[0]!.send(reused);
    }
    reused.bytes.fill(0);
    ports[0]!.send({ ...frame(2, 1, 100) });
    expect(take()).toEqual([]);
    full.clear();
    ports[1]!.resume();
    expect(take()).toEqual(Array.from({ length: 1000 }, () => '1:2'));
  });

  it('passes no frame with senseless offsets on', () => {
    ports[0]!.send({ ...frame(BROADCAST, 1), checksum: { start: 59, offset: 16 } });
    ports[0]!.send(wholeFrame(new Uint8Array(13)));
    ports[0]!.send(frame(BROADCAST, 1, 70_000));
    expect(take()).toEqual([]);
  });
});

describe('two guests on one switch', () => {
  it('talk to each other and both to the outside, whatever their devices can do', () => {
    const clock = new FakeClock();
    const sockets = new FakeSockets();
    const network = new UserNetwork({ clock, sockets });
    connectPorts(network, bridge.addPort());
    const [none, all] = [{ checksum: false, tcpv4: false, tcpv6: false }, ALL_ABILITIES];
    const one = new GuestStack(bridge.addPort(), clock, { accepts: none });
    const two = new GuestStack(bridge.addPort(), clock, { accepts: all, address: 0x0a000210, mac: 0x525400000002 });
    for (const guest of [one, two]) {
      const connection = guest.connect(0x01020304, 80, { largest: 30_000 });
      const socket = sockets.tcp.at(-1)!;
      socket.events.connected();
      connection.writeAll(pattern(50_000));
      clock.pass(1000);
      expect(Buffer.compare(socket.bytes, pattern(50_000))).toBe(0);
    }
    // The stack sends everything to the router's address; a frame to the other guest's goes to that one.
    const seen = two.frames.length;
    one.sendFrame(frame(0x525400000002, 0x525400123456).bytes);
    expect(two.frames.length).toBe(seen + 1);
  });
});

describe('a capture', () => {
  it('has what a port sends and takes, in the format of tcpdump', () => {
    const pieces: Uint8Array[] = [];
    let now = 1_700_000_000_000_000_005n;
    const capture = new PcapWriter(
      bytes => void pieces.push(bytes),
      () => now++,
    );
    const port = tapPort(ports[0]!, capture);
    port.attach({ accepts: ALL_ABILITIES, receive: () => true });
    port.send(frame(BROADCAST, 1, 14));
    ports[1]!.send(frame(BROADCAST, 2, 15));
    const file = toHex(concatBytes(pieces));
    expect(file.slice(0, 48)).toBe('4d3cb2a1020004000000000000000000' + '0d00010001000000');
    expect(file.slice(48, 48 + 32 + 28)).toBe('00f15365050000000e0000000e000000' + 'ffffffffffff0000000000011234');
    expect(file.slice(48 + 60)).toBe('00f15365060000000f0000000f000000' + 'ffffffffffff000000000002123400');
  });
});
