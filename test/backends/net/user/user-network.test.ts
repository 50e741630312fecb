// The user-mode network as a guest sees it through its port.
import fc from 'fast-check';
import { beforeEach, describe, expect, it } from 'vitest';
import { MAX_FRAME, NO_ABILITIES } from '../../../../src/backends/net/link.ts';
import { ARP_OPERATION, arpFrame, parseArp } from '../../../../src/backends/net/packet/arp.ts';
import { DHCP_MESSAGE } from '../../../../src/backends/net/packet/dhcp.ts';
import { TCP } from '../../../../src/backends/net/tcp/segment.ts';
import { type PortForward, UserNetwork } from '../../../../src/backends/net/user/user-network.ts';
import { toHex } from '../../../../src/util/bytes.ts';
import { FakeClock } from '../fake-clock.ts';
import { DNS, GATEWAY, GATEWAY_MAC, GUEST_IP, GUEST_MAC, GuestStack } from '../guest-stack.ts';
import { pattern } from '../tcp/pair.ts';
import { FakeSockets, FakeTcp } from './fake-sockets.ts';

const OUTSIDE = 0x5db8d822; // 93.184.216.34
const text = (value: string) => new TextEncoder().encode(value);

let clock: FakeClock;
let sockets: FakeSockets;
let network: UserNetwork;
let guest: GuestStack;

function start(options: { forwards?: PortForward[]; isolated?: boolean } = {}, accepts = NO_ABILITIES): void {
  clock = new FakeClock();
  sockets = new FakeSockets();
  network = new UserNetwork({ clock, sockets, hostName: 'guest', ...options });
  guest = new GuestStack(network, clock, { accepts });
}

beforeEach(() => start());

function dhcp(type: number, options: number[] = [], mac = GUEST_MAC): Uint8Array {
  const bytes = new Uint8Array(300);
  bytes.set([1, 1, 6, 0, 0xde, 0xad, 0xbe, 0xef]);
  for (let i = 0; i < 6; i++) bytes[28 + i] = Math.floor(mac / 2 ** (8 * (5 - i))) & 0xff;
  bytes.set([0x63, 0x82, 0x53, 0x63, 53, 1, type, ...options, 255], 236);
  return bytes;
}

/** The last datagram's options by code, and the address that it gives. */
function dhcpAnswer(): { your: string; options: Record<number, string> } | null {
  const last = guest.datagrams.pop();
  if (last === undefined) return null;
  const { payload } = last.datagram;
  const options: Record<number, string> = {};
  for (let at = 240; payload[at] !== 255; at += 2 + payload[at + 1]!) {
    options[payload[at]!] = toHex(payload.subarray(at + 2, at + 2 + payload[at + 1]!));
  }
  return { your: toHex(payload.subarray(16, 20)), options };
}

const sendDhcp = (bytes: Uint8Array) => guest.sendUdp(0xffffffff, 68, 67, bytes, 0);

function dnsQuery(name: string, type: number): Uint8Array {
  const labels = name.split('.').flatMap(label => [label.length, ...text(label)]);
  return Uint8Array.from([0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, ...labels, 0, 0, type, 0, 1]);
}

const icmp = (type: number, code = 0) => {
  const message = Uint8Array.from([type, code, 0, 0, 0, 7, 0, 1, ...text('ping')]);
  const sum = [0, 2, 4, 6, 8, 10].reduce((total, at) => total + (message[at]! << 8) + message[at + 1]!, 0);
  const value = ~((sum & 0xffff) + (sum >> 16)) & 0xffff;
  message[2] = value >> 8;
  message[3] = value;
  return message;
};

describe('address resolution', () => {
  it('finds the router and the name server, and nobody else', () => {
    const ask = (target: number) => {
      guest.frames.length = 0;
      guest.sendFrame(
        arpFrame({ operation: ARP_OPERATION.request, senderMac: GUEST_MAC, sender: GUEST_IP, targetMac: 0, target }),
      );
      return guest.frames.map(({ bytes }) => parseArp(bytes));
    };
    expect(ask(GATEWAY)).toEqual([
      { operation: 2, senderMac: GATEWAY_MAC, sender: GATEWAY, targetMac: GUEST_MAC, target: GUEST_IP },
    ]);
    expect(ask(DNS)).toHaveLength(1);
    expect(ask(0x0a000210)).toEqual([]);
    expect(ask(GUEST_IP)).toEqual([]);
  });
});

