// What is done behind the reads of a turn, for requests that have nothing to do with each other.
import { expect, test } from 'vitest';
import { afterReads } from '../../src/traffic/after-reads.ts';
import { until } from '../support/until.ts';

test('it is done, whatever goes wrong in front of it; and what does is told', async () => {
  const told: unknown[] = [];
  process.setUncaughtExceptionCaptureCallback(error => told.push(error));
  try {
    const done: string[] = [];
    afterReads(() => {
      throw new Error('mine');
    });
    afterReads(() => void done.push('theirs'));
    await until('both were there', () => done.length === 1 && told.length === 1);
    expect(told).toMatchObject([{ message: 'mine' }]);
  } finally {
    process.setUncaughtExceptionCaptureCallback(null);
  }
});
