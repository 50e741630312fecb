// What is behind a block device, whichever face the guest sees (virtio-blk, a PV back end): bytes by offset. Sources do not know of sectors beyond
// telling them; a device checks what a guest asks for.

/** Called once when a request is done: null, or what went wrong, for the log. */
export type BlockDone = (error: Error | null) => void;

export interface BlockSource {
  /** In bytes, a multiple of sectorSize. It may grow: whoever grew it tells the devices. */
  readonly size: number;
  /** Smallest unit that a guest should use, in bytes: 512, or more up to 4096. */
  readonly sectorSize: number;
  /** Writes fail. */
  readonly isReadOnly: boolean;
  /** Discarding frees something. Where it does not, it is still allowed, and does nothing. */
  readonly canDiscard: boolean;
  /**
   * Requests are done when the call returns (`done` was called within it), so that runs of a guest are the same run each time, and buffers may
   * be a guest's memory itself. Otherwise `done` comes later, from outside of any run of a processor, and buffers stay the source's until then.
   */
  readonly isImmediate: boolean;

  /** Looks at the medium's size again, where it can change: true where `size` has, and devices are to be told. */
  refreshSize?(): boolean;

  /** Fills `into`, in order, with what is at `offset` (in bytes). */
  read(offset: number, into: readonly Uint8Array[], done: BlockDone): void;
  /** Durable after the next flush that begins after `done`. */
  write(offset: number, from: readonly Uint8Array[], done: BlockDone): void;
  /** All writes that are done survive a loss of power after this. */
  flush(done: BlockDone): void;
  /** The range's content does not matter any more; it reads as anything that was there or zeros. */
  discard(offset: number, length: number, done: BlockDone): void;
  /** The range reads as zeros afterwards. */
  writeZeroes(offset: number, length: number, done: BlockDone): void;
  /** Gives up what it holds. Nothing may be asked of it afterwards. */
  close(): void;
}

/** An error where a range is not wholly in a source of `size` bytes; null where it is. */
export function outOfRange(size: number, offset: number, length: number): Error | null {
  const isInside = offset >= 0 && length >= 0 && offset + length <= size;
  return isInside ? null : new RangeError(`bytes ${offset} to ${offset + length} of ${size}`);
}