describe('DHCP', () => {
  it('offers and acknowledges what QEMU would', () => {
    sendDhcp(dhcp(DHCP_MESSAGE.discover));
    const offer = dhcpAnswer();
    expect(offer).toEqual({
      your: '0a00020f',
      options: {
        53: '02',
        54: '0a000202',
        51: '00015180',
        58: '0000a8c0',
        59: '00012750',
        1: 'ffffff00',
        3: '0a000202',
        6: '0a000203',
        26: '05dc',
        12: toHex(text('guest')),
      },
    });
    sendDhcp(dhcp(DHCP_MESSAGE.request, [50, 4, 10, 0, 2, 15, 54, 4, 10, 0, 2, 2]));
    expect(dhcpAnswer()).toMatchObject({ your: '0a00020f', options: { 53: '05' } });
  });

  it('gives each guest its own address, the same one again, and none that is not to be had', () => {
    const others = [1, 2, 3].map(n => GUEST_MAC + n);
    for (const [i, mac] of others.entries()) {
      sendDhcp(dhcp(DHCP_MESSAGE.request, [50, 4, 10, 0, 2, 15 + i], mac));
      expect(dhcpAnswer()).toMatchObject({ options: { 53: '05' } });
    }
    sendDhcp(dhcp(DHCP_MESSAGE.discover));
    expect(dhcpAnswer()).toMatchObject({ your: '0a000212' });
    sendDhcp(dhcp(DHCP_MESSAGE.discover, [], others[1]));
    expect(dhcpAnswer()).toMatchObject({ your: '0a000210' });
    sendDhcp(dhcp(DHCP_MESSAGE.request, [50, 4, 10, 0, 2, 16]));
    expect(dhcpAnswer()).toMatchObject({ your: '00000000', options: { 53: '06' } });
    sendDhcp(dhcp(DHCP_MESSAGE.request, [50, 4, 10, 0, 2, 2]));
    expect(dhcpAnswer()).toMatchObject({ options: { 53: '06' } });
    sendDhcp(dhcp(DHCP_MESSAGE.request, [50, 4, 10, 0, 2, 15, 54, 4, 10, 0, 2, 9]));
    expect(dhcpAnswer()).toBeNull();
  });

  it('has a bounded number of addresses for any number of guests', () => {
    for (let n = 0; n < 600; n++) {
      sendDhcp(dhcp(DHCP_MESSAGE.discover, [], GUEST_MAC + n));
      const offer = dhcpAnswer();
      if (offer === null) continue;
      const last = Number.parseInt(offer.your.slice(6), 16);
      sendDhcp(dhcp(DHCP_MESSAGE.request, [50, 4, 10, 0, 2, last], GUEST_MAC + n));
    }
    sendDhcp(dhcp(DHCP_MESSAGE.discover, [], GUEST_MAC + 1000));
    expect(guest.datagrams.length).toBeLessThanOrEqual(240);
  });
});

