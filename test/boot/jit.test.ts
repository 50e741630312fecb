// A whole boot in lockstep: interpreted, and with hot code compiled, the guest is in the same state at the same instruction.
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { expect } from 'vitest';
import { JIT_DEFAULTS, type JitOptions } from '../../src/cpu/jit/jit.ts';
import { S } from '../../src/cpu/layout.ts';
import type { InterpretingProcessor } from '../../src/cpu/processor.ts';
import { Host, loadImage, ramForGuests } from '../../src/index.ts';
import { builtinInitramfs } from '../../src/toolstack/init/initramfs.ts';
import { testWith } from './kernels.ts';

const GUEST_MIB = 128;
const STEP = 25_000_000;
const STEPS = 60;
/** All of memory is looked at this often. */
const STEPS_TO_MEMORY = 20;
/** Architectural parts of the state block: what is lazy, cached or the host's own stands between. */
const PARTS: readonly [from: number, to: number][] = [
  [S.gpr, S.zero],
  [S.rip, S.ccResult],
  [S.cpl, S.pending],
  [S.fpr, S.scratch],
];

async function start(file: string, jit: JitOptions | null) {
  const image = await loadImage(new Uint8Array(readFileSync(file)), file);
  const host = await Host.create({ ramBytes: ramForGuests(GUEST_MIB), jit });
  const guest = host.createPvDomain({
    image,
    initrd: builtinInitramfs({ bits: 64 }),
    cmdline: 'console=hvc0',
    memoryMiB: GUEST_MIB,
  });
  return { host, guest };
}

type Booting = Awaited<ReturnType<typeof start>>;

function fingerprint({ host }: Booting, memory: boolean): string {
  const { live, memory: engine } = host.processor;
  const hash = createHash('sha1').update(`${host.instructions} ${live.rflags}`);
  for (const [from, to] of PARTS) hash.update(live.bytes.subarray(from, to));
  if (memory) hash.update(engine.u8.subarray(engine.ramBase, engine.ramBase + engine.frames * 4096));
  return hash.digest('hex');
}

testWith('cloud', 'interpreted and compiled', async ([file]) => {
  const interpreted = await start(file, null);
  // often compiled, so that much is
  const compiled = await start(file, { ...JIT_DEFAULTS, heat: 300 });
  for (let step = 1; step <= STEPS && !interpreted.guest.shutdown; step++) {
    const until = BigInt(STEP) * BigInt(step);
    for (const { host, guest } of [interpreted, compiled]) {
      await host.run({ instructions: until - host.instructions, until: () => guest.shutdown !== null });
    }
    const memory = step % STEPS_TO_MEMORY === 0;
    expect(fingerprint(compiled, memory), `after step ${step}`).toBe(fingerprint(interpreted, memory));
    if (step % 7 === 0) (compiled.host.processor as InterpretingProcessor).jit?.dropAll();
  }
});
