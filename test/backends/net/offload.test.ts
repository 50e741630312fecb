import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ALL_ABILITIES, type Frame, NO_ABILITIES, wholeFrame } from '../../../src/backends/net/link.ts';
import { finishFrame } from '../../../src/backends/net/offload.ts';
import { fold, sum } from '../../../src/backends/net/packet/checksum.ts';
import { ETHER_TYPE, ETHERNET_HEADER, writeEthernet } from '../../../src/backends/net/packet/ethernet.ts';
import { parseIpv4, writeIpv4 } from '../../../src/backends/net/packet/ipv4.ts';
import { parseTcp, TCP, tcpBytes } from '../../../src/backends/net/tcp/segment.ts';
import { concatBytes } from '../../../src/util/bytes.ts';
import { pattern } from './tcp/pair.ts';

const [A, B] = [0x0a000202, 0x0a00020f];

function tcpFrame(payload: Uint8Array, size: number | null, flags = TCP.ack | TCP.psh | TCP.fin): Frame {
  const segment = {
    sourcePort: 1,
    destinationPort: 2,
    seq: 0xffffff00,
    ack: 5,
    flags,
    window: 9,
    options: {},
    payload,
  };
  const tcp = tcpBytes(A, B, segment);
  const bytes = new Uint8Array(34 + tcp.length);
  writeEthernet(bytes, { destination: 1, source: 2, type: ETHER_TYPE.ipv4 });
  writeIpv4(bytes, ETHERNET_HEADER, { source: A, destination: B, protocol: 6, id: 0xffff }, tcp.length);
  bytes.set(tcp, 34);
  return { bytes, checksum: { start: 34, offset: 16 }, segmentation: size === null ? null : { type: 'tcpv4', size } };
}

describe('finishing frames', () => {
  it('leaves alone what the receiver can take, and computes what it cannot', () => {
    const frame = tcpFrame(pattern(3000), 1460);
    expect(finishFrame(frame, ALL_ABILITIES)).toEqual([frame]);
    const small = tcpFrame(pattern(101), null);
    expect(finishFrame(small, { ...NO_ABILITIES, checksum: true })).toEqual([small]);
    const [finished] = finishFrame(small, NO_ABILITIES);
    expect(finished).toMatchObject({ checksum: null, segmentation: null });
    expect(parseTcp(parseIpv4(finished!.bytes, 14)!, false)!.payload).toEqual(pattern(101));
  });

  it('cuts a large segment into ones that are right each, and the same stream together', () => {
    fc.assert(
      fc.property(fc.nat(20_000), fc.integer({ min: 48, max: 9000 }), (length, size) => {
        const segments = finishFrame(tcpFrame(pattern(length), size), NO_ABILITIES).map(({ bytes }) => {
          const packet = parseIpv4(bytes, 14)!;
          return { id: packet.id, ...parseTcp(packet, false)! };
        });
        expect(segments).toHaveLength(Math.max(1, Math.ceil(length / size)));
        expect(Buffer.compare(concatBytes(segments.map(({ payload }) => payload)), pattern(length))).toBe(0);
        for (const [i, segment] of segments.entries()) {
          const isLast = i === segments.length - 1;
          expect(segment.seq).toBe((0xffffff00 + i * size) >>> 0);
          expect(segment.id).toBe((0xffff + i) & 0xffff);
          expect(segment.flags).toBe(isLast ? TCP.ack | TCP.psh | TCP.fin : TCP.ack);
        }
      }),
    );
  });

  it('cuts IPv6 segments, too', () => {
    const tcp = tcpFrame(pattern(3000), null).bytes.subarray(34);
    const bytes = concatBytes([new Uint8Array(14), Uint8Array.of(0x60, 0, 0, 0, 0, 0, 6, 64), pattern(32), tcp]);
    bytes[12] = 0x86;
    bytes[13] = 0xdd;
    const frames = finishFrame(
      { bytes, checksum: { start: 54, offset: 16 }, segmentation: { type: 'tcpv6', size: 1440 } },
      NO_ABILITIES,
    );
    expect(frames.map(frame => frame.bytes.length)).toEqual([74 + 1440, 74 + 1440, 74 + 120]);
    for (const { bytes: own } of frames) {
      const pseudo = sum(own, 22, 54) + 6 + own.length - 54;
      expect(fold(pseudo + sum(own, 54, own.length))).toBe(0xffff);
      expect((own[18]! << 8) | own[19]!).toBe(own.length - 54);
    }
  });

  it('drops what contradicts itself, and never throws', () => {
    const whole = tcpFrame(pattern(200), 100);
    expect(finishFrame({ ...whole, checksum: { start: 230, offset: 16 } })).toEqual([]);
    expect(finishFrame({ ...whole, checksum: null })).toEqual([]);
    expect(finishFrame({ ...whole, segmentation: { type: 'tcpv4', size: 0 } })).toEqual([]);
    const any = fc.integer({ min: -100, max: 70_000 });
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), any, any, any, fc.nat(2), (bytes, start, offset, size, how) => {
        const frame = wholeFrame(bytes);
        if (how > 0) frame.checksum = { start, offset };
        if (how > 1) frame.segmentation = { type: size & 1 ? 'tcpv4' : 'tcpv6', size };
        const frames = finishFrame(frame, NO_ABILITIES);
        expect(frames.length).toBeLessThanOrEqual(10);
      }),
    );
  });
});