describe('names', () => {
  const answer = () => guest.datagrams.pop()?.datagram.payload;

  it('asks the host and answers with what it says', () => {
    guest.sendUdp(DNS, 5353, 53, dnsQuery('Example.org', 1));
    expect(sockets.asked[0]).toMatchObject({ name: 'Example.org', type: 'A' });
    expect(network.busy).toBe(true);
    sockets.asked[0]!.done({ status: 'ok', values: ['93.184.216.34', 'nonsense', '1.2.3.4'] });
    expect(network.busy).toBe(false);
    const question = toHex(dnsQuery('Example.org', 1).subarray(12));
    expect(toHex(answer()!)).toBe(
      `1234818000010002 00000000${question}c00c000100010000003c00045db8d822c00c000100010000003c000401020304`.replace(
        ' ',
        '',
      ),
    );
  });

  it('knows IPv6 addresses and names of addresses', () => {
    guest.sendUdp(DNS, 5353, 53, dnsQuery('example.org', 28));
    sockets.asked[0]!.done({ status: 'ok', values: ['2001:db8::1', '::ffff:1.2.3.4'] });
    const aaaa = toHex(answer()!);
    expect(aaaa).toContain('001020010db8000000000000000000000001');
    expect(aaaa).toContain('001000000000000000000000ffff01020304');
    guest.sendUdp(DNS, 5353, 53, dnsQuery('34.216.184.93.in-addr.arpa', 12));
    expect(sockets.asked[1]).toMatchObject({ name: '93.184.216.34', type: 'PTR' });
    sockets.asked[1]!.done({ status: 'ok', values: ['a.example'] });
    expect(toHex(answer()!)).toContain('000b0161076578616d706c6500');
  });

  it.each([
    ['no such name', 'x.invalid', 1, 'no-such-name', 3],
    ['the host does not know', 'x.example', 1, 'failed', 2],
    ['a name that cannot be one', 'a b.example', 1, null, 3],
    ["an address of the guests' own network", '15.2.0.10.in-addr.arpa', 12, null, 3],
    ['a type that is not there', 'example.org', 15, null, 4],
  ] as const)('%s', (_, name, type, status, code) => {
    guest.sendUdp(DNS, 5353, 53, dnsQuery(name, type));
    if (status !== null) sockets.asked[0]!.done({ status, values: [] });
    else expect(sockets.asked).toEqual([]);
    expect(answer()![3]! & 15).toBe(code);
  });

  it('never leaves a question without an answer, and asks the host a bounded number of them', () => {
    for (let i = 0; i < 100; i++) guest.sendUdp(DNS, 5353, 53, dnsQuery('slow.example', 1));
    expect(sockets.asked).toHaveLength(64);
    expect(guest.datagrams).toHaveLength(36);
    clock.pass(6000);
    expect(guest.datagrams).toHaveLength(100);
    sockets.asked[0]!.done({ status: 'ok', values: ['1.2.3.4'] });
    expect(guest.datagrams).toHaveLength(100);
    expect(network.busy).toBe(false);
  });
});

describe('ICMP', () => {
  it('answers for the router and the name server', () => {
    guest.sendPacket(GATEWAY, 1, icmp(8));
    guest.sendPacket(DNS, 1, icmp(8));
    expect(guest.packets.map(({ source, payload }) => [source, payload[0], toHex(payload.subarray(4))])).toEqual([
      [GATEWAY, 0, toHex(icmp(8).subarray(4))],
      [DNS, 0, toHex(icmp(8).subarray(4))],
    ]);
  });

  it('puts an echo of several fragments together and cuts the answer', () => {
    const message = new Uint8Array(4000);
    message.set([8, 0, 0xf7, 0xff]);
    guest.sendPacket(GATEWAY, 1, message.subarray(2000), { id: 9, fragmentOffset: 2000 });
    guest.sendPacket(GATEWAY, 1, message.subarray(0, 2000), { id: 9, moreFragments: true });
    expect(guest.packets).toHaveLength(1);
    expect(guest.packets[0]!.payload).toHaveLength(4000);
    expect(guest.frames).toHaveLength(3);
  });

  it('says what cannot be reached', () => {
    const errors = () => guest.packets.splice(0).map(({ payload }) => [payload[0], payload[1]]);
    guest.sendPacket(OUTSIDE, 1, icmp(8));
    expect(errors()).toEqual([[3, 13]]);
    guest.sendPacket(0x0a000220, 1, icmp(8));
    expect(errors()).toEqual([[3, 1]]);
    guest.sendPacket(OUTSIDE, 47, text('gre'));
    expect(errors()).toEqual([[3, 2]]);
    guest.sendUdp(DNS, 1, 99, text('x'));
    expect(errors()).toEqual([[3, 3]]);
    guest.sendPacket(OUTSIDE, 17, new Uint8Array([0, 1, 0, 2, 0, 8, 0, 0]), { ttl: 1 });
    expect(errors()).toEqual([[11, 0]]);
    // About an error, a broadcast or a packet to nowhere nothing is said.
    guest.sendPacket(OUTSIDE, 1, icmp(3));
    guest.sendPacket(0x0a0002ff, 47, text('x'));
    guest.sendPacket(0x7f000001, 1, icmp(8));
    expect(errors()).toEqual([]);
  });
});

