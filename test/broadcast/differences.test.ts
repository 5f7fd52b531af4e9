import { afterEach, expect, test } from 'vitest';
import { DIFFERENCES, type Difference } from '../../src/broadcast/differences.ts';
import { type BroadcastEvent, CRITICAL_EVENTS } from '../../src/broadcast/event.ts';
import { eventKeyOf } from '../../src/broadcast/event-key.ts';
import { LEGACY_ENTRIES, type LegacyEntry } from '../../src/broadcast/legacy/entry.ts';
import type { RunningBroadcaster } from '../../src/broadcast/server.ts';
import { listen, post, service } from './listener.ts';

const USER = 'alice@example.org';
const SAID: readonly (object | string)[] = [
  { type: 'ping', message_id: 'm1' },
  { type: 'heartbeat', message_id: 'm2' },
  { type: 'confirmation', message_id: 'm3' },
  'this is not JSON',
  { type: 'no_such_type' },
  { type: 'chat', message: 'What did we spend? 🙂', message_id: 'm4' },
  { type: 'start_agent', payload: { user_request: 'Again', agent_name: 'cost' }, thread_id: 't1' },
];
const POSTED: readonly BroadcastEvent[] = [
  { type: 'status', data: { seq: 1, note: 'nested' } },
  { type: 'status', run_id: 'r1', user_id: 'bob', sender_id: 'agent_7', data: { seq: 2 } },
  { type: 'status', seq: 3, critical: true, thread_id: 'thread_of_bob', request_id: null },
  { type: 'status', payload: { seq: 4 }, critical: false, timestamp: 1757953203.4 },
];
/** The greeting, six answers, two runs, and what was posted. */
const EXPECTED = 1 + 6 + 2 * CRITICAL_EVENTS.length + POSTED.length;

const running: RunningBroadcaster[] = [];
afterEach(async () => {
  await Promise.all(running.splice(0).map(each => each.close()));
});

/** What one service sends for the input above, by event key. */
async function streamOf(kind: 'legacy' | 'ssot', entry: LegacyEntry) {
  const broadcaster = await service({ kind, ...(kind === 'legacy' ? { entry } : {}) });
  running.push(broadcaster);
  const listener = await listen(broadcaster.url, USER);
  for (const message of SAID) listener.say(message);
  for (const event of POSTED) await post(broadcaster.url, USER, event);
  const events = await listener.gets(EXPECTED);
  return new Map(events.map(event => [keyFor(event), event]));
}

function keyFor(event: BroadcastEvent): string {
  // Two refusals differ by their code alone; an ack's own id is generated.
  if (event.type === 'error_message') return `error ${event.error_code}`;
  if (event.type === 'ack')
    return `ack ${JSON.stringify(event).match(/"in_reply_to":"(\w+)"/)?.[1]}`;
  return event.type === 'connection_established' ? event.type : eventKeyOf(event);
}

type Leaves = Map<string, unknown>;

function leavesOf(value: unknown, path = '', into: Leaves = new Map()): Leaves {
  if (typeof value !== 'object' || value === null) into.set(path, value);
  else for (const [key, inner] of Object.entries(value)) leavesOf(inner, `${path}/${key}`, into);
  return into;
}

/** Compares one pair; returns the entries that were needed, throws on anything that none covers. */
function compare(
  legacy: BroadcastEvent,
  candidate: BroadcastEvent,
  entry: LegacyEntry,
): Set<Difference> {
  const used = new Set<Difference>();
  const listed = DIFFERENCES.filter(
    each =>
      each.entries.includes(entry) &&
      (each.types.includes('*') || each.types.includes(legacy.type)),
  );
  const left = new Map(leavesOf(legacy));
  for (const { path, candidatePath, ...rest } of listed) {
    if (candidatePath === undefined) continue;
    for (const [at, value] of [...left]) {
      if (at !== path && !at.startsWith(`${path}/`)) continue;
      left.delete(at);
      left.set(candidatePath + at.slice(path.length), value);
      used.add(found(listed, path, rest.kind));
    }
  }
  const right = leavesOf(candidate);
  for (const path of new Set([...left.keys(), ...right.keys()])) {
    const [ours, theirs] = [left.get(path), right.get(path)];
    if (left.has(path) === right.has(path) && Object.is(ours, theirs)) continue;
    const excuse = listed.find(each => each.path === path && excuses(each, ours, theirs));
    if (excuse === undefined) {
      throw new Error(`${legacy.type}${path}: ${String(ours)} and ${String(theirs)}, not listed`);
    }
    used.add(excuse);
  }
  return used;
}

