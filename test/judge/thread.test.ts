// The judge's thread by itself, told what the main one tells it.
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { expect, test } from 'vitest';
import { WINDOW_MS } from '../../src/judge/docket.ts';
import { BatchTap } from '../../src/judge/tap.ts';
import type { FromJudge, JudgeData, ToJudge } from '../../src/judge/thread.ts';
import { UnansweredWrites } from '../../src/judge/unanswered-writes.ts';
import { DEFAULT_RULES } from '../../src/rules/compare/rules.ts';
import { DEFAULT_ISOLATION } from '../../src/rules/isolation/rules.ts';
import { SECRET_BYTES } from '../../src/rules/isolation/secret-hash.ts';
import { until } from '../support/until.ts';

/** To sweep them takes several slices. */
const STREAMS = 5_000;
const TICKS = 10;

// The fault: a tick that found the last sweep under way ended it without a word, and under load there was none for seconds.
test('every tick has its report, also where it comes before the last sweep is through', async () => {
  const data: JudgeData = {
    rules: { events: { compare: DEFAULT_RULES, noise: null, isolation: DEFAULT_ISOLATION } },
    ...{ secret: new Uint8Array(SECRET_BYTES), markers: [], mismatched: [] },
  };
  const worker = new Worker(new URL('../../src/judge/thread.ts', import.meta.url), {
    workerData: data,
  });
  const reports: number[] = [];
  worker.on('message', (said: FromJudge) => {
    if (said.kind === 'report') reports.push(said.time);
  });
  const tell = (told: ToJudge) => worker.postMessage(told);
  const writes = new UnansweredWrites(WINDOW_MS);
  const tap = new BatchTap({ send: tell, now: () => 1_000, writes });
  for (let nth = 0; nth < STREAMS; nth += 1) {
    tap.stream({ route: 'events', id: `s${nth}`, format: 'websocket', subject: null });
  }
  tap.flush();
  const times = Array.from({ length: TICKS }, (_, nth) => 1_000 + 100 * nth);
  for (const time of times) tell({ kind: 'tick', time, ...writes.look(time) });
  await until('every tick has its report', () => reports.length >= TICKS);
  expect(reports).toEqual(times);
  // It ends by itself: no timer is left behind.
  tell({ kind: 'close', time: 2_000 });
  await once(worker, 'exit');
});
