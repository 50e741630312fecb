// A trace as lines, a record a line, in columns: seconds of the machine's time, domain and vCPU, category, what.
//   0.004217512 d1v0 hypercall event_channel_op(send, arg={port=2}) = 0
// Everything that is the same in two runs of a guest is the same here, so that two traces can be compared with diff (without times: cut -c 16-).
import type { HypercallRecord } from '../hypervisor/hypercalls/trace.ts';
import { callText, decodeCall } from './decode-call.ts';
import type { TraceRecord, TraceSink, TraceWriter } from './record.ts';

const CHUNK = 1 << 16;
const NS_PER_SECOND = 1_000_000_000n;

export class TextTrace implements TraceWriter {
  private readonly sink: TraceSink;
  private readonly encoder = new TextEncoder();
  private pending = '';

  constructor(sink: TraceSink) {
    this.sink = sink;
  }

  write(record: TraceRecord): void {
    this.pending += `${traceLine(record)}\n`;
    if (this.pending.length >= CHUNK) this.flush();
  }

  end(): void {
    this.flush();
  }

  private flush(): void {
    if (this.pending !== '') this.sink(this.encoder.encode(this.pending));
    this.pending = '';
  }
}

/** A hypercall of a crash report as a line, without what its pointers point at: `d1v0 sched_op(block, arg=NULL) = 0`. */
export function hypercallLine(record: HypercallRecord): string {
  const decoded = decodeCall(record);
  return `d${record.domain}v${record.vcpu} ${callText(decoded)} = ${decoded.result}`;
}

/** A record as a line, without the line break. */
export function traceLine({ timeNs, domain, vcpu, category, text }: TraceRecord): string {
  const seconds = String(timeNs / NS_PER_SECOND).padStart(4);
  const fraction = String(timeNs % NS_PER_SECOND).padStart(9, '0');
  const who = domain === null ? 'host' : `d${domain}${vcpu === null ? '' : `v${vcpu}`}`;
  return `${seconds}.${fraction} ${who.padEnd(5)} ${category.padEnd(9)} ${text}`;
}
