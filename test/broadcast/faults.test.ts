import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type BroadcastEvent, CRITICAL_EVENTS } from '../../src/broadcast/event.ts';
import { eventKeyOf } from '../../src/broadcast/event-key.ts';
import { type FaultKind, parseFault } from '../../src/broadcast/fault.ts';
import type { PlantedFault } from '../../src/broadcast/fault-planter.ts';
import type { BroadcasterOptions, RunningBroadcaster } from '../../src/broadcast/server.ts';
import { until } from '../support/until.ts';
import { type Listener, listen, service } from './listener.ts';

let folder = '';
const running: RunningBroadcaster[] = [];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'cutover-faults-'));
});
afterEach(async () => {
  await Promise.all(running.splice(0).map(each => each.close()));
  rmSync(folder, { recursive: true });
});

const START = { type: 'start_agent', message: 'hello', message_id: '1' };

interface Planted {
  readonly broadcaster: RunningBroadcaster;
  readonly alice: Listener;
  readonly bob: Listener;
  /** Keys of what was due, in order. */
  readonly due: string[];
  truth(): PlantedFault[];
}

async function planted(fault: string, more: Partial<BroadcasterOptions> = {}): Promise<Planted> {
  const truthFile = join(folder, `truth-${running.length}.jsonl`);
  const due: string[] = [];
  const broadcaster = await service({
    kind: 'ssot',
    faults: [parseFault(fault)],
    truthFile,
    onWritten: (_, key) => due.push(key),
    ...more,
  });
  running.push(broadcaster);
  const bob = await listen(broadcaster.url, 'bob');
  const alice = await listen(broadcaster.url, 'alice');
  const truth = () =>
    readFileSync(truthFile, 'utf8')
      .split('\n')
      .filter(Boolean)
      .map((line): PlantedFault => JSON.parse(line));
  return { broadcaster, alice, bob, due, truth };
}

const inRun = (event: BroadcastEvent) => event.run_id !== undefined;
const typesOf = (events: readonly BroadcastEvent[]) => events.filter(inRun).map(each => each.type);
const [started, thinking, executing, toolDone, done] = CRITICAL_EVENTS;

/** What arrives at the user when the first event that can be hit is hit. */
const SEEN: readonly [FaultKind, readonly string[]][] = [
  ['drop', [thinking, executing, toolDone, done]],
  ['duplicate', [started, started, thinking, executing, toolDone, done]],
  ['reorder', [thinking, started, executing, toolDone, done]],
  ['wrong-type', ['agent_started_event', thinking, executing, toolDone, done]],
  ['rewrite-provenance', CRITICAL_EVENTS],
  ['routing-field', CRITICAL_EVENTS],
  ['nested-routing-field', CRITICAL_EVENTS],
  ['misroute', [thinking, executing, toolDone, done]],
  ['slow', CRITICAL_EVENTS],
];

test.each(SEEN)('%s changes one event of a run, as the truth file says', async (kind, expected) => {
  for (const side of ['ssot', 'legacy'] as const) {
    const { alice, bob, due, truth, broadcaster } = await planted(`${kind}:1`, { kind: side });
    const beganMs = performance.now();
    alice.say(START);
    await alice.gets(expected.length, inRun);
    expect(typesOf(alice.events)).toEqual(expected);
    const hit = alice.events.find(inRun);
    expect(due).toHaveLength(5);
    expect(truth()).toMatchObject([
      { seq: 0, kind, user: 'alice', run_id: hit?.run_id, event_type: started, event_key: due[0] },
    ]);
    expect(broadcaster.counts.planted).toBe(1);
    expect(typesOf(bob.events)).toEqual(kind === 'misroute' ? [started] : []);
    const routing = {
      'routing-field': hit?.target_user_id,
      'nested-routing-field': Object(hit?.data).target_user_id,
    };
    for (const [name, value] of Object.entries(routing)) {
      expect(value).toBe(name === kind ? 'bob' : undefined);
    }
    if (kind === 'rewrite-provenance') expect(hit?.sender_id).toBe('alice');
    else if (kind !== 'reorder' && kind !== 'drop' && kind !== 'misroute') {
      expect(hit?.sender_id).toMatch(/^agent_/);
    }
    if (kind === 'slow') expect(performance.now() - beganMs).toBeGreaterThan(1_900);
  }
});

test('a crash is written down and then every socket is gone', async () => {
  const { alice, bob, truth, broadcaster } = await planted('crash:1');
  alice.say(START);
  await until('both are cut off', () => alice.code !== undefined && bob.code !== undefined);
  expect([alice.code, bob.code]).toEqual([1006, 1006]);
  expect(truth()).toMatchObject([{ kind: 'crash', user: 'alice' }]);
  await expect(fetch(`${broadcaster.url}/health`)).rejects.toThrow();
});

test('the same seed hits the same events, another seed others, and no run twice', async () => {
  const runs = 60;
  async function hits(seed: number) {
    const { alice, truth } = await planted('wrong-type:0.1', { seed });
    for (let n = 0; n < runs; n++) {
      alice.say({ ...START, message_id: `m${n}` });
      // One after another: more than 32 at once are refused.
      await alice.gets(5 * (n + 1), inRun);
    }
    return truth();
  }
  const [first, again, other] = [await hits(7), await hits(7), await hits(8)];
  expect(again).toEqual(first);
  expect(other).not.toEqual(first);
  expect(new Set(first.map(each => each.run_id)).size).toBe(first.length);
  // 60 runs, each hit with probability 1 − 0.9^5 = 41 %: 25 expected, 10 to 40 all but certain.
  expect(first.length).toBeGreaterThan(10);
  expect(first.length).toBeLessThan(40);
});

test('answers to one socket are never hit', async () => {
  const { alice, truth } = await planted('drop:1');
  for (const type of ['ping', 'heartbeat', 'confirmation', 'nonsense']) alice.say({ type });
  expect(await alice.gets(5)).toHaveLength(5);
  expect(truth()).toEqual([]);
});

test('a truth line names the event by the key that its unharmed twin has', async () => {
  const faulty = await planted('wrong-type:1');
  const clean = await planted('wrong-type:0');
  faulty.alice.say(START);
  clean.alice.say(START);
  await faulty.alice.gets(5, inRun);
  const [twin] = await clean.alice.gets(5, inRun);
  expect(faulty.truth()[0]?.event_key).toBe(twin === undefined ? '' : eventKeyOf(twin));
  expect(clean.truth()).toEqual([]);
});

test('a fault that is not one is refused with what would be right', async () => {
  for (const text of ['dorp', 'drop:', 'drop:2', 'drop:x', 'drop:0.1:3', '']) {
    expect(() => parseFault(text)).toThrow(RangeError);
  }
  expect(parseFault('drop')).toEqual({ kind: 'drop', rate: 0.01 });
  await expect(
    service({ kind: 'ssot', faults: [parseFault('drop:0.6'), parseFault('slow:0.6')] }),
  ).rejects.toThrow(/add up to 1.2/);
});
