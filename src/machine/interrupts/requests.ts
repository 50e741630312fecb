// What of a local APIC decides which interrupt its processor gets next: requested, in service, trigger modes and task priority
// (SDM Vol. 3A, 11.8.3 and 11.8.4).
import type { Saveable } from '../chip.ts';
import { VectorSet } from './vector-set.ts';

export interface RequestsState {
  irr: number[];
  isr: number[];
  tmr: number[];
  taskPriority: number;
}

export class Requests implements Saveable<RequestsState> {
  readonly irr = new VectorSet();
  readonly isr = new VectorSet();
  readonly tmr = new VectorSet();
  /** TPR: class in bits 4 to 7. */
  taskPriority = 0;

  clear(): void {
    for (const set of [this.irr, this.isr, this.tmr]) set.clear();
    this.taskPriority = 0;
  }

  add(vector: number, level: boolean): void {
    this.irr.add(vector);
    this.tmr.put(vector, level);
  }

  /** The requested vector of a class above the processor's priority; -1 for none. */
  next(): number {
    const vector = this.irr.highest();
    return vector >> 4 > this.processorPriority >> 4 ? vector : -1;
  }

  /** From requested to in service. */
  take(vector: number): void {
    this.irr.remove(vector);
    this.isr.add(vector);
  }

  /** Ends the highest in service and returns it; -1: there is none. */
  end(): number {
    const vector = this.isr.highest();
    if (vector >= 0) this.isr.remove(vector);
    return vector;
  }

  get processorPriority(): number {
    const inService = Math.max(this.isr.highest(), 0);
    return this.taskPriority >> 4 >= inService >> 4 ? this.taskPriority : inService & 0xf0;
  }

  get arbitrationPriority(): number {
    const requested = Math.max(this.irr.highest(), 0) & 0xf0;
    const inService = Math.max(this.isr.highest(), 0) & 0xf0;
    const task = this.taskPriority & 0xf0;
    if (task >= requested && task > inService) return this.taskPriority;
    return Math.max(task & inService, requested);
  }

  save(): RequestsState {
    return {
      irr: this.irr.save(),
      isr: this.isr.save(),
      tmr: this.tmr.save(),
      taskPriority: this.taskPriority,
    };
  }

  load(state: RequestsState): void {
    this.irr.load(state.irr);
    this.isr.load(state.isr);
    this.tmr.load(state.tmr);
    this.taskPriority = state.taskPriority;
  }
}
