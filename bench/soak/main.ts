// `npm run soak [-- --minutes N]`: clients of every kind, and an operator, against a real
// `cutover start` for ten minutes.
// Prints what came of it, and exits with 1 if the proxy grew, left anything behind, or failed anybody.
import { once } from 'node:events';
import { setTimeout as pause } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { bearerOf } from '../user.ts';
import { operatedKinds } from './operator.ts';
import { type SoakedProxy, startSoakedProxy } from './proxy.ts';
import { startService } from './service.ts';
import {
  growthPerMinute,
  type Holdings,
  megabytes,
  problemsOf,
  type Sample,
  settled,
  type Visits,
} from './verdict.ts';
import { KINDS, type Kind, stay, type Visitor } from './visits.ts';

const USERS = 50;
/** WebSockets that are open from the beginning to the end. */
const STAYING = 100;
const SAMPLE_MS = 2_000;
/** Every second stays below 60 s in which keepalive and time-outs end what a client left open. */
const MOST_SETTLING_MS = 60_000;

const { values } = parseArgs({ options: { minutes: { type: 'string', default: '10' } } });
const minutes = Number(values.minutes);
if (!(minutes > 0 && minutes <= 120)) {
  console.error('usage: npm run soak [-- --minutes N], N from 0 to 120');
  process.exit(2);
}

// What it has started is ended at its exit, so a signal has to be one.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1));

const service = await startService();
const proxy = await startSoakedProxy(service.port);
const visitors: Visitor[] = [];
for (let i = 0; i < USERS; i += 1)
  visitors.push({ port: proxy.port, bearer: await bearerOf(`user_${i}`) });
const kinds = { ...KINDS, ...operatedKinds(proxy.operator, visitors) };
const visits: Record<string, Visits> = {};
for (const kind of [...Object.keys(kinds), 'staying'])
  visits[kind] = { done: 0, failed: 0, firstFailure: null };

// What is made at the first visit and kept (workers, files) is there before anything is counted.
for (const [name, kind] of Object.entries(kinds)) await visitOnce(name, kind);
const before = await holdingsAtRest(proxy, null);

const samples = await soak(minutes * 60_000);
const after = proxy.ended() === null ? await holdingsAtRest(proxy, before) : {};

const problems = problemsOf({
  ...{ samples, before, after, visits },
  faults: await proxy.faults(),
  died: proxy.ended(),
});
report();
await proxy.stop();
service.close();
process.exit(problems.length === 0 ? 0 : 1);

async function soak(durationMs: number): Promise<Sample[]> {
  const startedAt = performance.now();
  const ending = AbortSignal.timeout(durationMs);
  const over = once(ending, 'abort').then(() => undefined);
  const staying = Array.from({ length: STAYING }, () =>
    visitOnce('staying', { visit: visitor => stay(visitor, over) }),
  );
  const coming = Object.entries(kinds).flatMap(([name, kind]) =>
    Array.from({ length: kind.visitors }, () => keepVisiting(name, kind, ending)),
  );
  const taken: Sample[] = [];
  let toldMinutes = 0;
  while (!ending.aborted && proxy.ended() === null) {
    const atMs = performance.now() - startedAt;
    taken.push({ atMs, residentBytes: proxy.resident() });
    if (atMs >= (toldMinutes + 1) * 60_000) {
      toldMinutes += 1;
      const done = Object.values(visits).reduce((sum, kind) => sum + kind.done, 0);
      console.log(
        `minute ${toldMinutes}: ${megabytes(taken.at(-1)?.residentBytes ?? 0)} MB, ${done} visits`,
      );
    }
    await pause(SAMPLE_MS);
  }
  await Promise.all([...coming, ...staying]);
  return taken;
}

async function keepVisiting(name: string, kind: Kind, ending: AbortSignal): Promise<void> {
  while (!ending.aborted && proxy.ended() === null) {
    await visitOnce(name, kind);
    await pause(kind.pauseMs);
  }
}

async function visitOnce(name: string, { visit }: Pick<Kind, 'visit'>): Promise<void> {
  const counts = visits[name] as Visits;
  try {
    await visit(visitors[Math.floor(Math.random() * USERS)] as Visitor);
    counts.done += 1;
  } catch (error) {
    counts.failed += 1;
    counts.firstFailure ??= String(error);
  }
}

/** What the proxy holds once that is no more than `target`, or no less than a moment before. */
async function holdingsAtRest(of: SoakedProxy, target: Holdings | null): Promise<Holdings> {
  const end = performance.now() + MOST_SETTLING_MS;
  for (let last: Holdings | null = null; ; ) {
    const now = await of.holdings();
    const isAtRest =
      target === null
        ? last !== null && Object.entries(now).every(([kind, n]) => n === last?.[kind])
        : Object.entries(now).every(([kind, n]) => n <= (target[kind] ?? 0));
    if (isAtRest || performance.now() > end) return now;
    last = now;
    // Longer than an idle connection to a service is kept.
    await pause(target === null ? 6_000 : 1_000);
  }
}

function report(): void {
  for (const [kind, { done, failed }] of Object.entries(visits))
    console.log(
      `${kind.padEnd(18)} ${String(done).padStart(8)} visits ${String(failed).padStart(4)} failed`,
    );
  const counted = settled(samples);
  const [first, last] = [counted[0], counted.at(-1)];
  if (first !== undefined && last !== undefined) {
    const span = `minute ${(first.atMs / 60_000).toFixed(1)} to ${(last.atMs / 60_000).toFixed(1)}`;
    console.log(
      `resident size     ${megabytes(first.residentBytes)} MB to ${megabytes(last.residentBytes)} MB, ${span}: ${megabytes(growthPerMinute(counted))} MB a minute`,
    );
  }
  console.log(`held before       ${JSON.stringify(before)}`);
  console.log(`held after        ${JSON.stringify(after)}`);
  for (const problem of problems) console.log(`! ${problem}`);
  console.log(problems.length === 0 ? 'verdict: passed' : 'verdict: FAILED');
}
