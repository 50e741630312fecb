// Reading, pairing and comparing traces, on a few lines that can be followed by eye.

import { expect, test } from 'vitest';
import { align } from '../../scripts/fidelity/align.ts';
import { compareLogs, masked } from '../../scripts/fidelity/console-log.ts';
import { difference, nameOf } from '../../scripts/fidelity/differences.ts';
import { knownCause } from '../../scripts/fidelity/known-differences.ts';
import { logDifferences, logTable } from '../../scripts/fidelity/log-differences.ts';
import { FirstSeen } from '../../scripts/fidelity/seen.ts';
import { shapes } from '../../scripts/fidelity/shapes.ts';
import { kernelLines, readTrace } from '../../scripts/fidelity/trace-file.ts';

const TRACE = `
(XEN) HC 1 d0 pv64 nr=18 sub=0 a=0,24,ffffffff82332810,1 ret=0
(XEN) HC 2 d1 pv64 nr=12 sub=0xc a=c,ffffffff82a03e70,ffffffff83044000,0 ret=0 rip?
(XEN) SUB 3 d1 mmuext_op 0x3
(XEN) HC 4 d1 pv64 nr=14 sub=0x2 a=ffffffff84a03000,80000000c4803063,2,7ff0 ret=0 rip?\r
(XEN) EV 5 d1 read_msr 0x8b val=0x1000065 ret=0
(XEN) HC 6 d1 pv64 nr=24 sub=0x3 a=3,0,0,2865676170203020 ret=1 rip?
(XEN) HC-ERR 7 d1 pv64 nr=24 sub=0x3 a=3,2,0,2865676170203020 ret=-2
(XEN) HC 8 d1 mc64 nr=10 sub=0 a=95a0b078,40f50000000000,0,0 ret=0
`;

test('a trace gives what one domain did, named', () => {
  const seen = readTrace(TRACE, 1);
  expect(seen.map(nameOf)).toEqual([
    'memory_op.machphys_mapping',
    'mmuext_op: pin_l4_table',
    'update_va_mapping.invlpg',
    'vcpu_op.is_up',
    'vcpu_op.is_up (later, failing)',
    'update_descriptor',
  ]);
  expect(seen.map(entry => entry.result)).toEqual([0n, null, 0n, 1n, -2n, 0n]);
  expect(seen.map(entry => shapes(entry).join(' '))).toEqual([
    '0xc image',
    '',
    'image frame+0x063+NX 0x2',
    '0x3 0x0 0x0',
    '0x3 0x2 0x0',
    'machine address number',
  ]);
});

test('our own calls are noted the first time, and the first time they fail later', () => {
  const first = new FirstSeen();
  const stack = 0xffffffff82a03e70n;
  first.call(24, [3n, 0n, 0n, 0n, 0n, 0n], 1n);
  first.call(24, [3n, 1n, 0n, 0n, 0n, 0n], 1n);
  first.call(24, [3n, 2n, 0n, 0n, 0n, 0n], -2n);
  first.call(24, [3n, 3n, 0n, 0n, 0n, 0n], -2n);
  first.batch('mmuext_op', 'pin_l4_table');
  first.batch('mmuext_op', 'pin_l4_table');
  first.call(12, [0xcn, stack, 0n, 0n, 0n, 0n], 0n);
  expect(first.list.map(nameOf)).toEqual([
    'vcpu_op.is_up',
    'vcpu_op.is_up (later, failing)',
    'mmuext_op: pin_l4_table',
    'memory_op.machphys_mapping',
  ]);
});

test('sequences are paired, with what moved joined', () => {
  const pairs = align([...'abcdef'], [...'adbcxf'], letter => letter);
  const text = pairs.map(({ theirs, ours, moved }) => `${theirs ?? '-'}${ours ?? '-'}${moved ? '~' : ''}`);
  expect(text).toEqual(['aa', 'bb', 'cc', 'dd~', 'e-', '-x', 'ff']);
  expect(align([], [...'ab'], letter => letter)).toHaveLength(2);
});

test('a difference is named, and its cause is asked for', () => {
  const [theirs] = readTrace('(XEN) HC 2 d1 pv64 nr=18 sub=0 a=0,24,ffffffff82332810,1 ret=0', 1);
  const pair = (ours: typeof theirs | null, moved = false) => ({ theirs, ours, moved });
  expect(difference(pair(theirs))).toBeNull();
  expect(difference(pair(theirs, true))).toBe('order');
  expect(difference(pair(null))).toBe('only theirs');
  expect(difference({ theirs: null, ours: theirs, moved: false })).toBe('only ours');
  expect(difference(pair({ ...theirs, result: -1n }))).toBe('result');
  expect(difference(pair({ ...theirs, args: [0n, 0x25n, theirs.args[2]] }))).toBe('arguments');
  // The same text elsewhere in the kernel is the same.
  expect(difference(pair({ ...theirs, args: [0n, 0x24n, 0xffffffff82000000n] }))).toBeNull();
  expect(knownCause('physdev_op.eoi', 'only theirs', 0)).toMatch(/interrupt/);
  expect(knownCause('physdev_op.eoi', 'only theirs', 1)).toBeNull();
});

test('logs are compared without times, addresses and sizes', () => {
  expect(masked('[    0.013628] DMA32 [mem 0x01000000-0x0fffffff] in 4096 pages')).toBe('DMA# [mem #-#] in # pages');
  expect(masked('(XEN) anything')).toBeNull();
  const log =
    '--- log\n[    1.0] no stamp\n[    1.000000] one 1\r\r\n[    2.000000] two\n=== end\n[    3.000000] three\n';
  const theirs = kernelLines(log, /^--- log/, /^=== /);
  expect(theirs).toEqual(['[    1.000000] one 1', '[    2.000000] two']);
  const ours = ['[    0.000000] before', '[    0.500000] one 7', '(early) [    0.600000] extra', '[    0.7] x'];
  expect(compareLogs(theirs, [...ours, '[    0.800000] two', '[    0.900000] after'])).toEqual([
    '2 messages in both; only genuine Xen (-): 0, only domzero (+): 1',
    '+ (early) [    0.600000] extra',
  ]);
});

test('lines of two logs are paired in order; what is left has a cause or has none', () => {
  const theirs = ['one 1', 'DMI: QEMU', 'rtc_cmos 00:03: registered as rtc0', 'two', 'only there'];
  const ours = [
    'one 2',
    'rtc_cmos 00:01: registered as rtc0',
    'two',
    "[Firmware Bug]: TSC doesn't count with P0 frequency!",
    'two',
  ];
  const stamped = (lines: string[]) => lines.map((line, i) => `[    ${i}.000000] ${line}`);
  const differences = logDifferences(stamped(theirs), stamped(ours));
  expect(differences.map(({ side, line, cause }) => [side, line.slice(15), cause !== null])).toEqual([
    ['-', 'DMI: QEMU', true],
    ['-', 'only there', false],
    ['+', "[Firmware Bug]: TSC doesn't count with P0 frequency!", true],
    ['+', 'two', false],
  ]);
  const [summary] = logTable(theirs.length, differences);
  expect(summary).toBe('3 of 5 lines the same; only genuine Xen (-): 2, only domzero (+): 2, elsewhere (~): 0');
});
