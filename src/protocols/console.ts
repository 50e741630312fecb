/** The PV console's page. Source: struct xencons_interface, xen/include/public/io/console.h. */
import { ByteRing } from './ring-buffer.ts';
import type { SharedPage } from './shared-page.ts';

/** To the guest: keyboard input. */
export const CONSOLE_IN = { buffer: 0, size: 1024, cons: 3072, prod: 3076 } as const;
/** From the guest: what it prints. */
export const CONSOLE_OUT = { buffer: 1024, size: 2048, cons: 3080, prod: 3084 } as const;

export interface ConsoleRings {
  input: ByteRing;
  output: ByteRing;
}

export function consoleRings(page: SharedPage): ConsoleRings {
  return { input: new ByteRing(page, CONSOLE_IN), output: new ByteRing(page, CONSOLE_OUT) };
}
