import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: ['test/support/unleash-global.ts'],
    // Limits catch hangs only: the machine is shared, and a slow run is not a failure.
    testTimeout: 30_000,
    hookTimeout: 60_000,
    pool: 'forks',
  },
});
