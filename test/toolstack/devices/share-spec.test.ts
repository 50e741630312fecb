import { describe, expect, it } from 'vitest';
import { assignTags, parseShare } from '../../../src/toolstack/devices/share-spec.ts';

describe('a shared folder', () => {
  it.each([
    ['/srv/data', { path: '/srv/data', tag: null, isReadOnly: true }],
    ['data,rw', { path: 'data', tag: null, isReadOnly: false }],
    ['tag=kernel, path=/usr/src, security_model=none', { path: '/usr/src', tag: 'kernel', isReadOnly: true }],
    ['path=a=b,access=rw,tag=x', { path: 'a=b', tag: 'x', isReadOnly: false }],
    ['rw', { path: 'rw', tag: null, isReadOnly: true }],
  ])('is %j', (text, spec) => expect(parseShare(text)).toEqual(spec));

  it.each([
    ['', 'a share needs a folder, not ""'],
    ['tag=x', 'a share needs a folder, not "tag=x"'],
    ['a,b', '"b" of a share cannot be understood'],
    ['a,access=all', 'access to a share is ro or rw, not "all"'],
    ['a,security_model=mapped', 'a share\'s security_model is none, not "mapped"'],
    ['a,type=xen_9pfsd', 'a share\'s type is qemu, not "xen_9pfsd"'],
    ['a,backend=1', 'backend of a share is not built'],
    ['a,tag=two words', '"two words" is no tag: up to 31 letters and digits'],
  ])('is not %j', (text, message) => expect(() => parseShare(text)).toThrow(message));

  it('has a tag that is its own', () => {
    const tags = (...texts: string[]) => assignTags(texts.map(parseShare));
    expect(tags('a', 'path=b,tag=x', 'c')).toEqual(['share0', 'x', 'share2']);
    expect(() => tags('a', 'path=b,tag=share0')).toThrow('two shares have the tag share0');
  });
});
