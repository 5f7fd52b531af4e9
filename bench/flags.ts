// What flags cost: CPU of a decision, on every client's path; and the time from an edit of a flag file
// to the first decision that follows it, by hand and through the provider, as `cutover stage` does.
import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import pino from 'pino';
import { ConfigSchema } from '../src/config/schema.ts';
import { createDecider } from '../src/control/decider.ts';
import { type FlagProvider, openFileFlags } from '../src/control/flags/provider.ts';
import { editShare } from '../src/rules/flag-edit.ts';
import type { FeatureLike } from '../src/rules/flag-shape.ts';
import { rounded, type Target } from './comparison.ts';
import { median, middle, quantile } from './figures.ts';
import { type Busy, isQuiet, watched } from './rounds.ts';

const USERS = 10_000;
/** Before a figure counts: the engine compiles what is hot. */
const WARM_UP = 100_000;
const ROUNDS = 21;
const DECISIONS = 50_000;
/** The 99th percentile is one of a hundred. */
const EDITS = 200;
/** As every edit waits for its effect, one that has none would wait for ever. */
const MOST_EDIT_MS = 10_000;

const ROUTE = ConfigSchema.shape.routes.element.parse({
  name: 'events',
  path: '/ws',
  protocol: 'websocket',
});
const LOGGER = pino({ level: 'silent' });

interface Times {
  readonly p50: number;
  readonly p99: number;
  readonly most: number;
}

export interface FlagsResult {
  /** CPU of the thread per decision, flags evaluated: median and quartiles of the rounds. */
  readonly decisionUs: Readonly<Record<string, { median: number; quartiles: [number, number] }>>;
  /** From the new file's rename to the first decision by it. */
  readonly editMs: Times;
  /** The same from the call that sets a stage. */
  readonly stageMs: Times;
  readonly noise: Busy & { readonly latency: 'quiet enough' | 'too noisy to tell' };
  readonly targets: readonly Target[];
}

export async function benchFlags({ json }: { json: boolean }): Promise<FlagsResult> {
  const say = (text: string) => (json ? undefined : console.log(text));
  const decisionUs: Record<string, { median: number; quartiles: [number, number] }> = {};
  for (const [what, serve, shadow] of [
    ['settled', 0, 1000],
    ['canary', 125, 1000],
    ['canary, shadow sampled', 125, 500],
  ] as const) {
    const costs = await withFlags(featuresFor(serve, shadow), async flags => decisionCosts(flags));
    const [low, high] = middle(costs);
    const cost = rounded(median(costs));
    decisionUs[what] = { median: cost, quartiles: [rounded(low), rounded(high)] };
    say(`a decision, ${what}: ${cost} µs`);
  }

  const edits = await withFlags(featuresFor(0, 0), (flags, dir) =>
    watched([process.pid], () => editTimes(flags, share => replace(dir, featuresFor(share, 0)))),
  );
  const stages = await withFlags(featuresFor(0, 0), flags =>
    watched([process.pid], () =>
      editTimes(flags, async share => {
        await flags.setStage(ROUTE, { serve: share, shadow: 0, kill: false });
      }),
    ),
  );
  const editMs = timesOf(edits.result);
  const stageMs = timesOf(stages.result);
  const busiest = edits.busy.total > stages.busy.total ? edits.busy : stages.busy;
  const quiet = [edits, stages].every(isQuiet);
  const costs = Object.values(decisionUs).map(each => each.median);
  const targets = [
    { what: 'CPU of a decision in µs', value: Math.max(...costs), most: 5 },
    { what: 'p99 from edit to effect in ms', value: editMs.p99, most: 150 },
    { what: 'p99 from stage change to effect in ms', value: stageMs.p99, most: 150 },
  ].map(each => ({ ...each, met: each.value <= each.most }));
  const latency = quiet ? 'quiet enough' : 'too noisy to tell';
  for (const { what, value, most, met } of targets)
    say(`${met ? 'met   ' : 'MISSED'}  ${what}: ${value} of at most ${most}`);
  say(`latencies: ${latency}`);
  const { total, foreign } = busiest;
  const noise = { total: rounded(total), foreign: rounded(foreign), latency } as const;
  return { decisionUs, editMs, stageMs, noise, targets };
}

/** CPU of one decision in µs, a round each. */
function decisionCosts(flags: FlagProvider): number[] {
  const subjects = Array.from({ length: USERS }, (_, i) => ({ id: `user_${i}`, aliases: [] }));
  const decide = createDecider(flags);
  // What nobody looks at the engine may leave out.
  let moved = 0;
  const run = (times: number) => {
    for (let i = 0; i < times; i += 1) {
      const { decision } = decide(ROUTE, subjects[i % USERS] ?? null);
      if (decision.primary === 'candidate') moved += 1;
    }
  };
  run(WARM_UP);
  const costs = Array.from({ length: ROUNDS }, () => {
    const before = process.threadCpuUsage();
    run(DECISIONS);
    const { user, system } = process.threadCpuUsage(before);
    return (user + system) / DECISIONS;
  });
  const isCanary = (flags.stage(ROUTE).serve ?? 0) > 0;
  if (moved > 0 !== isCanary) throw new Error('the decisions are not those of the flags');
  return costs;
}

/** Gives everybody to the candidate and takes them back, again and again; ms of each. */
async function editTimes(
  flags: FlagProvider,
  edit: (share: 0 | 1000) => Promise<void>,
): Promise<number[]> {
  const decide = createDecider(flags);
  const somebody = { id: 'user_1', aliases: [] };
  const times: number[] = [];
  for (let i = 0; i < EDITS; i += 1) {
    const share = i % 2 === 0 ? 1000 : 0;
    const wanted = share === 0 ? 'legacy' : 'candidate';
    const startedAt = performance.now();
    // Nobody waits for the edit to have returned.
    const edited = edit(share);
    while (decide(ROUTE, somebody).decision.primary !== wanted) {
      if (performance.now() - startedAt > MOST_EDIT_MS) throw new Error('an edit had no effect');
      await new Promise(resolve => setImmediate(resolve));
    }
    times.push(performance.now() - startedAt);
    await edited;
  }
  return times;
}

function timesOf(times: readonly number[]): Times {
  return {
    p50: rounded(median(times)),
    p99: rounded(quantile(times, 0.99)),
    most: rounded(Math.max(...times)),
  };
}

function featuresFor(serve: number, shadow: number): FeatureLike[] {
  return [
    editShare(undefined, {
      name: 'events.serve',
      variant: 'candidate',
      other: 'legacy',
      share: serve,
    }),
    editShare(undefined, { name: 'events.shadow', variant: 'on', other: 'off', share: shadow }),
    { name: 'events.kill', enabled: false, strategies: [{ name: 'default', parameters: {} }] },
  ];
}

/** As editors do it: a whole new file, renamed into place. */
async function replace(dir: string, features: readonly FeatureLike[]): Promise<void> {
  const file = path.join(dir, 'events.json');
  await writeFile(`${file}.new`, JSON.stringify({ version: 2, features }));
  await rename(`${file}.new`, file);
}

async function withFlags<T>(
  features: readonly FeatureLike[],
  work: (flags: FlagProvider, dir: string) => Promise<T>,
): Promise<T> {
  const dir = await mkdtemp(path.join(tmpdir(), 'cutover-bench-flags-'));
  await replace(dir, features);
  const flags = await openFileFlags({ dir, routes: () => [ROUTE], logger: LOGGER });
  try {
    return await work(flags, dir);
  } finally {
    await flags.close();
    await rm(dir, { recursive: true });
  }
}