describe('UDP', () => {
  it('goes out by one socket a port, and lets in only who was asked', () => {
    guest.sendUdp(OUTSIDE, 1000, 7, text('one'));
    guest.sendUdp(GATEWAY, 1000, 8, text('two'));
    guest.sendUdp(OUTSIDE, 1001, 7, text('three'));
    expect(sockets.udp.map(({ sent }) => sent)).toEqual([
      [
        { text: 'one', to: '93.184.216.34:7' },
        { text: 'two', to: '127.0.0.1:8' },
      ],
      [{ text: 'three', to: '93.184.216.34:7' }],
    ]);
    expect(network.busy).toBe(true);
    const { events } = sockets.udp[0]!;
    events.datagram(text('stranger'), '93.184.216.34', 9);
    events.datagram(text('uno'), '93.184.216.34', 7);
    events.datagram(text('due'), '127.0.0.1', 8);
    expect(
      guest.datagrams.map(({ source, datagram }) => [source, datagram.sourcePort, datagram.destinationPort]),
    ).toEqual([
      [OUTSIDE, 7, 1000],
      [GATEWAY, 8, 1000],
    ]);
    clock.pass(3000);
    expect(network.busy).toBe(false);
    clock.pass(240_000);
    expect(sockets.udp.map(({ isClosed }) => isClosed)).toEqual([true, true]);
  });

  it('large datagrams pass in fragments', () => {
    const large = pattern(5000);
    guest.sendUdp(OUTSIDE, 1000, 7, text('x'));
    sockets.udp[0]!.events.datagram(large, '93.184.216.34', 7);
    expect(guest.frames).toHaveLength(4);
    expect(guest.datagrams[0]!.datagram.payload).toEqual(large);
  });

  it('keeps a bounded number of sockets', () => {
    for (let port = 1; port <= 1000; port++) guest.sendUdp(OUTSIDE, port, 7, text('x'));
    expect(sockets.udp.filter(({ isClosed }) => !isClosed)).toHaveLength(256);
  });

  it('is forwarded into a guest and back', () => {
    start({ forwards: [{ protocol: 'udp', hostPort: 5000, guestPort: 53 }] });
    guest.sendUdp(GATEWAY, 9, 9, text('here I am'));
    const socket = sockets.udp[0]!;
    expect(socket.bind).toMatchObject({ address: '127.0.0.1', port: 5000 });
    socket.events.datagram(text('question'), '127.0.0.1', 777);
    const { source, datagram } = guest.datagrams.pop()!;
    expect([source, datagram.destinationPort]).toEqual([GATEWAY, 53]);
    guest.sendUdp(GATEWAY, 53, datagram.sourcePort, text('answer'));
    expect(socket.sent).toEqual([{ text: 'answer', to: '127.0.0.1:777' }]);
  });
});

