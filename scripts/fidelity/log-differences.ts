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
const TIMER = 'reading the emulated PIT takes QEMU too long for a calibration, so Linux takes what Xen says';
const ASYNCHRONOUS = 'two threads of the kernel: which is first depends on how long things take';

/** Of a log without time stamps, with numbers masked. */
const KNOWN: readonly Known[] = [
  { line: /^(DMI: |ACPI: (RSDP|RSDT|XSDT|FACP|DSDT|APIC|HPET|MCFG|WAET|FACS) |ACPI: Reserving \w+ table memory)/, sides: '-+~', cause: FIRMWARE },
  { line: /^Xen: \[mem .*\] (ACPI data|reserved|usable)$/, sides: '-+', cause: FIRMWARE },
  { line: /^(ACPI: PM: \(supports|PCI: (Using|Ignoring) E# reservations|ACPI: Enabled # GPEs|acpi PNP#A#:#: _OSC: )/, sides: '-+', cause: FIRMWARE },
  { line: /^(system #:#: .* reserved|i#: PNP: PS\/# Controller|rtc_cmos #:#: RTC can wake from S#|pnp #:#: |pnp: PnP ACPI: found)/, sides: '-+', cause: FIRMWARE },
  { line: /^(ACPI: PCI: Interrupt link |pci #:#:.*|pci_bus #:#.*|acpiphp: Slot)/, sides: '-+~', cause: DEVICES },
  { line: /^(x#\/fpu: |AMD Zen#|active return thunk|RETBleed|Speculative |Spectre|SRBDS|Last level )/, sides: '-+', cause: PROCESSOR },
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
  const known = KNOWN.find(({ line, sides }) => sides.includes(side) && line.test(mask));
  if (known) return known.cause;
  return side === '~' ? ASYNCHRONOUS : null;
}
