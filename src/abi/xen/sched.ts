// xen/include/public/sched.h
import { handle, i32, struct, u16, u32, u64 } from '../struct.ts';

export const SCHEDOP = {
  yield: 0, block: 1, shutdown: 2, poll: 3, remote_shutdown: 4, shutdown_code: 5, watchdog: 6, pin_override: 7,
} as const; // biome-ignore format: a table

/** SHUTDOWN_*. */
export const SHUTDOWN = { poweroff: 0, reboot: 1, suspend: 2, crash: 3, watchdog: 4, soft_reset: 5 } as const;

export const schedShutdown = struct('sched_shutdown', { reason: u32 });
export const schedPoll = struct('sched_poll', { ports: handle, nrPorts: u32, timeout: u64 });
export const schedRemoteShutdown = struct('sched_remote_shutdown', { domainId: u16, reason: u32 });
export const schedWatchdog = struct('sched_watchdog', { id: u32, timeout: u32 });
export const schedPinOverride = struct('sched_pin_override', { pcpu: i32 });
