// Users who leave the moment that they have what they came for, before a candidate that is a little late:
// what it had still to send is compared, too.
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import pino from 'pino';
import { afterEach, expect, test } from 'vitest';
import { startBroadcaster } from '../../src/broadcast/server.ts';
import { loadConfig } from '../../src/config/load.ts';
import { startProxy } from '../../src/main.ts';
import { goldenPath, place, SECRET } from '../support/stack.ts';
import { until } from '../support/until.ts';

const USERS = 20;
const EVENTS_OF_RUN = 5;
const open: { close(): unknown }[] = [];
afterEach(async () => {
  for (const thing of open.splice(0).reverse()) await thing.close();
});

test('what was in flight when its user left has its pair', async () => {
  const keys = { secret: SECRET };
  const legacy = await startBroadcaster({ kind: 'legacy', keys });
  const candidate = await startBroadcaster({ kind: 'ssot', keys, jitterMs: 500 });
  open.push(legacy, candidate);
  const urls = { legacy: legacy.url, candidate: candidate.url };
  const where = await place(urls, { stage: ['shadow'] });
  open.push(where);
  const file = path.join(where.folder, 'cutover.yaml');
  const mirrored = (await readFile(file, 'utf8')).replace(
    'protocol: websocket,',
    'protocol: websocket, mirror: all,',
  );
  expect(mirrored).toContain('mirror: all');
  await writeFile(file, mirrored);
  const proxy = await startProxy({
    loaded: await loadConfig(file, {}),
    env: {},
    logger: pino({ level: 'silent' }),
  });
  open.push(proxy);
  const visits = Array.from({ length: USERS }, (_, i) => goldenPath(proxy.listen, `user_${i}`));
  await Promise.all(visits);
  const books = await until('all have their verdict', () => {
    const found = proxy.judge.books().get('events');
    if (found === undefined || found.candidate.seen === 0) return undefined;
    return found.legacy.pending + found.candidate.pending === 0 ? found : undefined;
  });
  // By the default rules they differ, since each service makes up ids of its own; but they are pairs.
  expect(books.legacy.match + books.legacy.mismatch).toBe(USERS * EVENTS_OF_RUN);
  expect([books.legacy.unjudged, books.candidate.unjudged]).toMatchObject([
    { 'session-ended': 0 },
    { 'session-ended': 0 },
  ]);
});
