// Guests that spoil what they share with the host's daemons: the rings of their console and of XenStore.
import { expect } from 'vitest';
import { XENSTORE_ERROR } from '../../../src/protocols/xenstore-ring.ts';
import { dword, eax, qword, rax, rdi } from '../../../src/toolstack/init/assembler/assembler.ts';
import { remap } from '../calls.ts';
import { says } from '../pv-guest.ts';
import { consoleRing, firstAnswer, index, message, sendsRequest, setIndices, storeRing, XS_READ } from '../rings.ts';
import { all, code, computed, entry, evaluate, hypercall, mfnOf, READ_ONLY, store, sum } from '../value.ts';
import { world } from '../world.ts';

const guest = world();

const yields = (times: number) =>
  code(a => {
    const again = a.unique('again');
    a.mov(qword('yields'), times).label(again);
    evaluate(a, hypercall('sched_op', 0, 0));
    a.dec(qword('yields')).jne(again).xor(eax, eax);
  });

guest(
  'gives its console indices that cannot be',
  g => {
    g.variable('yields');
    g.prepares('to print', says('before\n'));
    g.prepares('to have it taken', yields(3));
    for (const [cons, prod] of [
      [0, 2049],
      [0, 0xffffffff],
      [1, 0],
      [0x80000000, 0],
      [0xffffff00, 0x1000],
    ]) {
      g.prepares(
        `to say that ${prod - cons} bytes are there`,
        all(setIndices('output', cons, prod), consoleRing.notify),
      );
      g.prepares('to wait', yields(3));
      g.tries('to find its index where it was', index('output', 'cons')).gets(cons);
    }
    for (const [cons, prod] of [
      [0, 1025],
      [5, 4],
      [0, 0xffffffff],
    ]) {
      g.prepares(
        'to spoil its input',
        all(setIndices('input', cons, prod), setIndices('output', 0, 0), consoleRing.notify),
      );
      g.prepares('to wait', yields(3));
    }
    g.prepares('to put all right', all(setIndices('input', 0, 0), setIndices('output', 0xfffffffc, 0xfffffffc)));
    g.prepares('to print across the end of the numbers', says('after all\n'));
    g.prepares('to wait', yields(3));
    g.tries('to have it taken', index('output', 'cons')).gets(6);
  },
  {
    afterwards: (_, hostile) => {
      expect(hostile.output.join('')).toBe('before\nafter all\n');
      expect(hostile.guest.console.write('typed')).toBe(5);
    },
  },
);

guest('has its console page mapped for reading, and fills it', g => {
  g.variable('yields');
  g.prepares('to map its console for reading only', remap(consoleRing.page, entry(mfnOf(consoleRing.page), READ_ONLY)));
  g.tries('to write to it', store(consoleRing.page, 1)).gets('#PF(0x3)');
  g.prepares('to send events without end', all(...Array.from({ length: 20 }, () => consoleRing.notify), yields(3)));
});

const broken = (error: number) =>
  all(
    yields(5),
    computed(a => {
      evaluate(a, sum(storeRing.page, 2072));
      a.mov(eax, dword(rax)).sub(eax, error);
    }),
  );

for (const [what, cons, prod] of [
  ['more requests than there is room for', 0, 1025],
  ['2^32-1 bytes of requests', 0, 0xffffffff],
  ['less than no requests', 5, 4],
] as const) {
  guest(`tells XenStore of ${what}`, g => {
    g.variable('yields');
    g.prepares('to set the indices', all(setIndices('request', cons, prod), storeRing.notify));
    g.tries('to be told that they are wrong', broken(XENSTORE_ERROR.RINGIDX)).gets(0);
    g.prepares('to put them right', setIndices('request', 0, 0));
    g.prepares('to ask again', sendsRequest(message(XS_READ, 'name\0')));
    g.prepares('to wait', yields(5));
    g.tries('to be ignored', index('response', 'prod')).gets(0);
  });
}

for (const [what, cons, prod] of [
  ['whose answers overflow', 0, 1025],
  ['whose answers are fewer than none', 1, 0],
] as const) {
  guest(`gives XenStore a ring ${what}`, g => {
    g.variable('yields');
    g.prepares('to set the indices', setIndices('response', cons, prod));
    g.prepares('to ask', sendsRequest(message(XS_READ, 'name\0')));
    g.tries('to be told that they are wrong', broken(XENSTORE_ERROR.RINGIDX)).gets(0);
  });
}

for (const length of [4097, 0x7fffffff, 0xffffffff]) {
  guest(`sends XenStore a message of ${length} bytes`, g => {
    g.variable('yields');
    g.prepares('to send its header', sendsRequest(message(XS_READ, '', length)));
    g.tries('to be told that it is too long', broken(XENSTORE_ERROR.PROTO)).gets(0);
  });
}

guest('sends XenStore messages that make no sense', g => {
  g.variable('yields');
  const error = (name: string) =>
    new DataView(new TextEncoder().encode(name.padEnd(8, '\0')).buffer).getBigUint64(0, true);
  const ask = (bytes: Uint8Array) => all(setIndices('response', 0, 0), sendsRequest(bytes), firstAnswer(0));
  const answers = (bytes: Uint8Array, name: string) => {
    g.tries(
      `to send ${name}`,
      all(
        ask(bytes),
        code(a => {
          // As many letters of the error as it has.
          a.mov(rax, error(name));
          evaluate(a, storeRing.page);
          a.mov(rax, qword(rax, 1024 + 16))
            .mov(rdi, name.length === 8 ? -1n : (1n << BigInt(name.length * 8)) - 1n)
            .and(rax, rdi);
        }),
      ),
    ).gets(error(name));
  };
  answers(message(99, 'x\0'), 'ENOSYS');
  answers(message(0xffffffff, 'x\0'), 'ENOSYS');
  answers(message(XS_READ, 'nothing\0'), 'ENOENT');
  answers(message(XS_READ, '/no/such\0'), 'EACCES');
  answers(message(XS_READ, 'no zero'), 'EINVAL');
  answers(message(XS_READ, ''), 'EINVAL');
  answers(message(XS_READ, 'bad path!\0'), 'EINVAL');
  answers(message(XS_READ, `/${'x'.repeat(900)}/${'y'.repeat(90)}\0`), 'E');
  answers(message(11, '/local/domain/0/name\0Me'), 'EACCES');
  answers(message(13, '/local\0'), 'EACCES');
});
