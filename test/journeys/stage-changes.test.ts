// Ten thousand changes of stage and twenty edits of the file, while users come and go: nobody fails to
// get in because of one, and no event is lost or doubled.

import pino from 'pino';
import { afterEach, expect, test } from 'vitest';
import { startBroadcaster } from '../../src/broadcast/server.ts';
import { createDecider } from '../../src/control/decider.ts';
import { openMemoryFlags } from '../../src/control/flags/provider.ts';
import { DeliveryBooks } from '../../src/runs/delivery-books.ts';
import { proxy } from '../support/proxy.ts';
import { featuresFor, goldenPath, type Stack, stack } from '../support/stack.ts';
import { until } from '../support/until.ts';

const open: { close(): unknown }[] = [];
afterEach(async () => {
  for (const thing of open.splice(0).reverse()) await thing.close();
});

const SECRET = 'a secret of the tests, long enough for HS256';
const users = Array.from({ length: 8 }, (_, i) => `user_${1001 + i}`);

/** Catches a hang; ten thousand turns of the loop with a crowd in it take some 20 s. */
const LIMIT_MS = 120_000;

/** Users who visit again and again until `stop`; how their visits went. */
function crowd(listen: string, books: DeliveryBooks, stop: AbortSignal) {
  const results: string[] = [];
  const all = users.map(async user => {
    while (!stop.aborted) {
      results.push(await goldenPath(listen, user, key => books.read(user, key, performance.now())));
    }
  });
  return { results, done: Promise.all(all) };
}

test(
  '10,000 changes through the provider',
  async () => {
    const books = new DeliveryBooks();
    const service = async (kind: 'legacy' | 'ssot', side: 'legacy' | 'candidate') => {
      const running = await startBroadcaster({
        kind,
        keys: { secret: SECRET },
        onWritten: (user, key) => books.due(user, key, side, performance.now()),
      });
      open.push(running);
      return running;
    };
    const legacy = await service('legacy', 'legacy');
    const candidate = await service('ssot', 'candidate');
    const logger = pino({ level: 'silent' });
    const flags = await openMemoryFlags({ features: featuresFor('off'), routes: () => [], logger });
    open.push(flags);
    const front = await proxy({
      legacy: legacy.url,
      candidate: candidate.url,
      identity: { sources: [{ from: 'subprotocol' }] },
      decider: createDecider(flags),
    });
    open.push(front);
    const stopping = new AbortController();
    const { results, done } = crowd(`http://127.0.0.1:${front.port}`, books, stopping.signal);
    const stages = ['off', 'canary', 'live', 'shadow', 'complete'] as const;
    for (let i = 0; i < 10_000; i += 1) {
      const stage = stages[i % stages.length] ?? 'off';
      flags.apply(featuresFor(stage, stage === 'canary' ? ((i % 999) + 1) / 10 : undefined));
      // Users get a turn between any two changes.
      await new Promise(resolve => setImmediate(resolve));
    }
    stopping.abort();
    await done;
    books.settle(Number.POSITIVE_INFINITY);
    expect(results.length).toBeGreaterThan(100);
    expect(new Set(results)).toEqual(new Set(['done']));
    const report = books.report();
    expect(report).toMatchObject({
      lost: 0,
      duplicated: 0,
      eventsSent: results.length * 5,
      eventsDelivered: results.length * 5,
    });
    expect(Math.min(report.perSide.legacy, report.perSide.candidate)).toBeGreaterThan(0);
  },
  LIMIT_MS,
);

test('20 edits of the file', async () => {
  const up: Stack = await stack();
  open.push(up);
  const books = new DeliveryBooks();
  const stopping = new AbortController();
  const { results, done } = crowd(up.proxy.listen, books, stopping.signal);
  const took: number[] = [];
  for (let i = 0; i < 20; i += 1) {
    const before = up.proxy.flags.revision;
    const editedAt = performance.now();
    await up.editFlags('canary', 5 + i * 4);
    await until('the flags are read', () => up.proxy.flags.revision !== before);
    took.push(performance.now() - editedAt);
  }
  stopping.abort();
  await done;
  console.log(
    `20 file edits under traffic: median ${took.sort((a, b) => a - b)[10]?.toFixed(0)} ms, worst ${took[19]?.toFixed(0)} ms`,
  );
  expect(new Set(results)).toEqual(new Set(['done']));
  expect(up.services.legacy.counts.due + up.services.candidate.counts.due).toBe(results.length * 5);
});
