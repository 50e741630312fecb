import { beforeAll, describe, expect, it } from 'vitest';
import { BuildError, Host, type KernelImage, loadImage, ramForGuests } from '../../src/index.ts';
import { hypercallLine } from '../../src/tracing/text.ts';
import { concatBytes } from '../../src/util/bytes.ts';
import { little, makeElf, note } from './image/builders.ts';

const BASE = 0xffffffff80000000n;
const PT_LOAD = 1;
const PT_NOTE = 4;
const MIB = 8;

/** A PV kernel of a few bytes. */
function kernel(code: readonly number[]): Promise<KernelImage> {
  const notes = concatBytes([note('Xen', 3, little(BASE, 8)), note('Xen', 4, little(0, 8))]);
  return loadImage(
    makeElf({
      entry: BASE + 0x100000n,
      segments: [
        { type: PT_LOAD, vaddr: BASE + 0x100000n, paddr: 0x100000n, data: Uint8Array.from(code), memorySize: 0x1000 },
        { type: PT_NOTE, vaddr: 0n, data: notes },
      ],
    }),
    'tiny',
  );
}

/** sched_op(cmd, pointer to the zeroed end of the page) */
const schedOp = (cmd: number, argument = 0xffffffff80100800n): number[] => [
  0xb8, 29, 0, 0, 0, // mov eax, 29
  0xbf, cmd, 0, 0, 0, // mov edi, cmd
  0x48, 0xbe, ...little(argument, 8), // mov rsi, argument
  0x0f, 0x05, // syscall
]; // biome-ignore format: instructions
const SPIN = [0xeb, 0xfe];
const BLOCK = 1;
const SHUTDOWN = 2;
/** vcpu_op(stop_periodic_timer, 0): nothing wakes the guest any more. */
const STOP_TICKER = [0xb8, 24, 0, 0, 0, 0xbf, 7, 0, 0, 0, 0x31, 0xf6, 0x0f, 0x05];

describe('Host', () => {
  let host: Host;
  beforeAll(async () => {
    host = await Host.create({ ramBytes: ramForGuests(3 * MIB) });
  });

  it('runs a guest until it powers off', async () => {
    const guest = host.createPvDomain({ image: await kernel(schedOp(SHUTDOWN)), memoryMiB: MIB, name: 'short' });
    expect(guest.shutdown).toBeNull();
    expect(await host.run({ until: () => guest.shutdown !== null })).toBe('until');
    expect(guest.shutdown).toBe('poweroff');
    expect(guest.crash).toBeNull();
    expect(guest.lastHypercalls.map(hypercallLine)).toEqual([expect.stringMatching(/^d1v0 sched_op\(shutdown, /)]);
    host.destroy(guest);
  });

  it('gives all memory back when a domain is destroyed, and when one could not be built', async () => {
    const { frames } = host.hypervisor;
    const before = frames.free;
    const spin = await kernel(SPIN);
    const guest = host.createPvDomain({ image: spin, memoryMiB: MIB });
    expect(frames.free).toBeLessThan(before - MIB * 255);
    await host.run({ instructions: 1000n });
    host.destroy(guest);
    expect(frames.free).toBe(before);

    const paths = host.store.dump();
    expect(() => host.createPvDomain({ image: spin, memoryMiB: MIB, initrd: new Uint8Array(9 << 20) })).toThrow(
      BuildError,
    );
    expect(() => host.createPvDomain({ image: spin, memoryMiB: 1000 })).toThrow(/the host has only/);
    expect(() => host.createPvDomain({ image: spin, memoryMiB: MIB, vcpus: 0 })).toThrow(/1 to 128 processors/);
    expect(frames.free).toBe(before);
    expect(host.store.dump()).toBe(paths);
  });

  it('ends a run after so many instructions, on a signal, and when nothing can happen any more', async () => {
    const guest = host.createPvDomain({ image: await kernel(SPIN), memoryMiB: MIB });
    const start = host.instructions;
    expect(await host.run({ instructions: 100_000n })).toBe('instructions');
    expect(host.instructions - start).toBeGreaterThanOrEqual(100_000n);
    const controller = new AbortController();
    setTimeout(() => controller.abort(), 30);
    expect(await host.run({ signal: controller.signal })).toBe('aborted');
    host.destroy(guest);

    const idle = host.createPvDomain({
      image: await kernel([...STOP_TICKER, ...schedOp(BLOCK), ...SPIN]),
      memoryMiB: MIB,
    });
    expect(await host.run()).toBe('idle');
    const waiting = new AbortController();
    const run = host.run({ whenIdle: 'wait', signal: waiting.signal });
    waiting.abort();
    expect(await run).toBe('aborted');
    host.destroy(idle);
  });

  it('lets no domain stop another', async () => {
    const crashing = host.createPvDomain({ image: await kernel([0x0f, 0x0b]), memoryMiB: MIB });
    const other = host.createPvDomain({ image: await kernel(SPIN), memoryMiB: MIB });
    await host.run({ until: () => crashing.shutdown !== null });
    expect(crashing.shutdown).toBe('crash');
    expect(crashing.crash?.rip).toBe(BASE + 0x100000n);
    const before = host.instructions;
    await host.run({ instructions: 10_000n });
    expect(host.instructions).toBeGreaterThan(before);
    expect(other.shutdown).toBeNull();
    host.destroy(crashing);
    host.destroy(other);
  });

  it('knows no CPU model of that name', async () => {
    await expect(Host.create({ ramBytes: 1 << 20, cpu: 'z80' })).rejects.toThrow(/no CPU model "z80"; there are epyc/);
  });
});
