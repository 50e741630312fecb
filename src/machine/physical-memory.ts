// A machine's RAM as its devices see it: by physical address, as DMA does. Whatever a guest tells a device to read or write, only its own
// RAM is reached.
import { FRAME_SIZE } from '../cpu/layout.ts';
import type { EngineMemory, Mfn } from '../cpu/memory.ts';

/** Which frame of the engine's memory a guest frame number is; negative where there is no RAM. */
export interface FrameMap {
  get(gfn: number): Mfn;
}

/** What a write has to be told to: Processor.wroteFrame. */
export type Written = (mfn: Mfn, offset: number, length: number) => void;

export class PhysicalMemory {
  private readonly memory: EngineMemory;
  private readonly map: FrameMap;
  private readonly written: Written;
  private readonly word = new Uint8Array(8);
  private readonly wordView = new DataView(this.word.buffer);

  constructor(memory: EngineMemory, map: FrameMap, written: Written) {
    this.memory = memory;
    this.map = map;
    this.written = written;
  }

  /** Copies from RAM. Bytes where there is none are ones. False where that was so. */
  read(address: number, into: Uint8Array): boolean {
    return this.pieces(address, into.length, (at, done, length) => {
      if (at < 0) into.fill(0xff, done, done + length);
      else into.set(this.memory.u8.subarray(at, at + length), done);
    });
  }

  /** Copies to RAM. Bytes for where there is none are lost. False where that was so. */
  write(address: number, from: Uint8Array): boolean {
    return this.pieces(address, from.length, (at, done, length) => {
      if (at < 0) return;
      this.told(at, length);
      this.memory.u8.set(from.subarray(done, done + length), at);
    });
  }

  fill(address: number, length: number, value: number): boolean {
    return this.pieces(address, length, (at, _done, part) => {
      if (at < 0) return;
      this.told(at, part);
      this.memory.u8.fill(value, at, at + part);
    });
  }

  /** Little-endian values; where there is no RAM they read as ones and writes are lost. */
  u8(address: number): number {
    return Number(this.value(address, 1) & 0xffn);
  }
  u16(address: number): number {
    return Number(this.value(address, 2) & 0xffffn);
  }
  u32(address: number): number {
    return Number(this.value(address, 4) & 0xffffffffn);
  }
  u64(address: number): bigint {
    return this.value(address, 8);
  }
  setU8(address: number, value: number): void {
    this.setValue(address, 1, BigInt(value));
  }
  setU16(address: number, value: number): void {
    this.setValue(address, 2, BigInt(value));
  }
  setU32(address: number, value: number): void {
    this.setValue(address, 4, BigInt(value >>> 0));
  }
  setU64(address: number, value: bigint): void {
    this.setValue(address, 8, value);
  }

  /**
   * Live views of a range, in order, a frame each (frames that follow one another in the engine's memory too come as one), for devices that
   * work on large buffers in place; null where part of it is no RAM. Whoever writes through them calls `wrote` afterwards.
   */
  views(address: number, length: number): Uint8Array[] | null {
    const views: Uint8Array[] = [];
    let end = -1;
    const whole = this.pieces(address, length, (at, _done, part) => {
      if (at < 0) return;
      const before = views.at(-1);
      if (before && at === end) views[views.length - 1] = this.memory.u8.subarray(at - before.length, at + part);
      else views.push(this.memory.u8.subarray(at, at + part));
      end = at + part;
    });
    return whole ? views : null;
  }

  /** A range was written to through views(). */
  wrote(address: number, length: number): void {
    this.pieces(address, length, (at, _done, part) => {
      if (at >= 0) this.told(at, part);
    });
  }

  private value(address: number, size: number): bigint {
    this.read(address, this.word.subarray(0, size));
    return this.wordView.getBigUint64(0, true);
  }

  private setValue(address: number, size: number, value: bigint): void {
    this.wordView.setBigUint64(0, BigInt.asUintN(64, value), true);
    this.write(address, this.word.subarray(0, size));
  }

  private told(at: number, length: number): void {
    const { ramBase } = this.memory;
    const mfn = Math.floor((at - ramBase) / FRAME_SIZE);
    this.written(mfn, (at - ramBase) % FRAME_SIZE, length);
  }

  /** Calls `each` for every part of a range that lies in one frame, with its engine-memory offset (-1: no RAM) and what came before it. */
  private pieces(address: number, length: number, each: (at: number, done: number, length: number) => void): boolean {
    let whole = true;
    for (let done = 0; done < length; ) {
      const offset = (address + done) % FRAME_SIZE;
      const part = Math.min(length - done, FRAME_SIZE - offset);
      const mfn = this.map.get(Math.floor((address + done) / FRAME_SIZE));
      if (mfn < 0) whole = false;
      each(mfn < 0 ? -1 : this.memory.frameOffset(mfn) + offset, done, part);
      done += part;
    }
    return whole;
  }
}
