// A wire that several outputs drive: high while any of them is (wired-or).
import type { Line } from '../chip.ts';

export class SharedLine {
  private readonly output: Line;
  private high = 0;

  constructor(output: Line) {
    this.output = output;
  }

  /** One more output, low at first. */
  driver(): Line {
    let mine = false;
    return level => {
      if (level === mine) return;
      mine = level;
      this.high += level ? 1 : -1;
      if (this.high === (level ? 1 : 0)) this.output(level);
    };
  }
}
