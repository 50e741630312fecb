// Every declared struct of Xen's interface against gcc's layout of the public headers (4.17): sizes, offsets, no field left out.
import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import type { Abi, Type } from '../../src/abi/struct.ts';

interface CType {
  size: number;
  offset?: number;
  length?: number;
  fields?: Record<string, CType>;
}
interface Declared extends Type<unknown> {
  name?: string;
  fields?: Record<string, Type<unknown>>;
  members?: Record<string, Type<unknown>>;
  element?: Type<unknown>;
  pick?(abi: Abi): Type<unknown>;
  offset?(field: string, abi: Abi): number;
}

const truth: Record<string, Record<Abi, CType>> = JSON.parse(
  readFileSync(new URL('../fixtures/abi/xen-structs.json', import.meta.url), 'utf8'),
);
const folder = new URL('../../src/abi/xen/', import.meta.url);

/** `_pad0` and `evtchn_pending_sel` as declarations spell them. */
const camel = (c: string): string => c.replace(/^_+/, '').replace(/_+(\w)/g, (_, x: string) => x.toUpperCase());

/** Fields of anonymous structs and unions belong to the struct around them. */
function flatten(c: CType): Record<string, CType> {
  const out: Record<string, CType> = {};
  for (const [name, field] of Object.entries(c.fields ?? {})) {
    if (!name.startsWith('?')) out[camel(name)] = field;
    else {
      for (const [inner, f] of Object.entries(flatten(field))) {
        out[inner] = { ...f, offset: (f.offset ?? 0) + (field.offset ?? 0) };
      }
    }
  }
  return out;
}

function compare(type: Declared, c: CType, abi: Abi, path: string): void {
  const declared = (type.pick?.(abi) ?? type) as Declared;
  expect(declared.size(abi), `sizeof ${path} (${abi})`).toBe(c.size);
  if (!c.fields) return;
  if (declared.element) {
    compare(declared.element as Declared, { ...c, size: c.size / (c.length ?? 1) }, abi, `${path}[]`);
    return;
  }
  const mine = declared.fields ?? declared.members;
  if (!mine) return; // a union of one size that is read as a number
  const theirs = flatten(c);
  for (const [field, fieldType] of Object.entries(mine)) {
    if (fieldType.size(abi) === 0) continue;
    expect(Object.keys(theirs), `${path}.${field} (${abi})`).toContain(field);
    if (declared.offset) expect(declared.offset(field, abi), `${path}.${field} (${abi})`).toBe(theirs[field].offset);
    compare(fieldType as Declared, theirs[field], abi, `${path}.${field}`);
  }
  // Members of anonymous unions are other names of what one of them declares.
  const covered = ({ offset = 0 }: CType): boolean =>
    Object.keys(mine).some(m => offset >= (theirs[m].offset ?? 0) && offset < (theirs[m].offset ?? 0) + theirs[m].size);
  const missing = Object.keys(theirs).filter(f => theirs[f].size > 0 && !(f in mine) && !covered(theirs[f]));
  if (declared.fields) expect(missing, `fields of ${path} (${abi})`).toEqual([]);
}

const all: { exported: string; struct: Declared & { name: string } }[] = [];
for (const file of readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter(f => f.endsWith('.ts'))) {
  const module: Record<string, unknown> = await import(new URL(file, folder).href);
  for (const [exported, value] of Object.entries(module)) {
    const struct = value as Declared;
    if (struct && typeof struct === 'object' && typeof struct.size === 'function' && struct.fields && struct.name) {
      all.push({ exported, struct: struct as Declared & { name: string } });
    }
  }
}

describe('layouts of Xen structs', () => {
  it('finds the declarations', () => {
    expect(all.length).toBeGreaterThan(60);
  });

  for (const { exported, struct } of all) {
    // A struct with a declaration for each ABI is exported as name32 and name64.
    const abis: Abi[] = /(32|64)$/.test(exported) ? [Number(exported.slice(-2)) as Abi] : [32, 64];
    it(`${exported} is struct ${struct.name}`, () => {
      const c = truth[struct.name];
      expect(c, `no facts about struct ${struct.name}`).toBeDefined();
      for (const abi of abis) compare(struct, c[abi], abi, struct.name);
    });
  }
});
