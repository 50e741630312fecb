// `npm start`: boots a stock kernel in every mode and prints the verdicts. Arguments are those of `domzero check`; where they
// name no kernel, it is Debian's current one, obtained through apt.
import { ensureBuilt, ensureDependencies } from './bootstrap.mjs';

try {
  ensureDependencies();
  ensureBuilt();
  const { main } = await import('../dist/src/cli/main.js');
  process.exitCode = await main(['check', ...process.argv.slice(2)], {
    stockKernel: async () => {
      const { Apt } = await import('../dist/src/platform/node/debian/apt.js');
      const { obtainKernel } = await import('../dist/src/platform/node/debian/kernel.js');
      return obtainKernel('linux-image-amd64', new Apt({ notify: line => console.error(line) }));
    },
  });
} catch (error) {
  console.error(`domzero: ${error instanceof Error ? error.message : error}`);
  process.exitCode = 2;
}
