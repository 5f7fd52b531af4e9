// When a way back that was lost is dialled again. Services, client and clock are played: it is about minutes.
import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest';
import type * as upstream from '../../src/traffic/upstream.ts';
import { PlayedSession } from '../support/played-session.ts';

const played = vi.hoisted(() => ({ session: null as unknown }));
vi.mock('../../src/traffic/upstream.ts', async original => ({
  ...(await original<typeof upstream>()),
  connect: (...args: Parameters<PlayedSession['connect']>) =>
    (played.session as PlayedSession).connect(...args),
}));
beforeAll(() => {
  vi.useFakeTimers({
    toFake: [
      ...(['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval'] as const),
      ...(['setImmediate', 'clearImmediate', 'performance'] as const),
    ],
  });
});
afterAll(() => vi.useRealTimers());

const STEP_MS = 100;
/** The lane looks once a second, and what is played takes a step or two. */
const LATE_MS = 1_000 + 3 * STEP_MS;

let session: PlayedSession;
afterEach(() => session.close());

async function served(): Promise<PlayedSession> {
  session = new PlayedSession('candidate', true);
  played.session = session;
  await session.open();
  return session;
}

/** How long after the end of each leg the next one was dialled, if legacy ends each after so long. */
async function gaps(lastsMs: number, forMs: number): Promise<number[]> {
  const { services } = await served();
  const { connections } = services.legacy;
  const found: number[] = [];
  let seen = connections.length;
  let [openedAt, endedAt] = [performance.now(), 0];
  const until = performance.now() + forMs;
  while (performance.now() < until) {
    const newest = connections.at(-1);
    if (newest?.isOpen && !newest.isOver && performance.now() - openedAt >= lastsMs) {
      newest.close(1011);
      endedAt = performance.now();
    }
    await session.calm();
    await session.pass(STEP_MS);
    if (connections.length === seen) continue;
    seen = connections.length;
    openedAt = performance.now();
    found.push(openedAt - endedAt);
  }
  return found;
}

// The fault: one that was accepted began anew, and was dialled once a second for ever.
test('one that is accepted and ended at once comes back ever more seldom', async () => {
  const found = await gaps(0, 240_000);
  expect(found.length).toBeGreaterThan(7);
  for (const [n, ms] of found.entries()) {
    const leastMs = Math.min(1_000 * 2 ** n, 30_000);
    expect(ms).toBeGreaterThanOrEqual(leastMs);
    expect(ms).toBeLessThan(Math.min(1.5 * leastMs, 30_000) + LATE_MS);
  }
});

test('one that lasted comes back soon, however often', async () => {
  const found = await gaps(10_000, 120_000);
  expect(found.length).toBeGreaterThan(7);
  expect(Math.max(...found)).toBeLessThan(1_500 + LATE_MS);
});

test('a rollback does not wait for that', async () => {
  const { services, client } = await served();
  const { connections } = services.legacy;
  while (connections.length < 5) {
    const newest = connections.at(-1);
    if (newest?.isOpen && !newest.isOver) newest.close(1011);
    await session.calm();
    await session.pass(STEP_MS);
  }
  connections.at(-1)?.close(1011);
  await session.calm();
  session.rollBack(true);
  const askedAt = performance.now();
  await session.calm();
  expect(connections).toHaveLength(6);
  expect(performance.now() - askedAt).toBeLessThan(STEP_MS);
  await session.pass(STEP_MS);
  await session.calm();
  await session.pass(STEP_MS);
  await session.calm();
  await session.pass(STEP_MS);
  await session.calm();
  expect(session.moves).toEqual(['legacy redialled']);
  expect(client.closes).toEqual([]);
});
