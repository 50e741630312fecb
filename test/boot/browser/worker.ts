// What the browser's worker runs: fetches the kernel that it is told of, boots it, and tells how that went.
import { type Booted, type BootOrder, boot } from './one-boot.ts';

/** A boot, and where its kernel is served. */
export type WorkerOrder = Omit<BootOrder, 'kernel'> & { readonly url: string };
export type WorkerAnswer = { readonly booted: Booted } | { readonly failed: string };

const scope = globalThis as unknown as {
  onmessage: ((event: { data: WorkerOrder }) => void) | null;
  postMessage(answer: WorkerAnswer): void;
};

scope.onmessage = ({ data: { url, ...order } }) => {
  fetch(url)
    .then(async answer => boot({ ...order, kernel: new Uint8Array(await answer.arrayBuffer()) }))
    .then(
      booted => scope.postMessage({ booted }),
      (error: unknown) => scope.postMessage({ failed: error instanceof Error ? String(error.stack) : String(error) }),
    );
};
