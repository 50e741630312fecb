// Controls of speculative execution, where the model's CPUID says that there are any (SDM Vol. 4, table 2-2; AMD APM Vol. 2, 3.2.9).
// Nothing is executed speculatively here: they keep what is written.
import type { CpuModel } from '../../cpu/models/model.ts';
import type { MsrRow } from './msr-table.ts';

const Msr = { SPEC_CTRL: 0x48, PRED_CMD: 0x49, ARCH_CAPABILITIES: 0x10a, FLUSH_CMD: 0x10b } as const;

const IBRS = 1n;
const STIBP = 2n;
const SSBD = 4n;
const PSFD = 0x80n;
/** RDCL_NO IBRS_ALL RSBA-free SKIP_L1DFL_VMENTRY SSB_NO MDS_NO PSCHANGE_MC_NO TAA_NO: what no in-order processor suffers from. */
const ARCH_CAPABILITIES = 0x17bn;

export function speculationRows(model: CpuModel): MsrRow[] {
  const bits = (leaf: number, register: 'ebx' | 'edx'): ((bit: number) => boolean) => {
    const value = model.leaves.find(row => row.leaf === leaf && !row.subleaf)?.[register] ?? 0;
    return bit => ((value >>> bit) & 1) === 1;
  };
  const intel = bits(7, 'edx');
  const amd = bits(0x80000008, 'ebx');
  const rows: MsrRow[] = [];
  let controls = 0n;
  if (intel(26) || amd(14)) controls |= IBRS;
  if (intel(27) || amd(15)) controls |= STIBP;
  if (intel(31) || amd(24)) controls |= SSBD;
  if (amd(28)) controls |= PSFD;
  if (controls) rows.push({ index: Msr.SPEC_CTRL, reset: 0n, writable: controls });
  const barrier = { reset: 0n, writable: 1n, command: true };
  if (intel(26) || amd(12)) rows.push({ index: Msr.PRED_CMD, ...barrier });
  if (intel(28)) rows.push({ index: Msr.FLUSH_CMD, ...barrier });
  if (intel(29)) rows.push({ index: Msr.ARCH_CAPABILITIES, reset: ARCH_CAPABILITIES });
  return rows;
}
