import { defineConfig } from 'vitest/config';

// `unit` is what `npm run check` runs; `oracle` replays what real processors did, which takes minutes; `boot` boots whole kernels,
// which need files that `npm test` obtains first.
export default defineConfig({
  test: {
    testTimeout: 60_000,
    hookTimeout: 60_000,
    projects: [
      {
        extends: true,
        test: {
          name: 'unit',
          include: ['test/**/*.test.ts'],
          exclude: ['test/boot/**', 'test/oracle/**'],
          // Many small files: loading the sources anew for each takes as long as the tests themselves.
          pool: 'threads',
          isolate: false,
        },
      },
      { extends: true, test: { name: 'oracle', include: ['test/oracle/**/*.test.ts'], testTimeout: 600_000 } },
      { extends: true, test: { name: 'boot', include: ['test/boot/**/*.test.ts'], testTimeout: 600_000 } },
    ],
  },
});
