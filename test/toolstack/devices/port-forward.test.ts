import { describe, expect, it } from 'vitest';
import { parseForward } from '../../../src/toolstack/devices/port-forward.ts';

describe("a forwarded port in QEMU's notation", () => {
  it('with and without addresses', () => {
    expect(parseForward('tcp::2222-:22')).toEqual({ protocol: 'tcp', hostPort: 2222, guestPort: 22 });
    expect(parseForward('udp:0.0.0.0:53-10.0.2.16:5353')).toEqual({
      protocol: 'udp',
      hostAddress: '0.0.0.0',
      hostPort: 53,
      guestAddress: '10.0.2.16',
      guestPort: 5353,
    });
  });

  it.each(['', 'tcp', 'tcp:22', 'sctp::1-:2', 'tcp::70000-:22', 'tcp:1.2.3:1-:2', 'tcp::1-:', 'tcp:localhost:1-:2'])(
    '%j is none',
    text => expect(() => parseForward(text)).toThrow('such as tcp::2222-:22'),
  );
});
