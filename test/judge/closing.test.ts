import pino from 'pino';
import { afterEach, expect, test, vi } from 'vitest';
import { Judge } from '../../src/judge/judge.ts';
import { DEFAULT_RULES } from '../../src/rules/compare/rules.ts';
import { DEFAULT_ISOLATION } from '../../src/rules/isolation/rules.ts';
import { until } from '../support/until.ts';

afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

// A drain closes the judge, and what ends the proxy closes it again. One that was between two threads
// then was waited for without end.
test('a judge whose thread has just failed can be closed, and closed again', async () => {
  const judge = started();
  // The first thread after a failure begins at once; the second one leaves a while without any.
  for (const restarts of [1, 2]) {
    await until('a thread runs', () => judge.running);
    // Rules that no configuration lets through end it; the next one gets the ones after them.
    judge.setRules({ events: null as never });
    judge.setRules({
      events: { compare: DEFAULT_RULES, noise: null, isolation: DEFAULT_ISOLATION },
    });
    await until('it has failed', () => judge.restarts === restarts);
  }
  expect(judge.running).toBe(false);
  await judge.close();
  await judge.close();
});

// The fault: after a pause of the whole process the last sign of life of a healthy thread was as old as the pause,
// and the first turn behind it ended the thread.
test('a process that stood still for a minute does not take its judge for stuck', async () => {
  vi.useFakeTimers({ toFake: ['setInterval', 'setImmediate'] });
  const clock = performance.now.bind(performance);
  let passedMs = 0;
  vi.spyOn(performance, 'now').mockImplementation(() => clock() + passedMs);
  const judge = started();
  for (let pause = 0; pause < 3; pause += 1) {
    vi.advanceTimersByTime(100);
    // It answers whatever it was told before.
    await judge.noise('events');
    passedMs += 60_000;
    vi.advanceTimersByTime(100);
    await judge.noise('events');
  }
  expect(judge.restarts).toBe(0);
  await judge.close();
});

test('one that says nothing while this thread goes on is begun anew', async () => {
  vi.useFakeTimers({ toFake: ['setInterval', 'setImmediate', 'performance'] });
  const judge = started();
  await judge.noise('events');
  // Nothing that it says is heard within one turn of the loop.
  vi.advanceTimersByTime(14_000);
  await judge.noise('events');
  expect(judge.restarts).toBe(0);
  vi.advanceTimersByTime(17_000);
  vi.useRealTimers();
  await until('it begins anew', () => judge.restarts === 1 && judge.running);
  await judge.close();
});

function started(): Judge {
  return new Judge({ rules: {}, evidence: null, logger: pino({ level: 'silent' }) });
}
