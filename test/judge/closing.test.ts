import pino from 'pino';
import { afterEach, expect, test, vi } from 'vitest';
import { Judge } from '../../src/judge/judge.ts';
import { until } from '../support/until.ts';

afterEach(() => void vi.restoreAllMocks());

// A drain closes the judge, and what ends the proxy closes it again. One that was between two threads
// then was waited for without end.
test('a judge whose thread has just failed can be closed, and closed again', async () => {
  const logger = pino({ level: 'silent' });
  const judge = new Judge({ rules: {}, evidence: null, logger });
  const clock = performance.now.bind(performance);
  let passedMs = 0;
  vi.spyOn(performance, 'now').mockImplementation(() => clock() + passedMs);
  // The first thread after a failure begins at once; the second one leaves a while without any.
  for (const restarts of [1, 2]) {
    await until('a thread runs', () => judge.running);
    passedMs += 60_000;
    await until('it is taken for stuck', () => judge.restarts === restarts);
  }
  expect(judge.running).toBe(false);
  await judge.close();
  await judge.close();
});
