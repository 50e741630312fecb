// A check of a block device: what is written to it must be read back. It overwrites the beginning of the device.

import { joinPath, PATH_ROOM } from './files.ts';
import { add, and, lt, mul, ne, room, type Value } from './language/expressions.ts';
import { routine } from './language/routine.ts';
import { endLine, hash, putHex, putKey, putString, reportStatus } from './lines.ts';
import { BLKFLSBUF, EIO, O_RDWR, SEEK_SET, sys } from './linux.ts';
import { patiently } from './patience.ts';
import { clear } from './strings.ts';

/** How much is written, bytes: more than one request of any driver, so that they are split. */
export const PATTERN_BYTES = 128 << 10;
/** A linear congruential sequence over 32 bits (Numerical Recipes). */
const MULTIPLIER = 1664525;
const INCREMENT = 1013904223;

const pattern = room('pattern', PATTERN_BYTES);
const path = room('disk_path', PATH_ROOM);
const key = room('disk_key', PATH_ROOM);

const fillPattern = routine('fill_pattern', r => {
  const at = r.local(pattern);
  const value = r.local(0);
  r.while(ne(at, add(pattern, PATTERN_BYTES)), () => {
    r.set(value, and(add(mul(value, MULTIPLIER), INCREMENT), 0xffffffff));
    r.store(4, at, value);
    r.set(at, add(at, 4));
  });
});

/** Checks the device of this name, and reports the checksums of what was written and read, or the error. */
export const checkDisk = routine('check_disk', (r, name) => {
  r.do(joinPath(path, '/dev', name), joinPath(key, 'disk', name));
  const disk = patiently(r, () => sys('open', path, O_RDWR, 0));
  r.if(lt(disk, 0), () => r.return(reportStatus(key, disk)));
  const failed = (result: Value) => {
    r.do(sys('close', disk));
    r.return(reportStatus(key, result));
  };
  const done = r.local(0);
  const transfer = (call: 'read' | 'write') => {
    r.do(sys('lseek', disk, 0, SEEK_SET));
    r.set(done, sys(call, disk, pattern, PATTERN_BYTES));
    r.if(lt(done, 0), () => failed(done));
    r.if(ne(done, PATTERN_BYTES), () => failed(-EIO));
  };
  r.do(fillPattern());
  const written = r.local(hash(pattern, PATTERN_BYTES));
  transfer('write');
  r.set(done, sys('fsync', disk));
  r.if(lt(done, 0), () => failed(done));
  // So that the device is read, not the page cache.
  r.do(sys('ioctl', disk, BLKFLSBUF, 0), clear(pattern, PATTERN_BYTES));
  transfer('read');
  r.do(sys('close', disk));
  r.do(
    putKey(key),
    putString(' = '),
    putHex(written, 8),
    putString(' '),
    putHex(hash(pattern, PATTERN_BYTES), 8),
    endLine(),
  );
});
