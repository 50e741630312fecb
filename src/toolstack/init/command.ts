// init's command: one program of the user's, with the console as its terminal.

import { CONTENT_ROOM } from './files.ts';
import { add, all, and, byte, dword, eq, lt, mul, ne, room, type Value, words } from './language/expressions.ts';
import { routine } from './language/routine.ts';
import { reportStatus } from './lines.ts';
import { EINTR, ENOENT, sys, TIOCSCTTY } from './linux.ts';
import { copyString, stringLength } from './strings.ts';

const SEARCH = ['/bin/', '/sbin/', '/usr/bin/', '/usr/sbin/'];
const ENVIRONMENT = ['PATH=/bin:/sbin:/usr/bin:/usr/sbin', 'HOME=/', 'TERM=linux'];
const ARGUMENT_LIMIT = 255;
/** Found but not to be executed; one more is not found. */
const NOT_EXECUTABLE = 126;
const SLASH = '/'.charCodeAt(0);

/** The argument list, each argument ended by a zero. */
export const commandWords = room('command_words', CONTENT_ROOM + 1);
const argv = room('argv', 8 * (ARGUMENT_LIMIT + 1));
const environment = room('environment', 8 * (ENVIRONMENT.length + 1));
const path = room('command_path', CONTENT_ROOM + 64);
const status = room('command_status', 4);

/** Runs what stands in `commandWords`, `length` bytes of it, and reports how it ended. */
export const runCommand = routine('run_command', (r, length) => {
  const at = r.local(commandWords);
  const count = r.local(0);
  r.while(all(lt(at, add(commandWords, length)), lt(count, ARGUMENT_LIMIT)), () => {
    r.store('word', add(argv, mul(count, words(1))), at);
    r.set(count, add(count, 1));
    r.set(at, add(at, add(stringLength(at), 1)));
  });
  r.store('word', add(argv, mul(count, words(1))), 0);

  const child = r.local(sys('fork'));
  r.if(eq(child, 0), () => r.do(executeCommand()));
  r.if(lt(child, 0), () => r.return(reportStatus('command/exit', child)));
  // Orphans end up with init too, so wait for all, until it is the command.
  const ended = r.local(0);
  r.while(ne(ended, child), () => {
    r.set(ended, sys('wait4', -1, status, 0, 0));
    r.if(all(lt(ended, 0), ne(ended, -EINTR)), () => r.return(reportStatus('command/exit', ended)));
  });
  const signal = and(dword(status), 0x7f);
  r.if(
    signal,
    () => r.do(reportStatus('command/signal', signal)),
    () => r.do(reportStatus('command/exit', byte(status, 1))),
  );
});

/** In the child: becomes the command, or ends as shells do where there is none. */
export const executeCommand = routine('execute_command', r => {
  r.do(sys('setsid'), sys('ioctl', 0, TIOCSCTTY, 1), exportEnvironment());
  const result = r.local(-ENOENT);
  const execute = (file: Value) => r.set(result, sys('execve', file, argv, environment));
  r.if(
    hasSlash(commandWords),
    () => execute(commandWords),
    () => {
      for (const directory of SEARCH) {
        r.if(eq(result, -ENOENT), () => {
          r.do(copyString(copyString(path, directory), commandWords));
          execute(path);
        });
      }
    },
  );
  r.do(sys('exit', add(NOT_EXECUTABLE, eq(result, -ENOENT))));
});

/** The environment of what init starts, for execve(2). */
export const exportEnvironment = routine('export_environment', r => {
  ENVIRONMENT.forEach((variable, i) => {
    r.store('word', add(environment, words(i)), variable);
  });
  r.return(environment);
});

const hasSlash = routine('has_slash', (r, text) => {
  r.while(byte(text), () => {
    r.if(eq(byte(text), SLASH), () => r.return(1));
    r.set(text, add(text, 1));
  });
});
