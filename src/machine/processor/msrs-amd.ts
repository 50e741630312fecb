// AMD's model-specific registers as processors of families 17h and later have them and kernels read them (AMD APM Vol. 2, appendix A;
// PPR for family 17h model 31h, 2.1.14).
import type { CpuModel } from '../../cpu/models/model.ts';
import { ALL_BITS, type MsrRow } from './msr-table.ts';

export const HWCR = 0xc0010015;
/** HWCR: software may write machine check banks. */
export const HWCR_STATUS_WRITABLE = 1n << 18n;
/** SMM locked, INVD is WBINVD, the TSC counts at P0's rate: as firmware leaves it. */
const HWCR_RESET = 0x1000011n;
/** TLB cache, INVD, MWAIT, configuration faults, boost, effective frequencies and the counter of retired instructions. */
const HWCR_WRITABLE = [3n, 4n, 9n, 10n, 20n, 25n, 26n, 27n, 30n].reduce(
  (bits, n) => bits | (1n << n),
  HWCR_STATUS_WRITABLE,
);

const SYSCFG = { fixedDram: 1n << 18n, fixedModifiable: 1n << 19n, variableDram: 1n << 20n } as const;
const SYSCFG_TOP_MEM2 = 1n << 21n;
const SYSCFG_TOP_MEM2_WRITE_BACK = 1n << 22n;
const TOP_MEM_MASK = 0xffff_ff80_0000n;
const PSTATE_VALID = 1n << 63n;
const VM_CR_DISABLED_AND_LOCKED = 0x18n;
/** Errata that have an entry, and none of them needs a workaround. */
const OSVW_LENGTH = 5n;
const DE_CFG_LFENCE_SERIALIZES = 2n;
const FAMILY_1AH = 0x1a;

/** @param memory ends of RAM below and above 4 GiB; 0 where there is none */
export function amdRows(model: CpuModel, microcode: number, memory: { low: number; high: number }): MsrRow[] {
  const family = familyOf(model);
  const highMemory = memory.high ? SYSCFG_TOP_MEM2 | SYSCFG_TOP_MEM2_WRITE_BACK : 0n;
  const core = (index: number, reset = 0n): MsrRow => ({ index, reset, writable: ALL_BITS });
  return [
    { index: 0x8b, reset: BigInt(microcode) }, // PATCH_LEVEL
    { index: 0x1d9, reset: 0n, writable: 0x3fn }, // DebugCtl
    ...[0x1db, 0x1dc, 0x1dd, 0x1de].map(index => ({ index, reset: 0n })), // last branch and last exception
    {
      index: 0xc0010010, // SYSCFG
      reset: SYSCFG.variableDram | highMemory,
      writable:
        SYSCFG.fixedDram | SYSCFG.fixedModifiable | SYSCFG.variableDram | SYSCFG_TOP_MEM2 | SYSCFG_TOP_MEM2_WRITE_BACK,
      others: 'keep',
    },
    { index: HWCR, reset: HWCR_RESET, writable: HWCR_WRITABLE, others: 'keep' },
    ...[0xc0010016, 0xc0010017, 0xc0010018, 0xc0010019].map(index => ({ index, reset: 0n, writable: ALL_BITS })), // IORRs
    { index: 0xc001001a, reset: BigInt(memory.low) & TOP_MEM_MASK, writable: TOP_MEM_MASK }, // TOP_MEM
    { index: 0xc001001d, reset: BigInt(memory.high) & TOP_MEM_MASK, writable: TOP_MEM_MASK }, // TOP_MEM2
    core(0xc001001f), // NB_CFG
    { index: 0xc0010020, reset: 0n, writable: ALL_BITS, command: true }, // PATCH_LOADER: no update is newer
    { index: 0xc0010055, reset: 0n }, // interrupt pending message
    core(0xc0010058), // MMIO configuration base: none in MSRs
    { index: 0xc0010061, reset: 0n }, // P-state limit: P0 is the only one
    { index: 0xc0010062, reset: 0n, writable: 7n, command: true }, // P-state control
    { index: 0xc0010063, reset: 0n }, // P-state status
    { index: 0xc0010064, reset: PSTATE_VALID | pstate(family, model.frequencyKHz) },
    ...[5, 6, 7, 8, 9, 10, 11].map(n => ({ index: 0xc0010060 + n, reset: 0n })), // further P-states: none
    { index: 0xc0010112, reset: 0n }, // SMM's segment: none
    { index: 0xc0010113, reset: 0n },
    { index: 0xc0010114, reset: VM_CR_DISABLED_AND_LOCKED }, // VM_CR
    { index: 0xc0010140, reset: OSVW_LENGTH, writable: ALL_BITS },
    { index: 0xc0010141, reset: 0n, writable: ALL_BITS },
    ...[0, 1, 2, 3, 4, 5, 6].map(n => core(0xc0010044 + n)), // masks of machine check banks' controls
    core(0xc0011020), // LS_CFG
    core(0xc0011021), // IC_CFG
    core(0xc0011022), // DC_CFG
    core(0xc0011023), // TW_CFG
    core(0xc0011028), // FP_CFG
    core(0xc0011029, DE_CFG_LFENCE_SERIALIZES), // DE_CFG
    core(0xc001102a), // L2_CFG
    core(0xc001102b), // chicken bits of the L2 cache
    core(0xc001102c), // EX_CFG
    core(0xc001102d), // LS_CFG2
    core(0xc001102e), // BP_CFG
    ...(family === 0x17 ? [core(0xc00110e3)] : []), // decode and fetch of Zen 2
  ];
}

/** Family from the processor's signature. */
export function familyOf(model: CpuModel): number {
  const signature = model.leaves.find(({ leaf }) => leaf === 1)?.eax ?? 0;
  const base = (signature >>> 8) & 15;
  return base === 15 ? base + ((signature >>> 20) & 0xff) : base;
}

/** The frequency part of a P-state's definition: FID * 25 MHz / (DID / 8); from family 1Ah on FID * 5 MHz. */
function pstate(family: number, frequencyKHz: number): bigint {
  const mhz = Math.round(frequencyKHz / 1000);
  if (family >= FAMILY_1AH) return BigInt(Math.round(mhz / 5) & 0xfff);
  return BigInt(Math.round(mhz / 25) & 0xff) | (8n << 8n);
}
