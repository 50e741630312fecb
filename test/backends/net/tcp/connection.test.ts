import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { TCP, type TcpSegment } from '../../../../src/backends/net/tcp/segment.ts';
import { type Pair, pair, pattern, perfect } from './pair.ts';

/** Writes all of `data` as room allows, then finishes. */
function writeAll(end: Pair['client'], data: Uint8Array): void {
  let at = 0;
  const more = (): void => {
    while (at < data.length && end.connection.room > 0) {
      const piece = data.subarray(at, at + Math.min(end.connection.room, 20_000));
      at += piece.length;
      end.connection.write(piece);
    }
    if (at === data.length) end.connection.finish();
  };
  end.onRoom = more;
  more();
}

const segment = (fields: Partial<TcpSegment>): TcpSegment => ({
  sourcePort: 1,
  destinationPort: 1,
  seq: 0,
  ack: 0,
  flags: TCP.ack,
  window: 65535,
  options: {},
  payload: new Uint8Array(0),
  ...fields,
});

describe('a TCP connection', () => {
  it('opens in three segments with its options, and closes both ways', () => {
    const { clock, client, server } = pair(perfect);
    clock.pass(10);
    expect([client.isEstablished, server.isEstablished]).toEqual([true, true]);
    expect(client.sent[0]).toMatchObject({ flags: TCP.syn, options: { mss: 1460, windowScale: 3 } });
    expect(server.sent[0]).toMatchObject({ flags: TCP.syn | TCP.ack, options: { mss: 1460, windowScale: 3 } });
    client.connection.write(pattern(10));
    client.connection.finish();
    clock.pass(10);
    expect(server.stream).toEqual(pattern(10));
    expect([server.hasEnded, server.connection.state, client.connection.state]).toEqual([
      true,
      'close-wait',
      'fin-wait-2',
    ]);
    server.connection.write(pattern(3000, 9));
    clock.pass(10);
    expect(client.stream).toEqual(pattern(3000, 9));
    server.connection.finish();
    clock.pass(10);
    expect([server.end, client.connection.state]).toEqual(['closed', 'time-wait']);
    clock.pass(2000);
    expect(client.end).toBe('closed');
  });

  it('carries the stream intact over a wire that loses, repeats and reorders', () => {
    fc.assert(
      fc.property(
        fc.array(fc.record({ fate: fc.nat(99), ms: fc.nat(40) }), { minLength: 1, maxLength: 400 }),
        fc.nat(120_000),
        fc.nat(120_000),
        fc.constantFrom(536, 1460),
        fc.constantFrom(1, 60_000),
        (fates, up, down, mss, largest) => {
          let n = 0;
          // After the fates have run out the wire is good again: else nothing says when it must arrive.
          const wire = () => {
            const fate = fates[n++];
            if (fate === undefined) return [1];
            if (fate.fate < 15) return [];
            return fate.fate < 25 ? [1, fate.ms] : [fate.fate < 60 ? 1 : fate.ms];
          };
          const ends = pair(wire, { mss, largest });
          const { clock, client, server } = ends;
          const [toServer, toClient] = [pattern(up), pattern(down, 5)];
          for (let i = 0; i < 100 && !(client.isEstablished && server.isEstablished); i++) clock.skip();
          for (let i = 0; i < 400 && !(client.isEstablished && server.isEstablished); i++) clock.skip();
          expect([client.isEstablished, server.isEstablished]).toEqual([true, true]);
          writeAll(client, toServer);
          writeAll(server, toClient);
          for (let i = 0; i < 100_000 && clock.skip(); i++);
          expect(Buffer.compare(server.stream, toServer)).toBe(0);
          expect(Buffer.compare(client.stream, toClient)).toBe(0);
          expect([client.end, server.end]).toEqual(['closed', 'closed']);
        },
      ),
      { numRuns: 60 },
    );
  });

  it('waits for a reader that does not read, asks now and then, and goes on', () => {
    const { clock, client, server } = pair(perfect);
    clock.pass(10);
    server.isReading = false;
    const data = pattern(1_000_000);
    writeAll(client, data);
    clock.pass(100);
    const closedAt = server.unread;
    expect(closedAt).toBeGreaterThan(200_000);
    expect(closedAt).toBeLessThanOrEqual(256 * 1024);
    client.sent.length = 0;
    clock.pass(120_000);
    expect(server.unread).toBeLessThanOrEqual(256 * 1024);
    expect(client.sent.length).toBeGreaterThan(3);
    expect(client.sent.length).toBeLessThan(30);
    server.isReading = true;
    server.read();
    clock.pass(10_000);
    expect(Buffer.compare(server.stream, data)).toBe(0);
  });

  it('gives up on a peer that has gone, and tells no one twice', () => {
    let isDead = false;
    const { clock, client } = pair(() => (isDead ? [] : [0.1]));
    clock.pass(10);
    isDead = true;
    client.connection.write(pattern(10));
    clock.pass(3_600_000);
    expect(client.end).toBe('timeout');
    const count = client.sent.length;
    clock.pass(3_600_000);
    expect(client.sent.length).toBe(count);
  });

  it('a SYN without an answer is repeated with growing distance, then given up', () => {
    const { clock, client } = pair(() => []);
    clock.pass(3_600_000);
    expect(client.sent).toHaveLength(11);
    expect(client.end).toBe('timeout');
  });

  it('a RST that is exactly next ends it; others are asked back (RFC 5961)', () => {
    const { clock, client, server } = pair(perfect);
    clock.pass(10);
    const next = client.sent.at(-1)!.ack;
    client.connection.receive(segment({ flags: TCP.rst, seq: next + 5 }));
    client.connection.receive(segment({ flags: TCP.syn, seq: next + 5 }));
    expect(client.end).toBeNull();
    expect(client.sent.at(-1)).toMatchObject({ flags: TCP.ack, ack: next });
    // Once: two ends that disagree must not keep each other busy.
    expect(client.sent).toHaveLength(3);
    client.connection.receive(segment({ flags: TCP.rst, seq: next }));
    expect(client.end).toBe('reset');
    server.connection.write(pattern(5));
    expect(server.end).toBeNull();
  });

  it('sends again at the third duplicate acknowledgement, without waiting for the timeout', () => {
    let n = 0;
    let lost = -1;
    const { clock, client, server } = pair(() => (n++ === lost ? [] : [0.1]));
    clock.pass(10);
    lost = n + 1;
    const data = pattern(14_600);
    client.connection.write(data);
    clock.pass(50);
    expect(Buffer.compare(server.stream, data)).toBe(0);
  });

  it('an acknowledgement of what was never sent is answered, not believed', () => {
    const { clock, client } = pair(perfect);
    clock.pass(10);
    const { ack, seq } = client.sent.at(-1)!;
    client.connection.write(pattern(100));
    client.connection.receive(segment({ seq: ack, ack: (seq + 5000) >>> 0 }));
    expect(client.sent.at(-1)).toMatchObject({ flags: TCP.ack });
    clock.pass(1000);
    expect(client.end).toBeNull();
  });

  it('stays sane and bounded whatever segments come', () => {
    const near = (base: () => number) =>
      fc.integer({ min: -70_000, max: 300_000 }).map(by => () => (base() + by) >>> 0);
    let next = 0;
    let own = 0;
    fc.assert(
      fc.property(
        fc.array(
          fc.record({
            seq: fc.oneof(
              near(() => next),
              fc.nat(0xffffffff).map(n => () => n),
              fc.constant(() => next),
            ),
            ack: fc.oneof(
              near(() => own),
              fc.nat(0xffffffff).map(n => () => n),
              fc.constant(() => own),
            ),
            flags: fc.oneof(fc.constant(TCP.ack), fc.nat(63)),
            window: fc.nat(65535),
            mss: fc.nat(65535),
            length: fc.nat(3000),
            ms: fc.nat(2000),
          }),
          { maxLength: 60 },
        ),
        fc.boolean(),
        (steps, isOpened) => {
          const { clock, client } = pair(isOpened ? perfect : () => []);
          clock.pass(10);
          let bytes = 0;
          for (const step of steps) {
            next = client.sent.at(-1)!.ack;
            own = client.sent.at(-1)!.seq;
            const sentBefore = client.sent.length;
            client.connection.receive(
              segment({
                seq: step.seq(),
                ack: step.ack(),
                flags: step.flags,
                window: step.window,
                options: { mss: step.mss, windowScale: step.mss % 15 },
                payload: pattern(step.length),
              }),
            );
            if (client.connection.room > 0) {
              client.connection.write(pattern(500));
              bytes += 500;
            }
            clock.pass(step.ms);
            expect(client.sent.length - sentBefore).toBeLessThan(3_000);
          }
          expect(client.stream.length).toBeLessThanOrEqual(steps.length * 300_000);
          expect(bytes).toBeLessThanOrEqual(steps.length * 500);
        },
      ),
      { numRuns: 300 },
    );
  });
});
