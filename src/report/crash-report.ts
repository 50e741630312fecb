// Explains a crash: what the kernel said on the console, what the hypervisor saw, and both with the kernel's symbols.

import type { KernelSymbols } from '../toolstack/image/symbols.ts';
import { callText, decodeCall } from '../tracing/decode-call.ts';
import type { CrashRecord } from './boot.ts';
import type { PanicFinder } from './panic.ts';
import type { CrashReport, StackWord } from './verdict.ts';

/** What is known of a crash; null where nothing crashed. `symbols` is asked only where there is something to look up. */
export function crashReport(
  record: CrashRecord | null,
  panic: PanicFinder,
  xenLog: readonly string[],
  symbols: () => KernelSymbols | null,
): CrashReport | null {
  if (record === null && panic.trouble === null) return null;
  const table = record === null ? null : symbols();
  const reason = panic.panic ?? panic.trouble ?? record?.reason ?? 'the kernel does not say why';
  return {
    reason,
    vcpu: record?.vcpu ?? null,
    ...place(record, panic, table),
    registers: Object.fromEntries(Object.entries(record?.registers ?? {}).map(([name, value]) => [name, hex(value)])),
    stack: (record?.stack ?? []).map(value => stackWord(value, table)),
    hypercalls: (record?.hypercalls ?? []).map(call => {
      const decoded = decodeCall(call);
      return { vcpu: call.vcpu, call: callText(decoded), result: decoded.result };
    }),
    panic: panic.lines,
    xenLog,
  };
}

/**
 * Where it happened. After a panic the hypervisor sees only the place that shuts the domain down; what the kernel printed is
 * where the trouble was.
 */
function place(record: CrashRecord | null, panic: PanicFinder, symbols: KernelSymbols | null) {
  const printed = panic.rip;
  if (printed !== null) {
    if (!/^(?:0x)?[0-9a-f]{8,16}$/.test(printed)) return { rip: null, symbol: printed };
    const address = BigInt(`0x${printed.replace(/^0x/, '')}`);
    return { rip: hex(address), symbol: nameOf(address, symbols) };
  }
  if (record === null) return { rip: null, symbol: null };
  return { rip: hex(record.rip), symbol: nameOf(record.rip, symbols) };
}

function stackWord(value: bigint, symbols: KernelSymbols | null): StackWord {
  // Pointers to data are frequent on a stack, and none of them tells how the kernel came here.
  return { value: hex(value), symbol: symbols?.isCode(value) ? symbols.format(value) : null };
}

function nameOf(address: bigint, symbols: KernelSymbols | null): string | null {
  return symbols === null || symbols.lookup(address) === null ? null : symbols.format(address);
}

const hex = (value: bigint) => `0x${value.toString(16).padStart(16, '0')}`;
