// Encodings of FXSAVE, the XSAVE family, LDMXCSR and STMXCSR (SDM Vol. 2, group 15 and group 9).
import type { RowSink } from '../decode/table.ts';
import * as xsave from '../semantics/xsave.ts';

export function xsaveRows({ row }: RowSink): void {
  const legacy = { unit: 'x87', width: 'y' } as const;
  row('NP 0F AE /0 :m', xsave.legacyArea('fxsave', true), 'Ms', legacy);
  row('NP 0F AE /1 :m', xsave.legacyArea('fxrstor', false), 'Ms', legacy);
  row('NP 0F AE /2 :m', xsave.ldmxcsr, 'Md', { unit: 'sse' });
  row('NP 0F AE /3 :m', xsave.stmxcsr, 'Md', { unit: 'sse' });
  row('NP 0F AE /4 :m', xsave.extendedArea('xsave', true), 'Ms', { feature: 'xsave', width: 'y' });
  row('NP 0F AE /5 :m', xsave.extendedArea('xrstor', false), 'Ms', { feature: 'xsave', width: 'y' });
  row('NP 0F AE /6 :m', xsave.extendedArea('xsaveopt', true), 'Ms', { feature: 'xsaveopt', width: 'y' });
  row('NP 0F C7 /4 :m', xsave.extendedArea('xsavec', true), 'Ms', { feature: 'xsavec', width: 'y' });
}
