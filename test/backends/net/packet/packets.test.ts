import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  ipv4Text,
  macText,
  parseIpv4 as parseAddress,
  parseMac,
} from '../../../../src/backends/net/packet/addresses.ts';
import { parseDhcp } from '../../../../src/backends/net/packet/dhcp.ts';
import { parseDnsQuery, parseIpv6 } from '../../../../src/backends/net/packet/dns.ts';
import { fragments, type Ipv4Packet, parseIpv4, writeIpv4 } from '../../../../src/backends/net/packet/ipv4.ts';
import { Reassembly } from '../../../../src/backends/net/packet/reassembly.ts';
import { parseUdp, udpBytes } from '../../../../src/backends/net/packet/udp.ts';
import { OutOfOrder } from '../../../../src/backends/net/tcp/out-of-order.ts';
import { toHex } from '../../../../src/util/bytes.ts';
import { pattern } from '../tcp/pair.ts';

describe('addresses', () => {
  it('as text and back', () => {
    expect(ipv4Text(0xc0a80001)).toBe('192.168.0.1');
    expect(parseAddress('192.168.0.1')).toBe(0xc0a80001);
    for (const bad of ['1.2.3', '1.2.3.256', '1.2.3.4.5', 'a.b.c.d', '']) expect(parseAddress(bad)).toBeNull();
    expect(macText(0x00163e240901)).toBe('00:16:3e:24:09:01');
    expect(parseMac('00:16:3E:24:09:01')).toBe(0x00163e240901);
    for (const bad of ['00:16:3e:24:09', '00:16:3e:24:09:0g', '']) expect(parseMac(bad)).toBeNull();
  });

  it('of IPv6', () => {
    expect(toHex(parseIpv6('::1')!)).toBe('00000000000000000000000000000001');
    expect(toHex(parseIpv6('2001:db8:1:2:3:4:5:6')!)).toBe('20010db8000100020003000400050006');
    expect(toHex(parseIpv6('fe80::')!)).toBe('fe800000000000000000000000000000');
    for (const bad of ['', ':::', '1:2', '1::2::3', 'g::']) expect(parseIpv6(bad)).toBeNull();
  });
});

describe('IPv4', () => {
  it('header and checksum, of a packet known from RFC 1071 examples on the web', () => {
    const bytes = new Uint8Array(20 + 95);
    writeIpv4(bytes, 0, { source: 0xc0a80001, destination: 0xc0a800c7, protocol: 17, id: 0, dontFragment: true }, 95);
    expect(toHex(bytes.subarray(0, 20))).toBe('4500007300004000' + '4011b861c0a80001c0a800c7');
    expect(parseIpv4(bytes, 0)).toMatchObject({ source: 0xc0a80001, destination: 0xc0a800c7, protocol: 17, ttl: 64 });
    bytes[8] = 63;
    expect(parseIpv4(bytes, 0)).toBeNull();
  });

  const packet = (payload: Uint8Array, fields: Partial<Ipv4Packet> = {}): Ipv4Packet => ({
    source: 1,
    destination: 2,
    protocol: 17,
    ttl: 64,
    id: 7,
    dontFragment: false,
    moreFragments: false,
    fragmentOffset: 0,
    header: new Uint8Array(20),
    payload,
    ...fields,
  });

  it('puts fragments together in any order, with repeats', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 20_000 }),
        fc.integer({ min: 60, max: 1500 }),
        fc.infiniteStream(fc.nat()),
        (length, mtu, order) => {
          const whole = pattern(length);
          const pieces = fragments(length, mtu)
            .flatMap(([at, size]) => {
              const moreFragments = at + size < length;
              const one = packet(whole.subarray(at, at + size), { fragmentOffset: at, moreFragments });
              return order.next().value! % 4 === 0 && moreFragments ? [one, one] : [one];
            })
            .map(one => ({ one, key: order.next().value! }))
            .sort((a, b) => a.key - b.key)
            .map(({ one }) => one);
          if (pieces.length > 128) return;
          const reassembly = new Reassembly();
          const got = pieces.map(one => reassembly.take(one, 0n)).filter(one => one !== null);
          expect(got.length).toBeGreaterThanOrEqual(1);
          expect(Buffer.compare(got[0]!.payload, whole)).toBe(0);
        },
      ),
    );
  });

  it('drops datagrams whose fragments overlap or contradict each other', () => {
    const first = packet(pattern(16), { moreFragments: true });
    for (const bad of [
      packet(pattern(16), { fragmentOffset: 8, moreFragments: true }),
      packet(pattern(7), { fragmentOffset: 16, moreFragments: true }),
      packet(pattern(8), { fragmentOffset: 65_528 }),
      packet(pattern(3), { fragmentOffset: 8 }),
    ]) {
      const reassembly = new Reassembly();
      expect(reassembly.take(first, 0n)).toBeNull();
      expect(reassembly.take(bad, 0n)).toBeNull();
      expect(reassembly.take(packet(pattern(8), { fragmentOffset: 16 }), 0n)).toBeNull();
    }
  });

  it('keeps a bounded number of unfinished datagrams for a bounded time', () => {
    const reassembly = new Reassembly();
    for (let id = 0; id < 1000; id++) reassembly.take(packet(pattern(8), { id, moreFragments: true }), 0n);
    expect(reassembly.waiting).toBe(16);
    reassembly.take(packet(pattern(8), { id: 5000, moreFragments: true }), 31_000_000_000n);
    expect(reassembly.waiting).toBe(1);
  });
});

describe('parsers', () => {
  it('take any bytes without throwing', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 400 }), fc.boolean(), (bytes, known) => {
        if (known) {
          bytes.set([1, 1, 6].slice(0, bytes.length));
          if (bytes.length > 240) bytes.set([0x63, 0x82, 0x53, 0x63], 236);
        }
        parseDhcp(bytes);
        parseDnsQuery(bytes);
        parseIpv4(bytes, 0);
      }),
    );
  });

  it('a UDP datagram with a damaged checksum is none', () => {
    const bytes = udpBytes(1, 2, { sourcePort: 3, destinationPort: 4, payload: pattern(11) });
    const as = (payload: Uint8Array) => ({ source: 1, destination: 2, payload }) as Ipv4Packet;
    expect(parseUdp(as(bytes), false)).toMatchObject({ sourcePort: 3, destinationPort: 4, payload: pattern(11) });
    bytes[10] = bytes[10]! ^ 1;
    expect(parseUdp(as(bytes), false)).toBeNull();
    expect(parseUdp(as(bytes), true)).not.toBeNull();
  });
});

describe('data out of order', () => {
  it('comes out as it was, whatever the pieces', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(300), fc.nat(100)), { maxLength: 60 }),
        fc.nat(0xffffffff),
        (pieces, base) => {
          const whole = pattern(400);
          const kept = new OutOfOrder();
          const known = new Set<number>();
          for (const [at, length] of pieces) {
            kept.add((base + at) >>> 0, whole.subarray(at, at + length));
            for (let i = at; i < at + length; i++) known.add(i);
          }
          let next = 0;
          for (let got = kept.take(base); got !== null; got = kept.take((base + next) >>> 0)) {
            expect(got).toEqual(whole.subarray(next, next + got.length));
            next += got.length;
          }
          expect(known.has(next)).toBe(false);
        },
      ),
    );
  });

  it('keeps a bounded number of pieces', () => {
    const kept = new OutOfOrder();
    for (let at = 2; at < 10_000; at += 2) kept.add(at, pattern(1));
    expect(kept.pieces).toBe(256);
  });
});
