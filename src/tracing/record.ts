// One thing that happened, as data: what trace files are written from.
import type { Fields, Value } from './value.ts';

/** Kinds of records, as `--events` names them. */
export const CATEGORIES = ['hypercall', 'event', 'grant', 'xenstore', 'sched'] as const;
export type Category = (typeof CATEGORIES)[number];

export interface TraceRecord {
  /** The machine's own time since its start, ns. */
  readonly timeNs: bigint;
  /** Null for the host's own daemons and back ends. */
  readonly domain: number | null;
  /** Null where it is the domain as a whole. */
  readonly vcpu: number | null;
  readonly category: Category;
  /** What happened, without the particulars: "event_channel_op.send", "raise", "block". */
  readonly name: string;
  /** The whole of it on one line. */
  readonly text: string;
  /** The particulars. */
  readonly fields: Fields['fields'];
  /** Records that belong together: what was sent and where it arrived. */
  readonly flow?: Flow;
  /** A vCPU is on the processor from a begin to its end. */
  readonly phase?: 'begin' | 'end';
}

export interface Flow {
  readonly id: number;
  readonly ends: boolean;
}

/** What makes a file of records. */
export interface TraceWriter {
  write(record: TraceRecord): void;
  /** Nothing more comes; the time at which it ended, ns. */
  end(timeNs: bigint): void;
}

/** Takes a trace's bytes, in order. */
export type TraceSink = (bytes: Uint8Array) => void;

export type { Value };
