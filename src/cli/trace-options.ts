// What is traced and where it goes: options of `trace`, and `--trace` of `run`.

import { closeSync, openSync, writeSync } from 'node:fs';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { withFile } from '../platform/node/files.ts';
import { PerfettoTrace } from '../tracing/perfetto.ts';
import { CATEGORIES, type Category, type TraceSink } from '../tracing/record.ts';
import { TraceRecorder } from '../tracing/recorder.ts';
import { TextTrace } from '../tracing/text.ts';
import type { Io } from './io.ts';
import { UsageError } from './usage-error.ts';

const FORMATS = ['text', 'perfetto'] as const;

export interface TraceOptions {
  /** A file; without it lines go to stderr. */
  readonly output?: string;
  readonly format?: (typeof FORMATS)[number];
  readonly events?: readonly Category[];
  readonly domain?: number;
}

/** Names of files that Perfetto's own tools write. */
const PERFETTO_FILE = /\.(?:pftrace|perfetto-trace)$/;

export function addTraceOptions(command: Command): Command {
  return command
    .option('-o, --output <file>', 'write the trace there (default: lines to standard error, as strace does)')
    .addOption(
      new Option(
        '--format <format>',
        'text: a line an event; perfetto: for ui.perfetto.dev (default: text, but for a FILE.pftrace)',
      ).choices([...FORMATS]),
    )
    .addOption(
      new Option('--events <list>', `what is traced, of ${CATEGORIES.join(',')}`)
        .argParser(categories)
        .default(undefined, 'all'),
    )
    .option('--domain <n>', 'trace this domain alone (0: Dom0; a guest of ours is 1)', domain);
}

export interface OpenTrace {
  readonly recorder: TraceRecorder;
  close(): void;
}

/** Throws FileError and UsageError. */
export function openTrace({ output, format, events, domain }: TraceOptions, io: Io): OpenTrace {
  const isPerfetto = format === undefined ? output !== undefined && PERFETTO_FILE.test(output) : format === 'perfetto';
  if (isPerfetto && output === undefined) throw new UsageError('a trace for Perfetto needs a file: give -o FILE');
  const file = output === undefined ? null : withFile(output, () => openSync(output, 'w'));
  const decoder = new TextDecoder();
  const sink: TraceSink =
    file === null ? bytes => io.err(decoder.decode(bytes)) : bytes => withFile(output!, () => writeAll(file, bytes));
  const writer = isPerfetto ? new PerfettoTrace(sink) : new TextTrace(sink);
  return {
    recorder: new TraceRecorder(writer, { ...(events ? { categories: events } : {}), domain: domain ?? null }),
    close: () => {
      if (file !== null) closeSync(file);
    },
  };
}

/** A pipe may take a part only. */
function writeAll(file: number, bytes: Uint8Array): void {
  for (let done = 0; done < bytes.length; ) done += writeSync(file, bytes, done);
}

function categories(text: string): Category[] {
  const names = text.split(',').map(name => name.trim());
  const unknown = names.find(name => !CATEGORIES.includes(name as Category));
  if (unknown !== undefined) {
    throw new InvalidArgumentError(`There are no events "${unknown}"; there are ${CATEGORIES.join(', ')}.`);
  }
  return CATEGORIES.filter(category => names.includes(category));
}

function domain(text: string): number {
  if (!/^\d{1,5}$/.test(text)) throw new InvalidArgumentError('Give the number of a domain.');
  return Number(text);
}
