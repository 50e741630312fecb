// Processors of a bare PC at work: small programs in flat 32-bit protected mode, and in real mode for processors that are started.
import { describe, expect, it } from 'vitest';
import { type Assembler, byte, dword, eax, ecx, edx, mem } from '../../src/toolstack/init/assembler/assembler.ts';
import { apicAt as at, run, setUp, stopForEver, TIMER_VECTOR } from './bare-program.ts';

/** An interrupt command to processor 1. */
function command(a: Assembler, low: number): void {
  a.mov(at(0x310), 1 << 24);
  a.mov(at(0x300), low);
}

describe('processors', () => {
  it('are started, woken by an NMI while they are halted, and started anew', () => {
    const waitFor = (a: Assembler, address: number): void => {
      const again = a.unique('wait');
      a.label(again).cmp(byte(address), 1).jne(again);
    };
    const { pc, end } = run(
      a => {
        setUp(a);
        command(a, 0x4500);
        command(a, 0x4608);
        waitFor(a, 0x600);
        command(a, 0x4400);
        waitFor(a, 0x601);
        // one that runs takes no notice of a start-up message
        command(a, 0x4609);
        command(a, 0x4500);
        command(a, 0x4609);
        waitFor(a, 0x602);
        stopForEver(a);
      },
      {
        cpus: 2,
        images: {
          // the vector of NMIs: 0000:8100
          8: [0x00, 0x81, 0x00, 0x00],
          // inc byte [0x600]; hlt; jmp to the hlt
          32768: [0xfe, 0x06, 0x00, 0x06, 0xf4, 0xeb, 0xfd],
          // inc byte [0x601]; iret
          33024: [0xfe, 0x06, 0x01, 0x06, 0xcf],
          // inc byte [0x602]; hlt; jmp to the hlt
          36864: [0xfe, 0x06, 0x02, 0x06, 0xf4, 0xeb, 0xfd],
        },
      },
    );
    expect(end).toBeNull();
    expect([0x600, 0x601, 0x602].map(address => pc.physical.u8(address))).toEqual([1, 1, 1]);
    expect(pc.processors.map(({ activity }) => activity)).toEqual(['halted', 'halted']);
  });

  it('shut down on a triple fault', () => {
    const { end } = run(a => {
      a.lidt(mem('nothing'));
      a.int(3);
      a.label('nothing').dw(0).dd(0);
    });
    expect(end).toMatch(/^crash: triple fault on CPU 0/);
  });
});

describe('the local timer', () => {
  /** Notes the TSC and ends the interrupt. */
  const handler = (a: Assembler): void => {
    a.label('handler').rdtsc();
    a.mov(dword(0x704), eax);
    a.mov(at(0xb0), 0);
    a.iretd();
  };

  it('wakes a halted processor at its time, to the instruction', () => {
    const { pc } = run(a => {
      setUp(a);
      a.mov(at(0x3e0), 0xb);
      a.mov(at(0x320), TIMER_VECTOR);
      a.rdtsc();
      a.mov(dword(0x700), eax);
      a.mov(at(0x380), 1000);
      a.sti().hlt();
      stopForEver(a);
      handler(a);
    });
    // 1000 periods of 10 ns from the instruction on that started it
    const waited = pc.physical.u32(0x704) - pc.physical.u32(0x700);
    expect(waited).toBeGreaterThanOrEqual(10_000);
    expect(waited).toBeLessThan(10_006);
  });

  it('keeps to its deadline where the TSC is moved', () => {
    const { pc, ns } = run(
      a => {
        setUp(a);
        a.mov(at(0x320), TIMER_VECTOR | (2 << 17));
        a.mov(eax, 1_000_000_000).xor(edx, edx);
        a.mov(ecx, 0x6e0);
        a.wrmsr();
        a.mov(eax, 999_990_000);
        a.mov(ecx, 0x10);
        a.wrmsr();
        a.sti().hlt();
        stopForEver(a);
        handler(a);
      },
      { model: 'skylake' },
    );
    expect(pc.physical.u32(0x704)).toBeGreaterThanOrEqual(1_000_000_000);
    expect(pc.physical.u32(0x704)).toBeLessThan(1_000_000_010);
    expect(ns).toBeLessThan(11_000n);
  });
});
