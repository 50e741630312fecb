// How far a boot has come, told from nothing but its console, so that it holds for any kernel.

import { withoutTimestamp } from './console-lines.ts';
import { STAGES, type Stage, type StageName } from './verdict.ts';

/** What the boot measures itself by, when asked. */
export type Meter = () => { readonly instructions: number; readonly wallSeconds: number };

export class StageTracker {
  private readonly meter: Meter;
  private readonly onStage: (stage: Stage) => void;
  private readonly list: Stage[] = [];
  private timestamps = false;
  private initStarted = false;

  constructor(meter: Meter, onStage: (stage: Stage) => void = () => {}) {
    this.meter = meter;
    this.onStage = onStage;
  }

  get reached(): readonly Stage[] {
    return this.list;
  }

  /** The latest stage; null before the first. */
  get current(): StageName | null {
    return this.list.at(-1)?.name ?? null;
  }

  has(name: StageName): boolean {
    return this.list.some(stage => stage.name === name);
  }

  /**
   * Notes a stage once. One that comes after a later stage is not noted: it cannot have been seen in time.
   * @param instructions where they are known better than by the meter
   */
  reach(name: StageName, instructions?: number): void {
    const last = this.current;
    if (last !== null && STAGES.indexOf(name) <= STAGES.indexOf(last)) return;
    const meter = this.meter();
    const stage = { name, instructions: instructions ?? meter.instructions, wallSeconds: meter.wallSeconds };
    this.list.push(stage);
    this.onStage(stage);
  }

  /**
   * A line of the console. User space's own output is told from the kernel's by what stands before it: the kernel says that it
   * runs init (init/main.c, or before that, that it frees its init memory), and its lines begin with a time stamp.
   */
  line(line: string): void {
    if (line.trim() === '') return;
    this.reach('kernel');
    const text = withoutTimestamp(line);
    if (text !== null) this.timestamps = true;
    const message = text ?? line;
    if (/^Run \S+ as init process|^Freeing unused kernel/.test(message)) this.initStarted = true;
    else if (this.initStarted && this.timestamps && text === null && !/^ +with (?:arguments|environment)/.test(line)) {
      this.reach('userspace');
    }
  }
}
