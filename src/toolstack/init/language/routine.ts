// Writing a routine down: statements in the order in which they are called.
//
//   const stringLength = routine('string_length', (r, string) => {
//     const at = r.local(string);
//     r.while(byte(at), () => r.set(at, add(at, 1)));
//     r.return(sub(at, string));
//   });

import {
  type Body,
  type Expression,
  expression,
  type Local,
  type Routine,
  type Statement,
  type Value,
  type Width,
} from './expressions.ts';

/** Calls a routine, as an expression. */
export type Callable = ((...args: Value[]) => Expression) & { readonly routine: Routine };

/** The parameters are those that `write` takes after the first. What falls off its end returns 0. */
export function routine(name: string, write: (r: RoutineWriter, ...parameters: Local[]) => void): Callable {
  const parameters = Math.max(0, write.length - 1);
  let written: Body | undefined;
  const body = () => {
    if (written === undefined) {
      const writer = new RoutineWriter();
      write(writer, ...Array.from({ length: parameters }, (_, slot): Local => ({ kind: 'local', slot })));
      written = writer.finish();
    }
    return written;
  };
  const described: Routine = { name, parameters, body };
  const call = (...args: Value[]): Expression => {
    if (args.length !== parameters) throw new Error(`${name} takes ${parameters} arguments, not ${args.length}`);
    return { kind: 'call', routine: described, args: args.map(expression) };
  };
  return Object.assign(call, { routine: described });
}

export class RoutineWriter {
  private statements: Statement[] = [];
  private locals = 0;

  /** A new local; it holds `value` each time that this is reached. */
  local(value: Value = 0): Local {
    const local: Local = { kind: 'local', slot: -++this.locals };
    this.set(local, value);
    return local;
  }

  set(local: Local, value: Value): void {
    this.statements.push({ kind: 'set', local, value: expression(value) });
  }

  /** What they do, not what they give. */
  do(...values: Value[]): void {
    for (const value of values) this.statements.push({ kind: 'evaluate', expression: expression(value) });
  }

  store(width: Width, address: Value, value: Value): void {
    this.statements.push({ kind: 'store', width, address: expression(address), value: expression(value) });
  }

  if(condition: Value, then: () => void, otherwise: () => void = () => {}): void {
    this.statements.push({
      kind: 'if',
      condition: expression(condition),
      body: this.block(then),
      otherwise: this.block(otherwise),
    });
  }

  while(condition: Value, body: () => void): void {
    this.statements.push({ kind: 'while', condition: expression(condition), body: this.block(body) });
  }

  /** Until `break` or `return`. */
  loop(body: () => void): void {
    this.while(1, body);
  }

  /** Out of the innermost loop. */
  break(): void {
    this.statements.push({ kind: 'break' });
  }

  return(value: Value = 0): void {
    this.statements.push({ kind: 'return', value: expression(value) });
  }

  finish(): Body {
    return { statements: this.statements, locals: this.locals };
  }

  private block(write: () => void): readonly Statement[] {
    const around = this.statements;
    this.statements = [];
    write();
    const block = this.statements;
    this.statements = around;
    return block;
  }
}
