// What `npm start` tells at first, by a demo in this process.
import { mkdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import pino from 'pino';
import { expect, test } from 'vitest';
import type { EvidenceSummary } from '../../src/control/evidence/kept.ts';
import { evidenceQueries } from '../../src/control/evidence/queries.ts';
import { EvidenceStore } from '../../src/control/evidence/store.ts';
import { isFlawless, type RunningDemo, startDemo } from '../../src/runs/demo.ts';
import { shippedCopy } from '../../src/runs/shipped-copy.ts';
import { tellTour } from '../../src/runs/tour.ts';
import { freePort } from '../support/free-port.ts';
import { openedByTest } from '../support/opened.ts';
import { until } from '../support/until.ts';

// Tours go side by side: each waits for what its own users do and its own judge finds.
const USERS = 10;
const open = openedByTest();

async function demo(): Promise<RunningDemo> {
  const logger = pino({ level: 'silent' });
  return startDemo({ users: USERS, logger, env: process.env });
}

/** One whose state folder is there when it has ended: as `npm start` in a folder. */
async function demoInFolder() {
  const [legacy, candidate] = [await freePort(), await freePort()];
  const copy = await shippedCopy({
    ...process.env,
    CUTOVER_LEGACY: `http://127.0.0.1:${legacy}`,
    CUTOVER_CANDIDATE: `http://127.0.0.1:${candidate}`,
  });
  open.push({ close: copy.remove });
  const { folder, env, loaded } = copy;
  const { stateDir, evidence } = loaded.config;
  const store = () => new EvidenceStore(path.join(stateDir, 'evidence.sqlite'), evidence);
  await mkdir(stateDir, { mode: 0o700 });
  const config = path.join(folder, 'cutover.yaml');
  const logger = pino({ level: 'silent' });
  return { store, start: () => startDemo({ users: USERS, logger, env, config }) };
}

async function setStage(running: RunningDemo, name: string): Promise<void> {
  const token = (await readFile(running.adminTokenFile, 'utf8')).trim();
  const answer = await fetch(`${await running.proxy.admin}/api/v1/stage`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    body: JSON.stringify({ stage: name, reason: 'somebody else' }),
  });
  expect(answer.status).toBe(200);
}

test.concurrent('the tour shows a fault found, a leak stopped and a rollback proven, and nobody misses an event', async () => {
  const { start, store } = await demoInFolder();
  keepOlder(store());
  const running = await start();
  const told: string[] = [];
  const books = () => running.proxy.judge.books().get('events')?.candidate;
  let most = 0;
  let looks: NodeJS.Timeout | undefined;
  open.push({ close: () => clearInterval(looks) });
  const look = () => {
    most = Math.max(most, running.online().candidate);
  };
  let bookedWhenFound: number | undefined;
  const say = (line: string) => {
    told.push(line);
    if (line.includes('Found after')) bookedWhenFound = books()?.mismatch;
    if (/WebSockets: .* moved/.test(line)) looks = setInterval(look, 1);
  };
  await tellTour({
    demo: running,
    users: USERS,
    readMs: 0,
    say,
    signal: new AbortController().signal,
  });
  const text = told.join('\n');
  expect(text).toMatch(/^\s+\d+ events came from both services and are the same; 0 are not\.$/m);
  expect(text).toMatch(/mismatch at \/type of \w+/);
  expect(text).toMatch(/put right on its way, and the guardrail took everybody back/);
  expect(text).toMatch(
    /^\s+[1-9]\d* WebSockets: [1-9]\d* moved and still open, 0 closed, 0 left\./m,
  );
  expect(told.at(-1)).toMatch(/^Released, and back in stage off/);
  expect(running.proxy.rollbacks.latch.held).toEqual([]);
  // The fault: what the tour before had planted was taken for found, before this one's was judged.
  expect(bookedWhenFound).toBe(1);
  // The fault: released before it was back in stage off, half of them went over once more.
  clearInterval(looks);
  expect(most).toBe(0);
  // The fault: what the tour had planted was held against the candidate ever after.
  expect(text).toMatch(
    /the tour has planted 1 mismatch and 1 contaminated;\n\s+cutover evidence summary counts anew/,
  );
  expect(books()).toMatchObject({ mismatch: 1, contaminated: 1 });
  const before = books()?.match ?? 0;
  await setStage(running, 'shadow');
  await until('it is compared again', () => (books()?.match ?? 0) > before + 2 * USERS);
  const report = await running.end();
  expect(report).toMatchObject({ lost: 0, duplicated: 0 });
  expect(isFlawless(report)).toBe(true);
  const { units, diverged } = runsOf(store());
  expect(units).toBeGreaterThan(0);
  expect(diverged).toBe(0);
}, 120_000);