describe('TCP', () => {
  it('connects once the host has, passes bytes both ways, and closes one way after the other', () => {
    const connection = guest.connect(GATEWAY, 80);
    const [socket] = sockets.tcp as [FakeTcp];
    expect(socket.to).toBe('127.0.0.1:80');
    clock.pass(1500);
    expect([connection.isEstablished, sockets.tcp.length]).toEqual([false, 1]);
    socket.events.connected();
    expect([connection.isEstablished, socket.isReading]).toEqual([true, true]);
    connection.tcp.write(text('GET /'));
    connection.tcp.finish();
    expect([socket.text, socket.hasEnded]).toEqual(['GET /', true]);
    expect(network.busy).toBe(true);
    socket.events.written(5);
    socket.events.data(text('200 OK'));
    socket.events.end();
    expect([connection.text, connection.hasEnded]).toEqual(['200 OK', true]);
    clock.pass(5000);
    expect([connection.end, socket.isClosed, network.busy]).toEqual(['closed', true, false]);
  });

  it('tells a refusal, an unreachable host, and silence apart', () => {
    const refused = guest.connect(OUTSIDE, 1);
    sockets.tcp[0]!.events.failed('refused');
    expect(refused.end).toBe('refused');
    guest.connect(OUTSIDE, 2);
    sockets.tcp[1]!.events.failed('unreachable');
    expect(guest.packets.at(-1)!.payload.subarray(0, 2)).toEqual(Uint8Array.of(3, 1));
    const before = guest.packets.length;
    guest.connect(OUTSIDE, 3);
    sockets.tcp[2]!.events.failed('timeout');
    expect(guest.packets).toHaveLength(before);
    expect(network.busy).toBe(false);
  });

  it('answers what belongs to no connection with a RST, and a RST with nothing', () => {
    const base = {
      sourcePort: 5,
      destinationPort: 6,
      seq: 100,
      ack: 200,
      window: 0,
      options: {},
      payload: text('abc'),
    };
    guest.sendTcp(OUTSIDE, { ...base, flags: TCP.ack });
    guest.sendTcp(OUTSIDE, { ...base, flags: TCP.fin });
    guest.sendTcp(DNS, { ...base, flags: TCP.syn, payload: text('') });
    guest.sendTcp(OUTSIDE, { ...base, flags: TCP.rst });
    expect(guest.segments.map(({ flags, seq, ack }) => [flags, seq, ack])).toEqual([
      [TCP.rst, 200, 0],
      [TCP.rst | TCP.ack, 0, 104],
      [TCP.rst | TCP.ack, 0, 101],
    ]);
    expect(sockets.tcp).toEqual([]);
  });

  it("a broken socket is a RST for the guest, and the guest's RST one for the host", () => {
    const one = guest.connect(OUTSIDE, 1);
    sockets.tcp[0]!.events.connected();
    sockets.tcp[0]!.events.broken();
    expect(one.end).toBe('reset');
    const two = guest.connect(OUTSIDE, 1);
    sockets.tcp[1]!.events.connected();
    two.tcp.abort();
    expect(sockets.tcp[1]!.wasReset).toBe(true);
    const three = guest.connect(OUTSIDE, 1);
    three.tcp.abort();
    guest.sendTcp(OUTSIDE, {
      sourcePort: 40_002,
      destinationPort: 1,
      seq: 0,
      ack: 0,
      flags: TCP.rst,
      window: 0,
      options: {},
      payload: text(''),
    });
    expect(sockets.tcp[2]!.wasReset).toBe(true);
    expect(network.busy).toBe(false);
  });

  it("a slow host closes the guest's window, a slow guest stops reading of the host", () => {
    const connection = guest.connect(OUTSIDE, 1);
    const [socket] = sockets.tcp as [FakeTcp];
    socket.events.connected();
    const data = pattern(1_000_000);
    connection.writeAll(data);
    clock.pass(3000);
    expect(socket.bytes.length).toBeGreaterThan(200_000);
    expect(socket.bytes.length).toBeLessThanOrEqual(256 * 1024);
    for (let told = 0; told < data.length; ) {
      const count = socket.bytes.length - told;
      told += count;
      socket.events.written(count);
      clock.pass(1000);
    }
    expect(Buffer.compare(socket.bytes, data)).toBe(0);
    guest.isFull = true;
    for (let i = 0; i < 100 && socket.isReading; i++) socket.events.data(pattern(65_536, i));
    expect(socket.isReading).toBe(false);
    guest.isFull = false;
    network.resume();
    clock.pass(1000);
    expect(socket.isReading).toBe(true);
    expect(connection.stream.length).toBeGreaterThanOrEqual(256 * 1024);
  });

  it('hands large segments to a device that takes them, and takes them from it', () => {
    start({}, { checksum: true, tcpv4: true, tcpv6: false });
    const connection = guest.connect(OUTSIDE, 1, { largest: 40_000 });
    const [socket] = sockets.tcp as [FakeTcp];
    socket.events.connected();
    connection.writeAll(pattern(100_000));
    socket.events.data(pattern(100_000, 3));
    clock.pass(100);
    expect(Buffer.compare(socket.bytes, pattern(100_000))).toBe(0);
    expect(Buffer.compare(connection.stream, pattern(100_000, 3))).toBe(0);
    const large = guest.frames.filter(({ segmentation }) => segmentation !== null);
    expect(large.length).toBeGreaterThan(0);
    for (const { bytes, segmentation } of large) {
      expect(bytes.length).toBeLessThanOrEqual(MAX_FRAME);
      expect(segmentation).toEqual({ type: 'tcpv4', size: 1460 });
    }
  });

  it('is forwarded into a guest', () => {
    start({ forwards: [{ protocol: 'tcp', hostAddress: '0.0.0.0', hostPort: 2222, guestPort: 22 }] });
    expect(sockets.listeners[0]!.at).toBe('0.0.0.0:2222');
    const opened: string[] = [];
    guest.listening.set(22, connection => {
      opened.push('open');
      connection.onData = () => connection.tcp.write(text(`you said ${connection.text}`));
    });
    const socket = new FakeTcp('', null as never);
    socket.events = sockets.listeners[0]!.events.accept(socket);
    // The SYN made the router ask who the guest is, and went out with the answer.
    expect([opened, socket.isReading]).toEqual([['open'], true]);
    socket.events.data(text('hello'));
    expect(socket.text).toBe('you said hello');
    network.close();
    expect([socket.wasReset, sockets.listeners[0]!.isClosed]).toEqual([true, true]);
  });

  it('has a bounded number of connections', () => {
    for (let i = 0; i < 600; i++) guest.connect(OUTSIDE, 1);
    expect(sockets.tcp).toHaveLength(512);
    expect(guest.segments.length + guest.packets.length).toBeGreaterThan(80);
  });
});

