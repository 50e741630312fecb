// A boot in a thread of its own: what the thread runs, and what the main thread has of it.

import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { openDisk } from '../platform/node/disks.ts';
import { nodeSockets } from '../platform/node/sockets.ts';
import type { BootRequest } from '../report/boot.ts';
import { type Surroundings, startOnHost } from '../report/host-boot.ts';
import { type BootObserver, type BootOptions, type Progress, runBoot } from '../report/run-boot.ts';
import { unrunResult } from '../report/unrun.ts';
import type { Result } from '../report/verdict.ts';

/** How a boot is run: in a thread of its own, or otherwise in tests. */
export type Boot = (request: BootRequest, options: BootOptions, transfer: readonly ArrayBuffer[]) => Promise<Result>;

interface Task {
  readonly domzeroBoot: true;
  readonly request: BootRequest;
  readonly options: Omit<BootOptions, 'observer'>;
}

type Message =
  | { readonly kind: 'console'; readonly bytes: Uint8Array }
  | { readonly kind: 'log'; readonly line: string }
  | { readonly kind: 'progress'; readonly progress: Progress }
  | { readonly kind: 'result'; readonly result: Result };

/** Seconds after its own timeout at which a host that does not answer is given up. */
const GRACE = 30;

/** @param transfer buffers of the request that the caller needs no more: they are moved instead of copied. */
export const bootInWorker: Boot = (request, { observer = {}, ...options }, transfer) =>
  new Promise(resolve => {
    const task: Task = { domzeroBoot: true, request, options };
    const worker = new Worker(new URL(import.meta.url), { workerData: task, transferList: [...transfer] });
    const { timeoutSeconds, reproduce } = options;
    const failed = (reason: string) => finish(unrunResult(request, 'error', reason, reproduce));
    const guard = Number.isFinite(timeoutSeconds)
      ? setTimeout(() => failed('the host does not answer any more'), (timeoutSeconds + GRACE) * 1000)
      : undefined;
    const finish = (result: Result) => {
      clearTimeout(guard);
      resolve(result);
      void worker.terminate();
    };
    worker.on('message', (message: Message) => {
      if (message.kind === 'console') observer.console?.(message.bytes);
      else if (message.kind === 'log') observer.log?.(message.line);
      else if (message.kind === 'progress') observer.progress?.(message.progress);
      else finish(message.result);
    });
    worker.on('error', error => failed(`the host failed: ${error.message}`));
    worker.on('exit', code => failed(`the host ended by itself (${code})`));
  });

function surroundingsOf({ net }: BootRequest): Surroundings {
  if (net !== 'user') return { openDisk };
  return { openDisk, networks: { vifs: [{}], user: wake => ({ sockets: nodeSockets(wake) }) } };
}

async function work({ request, options }: Task): Promise<void> {
  const post = (message: Message) => parentPort!.postMessage(message);
  const observer: BootObserver = {
    console: bytes => post({ kind: 'console', bytes }),
    log: line => post({ kind: 'log', line }),
    progress: progress => post({ kind: 'progress', progress }),
  };
  post({
    kind: 'result',
    result: await runBoot(request, asked => startOnHost(asked, surroundingsOf(asked)), { ...options, observer }),
  });
}

if (!isMainThread && (workerData as Partial<Task> | null)?.domzeroBoot === true) void work(workerData as Task);
