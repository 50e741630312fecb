// How long a vCPU has been running, waiting, blocked, offline. Source: xen/include/public/vcpu.h (struct vcpu_runstate_info).

export const Runstate = { running: 0, runnable: 1, blocked: 2, offline: 3 } as const;

/** Plain data of one vCPU's run states; times in ns of system time. */
export interface RunstateRecord {
  state: number;
  stateEntryTime: bigint;
  /** Time spent in each state, the present one only up to stateEntryTime. */
  time: [bigint, bigint, bigint, bigint];
}

export function newRunstate(now: bigint): RunstateRecord {
  return { state: Runstate.offline, stateEntryTime: now, time: [0n, 0n, 0n, 0n] };
}

export function changeRunstate(record: RunstateRecord, state: number, now: bigint): void {
  if (record.state === state) return;
  if (now > record.stateEntryTime) {
    record.time[record.state] += now - record.stateEntryTime;
    record.stateEntryTime = now;
  }
  record.state = state;
}

/** The record with the present state's time up to `now`; stateEntryTime stays, as Xen has it. */
export function runstateAt(record: RunstateRecord, now: bigint): RunstateRecord {
  const time: RunstateRecord['time'] = [...record.time];
  if (now > record.stateEntryTime) time[record.state] += now - record.stateEntryTime;
  return { state: record.state, stateEntryTime: record.stateEntryTime, time };
}
