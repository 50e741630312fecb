// Two kernel logs line by line: which lines stand in one alone or in another place, and why. Docs/fidelity.md tells of each cause.

import { align } from './align.ts';
import { masked } from './console-log.ts';

export interface LogDifference {
  /** -: only on genuine Xen; +: only here; ~: in both, in another order. */
  readonly side: '-' | '+' | '~';
  readonly line: string;
  /** Null where it is not known. */
  readonly cause: string | null;
}

interface Known {
  readonly line: RegExp;
  /** Which sides it explains. */
  readonly sides: string;
  readonly cause: string;
}

const FIRMWARE = 'another firmware: its tables, names, resources and sleep states';
const DEVICES = 'other devices: QEMU has an ICH9 with SATA and interrupt links, this machine none of them';
const PROCESSOR = 'another CPU model: what its leaves say, and the bugs that Linux knows of it';
const TSC =
  'an invariant TSC, which QEMU does not emulate: Xen shows it to Dom0, and hides HWCR.TscFreqSel as of 4.17.3';
const TIMER = 'reading the emulated PIT takes QEMU too long for a calibration, so Linux takes what Xen says';
const ASYNCHRONOUS = "a thread of its own in the kernel, or another order of devices in the firmware's tables";

/** Of a log without time stamps, with numbers masked. */
const KNOWN: readonly Known[] = [
  { line: /^(DMI: |ACPI: (RSDP|RSDT|XSDT|FACP|DSDT|APIC|HPET|MCFG|WAET|FACS) |ACPI: Reserving \w+ table memory)/, sides: '-+~', cause: FIRMWARE },
  { line: /^Xen: \[mem .*\] (ACPI data|reserved|usable)$/, sides: '-+', cause: FIRMWARE },
  { line: /^(ACPI: PM: \(supports|PCI: (Using|Ignoring) E# reservations|ACPI: Enabled # GPEs|acpi PNP#A#:#: _OSC: )/, sides: '-+', cause: FIRMWARE },
  { line: /^(system #:#: .* reserved|i#: PNP: PS\/# Controller|rtc_cmos #:#: RTC can wake from S#|pnp #:#: |pnp: PnP ACPI: found)/, sides: '-+', cause: FIRMWARE },
  { line: /^(ACPI: PCI: Interrupt link |pci #:#:.*|pci_bus #:#.*|acpiphp: Slot)/, sides: '-+~', cause: DEVICES },
  { line: /^(x#\/fpu: |AMD Zen#|active return thunk|RETBleed|Speculative |Spectre|SRBDS|Last level )/, sides: '-+', cause: PROCESSOR },
  { line: /^Transient Scheduler Attacks: /, sides: '-+', cause: PROCESSOR },
  { line: /^(Trying to unpack rootfs image|Freeing initrd memory|rtc_cmos #:#: |xen: registering gsi|Already setup the GSI|random: crng init done|node # deferred pages)/, sides: '~', cause: ASYNCHRONOUS },
  { line: /^\[Firmware Bug\]: TSC doesn't count with P# frequency!/, sides: '+', cause: TSC },
  { line: /^tsc: (Fast TSC calibration|Detected # MHz TSC)/, sides: '-+', cause: TIMER },
]; // biome-ignore format: a table

interface Line {
  readonly line: string;
  readonly mask: string;
}

function maskedLines(lines: readonly string[]): Line[] {
  return lines.flatMap(line => {
    const mask = masked(line);
    return mask === null || mask === '' ? [] : [{ line, mask }];
  });
}

/** Lines as the kernel's console has them, each with its time stamp. */
export function logDifferences(theirs: readonly string[], ours: readonly string[]): LogDifference[] {
  const pairs = align(maskedLines(theirs), maskedLines(ours), ({ mask }) => mask);
  return pairs.flatMap(({ theirs: a, ours: b, moved }) => {
    if (a !== null && b !== null && !moved) return [];
    const side = a === null ? '+' : b === null ? '-' : '~';
    const { line, mask } = (a ?? b)!;
    return [{ side, line, cause: causeOf(side, mask) }];
  });
}

function causeOf(side: LogDifference['side'], mask: string): string | null {
  return KNOWN.find(({ line, sides }) => sides.includes(side) && line.test(mask))?.cause ?? null;
}

/** Differences as a Markdown table, those of one cause together. `lines`: how many genuine Xen's log has. */
export function logTable(lines: number, differences: readonly LogDifference[]): string[] {
  const count = (side: LogDifference['side']) => differences.filter(difference => difference.side === side).length;
  const same = lines - count('-') - count('~');
  const summary = `${same} of ${lines} lines the same; only genuine Xen (-): ${count('-')}, only domzero (+): ${count('+')}, elsewhere (~): ${count('~')}`;
  const causes = [...new Set(differences.map(({ cause }) => cause))];
  const rows = causes.flatMap(cause =>
    differences
      .filter(difference => difference.cause === cause)
      .map(
        ({ side, line }) =>
          `| ${side} | \`${line.replace(/^(?:\(early\) )?\[ *[\d.]+\] ?/, '').trim()}\` | ${cause ?? '**unknown**'} |`,
      ),
  );
  return [summary, '', '| | line | cause |', '| --- | --- | --- |', ...rows];
}
