// Every out-of-line helper by name: what semantics call with o.call().
import { arithmeticHelpers } from './arithmetic.ts';
import type { SystemHelper } from './core.ts';
import { systemHelpers } from './system.ts';
import { x87Helpers } from './x87.ts';

export const helpers: Record<string, SystemHelper> = { ...arithmeticHelpers, ...systemHelpers, ...x87Helpers };
