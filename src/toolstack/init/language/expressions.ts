// What a program computes with. There is one type, the machine word (4 or 8 bytes, as the code is compiled), as in BCPL and B:
// numbers and addresses alike. Memory is read at a stated width. Expressions are data; compile.ts makes code of them.

/** Bytes read or written; 'word' is the machine word. */
export type Width = 1 | 2 | 4 | 'word';

export type Arithmetic = 'add' | 'sub' | 'mul' | 'and' | 'or' | 'xor' | 'shl' | 'shr' | 'div' | 'rem';
/** Signed, but for `below`, which is for addresses. */
export type Comparison = 'eq' | 'ne' | 'lt' | 'le' | 'gt' | 'ge' | 'below';

export interface Local {
  readonly kind: 'local';
  /** Parameters are 0 and up, the routine's own locals -1 and down. */
  readonly slot: number;
}

/** Zeroed memory that the program has from beginning to end; as an expression, its address. */
export interface Static {
  readonly kind: 'static';
  readonly name: string;
  readonly bytes: number;
}

export interface Call {
  readonly kind: 'call';
  readonly routine: Routine;
  readonly args: readonly Expression[];
}

export interface SystemCall {
  readonly kind: 'system';
  /** Its name in the target's table. */
  readonly name: string;
  readonly args: readonly Expression[];
}

export type Expression =
  | Local
  | Static
  | Call
  | SystemCall
  | { readonly kind: 'number'; readonly value: number }
  /** The size of that many machine words. */
  | { readonly kind: 'words'; readonly count: number }
  /** The address of these bytes with a zero behind them. */
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'load'; readonly width: Width; readonly address: Expression }
  | {
      readonly kind: 'arithmetic';
      readonly operator: Arithmetic;
      readonly left: Expression;
      readonly right: Expression;
    }
  | {
      readonly kind: 'comparison';
      readonly operator: Comparison;
      readonly left: Expression;
      readonly right: Expression;
    }
  /** 1 where all of them hold (`any`: one of them), else 0; those behind the one that decides are not looked at. */
  | { readonly kind: 'all' | 'any'; readonly conditions: readonly Expression[] };

/** A named piece of program with parameters and one result. */
export interface Routine {
  readonly name: string;
  readonly parameters: number;
  /** Its statements, written down when they are first wanted, so that routines may call each other. */
  readonly body: () => Body;
}

export interface Body {
  readonly statements: readonly Statement[];
  readonly locals: number;
}

export type Statement =
  | { readonly kind: 'evaluate'; readonly expression: Expression }
  | { readonly kind: 'set'; readonly local: Local; readonly value: Expression }
  | { readonly kind: 'store'; readonly width: Width; readonly address: Expression; readonly value: Expression }
  | {
      readonly kind: 'if';
      readonly condition: Expression;
      readonly body: readonly Statement[];
      readonly otherwise: readonly Statement[];
    }
  | { readonly kind: 'while'; readonly condition: Expression; readonly body: readonly Statement[] }
  | { readonly kind: 'break' }
  | { readonly kind: 'return'; readonly value: Expression };

/** What may stand for an expression: a number is itself, a string the address of a literal. */
export type Value = Expression | number | string;

export function expression(value: Value): Expression {
  if (typeof value === 'number') return { kind: 'number', value };
  if (typeof value === 'string') return { kind: 'text', text: value };
  return value;
}

const arithmetic =
  (operator: Arithmetic) =>
  (left: Value, right: Value): Expression => ({
    kind: 'arithmetic',
    operator,
    left: expression(left),
    right: expression(right),
  });
const comparison =
  (operator: Comparison) =>
  (left: Value, right: Value): Expression => ({
    kind: 'comparison',
    operator,
    left: expression(left),
    right: expression(right),
  });

export const add = arithmetic('add');
export const sub = arithmetic('sub');
export const mul = arithmetic('mul');
/** Without sign, like `rem` and `shr`. */
export const div = arithmetic('div');
export const rem = arithmetic('rem');
export const and = arithmetic('and');
export const or = arithmetic('or');
export const xor = arithmetic('xor');
export const shl = arithmetic('shl');
export const shr = arithmetic('shr');

export const eq = comparison('eq');
export const ne = comparison('ne');
export const lt = comparison('lt');
export const le = comparison('le');
export const gt = comparison('gt');
export const ge = comparison('ge');
export const below = comparison('below');

export const all = (...conditions: Value[]): Expression => ({ kind: 'all', conditions: conditions.map(expression) });
export const any = (...conditions: Value[]): Expression => ({ kind: 'any', conditions: conditions.map(expression) });

const load = (width: Width, address: Value): Expression => ({ kind: 'load', width, address: expression(address) });
const at = (base: Value, offset: Value) => (offset === 0 ? base : add(base, offset));

/** Memory, `offset` bytes from `base`, widened without sign. */
export const byte = (base: Value, offset: Value = 0): Expression => load(1, at(base, offset));
export const half = (base: Value, offset: Value = 0): Expression => load(2, at(base, offset));
export const dword = (base: Value, offset: Value = 0): Expression => load(4, at(base, offset));
/** The machine word, `index` words from `base`. */
export const word = (base: Value, index = 0): Expression => load('word', at(base, index === 0 ? 0 : words(index)));

export const words = (count: number): Expression => ({ kind: 'words', count });
/** Memory that the program has from beginning to end, zero at first. Its name is for labels; it must be the only one. */
export const room = (name: string, bytes: number): Static => ({ kind: 'static', name, bytes });
/** The same for one word: read with `word`, written with `store('word', …)`. */
export const variable = (name: string): Static => room(name, 8);
/** A system call; a negative result is an error number. */
export const system = (name: string, ...args: Value[]): Expression => ({
  kind: 'system',
  name,
  args: args.map(expression),
});
