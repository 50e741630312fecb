// How instructions meet the platform: devices, ports and registers of its own at exact instructions, what it asks for before the next one.
import { describe, expect, it } from 'vitest';
import type { Bus } from '../../../src/cpu/types.ts';
import { At, Exit, Flag, Machine, R, S, Vector } from './machine.ts';

const DEVICE = 0x200000; // beyond RAM
const RAM_PAGES = 256;
const NOPS = '90 90 90 90 90';

/** What a callback saw: when, and at which instruction. */
interface Seen {
  what: string;
  retired: bigint;
  cycles: bigint;
  rip: bigint;
}

interface Platform {
  m: Machine;
  seen: Seen[];
  /** Called with every access. */
  on: { access: (() => void) | null };
}

/** 64-bit kernel mode with a device at DEVICE and the page after it. */
function platform(code: string, flags = 0): Platform {
  const m = new Machine().long(0, false).flags(flags);
  for (let page = 0; page < 2; page++) m.poke(At.pd + 8 + page * 8, 8, BigInt(DEVICE + page * 0x200000) | 0x83n);
  m.state.set(S.retired, 0n);
  const seen: Seen[] = [];
  const on: Platform['on'] = { access: null };
  const note = (what: string): void => {
    const { state } = m;
    seen.push({ what, retired: state.get(S.retired), cycles: m.cpu.cycles(), rip: m.cpu.instructionRip() });
    on.access?.();
  };
  const bus: Bus = {
    read: (address, size) => {
      note(`read ${address.toString(16)} ${size}`);
      return 0x1234n;
    },
    write: (address, size, value) => note(`write ${address.toString(16)} ${size} ${value.toString(16)}`),
    portRead: (port, size) => {
      note(`in ${port.toString(16)} ${size}`);
      return 0x42;
    },
    portWrite: (port, size, value) => note(`out ${port.toString(16)} ${size} ${value.toString(16)}`),
  };
  m.cpu.bus = bus;
  m.cpu.registers = {
    rdmsr: index => {
      note(`rdmsr ${index.toString(16)}`);
      return 7n;
    },
    wrmsr: (index, value) => note(`wrmsr ${index.toString(16)} ${value.toString(16)}`),
    cpuid: () => ({ eax: 0, ebx: 0, ecx: 0, edx: 0 }),
  };
  m.cpu.onTaskPriority = priority => note(`task priority ${priority}`);
  m.set(R.rbx, DEVICE).set(R.rdx, 0x3f8).set(R.rcx, 0x1b).set(R.rax, 0).code(code);
  return { m, seen, on };
}

/** Each reaches the platform once, after five other instructions of its block; its length in bytes. */
const REACHING: [hex: string, what: string, length: number][] = [
  ['8b 0b', 'read 200000 4', 2],
  ['03 0b', 'read 200000 4', 2],
  ['89 03', 'write 200000 4 0', 2],
  ['0f b6 0b', 'read 200000 1', 3],
  ['66 0f d6 03', 'write 200000 8 0', 4],
  ['f3 0f 7e 0b', 'read 200000 8', 4],
  ['ec', 'in 3f8 1', 1],
  ['66 ef', 'out 3f8 2 0', 2],
  ['6e', 'out 3f8 1 0', 1],
  ['0f 32', 'rdmsr 1b', 2],
  ['0f 30', 'wrmsr 1b 3f800000000', 2],
  ['44 0f 22 c0', 'task priority 0', 4],
];

