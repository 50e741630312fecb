// Finds TypeScript conditions on what only the guest's run decides. Semantics are written over opaque values (src/cpu/semantics/ops.ts:
// Value, Bool, Vector), which are always truthy: an `if` on one compiles and decides wrongly, at generation time, for every run.
// Presence may be asked (`condition === null`, `a ?? b`): it is static.

import ts from 'typescript';

export interface Finding {
  readonly file: string;
  /** From 1. */
  readonly line: number;
  readonly text: string;
  readonly type: string;
}

const DYNAMIC_TYPES: ReadonlySet<string> = new Set(['Value', 'Bool', 'Vector']);
const EQUALITIES: ReadonlySet<ts.SyntaxKind> = new Set([
  ts.SyntaxKind.EqualsEqualsEqualsToken,
  ts.SyntaxKind.ExclamationEqualsEqualsToken,
  ts.SyntaxKind.EqualsEqualsToken,
  ts.SyntaxKind.ExclamationEqualsToken,
]);
const COMPARISONS: ReadonlySet<ts.SyntaxKind> = new Set([
  ts.SyntaxKind.LessThanToken,
  ts.SyntaxKind.LessThanEqualsToken,
  ts.SyntaxKind.GreaterThanToken,
  ts.SyntaxKind.GreaterThanEqualsToken,
]);
const LOGICAL: ReadonlySet<ts.SyntaxKind> = new Set([
  ts.SyntaxKind.AmpersandAmpersandToken,
  ts.SyntaxKind.BarBarToken,
  ts.SyntaxKind.AmpersandAmpersandEqualsToken,
  ts.SyntaxKind.BarBarEqualsToken,
]);

/** Conditions on dynamic values in the files of `program` that `within` accepts, in the order of the text. */
export function findDynamicConditions(program: ts.Program, within: (file: string) => boolean): Finding[] {
  const checker = program.getTypeChecker();
  const findings: Finding[] = [];

  const isDynamic = (type: ts.Type): boolean => {
    if (type.isUnionOrIntersection()) return type.types.some(isDynamic);
    const name = type.getSymbol()?.name ?? '';
    // The brand tells them from other types of the same names, such as Iterator's.
    return DYNAMIC_TYPES.has(name) && type.getProperties().some(property => property.name.startsWith('__@brand@'));
  };

  const ask = (file: ts.SourceFile, node: ts.Expression) => {
    const type = checker.getTypeAtLocation(node);
    if (!isDynamic(type)) return;
    findings.push({
      file: file.fileName,
      line: file.getLineAndCharacterOfPosition(node.getStart(file)).line + 1,
      text: node.getText(file),
      type: checker.typeToString(type),
    });
  };

  const visit = (file: ts.SourceFile, node: ts.Node): void => {
    if (ts.isIfStatement(node) || ts.isWhileStatement(node) || ts.isDoStatement(node)) ask(file, node.expression);
    else if (ts.isSwitchStatement(node)) ask(file, node.expression);
    else if (ts.isForStatement(node) && node.condition) ask(file, node.condition);
    else if (ts.isConditionalExpression(node)) ask(file, node.condition);
    else if (ts.isPrefixUnaryExpression(node) && node.operator === ts.SyntaxKind.ExclamationToken)
      ask(file, node.operand);
    else if (ts.isBinaryExpression(node)) {
      const operator = node.operatorToken.kind;
      if (LOGICAL.has(operator)) {
        ask(file, node.left);
        // `a && dynamic` as a condition: the whole expression is asked by what it stands in.
      } else if (COMPARISONS.has(operator) || (EQUALITIES.has(operator) && !asksForPresence(node))) {
        ask(file, node.left);
        ask(file, node.right);
      }
    }
    ts.forEachChild(node, child => visit(file, child));
  };

  for (const file of program.getSourceFiles()) {
    if (!file.isDeclarationFile && within(file.fileName)) visit(file, file);
  }
  return findings;
}

function asksForPresence(node: ts.BinaryExpression): boolean {
  return [node.left, node.right].some(
    side => side.kind === ts.SyntaxKind.NullKeyword || (ts.isIdentifier(side) && side.text === 'undefined'),
  );
}
