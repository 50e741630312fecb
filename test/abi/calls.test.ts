// The table of calls: what it names exists.
import { expect, test } from 'vitest';
import type { Struct, Type } from '../../src/abi/struct.ts';
import { CALLS, FIELD_FORMS, nameIn, operationOf } from '../../src/abi/xen/calls.ts';
import { HYPERCALL } from '../../src/abi/xen/xen.ts';

test('every hypercall is there, with operations and parameters that it has', () => {
  expect(Object.keys(CALLS).sort()).toEqual(Object.keys(HYPERCALL).sort());
  for (const [name, { operations, parameters, pointer, count }] of Object.entries(CALLS)) {
    expect(pointer, name).toBeLessThan(parameters.length);
    expect(count, name).toBeLessThan(parameters.length);
    for (const operation of Object.keys(operations?.structs ?? {})) {
      expect(Object.keys(operations!.numbers), name).toContain(operation);
    }
  }
});

test('forms are of fields that the structs have', () => {
  for (const [type, forms] of FIELD_FORMS) {
    const { name, fields } = type as Struct<Record<string, Type<unknown>>>;
    for (const field of Object.keys(forms)) expect(Object.keys(fields), name).toContain(field);
  }
});

test('operations are found by number, whatever stands above it in the register', () => {
  expect(operationOf(CALLS.memory_op, [0x46n])).toBe('populate_physmap');
  expect(operationOf(CALLS.sched_op, [(1n << 32n) | 1n])).toBe('block');
  expect(operationOf(CALLS.sched_op, [99n])).toBeNull();
  expect(operationOf(CALLS.iret, [])).toBeNull();
  expect(nameIn({ a: 1 }, 1)).toBe('a');
});