describe('an isolated network', () => {
  it('has no way out', () => {
    start({ isolated: true });
    guest.connect(OUTSIDE, 1);
    guest.connect(GATEWAY, 1);
    guest.sendUdp(OUTSIDE, 1, 1, text('x'));
    guest.sendUdp(GATEWAY, 1, 1, text('x'));
    guest.sendUdp(DNS, 5353, 53, dnsQuery('example.org', 1));
    clock.pass(60_000);
    expect([sockets.tcp, sockets.udp, sockets.asked]).toEqual([[], [], []]);
  });
});

describe('a hostile guest', () => {
  it('sends frames of any bytes, and nothing throws or grows', () => {
    const header = [0x52, 0x55, 10, 0, 2, 2, 0x52, 0x54, 0, 0x12, 0x34, 0x56];
    fc.assert(
      fc.property(
        fc.array(
          fc.record({
            type: fc.constantFrom(0x0800, 0x0806, 0x86dd, 0x8100),
            body: fc.uint8Array({ maxLength: 200 }),
            patch: fc.constantFrom('none', 'arp', 'udp', 'tcp', 'icmp'),
            start: fc.integer({ min: -5, max: 300 }),
            offset: fc.integer({ min: -5, max: 300 }),
            size: fc.integer({ min: -1, max: 70_000 }),
            how: fc.nat(3),
            to: fc.constantFrom(GATEWAY, DNS, OUTSIDE, 0xffffffff, 0),
          }),
          { maxLength: 50 },
        ),
        steps => {
          start();
          for (const { type, body, patch, start: from, offset, size, how, to } of steps) {
            const unfinished = {
              checksum: how === 0 ? null : { start: from, offset },
              segmentation: how === 2 ? ({ type: 'tcpv4', size } as const) : null,
            };
            if (patch === 'none') {
              const bytes = Uint8Array.from([...header, type >> 8, type & 0xff, ...body]);
              network.send({ bytes, ...unfinished });
            } else if (patch === 'arp') {
              network.send({
                bytes: Uint8Array.from([...header, 8, 6, 0, 1, 8, 0, 6, 4, 0, how, ...body]),
                ...unfinished,
              });
            } else {
              const protocol = { udp: 17, tcp: 6, icmp: 1 }[patch];
              const fields = { fragmentOffset: (size & 0x1fff) * 8 * (how & 1), moreFragments: how === 3 };
              guest.sendPacket(to, protocol, body, fields, unfinished);
            }
            clock.pass(10);
          }
          for (const socket of sockets.tcp) socket.events.connected();
          clock.pass(100_000);
          expect(guest.frames.length).toBeLessThan(steps.length * 30 + 30);
        },
      ),
      { numRuns: 400 },
    );
  });
});