describe('an access to the platform', () => {
  for (const [hex, what, length] of REACHING) {
    it(`happens at its instruction, once: ${hex}`, () => {
      const { m, seen } = platform(`${NOPS} ${hex} ${NOPS} f4`);
      m.set(R.rsi, At.data);
      expect(m.cpu.run(1000)).toBe(Exit.halt);
      const rip = BigInt(At.code + 5);
      expect(seen).toEqual([{ what, retired: 5n, cycles: 5n, rip }]);
      expect(m.state.get(S.retired)).toBe(12n);
    });
    it(`may stop run() behind itself: ${hex}`, () => {
      const { m, seen, on } = platform(`${NOPS} ${hex} ${NOPS} f4`);
      m.set(R.rsi, At.data);
      on.access = () => m.cpu.stop();
      expect(m.cpu.run(1000)).toBe(Exit.stopped);
      expect([m.state.rip, m.state.get(S.retired)]).toEqual([BigInt(At.code + 5 + length), 6n]);
      expect(m.cpu.run(1000)).toBe(Exit.halt);
      expect([seen.length, m.state.get(S.retired)]).toEqual([1, 12n]);
    });
    it(`may raise an interrupt, which is taken behind it: ${hex}`, () => {
      const { m, on } = platform(`${NOPS} ${hex} ${NOPS} f4`, Flag.IF);
      m.set(R.rsi, At.data);
      on.access = () => {
        m.cpu.interruptPending = true;
      };
      expect(m.cpu.run(1000)).toBe(Exit.interruptWindow);
      expect(m.state.rip).toBe(BigInt(At.code + 5 + length));
    });
  }

  it('reads and writes once each where an instruction does both', () => {
    const { m, seen } = platform(`${NOPS} f0 83 03 01 f4`); // lock add dword [rbx], 1
    expect(m.cpu.run(1000)).toBe(Exit.halt);
    expect(seen.map(s => [s.what, s.retired])).toEqual([
      ['read 200000 4', 5n],
      ['write 200000 4 1235', 5n],
    ]);
  });
  it('costs nothing of the fuel beside the instruction', () => {
    const { m, seen } = platform(`${NOPS} 8b 0b ${NOPS} f4`);
    expect(m.cpu.run(5)).toBe(Exit.fuel);
    expect(seen).toEqual([]);
    expect(m.cpu.run(1)).toBe(Exit.fuel);
    expect([seen.length, m.state.rip]).toEqual([1, BigInt(At.code + 7)]);
  });
  it('does not come where the instruction faults for another reason', () => {
    const { m, seen } = platform(`${NOPS} ff 33 f4`); // push [rbx] to a stack that is not there
    m.idtLong(Vector.PF, At.handlers, 0x8e, 1);
    m.set(R.rsp, 0x100).page(0, 0n);
    m.put(At.handlers, Uint8Array.of(0xf4));
    expect(m.cpu.run(1000)).toBe(Exit.halt);
    expect(m.state.rip).toBe(BigInt(At.handlers + 1));
    expect(seen.length).toBeLessThanOrEqual(1);
  });
});

describe('repetitions over a device', () => {
  it('stop after the element that asked for it, and go on', () => {
    const { m, seen, on } = platform(`${NOPS} f3 aa f4`); // rep stosb
    on.access = () => m.cpu.stop();
    m.set(R.rdi, DEVICE).set(R.rcx, 3);
    for (let left = 2; left >= 1; left--) {
      expect(m.cpu.run(1000)).toBe(Exit.stopped);
      expect([m.get(R.rcx), m.get(R.rdi), m.state.rip]).toEqual([
        BigInt(left),
        BigInt(DEVICE + 3 - left),
        BigInt(At.code + 5),
      ]);
    }
    expect(m.cpu.run(1000)).toBe(Exit.stopped);
    expect([m.get(R.rcx), m.state.rip]).toEqual([0n, BigInt(At.code + 7)]);
    expect(seen.map(s => s.retired)).toEqual([5n, 6n, 7n]);
  });
  it('begin in RAM and end there', () => {
    const { m, seen } = platform(`${NOPS} f3 a4 f4`); // rep movsb
    const first = (RAM_PAGES - 1) * 4096 + 4094;
    m.poke(At.pt + (At.data >> 12) * 8 + 8, 8, BigInt(DEVICE) | 3n); // RAM, a device, RAM
    m.put(At.data + 4094, Uint8Array.of(1, 2));
    m.set(R.rsi, At.data + 4094)
      .set(R.rdi, first - 4096)
      .set(R.rcx, 4);
    expect(m.cpu.run(1000)).toBe(Exit.halt);
    expect(seen.map(s => s.what)).toEqual(['read 200000 1', 'read 200001 1']);
    expect([m.peek(first - 4096, 4), m.get(R.rcx)]).toEqual([0x34340201n, 0n]);
  });
});

