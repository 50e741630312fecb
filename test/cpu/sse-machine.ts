// One machine for many tests of the vector and x87 units: making a processor costs more than a test.
import { type Machine, S } from './system/machine.ts';

const PRESENT_WRITABLE_USER = 7n;
/** Pages that tests take away. */
const PAGES = [0xc000, 0xd000];

/** The machine in 64-bit mode at CPL 0 with x87, vector registers and data pages as new. */
export function fresh(m: Machine): Machine {
  m.state.bytes.fill(0, S.fpr, S.scratch);
  m.state.gpr.fill(0n);
  for (const page of PAGES) m.page(page, PRESENT_WRITABLE_USER);
  return m.long();
}
