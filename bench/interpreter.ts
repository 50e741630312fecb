// The processor alone: instructions a second on loops in memory, interpreted and compiled, then over a kernel's whole boot, with a profile of where the boot's time goes
// (from V8's own profiler, by function; generated code shows as `run` and by the instruction it handles).
//   npx tsx bench/interpreter.ts [KERNEL.deb]
import { readFileSync } from 'node:fs';
import { Session } from 'node:inspector/promises';
import { JIT_DEFAULTS, type JitOptions } from '../src/cpu/jit/jit.ts';
import { S, SEG } from '../src/cpu/layout.ts';
import { EngineMemory } from '../src/cpu/memory.ts';
import { CPU_MODELS } from '../src/cpu/models/index.ts';
import { createProcessor } from '../src/cpu/processor.ts';
import { Host, type KernelImage, loadImage, ramForGuests } from '../src/index.ts';
import { asm, qword, r8, r9, rax, rbx, rcx, rdx } from '../src/toolstack/init/assembler/assembler.ts';
import { builtinInitramfs } from '../src/toolstack/init/initramfs.ts';

const RUN = 20_000_000;
const ROUNDS = 5;
const CODE = 0x1000;
const DATA = 0x10000;
const GUEST_MIB = 256;

type Program = Parameters<typeof asm>[0];

/** Endless loops; the first rounds are left out, so that V8 has optimised the interpreter. */
const LOOPS: Record<string, Program> = {
  'registers: add, xor, shift': a => {
    a.label('again');
    a.add(rax, rcx);
    a.xor(rdx, rax);
    a.shl(r8, 3);
    a.lea(r9, qword(rax, rdx));
    a.dec(rcx);
    a.jnz('again');
  },
  'memory: load, add, store': a => {
    a.mov(rbx, DATA);
    a.label('again');
    a.mov(rax, qword(rbx));
    a.add(rax, rcx);
    a.mov(qword(rbx, 8), rax);
    a.mov(rdx, qword(rbx, 8));
    a.dec(rcx);
    a.jnz('again');
  },
  'calls and returns': a => {
    a.label('again');
    a.call('callee');
    a.dec(rcx);
    a.jmp('again');
    a.label('callee');
    a.add(rax, 1);
    a.ret();
  },
};

function loopMips(program: Program, jit: JitOptions | null): number {
  const memory = new EngineMemory(16 << 20);
  const cpu = createProcessor(memory, CPU_MODELS[0], jit);
  const { live } = cpu;
  live.set(S.cr0, 1n);
  live.set(S.efer, 1n << 10n);
  live.writeSegment(SEG.cs, { selector: 8, base: 0n, limit: 0xffffffff, attributes: 0xa09b });
  live.writeSegment(SEG.ss, { selector: 16, base: 0n, limit: 0xffffffff, attributes: 0xc093 });
  live.set32(S.pv, 1);
  live.rflags = 2n;
  live.rip = BigInt(CODE);
  live.gpr[4] = 0x20000n;
  cpu.modeChanged();
  memory.frame(CODE >> 12).set(asm(program).flat(BigInt(CODE)).bytes);
  let best = 0;
  for (let i = 0; i < ROUNDS; i++) {
    const started = performance.now();
    cpu.run(RUN);
    best = Math.max(best, RUN / 1000 / (performance.now() - started));
  }
  return best;
}

/** Boots the kernel; gives instructions and seconds. */
async function boot(image: KernelImage): Promise<[instructions: number, seconds: number]> {
  const host = await Host.create({ ramBytes: ramForGuests(GUEST_MIB) });
  const guest = host.createPvDomain({
    image,
    initrd: builtinInitramfs({ bits: image.elf.bits }),
    cmdline: 'console=hvc0',
    memoryMiB: GUEST_MIB,
  });
  const started = performance.now();
  await host.run({ until: () => guest.shutdown !== null });
  return [Number(host.instructions), (performance.now() - started) / 1000];
}

async function bootWithProfile(file: string): Promise<void> {
  const image = await loadImage(new Uint8Array(readFileSync(file)), file);
  const [instructions, seconds] = await boot(image);
  const millions = instructions / 1e6;
  console.log(
    `boot of ${image.release}: ${millions.toFixed(0)} M instructions in ${seconds.toFixed(1)} s, ${(millions / seconds).toFixed(0)} MIPS`,
  );
  // once more under the profiler, which slows generated code down: shares count, not seconds
  const session = new Session();
  session.connect();
  await session.post('Profiler.enable');
  await session.post('Profiler.start');
  await boot(image);
  const { profile } = await session.post('Profiler.stop');
  const byName = new Map<string, number>();
  const nodes = new Map(profile.nodes.map(n => [n.id, n.callFrame]));
  let total = 0;
  profile.samples?.forEach((id, i) => {
    const frame = nodes.get(id)!;
    const where = frame.url.startsWith('wasm') ? 'generated' : frame.url.replace(/.*\/src\//, 'src/');
    const time = profile.timeDeltas?.[i] ?? 0;
    const key = `${frame.functionName || '(anonymous)'}  ${where}`;
    byName.set(key, (byName.get(key) ?? 0) + time);
    total += time;
  });
  const rows = [...byName].toSorted((a, b) => b[1] - a[1]).slice(0, 20);
  for (const [name, time] of rows) console.log(`${((100 * time) / total).toFixed(1).padStart(6)} %  ${name}`);
}

for (const [name, program] of Object.entries(LOOPS)) {
  const [interpreted, compiled] = [null, JIT_DEFAULTS].map(jit => loopMips(program, jit).toFixed(0));
  console.log(`${name}: ${interpreted} MIPS interpreted, ${compiled} compiled`);
}
if (process.argv[2]) await bootWithProfile(process.argv[2]);
