import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Frame, wholeFrame } from '../../../src/backends/net/link.ts';
import { type FrameEvents, type FrameStream, StreamLink } from '../../../src/backends/net/stream-link.ts';
import { Switch } from '../../../src/backends/net/switch.ts';
import { concatBytes } from '../../../src/util/bytes.ts';
import { pattern } from './tcp/pair.ts';

class FakeStream implements FrameStream {
  readonly written: Uint8Array[] = [];
  pending = 0;
  isClosed = false;
  events: FrameEvents | null = null;

  start(events: FrameEvents): void {
    this.events = events;
  }
  write(bytes: Uint8Array): void {
    this.written.push(bytes);
  }
  close(): void {
    this.isClosed = true;
  }
}

function ethernet(length: number, source = 2): Uint8Array {
  const bytes = pattern(length);
  bytes.fill(0, 0, Math.min(12, length));
  bytes[5] = 1;
  bytes[11] = source;
  return bytes;
}

function message(frame: Uint8Array): Uint8Array {
  const length = new Uint8Array(4);
  new DataView(length.buffer).setUint32(0, frame.length);
  return concatBytes([length, frame]);
}

function linked() {
  const bridge = new Switch();
  const stream = new FakeStream();
  const reasons: string[] = [];
  const link = new StreamLink(bridge.addPort(), stream, reason => void reasons.push(reason));
  const guest = bridge.addPort();
  const received: Frame[] = [];
  guest.attach({
    accepts: { checksum: true, tcpv4: true, tcpv6: true },
    receive: frame => {
      received.push({ ...frame, bytes: frame.bytes.slice() });
      return true;
    },
  });
  return { stream, link, guest, received, reasons };
}

describe('a stream of frames', () => {
  it('takes frames from the guest, with their length before them', () => {
    const { stream, guest } = linked();
    const frame = ethernet(60);
    guest.send(wholeFrame(frame));
    expect(stream.written).toEqual([message(frame)]);
    // What nobody reads is dropped in the end.
    stream.pending = 5 << 20;
    guest.send(wholeFrame(frame));
    expect(stream.written).toHaveLength(1);
  });

  it('finishes what the guest has left to its card', () => {
    const { stream, guest } = linked();
    const bytes = ethernet(60);
    guest.send({ bytes, checksum: { start: 34, offset: 16 }, segmentation: null });
    expect(stream.written[0]!.subarray(4)).not.toEqual(bytes);
    expect(stream.written[0]!.subarray(4, 4 + 34)).toEqual(bytes.subarray(0, 34));
  });

  it('gives the guest frames, wherever the stream is cut', () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 0, max: 2000 }), { maxLength: 10 }),
        fc.array(fc.integer({ min: 1, max: 700 })),
        (lengths, cuts) => {
          const { stream, received } = linked();
          const frames = lengths.map(length => ethernet(length));
          let rest = concatBytes(frames.map(message));
          for (const cut of cuts) {
            stream.events!.data(rest.slice(0, cut));
            rest = rest.slice(cut);
          }
          stream.events!.data(rest);
          expect(received.map(({ bytes }) => bytes)).toEqual(frames.filter(({ length }) => length >= 14));
        },
      ),
    );
  });

  it('ends where its other end does, or says what cannot be', () => {
    for (const [action, reason] of [
      [(events: FrameEvents) => events.end('gone'), 'gone'],
      [(events: FrameEvents) => events.data(Uint8Array.of(0xff, 0, 0, 0)), `a frame of ${0xff000000} bytes`],
    ] as const) {
      const { stream, guest, received, reasons, link } = linked();
      action(stream.events!);
      expect([reasons, stream.isClosed, link.isOpen]).toEqual([[reason], true, false]);
      stream.events!.data(message(ethernet(60)));
      guest.send(wholeFrame(ethernet(60)));
      link.close();
      expect([received, stream.written, reasons]).toEqual([[], [], [reason]]);
    }
  });
});
