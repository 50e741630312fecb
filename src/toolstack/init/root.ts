// File systems that the script names: mounted, or gone on with as the root, which is what switch_root(8) does.

import { exportEnvironment } from './command.ts';
import { add, lt, room, words } from './language/expressions.ts';
import { routine } from './language/routine.ts';
import { reportStatus } from './lines.ts';
import { MS_MOVE, sys } from './linux.ts';
import { patiently } from './patience.ts';

const argv = room('root_argv', 16);
const PLACE = '/.root';

/** Mounts a file system on a directory, which is made; gives what mount(2) does. */
export const mountAt = routine('mount_at', (r, type, source, directory, options) => {
  r.do(sys('mkdir', directory, 0o755));
  const result = patiently(r, () => sys('mount', source, directory, type, 0, options));
  r.return(result);
});

/** Mounts a device as the root and becomes its first program; comes back only with an error. */
export const switchRoot = routine('switch_root', (r, device, type, program) => {
  r.do(sys('mkdir', PLACE, 0o755));
  const result = patiently(r, () => sys('mount', device, PLACE, type, 0, 0));
  r.if(lt(result, 0), () => r.return(result));
  for (const directory of ['/dev', '/sys', '/proc']) r.do(sys('mount', directory, PLACE + directory, 0, MS_MOVE, 0));
  r.set(result, sys('chdir', PLACE));
  r.if(lt(result, 0), () => r.return(result));
  r.set(result, sys('mount', '.', '/', 0, MS_MOVE, 0));
  r.if(lt(result, 0), () => r.return(result));
  r.do(sys('chroot', '.'), sys('chdir', '/'));
  r.do(reportStatus('root', 0));
  r.store('word', argv, program);
  r.store('word', add(argv, words(1)), 0);
  r.return(sys('execve', program, argv, exportEnvironment()));
});
