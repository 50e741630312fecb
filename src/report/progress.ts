// Live progress of boots that run at the same time, as lines that replace themselves on a terminal.

import { count, duration } from './numbers.ts';
import type { Progress } from './run-boot.ts';

interface Entry {
  readonly name: string;
  progress: Progress;
  mips: number;
}

/** Instructions a second of the last while: older measurements fade. */
const FADE = 0.7;

export class ProgressDisplay {
  private readonly write: (text: string) => void;
  private readonly columns: () => number;
  private readonly running = new Map<number, Entry>();
  private shown = 0;

  /** @param columns the terminal's width: a line that wraps could not be taken back. */
  constructor(write: (text: string) => void, columns: () => number) {
    this.write = write;
    this.columns = columns;
  }

  update(id: number, name: string, progress: Progress): void {
    const entry = this.running.get(id);
    if (entry === undefined) {
      this.running.set(id, { name, progress, mips: 0 });
    } else {
      const seconds = progress.wallSeconds - entry.progress.wallSeconds;
      // Stages are told as they are reached: times too short to measure a speed by are added to the next.
      if (seconds >= 0.1) {
        const mips = (progress.instructions - entry.progress.instructions) / seconds / 1e6;
        entry.mips = entry.mips === 0 ? mips : FADE * entry.mips + (1 - FADE) * mips;
        entry.progress = progress;
      } else {
        entry.progress = { ...entry.progress, stage: progress.stage };
      }
    }
    this.draw();
  }

  finish(id: number): void {
    this.running.delete(id);
    this.draw();
  }

  /** Takes the lines away, for other output. */
  clear(): void {
    if (this.shown > 0) this.write(`\x1b[${this.shown}A\r\x1b[J`);
    this.shown = 0;
  }

  private draw(): void {
    const lines = [...this.running.values()].map(({ name, progress, mips }) => {
      const { stage, instructions, wallSeconds } = progress;
      const speed = mips > 0 ? `${mips.toFixed(0)} MIPS` : '';
      return `${name}: ${[stage ?? 'loading', count(instructions), speed, duration(wallSeconds)].filter(s => s !== '').join(', ')}`;
    });
    this.clear();
    const width = Math.max(20, this.columns() - 1);
    this.write(lines.map(line => `${line.slice(0, width)}\n`).join(''));
    this.shown = lines.length;
  }
}
