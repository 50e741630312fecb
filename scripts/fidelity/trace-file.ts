// Reads the console log of an instrumented genuine Xen:
//   (XEN) HC 2 d0 pv64 nr=17 sub=0x6 a=6,ffffffff82a03e80,... ret=0    a hypercall that a domain makes for the first time
//   (XEN) HC-ERR 19 d0 pv64 nr=7 sub=0 a=... ret=-3                    one of those that fails later for the first time
//   (XEN) SUB 10 d0 mmuext_op 0x3                                      an operation of a batch
// Arguments are hexadecimal, results decimal.

import { batchName, callName, type Seen } from './seen.ts';

const CALL = /\(XEN\) (HC|HC-ERR) \d+ d(\d+) \w+ nr=(\d+) sub=\w+ a=([0-9a-f,]+) ret=(-?\d+)/;
const BATCH = /\(XEN\) SUB \d+ d(\d+) (\w+) (?:0x)?([0-9a-f]+)/;
const KERNEL_LINE = /^(?:\(early\) )?\[ *\d+\.\d{6}\] /;

/** What a domain of the trace did, in order. */
export function readTrace(text: string, domain: number): Seen[] {
  const list: Seen[] = [];
  for (const line of text.split('\n')) {
    const call = CALL.exec(line);
    if (call !== null && Number(call[2]) === domain) {
      const number = Number(call[3]);
      const args = call[4].split(',').map(word => BigInt(`0x${word}`));
      const isLaterError = call[1] === 'HC-ERR';
      list.push({ call: callName(number, args), isLaterError, number, args, result: BigInt(call[5]) });
    }
    const batch = BATCH.exec(line);
    if (batch !== null && Number(batch[1]) === domain) {
      const name = batchName(batch[2], Number.parseInt(batch[3], 16));
      list.push({ call: name, isLaterError: false, number: null, args: [], result: null });
    }
  }
  return list;
}

/** The lines of Linux in a log, without the hypervisor's. `from` and `to` bound the part that is read. */
export function kernelLines(text: string, from: RegExp | null = null, to: RegExp | null = null): string[] {
  const lines = text.split('\n').map(line => line.replace(/\r+$/, ''));
  const start = from === null ? 0 : lines.findIndex(line => from.test(line));
  const length = to === null ? -1 : lines.slice(start + 1).findIndex(line => to.test(line));
  const part = lines.slice(Math.max(start, 0), length < 0 ? undefined : start + 1 + length);
  return part.filter(line => KERNEL_LINE.test(line));
}
