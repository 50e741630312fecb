// Programs in init's language as ordinary processes of this machine, where that is Linux on x86-64.
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { arch, platform, tmpdir } from 'node:os';
import { join } from 'node:path';
import { it } from 'vitest';
import { compile, ENTRY } from '../../../src/toolstack/init/language/compile.ts';
import { type RoutineWriter, routine } from '../../../src/toolstack/init/language/routine.ts';
import { LINUX, sys } from '../../../src/toolstack/init/linux.ts';

export function execute(elf: Uint8Array) {
  const folder = mkdtempSync(join(tmpdir(), 'domzero-program-'));
  try {
    const path = join(folder, 'program');
    writeFileSync(path, elf, { mode: 0o755 });
    // mkdtemp makes it private. Nothing here needs rights; so none, where the tests are run by root.
    chmodSync(folder, 0o755);
    const user = process.getuid?.() === 0 ? { uid: 65534, gid: 65534, cwd: '/' } : {};
    return spawnSync(path, [], { timeout: 20_000, ...user });
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Runs this as the main routine of a program of this width; it has to end the process. */
export function runNatively(bits: 32 | 64, main: (r: RoutineWriter) => void) {
  const { routine: compiled } = routine('main', r => main(r));
  return execute(compile(compiled, bits, LINUX[bits]).elf({ entry: ENTRY }));
}

/** The widths of program that this machine's kernel runs; the others are skipped, with the reason. */
export function nativeWidths(): Array<32 | 64> {
  const here = platform() === 'linux' && arch() === 'x64';
  const widths = here
    ? ([64, 32] as const).filter(bits => runNatively(bits, r => r.do(sys('exit', 7))).status === 7)
    : [];
  if (!here) it.skip('this machine is not Linux on x86-64');
  else if (!widths.includes(32)) it.skip('i386: this kernel runs no 32-bit programs');
  return widths;
}
