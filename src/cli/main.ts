// The command line: what there is, what its exit statuses are. Commands are loaded when they are called, so that the rest is quick.

import type { Io } from './io.ts';
import { version } from './tool-version.ts';

export interface Surroundings {
  /** The kernel that `check` takes where none is named; null where one has to be named. */
  readonly stockKernel?: () => readonly string[] | Promise<readonly string[]>;
  readonly io?: Io;
}

const BAD_INPUT = 2;
const CHECK_TIMEOUT = 600;

/** Errors whose message is a sentence for the person at the keyboard. */
const EXPECTED = new Set(['UsageError', 'ImageError', 'FileError', 'AptError', 'BuildError', 'DeviceSpecError']);

/** Runs one command line (without the program's name). Resolves with the exit status; prints errors itself. */
export async function main(argv: readonly string[], surroundings: Surroundings = {}): Promise<number> {
  const io = surroundings.io ?? (await import('./io.ts')).processIo();
  if (argv.length === 1 && (argv[0] === '--version' || argv[0] === '-V')) {
    io.out(`${version()}\n`);
    return 0;
  }
  try {
    return await dispatch(argv, surroundings, io);
  } catch (error) {
    const { CommanderError } = await import('commander');
    // Commander has printed its message.
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : BAD_INPUT;
    const expected = error instanceof Error && EXPECTED.has(error.name);
    const text = error instanceof Error ? (expected ? error.message : (error.stack ?? error.message)) : String(error);
    io.err(`domzero: ${text}\n`);
    return BAD_INPUT;
  }
}

async function dispatch(argv: readonly string[], { stockKernel }: Surroundings, io: Io): Promise<number> {
  const { Command } = await import('commander');
  const { addCheckOptions, addMachineOptions, logsOption, modeOption } = await import('./options.ts');
  const { addGuestOptions } = await import('./guest-options.ts');
  const { addNetworkOptions } = await import('./network-options.ts');
  const { addShareOptions } = await import('./share-options.ts');
  const { addTraceOptions } = await import('./trace-options.ts');
  let status = 0;
  // What follows "--" is a command for the guest.
  const end = argv.indexOf('--');
  const [own, command] = end < 0 ? [argv, []] : [argv.slice(0, end), argv.slice(end + 1)];

  const program = new Command('domzero')
    .description('Boots one unmodified Linux kernel in every Xen mode, without root, KVM or Xen.')
    .version(version())
    .exitOverride()
    .configureOutput({ writeOut: text => io.out(text), writeErr: text => io.err(text) })
    .showHelpAfterError('(domzero --help tells more)');

  const images = 'bzImage, vmlinux or kernel package (.deb); packages of one kernel are taken together';
  addCheckOptions(
    addMachineOptions(program.command('check'), 'virtual', CHECK_TIMEOUT)
      .description('boot kernels in every mode and print a verdict for each')
      .argument(stockKernel === undefined ? '<image...>' : '[image...]', images),
  )
    .addHelpText('after', '\nExit status: 0 all passed, 1 a kernel did not, 2 it could not be run, 4 all were skipped.')
    .action(async (paths: string[], options) => {
      if (command.length > 0) throw await usage('check takes no command; only run does');
      const kernels = paths.length > 0 ? paths : ((await stockKernel?.()) ?? []);
      status = await (await import('./check.ts')).check(kernels, options, io);
    });
  addGuestOptions(
    addShareOptions(addNetworkOptions(addMachineOptions(program.command('run'), 'real', Number.POSITIVE_INFINITY))),
  )
    .description('run one guest with its console on this terminal (Ctrl-] leaves)')
    .argument('[image...]', images)
    .addOption(modeOption())
    .addOption(logsOption())
    .option(
      '--trace <file>',
      'write what the guest does with Xen there: text, or for Perfetto where it ends with .pftrace',
    )
    .option('--control <socket>', 'a socket for domzero control: attach and detach devices of the guest while it runs')
    .usage(
      '[options] <image...> --mode <mode> [-- command...]\n       domzero run [options] --dom0 <image> --guest <image>',
    )
    .addHelpText(
      'after',
      "\nExit status: the guest command's; 255 after a panic or a crash, 124 after a timeout, 2 for bad input.",
    )
    .action(async (paths: string[], options) => {
      const trace = options.trace === undefined ? {} : { trace: { output: options.trace } };
      status = await (await import('./run.ts')).run(paths, command, { ...options, ...trace }, io);
    });
  const traced = addMachineOptions(program.command('trace'), 'virtual', Number.POSITIVE_INFINITY);
  addTraceOptions(addShareOptions(addNetworkOptions(traced)))
    .description(
      'run one guest, and write down what it does with Xen: hypercalls, events, grants, XenStore, scheduling',
    )
    .argument('<image...>', images)
    .addOption(modeOption().default('pv'))
    .usage('[options] <image...> [-- command...]')
    .addHelpText('after', "\nThe guest's console is on standard output. Exit status: as of run.")
    .action(async (paths: string[], options) => {
      const { output, format, events, domain, ...others } = options;
      const trace = { output, format, events, domain };
      status = await (await import('./run.ts')).run(paths, command, { ...others, trace }, io);
    });
  program
    .command('control')
    .description('tell a guest that runs with --control to do something, in the words of xl')
    .argument('<socket>', 'the one of run --control')
    .argument('<command...>', (await import('../toolstack/control.ts')).CONTROL_COMMANDS.join(', '))
    .action(async (path: string, words: string[]) => {
      status = await (await import('./control.ts')).control(path, words, io);
    });
  program
    .command('inspect')
    .description('tell what a kernel file is and which modes it can boot in, and why not')
    .argument('<image...>', images)
    .option('--json', 'print JSON')
    .action(async (paths: string[], options) => {
      status = await (await import('./inspect.ts')).inspect(paths, options, io);
    });
  if (own.length === 0) {
    io.err(program.helpInformation());
    return BAD_INPUT;
  }
  await program.parseAsync([...own], { from: 'user' });
  return status;
}

async function usage(problem: string): Promise<Error> {
  const { UsageError } = await import('./usage-error.ts');
  return new UsageError(problem);
}
