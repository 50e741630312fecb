import { cr3, mem, rax } from '../../src/toolstack/init/assembler/assembler.ts';
import { says } from './pv-guest.ts';
import { code, hypercall } from './value.ts';
import { world } from './world.ts';

const guest = world();

guest('hello', g => {
  g.prepares('nothing', 0);
  g.does(says('hello\n'));
  g.tries(
    'lgdt',
    code(a => a.lgdt(mem('start'))),
  ).gets('#GP(0)');
  g.tries(
    'ud2',
    code(a => a.ud2()),
  ).gets('#UD');
  g.tries('no such hypercall', hypercall(77)).gets('-ENOSYS');
});
