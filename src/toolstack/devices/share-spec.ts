// What a person writes for a shared folder: xl's `p9 = ["..."]` syntax (docs/man/xl.cfg.5.pod), or just the folder. Beside it "rw", since a guest may
// only read where nobody says more, and a tag of its own.
import { DeviceSpecError } from './spec-error.ts';

export interface ShareSpec {
  readonly path: string;
  /** By which the guest mounts it. Null: share0, share1, and so on. */
  readonly tag: string | null;
  readonly isReadOnly: boolean;
}

const ACCESS: Readonly<Record<string, boolean>> = { ro: true, r: true, rw: false, w: false };

/** Reads "DIR", "DIR,rw", "tag=share,path=DIR,security_model=none,access=rw". Throws DeviceSpecError. */
export function parseShare(text: string): ShareSpec {
  let path: string | null = null;
  let tag: string | null = null;
  let isReadOnly = true;
  for (const part of text.split(',')) {
    const setting = part.trim();
    if (setting === '') continue;
    const [, key, value] = /^(tag|path|security_model|access|type|backend)\s*=\s*(.*)$/.exec(setting) ?? [];
    if (key === 'tag') {
      if (!/^[\w.-]{1,31}$/.test(value)) throw new DeviceSpecError(`"${value}" is no tag: up to 31 letters and digits`);
      tag = value;
    } else if (key === 'path') path = value;
    else if (key === 'security_model') {
      if (value !== 'none') throw new DeviceSpecError(`a share's security_model is none, not "${value}"`);
    } else if (key === 'access' || (key === undefined && path !== null && setting in ACCESS)) {
      const access = value ?? setting;
      if (!(access in ACCESS)) throw new DeviceSpecError(`access to a share is ro or rw, not "${access}"`);
      isReadOnly = ACCESS[access];
    } else if (key === 'type') {
      if (value !== 'qemu') throw new DeviceSpecError(`a share's type is qemu, not "${value}"`);
    } else if (key !== undefined) throw new DeviceSpecError(`${key} of a share is not built`);
    else if (path === null) path = setting;
    else throw new DeviceSpecError(`"${setting}" of a share cannot be understood`);
  }
  if (path === null || path === '') throw new DeviceSpecError(`a share needs a folder, not "${text}"`);
  return { path, tag, isReadOnly };
}

/** Every share's tag. Throws DeviceSpecError where two have the same: a guest could not tell them apart. */
export function assignTags(specs: readonly ShareSpec[]): string[] {
  const tags = specs.map(({ tag }, i) => tag ?? `share${i}`);
  const twice = tags.find((tag, i) => tags.indexOf(tag) !== i);
  if (twice !== undefined) throw new DeviceSpecError(`two shares have the tag ${twice}`);
  return tags;
}
