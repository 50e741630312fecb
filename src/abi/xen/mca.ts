// xen/include/public/arch-x86/xen-mca.h: what the control domain asks about machine checks.
import { array, bytes, handle, i32, struct, u16, u32, u64 } from '../struct.ts';

export const MC = { fetch: 1, notifydomain: 2, physcpuinfo: 3, msrinject: 4, mceinject: 5, injectV2: 6 } as const;
export const XEN_MCA_INTERFACE_VERSION = 0x01ecc003;
/** XEN_MC_URGENT and relatives: which reports are wanted, and what came of it. */
export const MC_FLAGS = { nonurgent: 1, urgent: 2, ack: 4 } as const;
export const MC_NODATA = 2;
/** struct xen_mc is cmd, interface_version, and here a union. */
export const MC_UNION = 8n;

export const mcFetch = struct('xen_mc_fetch', { flags: u32, pad0: u32, fetchId: u64, data: handle });
export const mcPhyscpuinfo = struct('xen_mc_physcpuinfo', { ncpus: u32, pad0: u32, info: handle });
const msr = struct('mcinfo_msr', { reg: u64, value: u64 });
export const mcLogicalCpu = struct('mcinfo_logical_cpu', {
  mcCpunr: u32,
  mcChipid: u32,
  mcCoreid: u16,
  mcThreadid: u16,
  mcApicid: u32,
  mcClusterid: u32,
  mcNcores: u32,
  mcNcoresActive: u32,
  mcNthreads: u32,
  mcCpuidLevel: i32,
  mcFamily: u32,
  mcVendor: u32,
  mcModel: u32,
  mcStep: u32,
  mcVendorid: bytes(16),
  mcBrandid: bytes(64),
  mcCpuCaps: array(u32, 7),
  mcCacheSize: u32,
  mcCacheAlignment: u32,
  mcNmsrvals: i32,
  mcMsrvalues: array(msr, 8),
});