describe('stop()', () => {
  it('does nothing outside of run()', () => {
    const { m } = platform(`${NOPS} f4`);
    m.cpu.stop();
    expect(m.cpu.run(1000)).toBe(Exit.halt);
  });
});

describe('NMI', () => {
  const HANDLER = BigInt(At.handlers);
  function withHandler(code: string, handler: string): Platform {
    const p = platform(code);
    p.m.idtLong(Vector.NMI, At.handlers);
    p.m.put(
      At.handlers,
      Uint8Array.from(handler.split(' '), x => Number.parseInt(x, 16)),
    );
    return p;
  }
  it('is taken at once, whatever IF says, and not again before IRET', () => {
    const { m } = withHandler(`${NOPS} f4`, '90 48 cf');
    m.cpu.nmiPending = true;
    expect(m.cpu.run(1)).toBe(Exit.fuel);
    expect([m.state.rip, m.cpu.nmiPending, m.state.get32(S.nmiBlocked)]).toEqual([HANDLER + 1n, false, 1]);
    m.cpu.nmiPending = true;
    expect(m.cpu.run(1)).toBe(Exit.fuel);
    expect([m.state.rip, m.state.get32(S.nmiBlocked)]).toEqual([BigInt(At.code), 0]);
    expect(m.cpu.run(1)).toBe(Exit.fuel);
    expect([m.state.rip, m.cpu.nmiPending]).toEqual([HANDLER + 1n, false]);
  });
  it('follows IRET within the same run()', () => {
    const { m } = withHandler(`${NOPS} f4`, '90 48 cf');
    m.cpu.nmiPending = true;
    m.cpu.run(1);
    m.cpu.nmiPending = true;
    expect(m.cpu.run(1000)).toBe(Exit.halt);
    // twice the handler, the code once
    expect(m.state.get(S.retired)).toBe(4n + 6n);
  });
  it('that an access raises is taken behind it', () => {
    const { m, on } = withHandler(`${NOPS} 8b 0b ${NOPS} f4`, 'f4');
    on.access = () => {
      m.cpu.nmiPending = true;
    };
    expect(m.cpu.run(1000)).toBe(Exit.halt);
    expect([m.state.rip, m.stack(0, 8)]).toEqual([HANDLER + 1n, BigInt(At.code + 7)]);
  });
  it('waits behind the shadow of MOV SS', () => {
    const { m } = withHandler('8e d0 90 90 f4', 'f4');
    m.set(R.rax, 0x10);
    m.cpu.run(1);
    m.cpu.nmiPending = true;
    expect(m.cpu.run(1000)).toBe(Exit.halt);
    expect(m.stack(0, 8)).toBe(BigInt(At.code + 3));
  });
  it('without a gate shuts the processor down', () => {
    const { m } = platform(`${NOPS} f4`);
    m.cpu.nmiPending = true;
    expect(m.cpu.run(1000)).toBe(Exit.shutdown);
  });
});

describe('external interrupts', () => {
  it('go through the IDT where the window is open', () => {
    const { m } = platform(`fb ${NOPS} f4`);
    m.idtLong(0x30, At.handlers);
    m.cpu.interruptPending = true;
    expect(m.cpu.run(1000)).toBe(Exit.interruptWindow);
    // one instruction after STI
    expect(m.state.rip).toBe(BigInt(At.code + 2));
    expect(m.cpu.deliver(0x30, { source: 'interrupt' })).toBe(true);
    expect([m.state.rip, m.stack(0, 8)]).toEqual([BigInt(At.handlers), BigInt(At.code + 2)]);
    expect(m.cpu.deliver(0x31, { source: 'interrupt' })).toBe(false);
  });
});
