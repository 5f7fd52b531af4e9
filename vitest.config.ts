import { availableParallelism } from 'node:os';
import path from 'node:path';
import { defineConfig } from 'vitest/config';

// Tests start hundreds of processes of ours; each would strip and compile the same sources anew, a third
// of a second.
process.env.NODE_COMPILE_CACHE ??= path.join(import.meta.dirname, 'node_modules/.cache/compile');

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: ['test/support/unleash-global.ts'],
    // Limits catch hangs only: the machine is shared, and a slow run is not a failure.
    testTimeout: 60_000,
    hookTimeout: 60_000,
    pool: 'forks',
    // Most of them wait for windows, retries, kernels. Vitest would leave one processor free, of two.
    maxWorkers: availableParallelism() + 1,
  },
});
