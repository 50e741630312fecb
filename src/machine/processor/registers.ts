// A processor's registers and stack as crash reports show them.
import { GuestFault } from '../../cpu/exits.ts';
import { R, S, SEG, SEG_FIELD, SEGMENT_SIZE } from '../../cpu/layout.ts';
import type { CpuState } from '../../cpu/state.ts';
import type { Processor } from '../../cpu/types.ts';

const GPR_NAMES = [
  'rax', 'rbx', 'rcx', 'rdx', 'rsi', 'rdi', 'rbp', 'rsp', 'r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15',
] as const; // biome-ignore format: Xen's order

export type CrashRegister =
  | (typeof GPR_NAMES)[number]
  | 'rip' | 'rflags' | 'cr0' | 'cr2' | 'cr3' | 'cr4' | 'fsb' | 'gsb' | 'gss' | 'cs' | 'ss' | 'ds' | 'es' | 'fs' | 'gs'; // biome-ignore format: a list

/** Words of the stack that are shown. */
const STACK_WORDS = 80;
const PAGE = 4096n;

/** As the processor has them; a PV guest's control registers are the hypervisor's. */
export function registersOf(cpu: CpuState): Record<CrashRegister, bigint> {
  const selector = (index: number): bigint => BigInt(cpu.readSegment(index).selector);
  const base = (index: number): bigint => cpu.get(S.segments + index * SEGMENT_SIZE + SEG_FIELD.base);
  const gprs = Object.fromEntries(GPR_NAMES.map(name => [name, cpu.gpr[R[name]]])) as Record<
    (typeof GPR_NAMES)[number],
    bigint
  >;
  return {
    ...gprs,
    rip: cpu.rip,
    rflags: cpu.rflags,
    cr0: cpu.get(S.cr0),
    cr2: cpu.get(S.cr2),
    cr3: cpu.get(S.cr3),
    cr4: cpu.get(S.cr4),
    fsb: base(SEG.fs),
    gsb: base(SEG.gs),
    gss: cpu.get(S.kernelGsBase),
    cs: selector(SEG.cs),
    ss: selector(SEG.ss),
    ds: selector(SEG.ds),
    es: selector(SEG.es),
    fs: selector(SEG.fs),
    gs: selector(SEG.gs),
  };
}

/** Words from the live RSP on, to the end of the page as Xen shows it, or of what can be read. */
export function stackOf(processor: Processor, user: boolean): bigint[] {
  const words: bigint[] = [];
  const raw = new Uint8Array(8);
  const view = new DataView(raw.buffer);
  const start = processor.live.gpr[R.rsp];
  for (let i = 0; i < STACK_WORDS; i++) {
    const at = start + BigInt(i * 8);
    if (i > 0 && (at & (PAGE - 1n)) < 8n) break;
    try {
      processor.readLinear(BigInt.asUintN(64, at), raw, { write: false, user });
    } catch (error) {
      if (!(error instanceof GuestFault)) throw error;
      break;
    }
    words.push(view.getBigUint64(0, true));
  }
  return words;
}
