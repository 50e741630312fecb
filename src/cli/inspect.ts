// `domzero inspect`: what a kernel file is and which modes it can boot in, without booting it.

import { formatInspection, inspectImage } from '../toolstack/image/inspect.ts';
import { groupFiles, loadFiles } from './images.ts';
import type { Io } from './io.ts';

export async function inspect(paths: readonly string[], { json = false }: { json?: boolean }, io: Io): Promise<number> {
  const inspections = [];
  for (const files of groupFiles(paths)) inspections.push(inspectImage(await loadFiles(files)));
  if (json) io.out(`${JSON.stringify(inspections, null, 2)}\n`);
  else io.out(`${inspections.map(formatInspection).join('\n\n')}\n`);
  return 0;
}
