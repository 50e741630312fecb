// A guest's console as the host's user sees it, a PV console or a serial port: bytes out, by callback or stream, and bytes in.

export type OutputListener = (bytes: Uint8Array) => void;

/** What takes the bytes that are typed: returns how many it had room for. */
export interface ConsoleInput {
  write(bytes: Uint8Array): number;
}

export class GuestConsole {
  private readonly listeners = new Set<OutputListener>();
  private readonly closers = new Set<() => void>();
  private input: ConsoleInput | null = null;
  private readonly onInput: () => void;

  /** @param onInput told when something was typed: a host that sleeps has to wake up */
  constructor(onInput: () => void) {
    this.onInput = onInput;
  }

  /** @internal */
  connect(input: ConsoleInput): void {
    this.input = input;
  }

  /** @internal The guest has printed. The bytes are the listener's to keep. */
  print(bytes: Uint8Array): void {
    for (const listener of this.listeners) listener(bytes);
  }

  /** @internal Nothing more will come. */
  close(): void {
    for (const close of this.closers) close();
    this.closers.clear();
    this.listeners.clear();
    this.input = null;
  }

  /** Calls `listener` with everything that the guest prints from now on. Returns how to stop that. */
  onOutput(listener: OutputListener): () => void {
    this.listeners.add(listener);
    return () => void this.listeners.delete(listener);
  }

  /** Everything that the guest prints from now on; ends when the domain is destroyed. */
  output(): ReadableStream<Uint8Array> {
    let stop = (): void => {};
    return new ReadableStream({
      start: controller => {
        const stopListening = this.onOutput(bytes => controller.enqueue(bytes));
        const close = (): void => controller.close();
        this.closers.add(close);
        stop = () => {
          stopListening();
          this.closers.delete(close);
        };
      },
      cancel: () => stop(),
    });
  }

  /** Types into the guest. Returns how many bytes were taken: the rest does not fit until the guest has read some. */
  write(typed: Uint8Array | string): number {
    const bytes = typeof typed === 'string' ? new TextEncoder().encode(typed) : typed;
    const taken = this.input?.write(bytes) ?? 0;
    if (taken > 0) this.onInput();
    return taken;
  }
}
