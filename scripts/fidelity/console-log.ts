// What a kernel logs in two boots, without what differs in every boot: time stamps, addresses, sizes.

/** A message without its time stamp, with numbers that depend on the machine masked. */
export function masked(line: string): string | null {
  const match = /^(?:\(early\) )?\[ *\d+\.\d{6}\] ?(.*)$/.exec(line);
  if (match === null) return null;
  return match[1]
    .replace(/0x[0-9a-f]+/gi, '#')
    .replace(/\b(?=[0-9a-f]*\d)[0-9a-f]{6,}\b/gi, '#')
    .replace(/\d+(?:\.\d+)?/g, '#')
    .trim();
}

function masks(lines: readonly string[]): Map<string, string> {
  const map = new Map<string, string>();
  for (const line of lines) {
    const mask = masked(line);
    if (mask !== null && mask !== '' && !map.has(mask)) map.set(mask, line);
  }
  return map;
}

/**
 * Messages that one has and the other has not, as they were first printed. Where theirs is a part of a boot only, what we have before
 * the first message and after the last one that both have is not looked at.
 */
export function compareLogs(theirs: readonly string[], ours: readonly string[]): string[] {
  const a = masks(theirs);
  const isCommon = (line: string) => a.has(masked(line) ?? '');
  const b = masks(ours.slice(ours.findIndex(isCommon), ours.findLastIndex(isCommon) + 1));
  const missing = [...a].filter(([mask]) => !b.has(mask)).map(([, line]) => `- ${line}`);
  const extra = [...b].filter(([mask]) => !a.has(mask)).map(([, line]) => `+ ${line}`);
  const common = a.size - missing.length;
  return [
    `${common} messages in both; only genuine Xen (-): ${missing.length}, only domzero (+): ${extra.length}`,
  ].concat(missing, extra);
}
