// System instructions' helpers, gathered.

import { controlRegisterHelpers } from './control-registers.ts';
import type { SystemHelper } from './core.ts';
import { debugRegisterHelpers } from './debug-registers.ts';
import { decimalHelpers } from './decimal.ts';
import { descriptorTableHelpers } from './descriptor-tables.ts';
import { farReturnHelpers } from './far-returns.ts';
import { farTransferHelpers } from './far-transfers.ts';
import { haltHelpers } from './halts.ts';
import { interruptHelpers } from './interrupts.ts';
import { portHelpers } from './ports.ts';
import { segmentHelpers } from './segments.ts';
import { stackInstructionHelpers } from './stack-instructions.ts';
import { systemCallHelpers } from './system-calls.ts';
import { systemFlagHelpers } from './system-flags.ts';
import { translationHelpers } from './translations.ts';

export const systemHelpers: Record<string, SystemHelper> = {
  ...segmentHelpers,
  ...farTransferHelpers,
  ...farReturnHelpers,
  ...interruptHelpers,
  ...systemCallHelpers,
  ...descriptorTableHelpers,
  ...systemFlagHelpers,
  ...portHelpers,
  ...haltHelpers,
  ...stackInstructionHelpers,
  ...controlRegisterHelpers,
  ...debugRegisterHelpers,
  ...translationHelpers,
  ...decimalHelpers,
};
