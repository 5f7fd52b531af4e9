import { availableParallelism } from 'node:os';
import path from 'node:path';
import { defineConfig } from 'vitest/config';
import { BaseSequencer, type TestSpecification } from 'vitest/node';

// Tests start hundreds of processes of ours; each would strip and compile the same sources anew, a third
// of a second.
process.env.NODE_COMPILE_CACHE ??= path.join(import.meta.dirname, 'node_modules/.cache/compile');

/**
 * Small files that take long: by itself Vitest begins with the largest files where it knows no durations, as in a
 * fresh clone, and at the end would wait for one or two of these with the other workers idle.
 */
const LONG = [
  'hostile/link-down',
  'journeys/stage-changes',
  'bench/soak',
  'bench/rollback',
  'package',
  'journeys/planted-fault',
].map(name => path.join(import.meta.dirname, `test/${name}.test.ts`));

class LongFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const sorted = await super.sort(files);
    const isLong = ({ moduleId }: TestSpecification) => LONG.includes(moduleId);
    return [...sorted.filter(isLong), ...sorted.filter(file => !isLong(file))];
  }
}

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: ['test/support/unleash-global.ts'],
    // Limits catch hangs only: the machine is shared, and a slow run is not a failure.
    testTimeout: 60_000,
    hookTimeout: 60_000,
    pool: 'forks',
    sequence: { sequencer: LongFirst },
    // Most of them wait for windows, retries, kernels. Vitest would leave one processor free, of two.
    maxWorkers: availableParallelism() + 1,
  },
});
