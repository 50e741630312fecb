// A compiled region as text: guest instructions, each above the WebAssembly that it became.
import { listCode } from '../../wasm/listing.ts';
import { FRAME_SIZE } from '../layout.ts';
import type { EngineMemory } from '../memory.ts';
import { pageOf, type Region, type Step } from './region.ts';
import type { Translated } from './translate.ts';

/** The lines of a region's dump. Offsets are from the entry's page; code of several pages is shown as one. */
export function dumpRegion(region: Region, { code, marks }: Translated, memory: EngineMemory): string[] {
  const lines = [`region of ${region.blocks.length} blocks, ${region.instructions} instructions, ${code.length} bytes`];
  let next = 0;
  for (const { at, text } of listCode(code)) {
    for (; next < marks.length && marks[next].at <= at; next++) lines.push(guestLine(region, marks[next].step, memory));
    lines.push(`        ${text}`);
  }
  return lines;
}

function guestLine(region: Region, { instruction, position, means }: Step, memory: EngineMemory): string {
  const host = memory.frameOffset(region.pages.get(pageOf(position))!) + (position & (FRAME_SIZE - 1));
  const bytes = memory.u8.subarray(host, host + (instruction?.length ?? 0));
  const hex = [...bytes].map(b => b.toString(16).padStart(2, '0')).join(' ');
  return `${position.toString(16).padStart(6)}  ${hex.padEnd(30)}  ${instruction?.row.pattern ?? 'undecodable'}  ${means}`;
}