function found(listed: readonly Difference[], path: string, kind: string): Difference {
  const entry = listed.find(each => each.path === path && each.kind === kind);
  if (entry === undefined) throw new Error(`${path} is not listed`);
  return entry;
}

function excuses({ kind }: Difference, legacy: unknown, candidate: unknown): boolean {
  switch (kind) {
    case 'time-format':
      return typeof legacy === 'number' && typeof candidate === 'string';
    case 'generated-id':
      return typeof legacy === 'string' && typeof candidate === 'string';
    case 'null-or-absent':
      return legacy === null && candidate === undefined;
    case 'candidate-adds':
      return (legacy ?? null) === null && typeof candidate === 'string';
    case 'legacy-overwrites':
      return typeof legacy === 'string';
    case 'moved':
    case 'replay':
      return false;
  }
}

test('for the same input both services say the same, but for what the list of differences names', async () => {
  const occurred = new Set<Difference>();
  for (const entry of LEGACY_ENTRIES) {
    const [legacy, candidate] = await Promise.all([
      streamOf('legacy', entry),
      streamOf('ssot', entry),
    ]);
    expect([...legacy.keys()].sort()).toEqual([...candidate.keys()].sort());
    expect(legacy.size).toBe(EXPECTED);
    for (const [key, event] of legacy) {
      const other = candidate.get(key);
      if (other === undefined) throw new Error(`${key} is missing`);
      for (const each of compare(event, other, entry)) occurred.add(each);
    }
  }
  const idle = DIFFERENCES.filter(each => !occurred.has(each) && each.kind !== 'replay');
  expect(idle).toEqual([]);
});

test('only the SSOT service replays what nobody was there to take, and marks it recovered', async () => {
  const [replay] = DIFFERENCES.filter(each => each.kind === 'replay');
  expect(replay?.path).toBe('/recovered');
  for (const kind of ['legacy', 'ssot'] as const) {
    const broadcaster = await service({ kind });
    running.push(broadcaster);
    await post(broadcaster.url, USER, { type: 'status', seq: 1 });
    const listener = await listen(broadcaster.url, USER);
    await post(broadcaster.url, USER, { type: 'status', seq: 2 });
    await listener.gets(1, event => event.seq === 2);
    const seen = listener.events.map(({ type, seq, recovered }) => ({ type, seq, recovered }));
    expect(seen).toEqual([
      { type: 'connection_established' },
      ...(kind === 'ssot' ? [{ type: 'status', seq: 1, recovered: true }] : []),
      { type: 'status', seq: 2 },
    ]);
  }
});

test('an agent run tells its five events in order, with the fields that clients rely on', async () => {
  const required: Record<string, readonly string[]> = {
    agent_started: ['user_id', 'thread_id', 'timestamp'],
    agent_thinking: ['reasoning', 'timestamp'],
    tool_executing: ['tool_name', 'parameters', 'timestamp'],
    tool_completed: ['tool_name', 'results', 'duration', 'timestamp'],
    agent_completed: ['status', 'final_response', 'timestamp'],
  };
  for (const kind of ['legacy', 'ssot'] as const) {
    const broadcaster = await service({ kind });
    running.push(broadcaster);
    const listener = await listen(broadcaster.url, USER);
    listener.say({ type: 'start_agent', message: 'hello', message_id: 'm' });
    const events = await listener.gets(5, event => event.run_id !== undefined);
    expect(events.map(event => event.type)).toEqual(CRITICAL_EVENTS);
    for (const event of events) {
      for (const name of required[event.type] ?? []) expect(event[name] ?? null).not.toBeNull();
    }
  }
});