/** A tour before has left it: evidence stays in the folder. */
function keepOlder(store: EvidenceStore): void {
  const what = { route: 'events', eventType: 'agent_started', verdict: 'mismatch' } as const;
  const at = Date.now() - 60_000;
  const group = {
    ...what,
    kind: 'value',
    path: '/type',
    count: 1,
    firstAt: at,
    lastAt: at,
  } as const;
  store.keep({ groups: [group], examples: [], units: [], dropped: {} });
  store.close();
}

/** What `cutover evidence summary` says of the route's runs. */
function runsOf(store: EvidenceStore): EvidenceSummary['rates'][number] {
  const asked = { route: 'events', since: null, threshold: 0.001 };
  const { rates } = evidenceQueries(store.database).summary(asked);
  store.close();
  const runs = rates.find(({ eventType, of }) => eventType === null && of === 'run');
  if (runs === undefined) throw new Error('no run was counted');
  return runs;
}

// The fault: it went on for half a minute, until the first stage that was refused.
test.concurrent('a tour that begins under a rollback says so at once', async () => {
  const running = await demo();
  open.push({ close: () => running.end() });
  await running.proxy.rollbacks.rollback({ reason: 'before', by: 'operator' });
  const told: string[] = [];
  const say = (line: string) => void told.push(line);
  const { signal } = new AbortController();
  await tellTour({ demo: running, users: USERS, readMs: 0, say, signal });
  expect(told).toEqual([
    'The tour ends here: a rollback holds users on legacy; cutover release ends that',
  ]);
}, 60_000);

// The fault: it did not say what to do about it.
test.concurrent('a tour that begins in another stage says how to come back to off', async () => {
  const running = await demo();
  open.push({ close: () => running.end() });
  await setStage(running, 'shadow');
  const told: string[] = [];
  const say = (line: string) => void told.push(line);
  const { signal } = new AbortController();
  await tellTour({ demo: running, users: USERS, readMs: 0, say, signal });
  expect(told).toEqual([
    'The tour ends here: it begins in stage off, and this is shadow; cutover stage off, and start the demo again',
  ]);
}, 60_000);

// The fault: it hung, with a fault that waited for the first event of a comparison that somebody began later.
test.concurrent('a tour whose candidate is shown nothing any more ends, and leaves no fault behind', async () => {
  const running = await demo();
  open.push({ close: () => running.end() });
  const told: string[] = [];
  let isOff: Promise<void> | null = null;
  const say = (line: string) => {
    told.push(line);
    if (line.includes('are the same')) isOff = setStage(running, 'off');
  };
  const { signal } = new AbortController();
  // Time to read, in which it is done.
  await tellTour({ demo: running, users: USERS, readMs: 2_000, plantMs: 2_000, say, signal });
  await isOff;
  expect(told.join('\n')).toContain(
    'The tour ends here: waited in vain until the candidate sent something to plant it in',
  );
  const events = () => running.proxy.judge.books().get('events')?.legacy;
  const before = events()?.match ?? 0;
  await setStage(running, 'shadow');
  await until('it is compared again', () => (events()?.match ?? 0) > before + 2 * USERS);
  expect(events()?.mismatch).toBe(0);
}, 60_000);

test.concurrent('a tour that is ended in the middle says no more', async () => {
  const running = await demo();
  open.push({ close: () => running.end() });
  const told: string[] = [];
  const ending = new AbortController();
  const say = (line: string) => {
    told.push(line);
    if (told.length === 1) ending.abort();
  };
  await tellTour({ demo: running, users: USERS, readMs: 0, say, signal: ending.signal });
  expect(told).toHaveLength(1);
}, 60_000);
