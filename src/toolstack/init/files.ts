// Routines of init that read the kernel's files and report them.
import { add, all, any, byte, eq, half, le, lt, ne, room, sub } from './language/expressions.ts';
import { routine } from './language/routine.ts';
import { reportStatus, reportValue } from './lines.ts';
import { EINTR, ENOENT, O_DIRECTORY, sys } from './linux.ts';
import { copyString, lineLength, startsWith, stringLength } from './strings.ts';

/** Room for one file; what is longer is read up to here. Bytes. */
export const CONTENT_ROOM = 64 << 10;
const DIRENTS_ROOM = 16 << 10;
export const PATH_ROOM = 1024;

const content = room('content', CONTENT_ROOM + 1);
const dirents = room('dirents', DIRENTS_ROOM);
const path = room('path', PATH_ROOM);
const key = room('key', PATH_ROOM);

/** The file's length, or a negative errno. A zero follows what was read, so the buffer needs one byte more than `size`. */
export const readFile = routine('read_file', (r, name, buffer, size) => {
  r.store(1, buffer, 0);
  const file = r.local(sys('open', name, 0, 0));
  r.if(lt(file, 0), () => r.return(file));
  const length = r.local(0);
  const count = r.local(0);
  r.while(lt(length, size), () => {
    r.set(count, sys('read', file, add(buffer, length), sub(size, length)));
    r.if(ne(count, -EINTR), () => {
      r.if(le(count, 0), () => r.break());
      r.set(length, add(length, count));
    });
  });
  r.do(sys('close', file));
  r.store(1, add(buffer, length), 0);
  r.if(lt(count, 0), () => r.return(count));
  r.return(length);
});

/** A file's content without the final newline, or the error. */
export const reportFile = routine('report_file', (r, name, file) => {
  const length = r.local(readFile(file, content, CONTENT_ROOM));
  r.if(lt(length, 0), () => {
    r.do(reportStatus(name, length));
    r.return();
  });
  r.if(all(length, eq(byte(content, sub(length, 1)), 10)), () => r.set(length, sub(length, 1)));
  r.do(reportValue(name, content, length));
});

/** What stands after `field` and a colon in the file's first line that starts so. */
export const reportField = routine('report_field', (r, name, file, field) => {
  const length = r.local(readFile(file, content, CONTENT_ROOM));
  r.if(lt(length, 0), () => {
    r.do(reportStatus(name, length));
    r.return();
  });
  const line = r.local(content);
  r.loop(() => {
    const value = r.local(startsWith(line, field));
    r.if(value, () => {
      const c = byte(value);
      r.while(any(eq(c, 0x20), eq(c, 9), eq(c, 0x3a)), () => r.set(value, add(value, 1)));
      r.do(reportValue(name, value, lineLength(value)));
      r.return();
    });
    r.set(line, add(line, lineLength(line)));
    r.if(eq(byte(line), 0), () => r.break());
    r.set(line, add(line, 1));
  });
  r.do(reportStatus(name, -ENOENT));
});

/** The first, a slash, the second; gives where its zero stands. */
export const joinPath = routine('join_path', (r, to, first, second) => {
  const end = r.local(copyString(to, first));
  r.store(1, end, '/'.charCodeAt(0));
  r.return(copyString(add(end, 1), second));
});

/** Offsets in struct linux_dirent64 (include/linux/dirent.h). */
const D_RECLEN = 16;
const D_NAME = 19;

/** For each entry of a directory: `files`, names each ended by a zero and all by one more, as `prefix/NAME/FILE`. */
export const reportDirectory = routine('report_directory', (r, prefix, directory, files) => {
  const opened = r.local(sys('open', directory, O_DIRECTORY, 0));
  r.if(lt(opened, 0), () => {
    r.do(reportStatus(prefix, opened));
    r.return();
  });
  r.loop(() => {
    const length = r.local(sys('getdents64', opened, dirents, DIRENTS_ROOM));
    r.if(le(length, 0), () => r.break());
    const entry = r.local(dirents);
    const end = r.local(add(dirents, length));
    r.while(ne(entry, end), () => {
      const name = r.local(add(entry, D_NAME));
      const file = r.local(files);
      r.while(all(ne(byte(name), 0x2e), byte(file)), () => {
        r.do(joinPath(key, prefix, name), joinPath(add(key, stringLength(key)), '', file));
        r.do(joinPath(path, directory, name), joinPath(add(path, stringLength(path)), '', file));
        r.do(reportFile(key, path));
        r.set(file, add(file, add(stringLength(file), 1)));
      });
      r.set(entry, add(entry, half(entry, D_RECLEN)));
    });
  });
  r.do(sys('close', opened));
});
