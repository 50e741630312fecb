import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  bytesToText,
  decodeHeader,
  decodeOneString,
  decodeStrings,
  encodeMessage,
  encodeStrings,
  formatPermission,
  operationName,
  parsePermission,
  textToBytes,
  XS,
  type XsMessage,
  XsMessageReader,
} from '../../src/protocols/xenstore.ts';

const message = fc.record({
  type: fc.nat(30),
  reqId: fc.nat(0xffffffff),
  txId: fc.nat(0xffffffff),
  payload: fc.uint8Array({ maxLength: 200 }),
});

/** Feeds a stream in pieces of the given sizes, each no larger than the reader wants. */
function feed(reader: XsMessageReader, stream: Uint8Array, sizes: number[]): XsMessage[] {
  const out: XsMessage[] = [];
  for (let at = 0, i = 0; at < stream.length; i++) {
    const size = Math.min(reader.wanted, sizes[i % sizes.length]!);
    const result = reader.push(stream.subarray(at, at + size));
    at += Math.min(size, stream.length - at);
    if (result !== undefined && result !== 'too-long') out.push(result);
  }
  return out;
}

describe('XenStore wire format', () => {
  it('has the numbers of xs_wire.h', () => {
    expect([XS.CONTROL, XS.READ, XS.WRITE, XS.WATCH_EVENT, XS.RESET_WATCHES, XS.SET_QUOTA]).toEqual([
      0, 2, 11, 15, 21, 26,
    ]);
    expect(operationName(7)).toBe('TRANSACTION_END');
    expect(operationName(20)).toBeUndefined();
  });

  it('lays a message out as type, req_id, tx_id, len', () => {
    const bytes = encodeMessage({ type: XS.READ, reqId: 7, txId: 0xfffffffe, payload: encodeStrings('name') });
    expect([...bytes]).toEqual([2, 0, 0, 0, 7, 0, 0, 0, 254, 255, 255, 255, 5, 0, 0, 0, 110, 97, 109, 101, 0]);
    expect(decodeHeader(bytes)).toEqual({ type: 2, reqId: 7, txId: 0xfffffffe, length: 5 });
  });

  it('puts messages together from pieces of any size, also across save and restore', () => {
    fc.assert(
      fc.property(
        fc.array(message, { minLength: 1, maxLength: 5 }),
        fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 9 }),
        fc.nat(),
        (messages, sizes, cut) => {
          const stream = new Uint8Array(messages.flatMap(one => [...encodeMessage(one)]));
          const at = cut % stream.length;
          const first = new XsMessageReader();
          const out = feed(first, stream.subarray(0, at), sizes);
          const second = new XsMessageReader();
          second.restore(first.save());
          out.push(...feed(second, stream.subarray(at), sizes));
          expect(out).toEqual(messages);
        },
      ),
    );
  });

  it('refuses a header that announces more than 4096 bytes', () => {
    const header = encodeMessage({ type: 2, reqId: 0, txId: 0, payload: new Uint8Array(4097) }).subarray(0, 16);
    expect(new XsMessageReader().push(header)).toBe('too-long');
  });

  it('takes payload strings apart', () => {
    expect(decodeStrings(textToBytes('a\0\0bc\0rest'))).toEqual(['a', '', 'bc']);
    expect(decodeOneString(textToBytes('a\0'))).toBe('a');
    for (const bad of ['', 'a', 'a\0b\0', 'a\0b']) expect(decodeOneString(textToBytes(bad))).toBeUndefined();
    fc.assert(
      fc.property(fc.uint8Array(), bytes => {
        expect(textToBytes(bytesToText(bytes))).toEqual(bytes);
      }),
    );
  });

  it('reads permissions as strtol does', () => {
    expect(parsePermission('r7')).toEqual({ domid: 7, access: 'r' });
    expect(parsePermission('n0x10')).toEqual({ domid: 16, access: 'n' });
    expect(parsePermission('b010')).toEqual({ domid: 8, access: 'b' });
    expect(parsePermission('w-1')).toEqual({ domid: 0xffffffff, access: 'w' });
    for (const bad of ['', 'r', 'x1', 'r1x', 'r09']) expect(parsePermission(bad)).toBeUndefined();
    expect(formatPermission({ domid: 5, access: 'b' })).toBe('b5');
  });
});
