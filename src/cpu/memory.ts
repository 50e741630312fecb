// The engine memory: one wasm32 memory that holds the processor's state and caches, then the machine's frames.
import { FRAME_FLAGS, FRAME_SIZE } from './layout.ts';

/** A machine frame number: index of a 4 KiB frame of the host's RAM. */
export type Mfn = number;

/** The largest engine memory that a 32-bit wasm memory can be, in 64 KiB pages. */
const MAX_WASM_PAGES = 65536;

/**
 * The engine memory with views over it. Machine frame `n` starts at byte `ramBase + n * 4096`.
 * The buffer never grows, so views stay valid for the host's life.
 */
export class EngineMemory {
  readonly memory: WebAssembly.Memory;
  readonly frames: number;
  /** Byte offset of the 64-bit bitmap a frame (a bit a 64-byte granule) that marks bytes decoded as code. */
  readonly codeBitmap: number;
  /** Byte offset of machine frame 0. */
  readonly ramBase: number;
  readonly u8: Uint8Array;
  readonly u16: Uint16Array;
  readonly u32: Uint32Array;
  readonly i32: Int32Array;
  readonly u64: BigUint64Array;
  readonly view: DataView;

  /** @param ramBytes size of the host's machine memory, rounded up to whole frames; at most about 3.9 GiB. */
  constructor(ramBytes: number) {
    this.frames = Math.ceil(ramBytes / FRAME_SIZE);
    this.codeBitmap = (FRAME_FLAGS + this.frames + 4095) & ~4095;
    this.ramBase = (this.codeBitmap + this.frames * 8 + 65535) & ~65535;
    const pages = Math.ceil((this.ramBase + this.frames * FRAME_SIZE) / 65536);
    if (pages > MAX_WASM_PAGES) throw new RangeError(`machine memory of ${ramBytes} bytes does not fit one engine`);
    this.memory = createMemory(pages);
    const buffer = this.memory.buffer;
    this.u8 = new Uint8Array(buffer);
    this.u16 = new Uint16Array(buffer);
    this.u32 = new Uint32Array(buffer);
    this.i32 = new Int32Array(buffer);
    this.u64 = new BigUint64Array(buffer);
    this.view = new DataView(buffer);
  }

  /** Byte offset of a frame in the engine memory. The caller has checked that the frame exists. */
  frameOffset(mfn: Mfn): number {
    return this.ramBase + mfn * FRAME_SIZE;
  }

  /** The 4096 bytes of a frame, as a live view. */
  frame(mfn: Mfn): Uint8Array {
    const at = this.frameOffset(mfn);
    return this.u8.subarray(at, at + FRAME_SIZE);
  }
}

/** The one place that creates engine memories, so that a shared one needs one change. */
function createMemory(pages: number): WebAssembly.Memory {
  return new WebAssembly.Memory({ initial: pages, maximum: pages });
}
