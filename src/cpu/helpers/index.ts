// Every out-of-line helper by name: what semantics call with o.call().
import { arithmeticHelpers } from './arithmetic.ts';
import type { SystemHelper } from './core.ts';
import { sseCryptoHelpers } from './sse-crypto.ts';
import { sseFloatHelpers } from './sse-float.ts';
import { sseStringHelpers } from './sse-strings.ts';
import { systemHelpers } from './system.ts';
import { x87Helpers } from './x87.ts';
import { xsaveHelpers } from './xsave.ts';

export const helpers: Record<string, SystemHelper> = {
  ...arithmeticHelpers,
  ...systemHelpers,
  ...x87Helpers,
  ...xsaveHelpers,
  ...sseFloatHelpers,
  ...sseStringHelpers,
  ...sseCryptoHelpers,
};
