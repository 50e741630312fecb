// xen/include/public/version.h
import { bytes, struct, u32, ulong } from '../struct.ts';

export const XENVER = {
  version: 0, extraversion: 1, compile_info: 2, capabilities: 3, changeset: 4, platform_parameters: 5, get_features: 6, pagesize: 7,
  guest_handle: 8, commandline: 9, build_id: 10,
} as const; // biome-ignore format: a table

export const xenExtraversion = struct('xen_extraversion', { text: bytes(16) });
export const xenCompileInfo = struct('xen_compile_info', {
  compiler: bytes(64),
  compileBy: bytes(16),
  compileDomain: bytes(32),
  compileDate: bytes(32),
});
export const xenCapabilitiesInfo = struct('xen_capabilities_info', { text: bytes(1024) });
export const xenChangesetInfo = struct('xen_changeset_info', { text: bytes(64) });
export const xenPlatformParameters = struct('xen_platform_parameters', { virtStart: ulong });
export const xenFeatureInfo = struct('xen_feature_info', { submapIdx: u32, submap: u32 });
export const xenDomainHandle = struct('xen_domain_handle', { handle: bytes(16) });
