// Loading of kernel modules.
import { below, eq, lt } from './language/expressions.ts';
import { routine } from './language/routine.ts';
import { ENOSYS, MAP_PRIVATE, PROT_READ, SEEK_END, sys } from './linux.ts';

/** Highest addresses are error numbers where an address is expected (include/linux/err.h). */
const MAX_ERRNO = 4095;

/** Loads the module in a file; 0 or an error. */
export const loadModule = routine('load_module', (r, path, parameters) => {
  const file = r.local(sys('open', path, 0, 0));
  r.if(lt(file, 0), () => r.return(file));
  const result = r.local(sys('finit_module', file, parameters, 0));
  // Kernels before 3.8 want it in memory.
  r.if(eq(result, -ENOSYS), () => {
    const size = r.local(sys('lseek', file, 0, SEEK_END));
    const image = r.local(sys('mmap', 0, size, PROT_READ, MAP_PRIVATE, file, 0));
    r.if(
      below(image, -MAX_ERRNO),
      () => {
        r.set(result, sys('init_module', image, size, parameters));
        r.do(sys('munmap', image, size));
      },
      () => r.set(result, image),
    );
  });
  r.do(sys('close', file));
  r.return(result);
});
