// One boot as `domzero check` makes it, by the library alone: the same function runs in Node.js and in a browser.
import type { BootRequest } from '../../../src/report/boot.ts';
import { commandLine, startOnHost } from '../../../src/report/host-boot.ts';
import { runBoot } from '../../../src/report/run-boot.ts';
import { loadImage } from '../../../src/toolstack/image/index.ts';
import type { Mode } from '../../../src/toolstack/image/modes.ts';
import { builtinInitramfs } from '../../../src/toolstack/init/initramfs.ts';

export interface BootOrder {
  readonly kernel: Uint8Array;
  readonly name: string;
  readonly mode: Mode;
  readonly jit: boolean;
}

export interface Booted {
  readonly verdict: string;
  readonly reason: string;
  readonly instructions: number;
  readonly console: string;
}

const TIMEOUT_SECONDS = 500;

export async function boot({ kernel, name, mode, jit }: BootOrder): Promise<Booted> {
  const { modules: _, ...image } = await loadImage(kernel, name);
  const request: BootRequest = {
    image,
    mode,
    cpuModel: 'epyc',
    cpus: 1,
    memoryMiB: 256,
    initrd: builtinInitramfs({ bits: 64 }),
    commandLine: commandLine(mode, []),
    clock: 'virtual',
    jit,
  };
  const decoder = new TextDecoder();
  let console = '';
  const result = await runBoot(request, startOnHost, {
    goal: { kind: 'report' },
    timeoutSeconds: TIMEOUT_SECONDS,
    reproduce: '',
    observer: { console: bytes => void (console += decoder.decode(bytes, { stream: true })) },
  });
  return { verdict: result.verdict, reason: result.reason, instructions: result.instructions, console };
}
