import { afterEach, expect, test } from 'vitest';
import { visit } from '../../src/runs/synthetic-user.ts';
import { type Stack, stack, tokenFor } from '../support/stack.ts';

/** As many as the first operator has at a time. */
const USERS = 2_000;
const EVENTS_EACH = 5;
/** Handshakes and agent runs under way at a time: how fast they are is the benchmarks' business. */
const AT_ONCE = 20;

const open: Stack[] = [];
afterEach(async () => {
  for (const each of open.splice(0)) await each.close();
});

test(`${USERS} users at a time, half of them on each side, get every event that is due to them, once`, async () => {
  const { services, proxy, ...rest } = await stack({
    stage: ['canary', 50],
    timeoutMs: 20_000,
  });
  open.push({ services, proxy, ...rest });
  const leave = new AbortController();
  const received: string[][] = [];
  const visits: Promise<string>[] = [];

  /** Logs users in, one after another, each once the one before has all his events. */
  async function logIn(): Promise<void> {
    while (received.length < USERS) {
      const keys: string[] = [];
      const id = `user_${received.push(keys)}`;
      const token = await tokenFor(id);
      await new Promise<void>(resolve => {
        const onEvent = (key: string) => {
          keys.push(key);
          if (keys.length === EVENTS_EACH) resolve();
        };
        const ended = visit({ id, token, listen: proxy.listen, onEvent, leave: leave.signal });
        visits.push(ended);
        void ended.then(() => resolve());
      });
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, logIn));
  expect([...proxy.traffic.sessionsOf('events')]).toHaveLength(USERS);
  leave.abort();
  const outcomes = await Promise.all(visits);

  expect(outcomes.filter(outcome => outcome !== 'done')).toEqual([]);
  const wrong = received.filter(keys => keys.length !== EVENTS_EACH || new Set(keys).size !== 5);
  expect(wrong).toEqual([]);
  const { legacy, candidate } = services;
  expect(legacy.counts.due + candidate.counts.due).toBe(USERS * EVENTS_EACH);
  expect(Math.min(legacy.counts.due, candidate.counts.due)).toBeGreaterThan(USERS);
}, 300_000);
