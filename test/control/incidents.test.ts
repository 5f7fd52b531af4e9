// What becomes of an event with another user's data: acted upon at once, told once, on record without a name.
import { mkdir, mkdtemp, readFile, rm, rmdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import pino from 'pino';
import { afterEach, expect, test, vi } from 'vitest';
import { Incidents } from '../../src/control/incidents.ts';
import { verifyJournal } from '../../src/control/journal.ts';
import { WINDOW_MS } from '../../src/judge/docket.ts';
import type { Prevented } from '../../src/ports.ts';
import type { Side } from '../../src/rules/decide.ts';
import type { Contamination } from '../../src/rules/isolation/incident.ts';
import type { Turn } from '../../src/rules/isolation/turns.ts';
import { HASH_KEY_BYTES } from '../../src/rules/keyed-hash.ts';
import { judged } from '../judge/watched-users.ts';
import { until } from '../support/until.ts';

let folder: string;
afterEach(async () => {
  vi.useRealTimers();
  await rm(folder, { recursive: true, force: true });
});

async function incidents({
  isMismatch = false,
  behindMs = (): number => 0,
  turns = [] as Turn[],
} = {}) {
  folder = await mkdtemp(path.join(tmpdir(), 'cutover-incidents-'));
  const acted: string[] = [];
  const logged: string[] = [];
  const sessions = [{ id: 's1', subject: null, side: 'candidate' as Side, turns }];
  const kept = new Incidents({
    guardrails: () => ({ contaminated: route => void acted.push(route) }),
    traffic: () => ({ sessionsOf: () => sessions }),
    isMismatch: () => isMismatch,
    behindMs,
    logger: pino({}, { write: line => void logged.push(line) }),
  });
  await kept.keepIn(folder, new Uint8Array(HASH_KEY_BYTES).fill(9));
  return { kept, acted, logged, sessions };
}

const found = (more: Partial<Contamination> = {}): Contamination => ({
  ...{ rule: 'routing', route: 'events', session: 's1', side: 'candidate' },
  ...{ path: '/target_user_id', eventType: 'notice', onBoth: false, at: 1_795_000_000_000 },
  ...{ user: 'ann', owner: 'bob', isShown: null },
  ...more,
});
const prevented = (more: Partial<Prevented> = {}): Prevented => ({
  ...{ route: 'events', side: 'candidate', session: 's1', path: '/target_user_id' },
  ...{ eventType: 'notice', owner: 'bob', outcome: 'sanitized', compared: true },
  subject: { id: 'ann', aliases: [] },
  ...more,
});

test('an event is acted upon, counted, logged and on record, and nobody is named', async () => {
  const { kept, acted, logged } = await incidents();
  kept.contaminated(found());
  expect(acted).toEqual(['events']);
  const [incident] = await until('it is on record', async () => {
    const all = await kept.last(10);
    return all.length > 0 ? all : undefined;
  });
  expect(incident).toMatchObject({ outcome: 'delivered', rule: 'routing', seq: 1 });
  expect([...kept.counts]).toMatchObject([{ route: 'events', outcome: 'delivered', count: 1 }]);
  const text = await readFile(path.join(folder, 'incidents.jsonl'), 'utf8');
  expect(text + logged.join('')).not.toMatch(/ann|bob/);
  // 50: error.
  expect(logged.map(line => JSON.parse(line).level)).toContain(50);
  expect(await verifyJournal(path.join(folder, 'incidents.jsonl'))).toMatchObject({ entries: 1 });
});

test.each([
  ['presence.eve@example.com', /^<email [0-9a-f]{16}>$/],
  ['mail:bob@example.com', /^mail:<email [0-9a-f]{16}>$/],
  ['inbox:bob', /^inbox:<user [0-9a-f]{16}>$/],
  ['bob', /^<user [0-9a-f]{16}>$/],
  ['to-annie.from-ann', /^to-annie\.from-<user [0-9a-f]{16}>$/],
  ['chat.user_1001', /^chat\.\*$/],
  ['', /^$/],
])('nor by the type that a service gave it: %s', async (eventType, kept) => {
  const { kept: all, logged } = await incidents();
  all.contaminated(found({ eventType }));
  const [incident] = await until('it is on record', async () => {
    const last = await all.last(1);
    return last.length > 0 ? last : undefined;
  });
  expect(incident?.eventType).toMatch(kept);
  expect(logged.join('')).toContain(`"eventType":"${incident?.eventType}"`);
});

// The fault: of several whom an event names, and of a user's other names, the type had them as they are.
test('nor by whomever else it names', async () => {
  const { kept: all, logged } = await incidents();
  all.contaminated(
    found({ eventType: 'inbox:carl.of:annie', names: ['carl', 'annie'], owner: null }),
  );
  const [incident] = await until('it is on record', async () => {
    const last = await all.last(1);
    return last.length > 0 ? last : undefined;
  });
  expect(incident?.eventType).toMatch(/^inbox:<user [0-9a-f]{16}>\.of:<user [0-9a-f]{16}>$/);
  expect(logged.join('')).not.toMatch(/carl|annie/);
});

// The fault: a client that puts his name into `X-Request-Id` had it on record, where evidence had none.
test('nor by the id of his request', async () => {
  const { kept: all, logged } = await incidents();
  all.contaminated(found({ session: 'ann-7#17' }));
  const [incident] = await until('it is on record', async () => {
    const last = await all.last(1);
    return last.length > 0 ? last : undefined;
  });
  expect(incident?.session).toMatch(/^<user [0-9a-f]{16}>-7#17$/);
  expect(logged.join('')).not.toMatch(/ann-/);
  all.contaminated(found({ session: '3eb96b35-16ab-4f4e-a303-e77d2acaa40e' }));
  const [other] = await until('it is on record', async () => {
    const last = await all.last(2);
    return last.length > 1 ? last : undefined;
  });
  expect(other?.session).toBe('3eb96b35-16ab-4f4e-a303-e77d2acaa40e');
});

test("legacy's own, and what both services sent, take nobody anywhere", async () => {
  const { kept, acted } = await incidents();
  kept.contaminated(found({ side: 'legacy' }));
  kept.contaminated(found({ onBoth: true }));
  expect(acted).toEqual([]);
  expect([...kept.counts]).toMatchObject([{ side: 'legacy', outcome: 'not-shown', count: 1 }]);
});

test('what both services send is counted by type and place, with what a lane did about it, and names nobody', async () => {
  const { kept } = await incidents();
  for (const eventType of ['outbox', 'outbox', 'inbox:bob']) {
    for (const side of ['legacy', 'candidate'] as const)
      kept.contaminated(found({ eventType, side, onBoth: true }));
  }
  kept.prevented(prevented({ eventType: 'outbox' }), false);
  kept.contaminated(found({ eventType: 'outbox', onBoth: true }));
  kept.contaminated(found({ rule: 'marker', onBoth: true }));
  const path = '/target_user_id';
  expect(kept.shared.of('events')).toEqual([
    { eventType: 'outbox', path, count: 3, prevented: 1 },
    { eventType: expect.stringMatching(/^inbox:<user \w+>$/), path, count: 1, prevented: 0 },
  ]);
  for (let n = 0; n < 200; n += 1) kept.contaminated(found({ eventType: `t-${n}`, onBoth: true }));
  const shared = kept.shared.of('events');
  expect(shared).toHaveLength(101);
  expect(shared[0]).toEqual({ eventType: '(other)', path: '', count: 102, prevented: 0 });
  expect(kept.shared.of('api')).toEqual([]);
});

test('what a lane prevented and the judge tells of is one incident', async () => {
  const { kept, acted } = await incidents();
  vi.useFakeTimers();
  kept.prevented(prevented(), false);
  expect(acted).toEqual([]);
  kept.contaminated(found());
  vi.advanceTimersByTime(60_000);
  expect(acted).toEqual(['events']);
  expect([...kept.counts]).toMatchObject([{ outcome: 'sanitized', count: 1 }]);
});

// The fault: what the judge would not accuse anybody of was acted upon some seconds later, for want of its word.
test('what proves nothing by the judge’s word is nobody’s incident, whatever a lane did about it', async () => {
  const { kept, acted } = await incidents();
  vi.useFakeTimers();
  kept.prevented(prevented(), false);
  kept.contaminated(found({ inDoubt: true }));
  vi.advanceTimersByTime(60_000);
  expect([acted, [...kept.counts]]).toEqual([[], []]);
  vi.useRealTimers();
  // But what the lane did is on record, and that nobody is accused.
  const [entry] = await until('it is on record', async () => {
    const all = await kept.last(10);
    return all.length > 0 ? all : undefined;
  });
  expect(entry).toMatchObject({ outcome: 'sanitized', inDoubt: true, rule: 'routing' });
  expect(await kept.last(10)).toHaveLength(1);
});

test('what is in doubt takes no room on record from what is not', async () => {
  const { kept } = await incidents();
  for (let n = 0; n < 100; n += 1) kept.contaminated(found({ inDoubt: true }));
  kept.contaminated(found());
  const all = await until('all are on record', async () => {
    const last = await kept.last(1_000);
    return last.length === 61 ? last : undefined;
  });
  expect(all.filter(({ inDoubt }) => inDoubt !== true)).toHaveLength(1);
  expect(kept.unkept).toBe(40);
});

// The fault: the judge waits for legacy's answer to a write, and its word came when that was acted upon already: taken
// back for what legacy sends as well, or one leak as two, of which one was delivered.
test('the judge’s word is waited for as long as it may take', async () => {
  const { join, pass, told, beginWrite } = judged();
  join('ann').both({ type: 'assigned', userId: 'bob' });
  const eve = join('eve');
  beginWrite();
  eve.say('candidate', { type: 'assigned', userId: 'bob' });
  pass(4 * WINDOW_MS);
  const lastMs = told.at(-1)?.ms ?? 0;
  expect(lastMs).toBeGreaterThan(WINDOW_MS);
  for (const [word, counts] of [
    [{ onBoth: true }, []],
    [{ inDoubt: true }, []],
    [{}, [['sanitized', 1]]],
  ] as const) {
    const { kept, acted } = await incidents();
    vi.useFakeTimers();
    kept.prevented(prevented(), false);
    // A tick of the judge's, and its thread's time.
    vi.advanceTimersByTime(lastMs + 200);
    kept.contaminated(found(word));
    vi.advanceTimersByTime(60_000);
    expect(acted).toHaveLength(counts.length);
    expect([...kept.counts].map(({ outcome, count }) => [outcome, count])).toEqual(counts);
    vi.useRealTimers();
    await rm(folder, { recursive: true, force: true });
  }
});

// The fault: once in doubt, what a lane had done about it was nobody's.
test('what is in doubt no more is acted upon then, with what a lane did about it, and claims nobody else’s', async () => {
  const { kept, acted, sessions } = await incidents();
  const [session] = sessions;
  if (session !== undefined) session.side = 'legacy';
  vi.useFakeTimers();
  const { at } = found();
  const event = (n: number, more: Partial<Contamination> = {}) => found({ at: at + n, ...more });
  // Prevented as it came; as it was handed over; of an answer; and one that no lane has seen.
  kept.prevented(prevented(), false);
  kept.contaminated(event(0, { inDoubt: true }));
  kept.contaminated(event(1_000, { inDoubt: true }));
  kept.prevented(prevented({ outcome: 'blocked', cameAt: at + 1_000 }), false);
  kept.prevented(prevented({ session: 'r1' }), false);
  const answered = { session: 'r1', isShown: true };
  kept.contaminated(event(2_000, { ...answered, inDoubt: true }));
  kept.contaminated(event(3_000, { inDoubt: true }));
  vi.advanceTimersByTime(60_000);
  expect([acted, [...kept.counts]]).toEqual([[], []]);
  // Another one that is waited for.
  kept.prevented(prevented({ outcome: 'blocked' }), false);
  for (const ms of [0, 1_000, 3_000]) kept.contaminated(event(ms, { wasInDoubt: true }));
  kept.contaminated(event(2_000, { ...answered, wasInDoubt: true }));
  expect(acted).toHaveLength(4);
  const counts = () => [...kept.counts].map(({ outcome, count }) => `${outcome} ${count}`);
  expect(counts()).toEqual(['sanitized 2', 'blocked 1', 'not-shown 1']);
  kept.contaminated(event(4_000, { onBoth: true }));
  vi.advanceTimersByTime(60_000);
  expect(acted).toHaveLength(4);
  expect(kept.shared.of('events')).toMatchObject([{ count: 1, prevented: 1 }]);
  // What is both services' by what legacy says then is shared, and handed over as such.
  kept.contaminated(event(5_000, { inDoubt: true }));
  kept.contaminated(event(5_000, { onBoth: true, wasInDoubt: true }));
  kept.prevented(prevented({ cameAt: at + 5_000 }), false);
  vi.advanceTimersByTime(60_000);
  expect(kept.shared.of('events')).toMatchObject([{ count: 2, prevented: 2 }]);
  expect(acted).toHaveLength(4);
});

test('what the judge has no copy of is acted upon at once, and what it does not tell of soon after', async () => {
  const { kept, acted } = await incidents();
  vi.useFakeTimers();
  kept.prevented(prevented({ outcome: 'blocked' }), true);
  expect(acted).toEqual(['events']);
  kept.prevented(prevented(), false);
  const preventedAt = new Date().toISOString();
  expect(acted).toEqual(['events']);
  vi.advanceTimersByTime(60_000);
  expect(acted).toEqual(['events', 'events']);
  expect([...kept.counts].map(({ outcome, count }) => [outcome, count])).toEqual([
    ['blocked', 1],
    ['sanitized', 1],
  ]);
  vi.useRealTimers();
  const last = await until('both are on record', async () => {
    const all = await kept.last(10);
    return all.length === 2 ? all : undefined;
  });
  // The fault: it had the time at which nobody waited for the judge's word any more.
  expect(last.map(({ at }) => at)).toEqual([preventedAt, preventedAt]);
});

// The fault: where the judge had no copy, or was far behind, an address that both services send took everybody back.
test('what the judge says nothing of takes nobody back from where both services are known to name others', async () => {
  const { kept, acted } = await incidents();
  vi.useFakeTimers();
  kept.contaminated(found({ eventType: 'outbox.1234', onBoth: true }));
  kept.prevented(prevented({ eventType: 'outbox.5678' }), true);
  kept.prevented(prevented({ eventType: 'outbox.5678' }), false);
  vi.advanceTimersByTime(60_000);
  expect([acted, [...kept.counts]]).toEqual([[], []]);
  expect(kept.shared.of('events')).toMatchObject([{ count: 1, prevented: 2 }]);
  // Nothing speaks for another place, another type or another route.
  for (const other of [{ path: '/userId' }, { eventType: 'inbox' }, { route: 'api' }])
    kept.prevented(prevented({ eventType: 'outbox.1234', ...other }), true);
  expect(acted).toEqual(['events', 'events', 'api']);
});

// The fault: seven seconds after the event, however far behind the judge was that would have said whose it is.
test('a judge that is behind has its window from when it has read the event, unless it is stuck', async () => {
  let readUntil = 0;
  const { kept, acted } = await incidents({ behindMs: () => performance.now() - readUntil });
  vi.useFakeTimers();
  readUntil = performance.now() - 1;
  kept.prevented(prevented(), false);
  vi.advanceTimersByTime(12_500);
  readUntil = performance.now();
  vi.advanceTimersByTime(10_000);
  kept.contaminated(found({ onBoth: true }));
  vi.advanceTimersByTime(60_000);
  expect(acted).toEqual([]);
  readUntil = performance.now() - 1;
  kept.prevented(prevented({ path: '/userId' }), false);
  vi.advanceTimersByTime(25_900);
  expect(acted).toEqual([]);
  vi.advanceTimersByTime(200);
  expect(acted).toEqual(['events']);
});

// The fault: the one that was due took the first of its session out of the queue, which was told of never, and claimed
// by the judge's word about a later one.
test('of two that a lane prevented each is told of in its own time, in whatever order they were read', async () => {
  let readUntil = 0;
  const { kept, acted } = await incidents({ behindMs: () => performance.now() - readUntil });
  vi.useFakeTimers();
  readUntil = performance.now() - 1;
  kept.prevented(prevented({ path: '/userId' }), false);
  vi.advanceTimersByTime(500);
  kept.prevented(prevented(), false);
  // The first one has asked already, and will again after the second one has.
  vi.advanceTimersByTime(700);
  readUntil = performance.now();
  vi.advanceTimersByTime(60_000);
  expect(acted).toEqual(['events', 'events']);
  kept.prevented(prevented(), false);
  kept.contaminated(found({ inDoubt: true }));
  vi.advanceTimersByTime(60_000);
  expect(acted).toHaveLength(2);
});

test('where addresses do not fit the users, what a lane did about them is nobody’s leak', async () => {
  const { kept, acted } = await incidents({ isMismatch: true });
  vi.useFakeTimers();
  kept.prevented(prevented(), true);
  kept.prevented(prevented(), false);
  vi.advanceTimersByTime(60_000);
  expect(acted).toEqual([]);
  expect([...kept.counts]).toEqual([]);
});

// The fault: who had been sent another's data before the first of them took everybody back was on record as if nobody had.
test('who served the session when the event came says whether it was delivered, wherever it has gone since', async () => {
  const at = 1_795_000_000_000;
  const back = { to: 'legacy', fromMs: at + 100, untilMs: at + 102 } as const;
  const { kept, sessions } = await incidents({ turns: [back] });
  const [session] = sessions;
  if (session === undefined) return;
  session.side = 'legacy';
  const outcomes: string[] = [];
  const tell = (side: Side, ms: number) => {
    const before = new Map([...kept.counts].map(each => [each, each.count]));
    kept.contaminated(found({ side, at: at + ms }));
    for (const each of kept.counts)
      if (each.count !== (before.get(each) ?? 0)) outcomes.push(`${side} ${ms} ${each.outcome}`);
  };
  for (const ms of [0, 102, 103]) tell('candidate', ms);
  for (const ms of [99, 100, 200]) tell('legacy', ms);
  // And to the candidate again.
  session.turns.push({ to: 'candidate', fromMs: at + 300, untilMs: at + 300 });
  session.side = 'candidate';
  for (const ms of [0, 200, 400]) tell('candidate', ms);
  for (const ms of [200, 400]) tell('legacy', ms);
  expect(outcomes).toEqual([
    'candidate 0 delivered',
    'candidate 102 delivered',
    'candidate 103 not-shown',
    'legacy 99 not-shown',
    'legacy 100 delivered',
    'legacy 200 delivered',
    'candidate 0 delivered',
    'candidate 200 not-shown',
    'candidate 400 delivered',
    'legacy 200 delivered',
    'legacy 400 not-shown',
  ]);
});

// The fault: what came on a second leg, and a handover gave to its client, was one leak and two incidents, the second of
// which was acted upon some seconds later.
test('what a handover hands over is told of once; on record is also what became of it then', async () => {
  const { kept, acted, sessions } = await incidents();
  const [session] = sessions;
  if (session === undefined) return;
  vi.useFakeTimers();
  session.side = 'legacy';
  const { at } = found();
  for (const ms of [0, 1_000]) kept.contaminated(found({ at: at + ms }));
  kept.contaminated(found({ at: at + 2_000, onBoth: true }));
  kept.contaminated(found({ at: at + 3_000, inDoubt: true }));
  expect(acted).toHaveLength(2);
  session.side = 'candidate';
  for (const ms of [1_000, 2_000, 3_000]) {
    kept.prevented(prevented({ cameAt: at + ms - 0.4 }), false);
    vi.advanceTimersByTime(60_000);
  }
  expect(acted).toHaveLength(2);
  expect([...kept.counts]).toMatchObject([{ outcome: 'not-shown', count: 2 }]);
  expect(kept.shared.of('events')).toMatchObject([{ count: 1, prevented: 1 }]);
  vi.useRealTimers();
  const last = await until('it is on record', async () => {
    const all = await kept.last(10);
    return all.length === 5 ? all : undefined;
  });
  const iso = (ms: number) => new Date(at + ms).toISOString();
  expect(last.slice(0, 4)).toMatchObject([
    { at: iso(3_000), outcome: 'sanitized', inDoubt: true },
    { at: iso(1_000), outcome: 'sanitized' },
    { at: iso(3_000), outcome: 'not-shown', inDoubt: true },
    { at: iso(1_000), outcome: 'not-shown' },
  ]);
});

test('... and what the judge has not told of yet waits for its word, as what comes now does', async () => {
  const { kept, acted } = await incidents();
  vi.useFakeTimers();
  const { at } = found();
  kept.contaminated(found());
  const early = { path: '/userId', cameAt: at };
  for (const event of [prevented({ cameAt: at + 5_000 }), prevented(early), prevented()]) {
    kept.prevented(event, false);
  }
  expect(acted).toHaveLength(1);
  for (const path of ['/target_user_id', '/userId']) kept.contaminated(found({ path }));
  vi.advanceTimersByTime(60_000);
  expect(acted).toHaveLength(4);
  expect([...kept.counts].map(({ outcome, count }) => [outcome, count])).toEqual([
    ['delivered', 1],
    ['sanitized', 3],
  ]);
});

test('an answer of HTTP has no session to look at: it says itself whether its client was sent it', async () => {
  const { kept } = await incidents();
  for (const isShown of [true, false]) kept.contaminated(found({ session: 'r1', isShown }));
  expect([...kept.counts].map(({ outcome }) => outcome)).toEqual(['delivered', 'not-shown']);
});

test('a flood is acted upon and counted one by one; on record are the first sixty', async () => {
  const { kept, acted } = await incidents();
  for (let n = 0; n < 500; n += 1) kept.contaminated(found());
  expect(acted).toHaveLength(500);
  await until('they are on record', async () => (await kept.last(1_000)).length >= 60);
  expect(kept.unkept).toBe(440);
  expect(await kept.last(1_000)).toHaveLength(60);
  expect([...kept.counts].map(({ outcome, count }) => [outcome, count])).toEqual([
    ['delivered', 60],
    ['unasked', 440],
  ]);
});

test('... of each service and route: the one that caused a rollback is among them, whatever legacy does', async () => {
  const { kept } = await incidents();
  for (let n = 0; n < 100; n += 1) kept.contaminated(found({ side: 'legacy' }));
  for (let n = 0; n < 100; n += 1) kept.contaminated(found({ route: 'api' }));
  kept.contaminated(found());
  await until('they are on record', async () => (await kept.last(1_000)).length >= 121);
  expect((await kept.last(1))[0]).toMatchObject({ route: 'events', side: 'candidate' });
  expect(kept.unkept).toBe(80);
});

test('a disk that refuses keeps nobody from acting', async () => {
  const { kept, acted } = await incidents();
  kept.letGo();
  kept.contaminated(found());
  expect(acted).toEqual(['events']);
  await until('it is counted', () => kept.unkept === 1);
});

// The fault: a file that could not be opened at the start was never opened again.
test('66: where the disk refuses at the start they are counted, and once it takes them again the next one is on record', async () => {
  const { kept } = await incidents();
  const file = path.join(folder, 'incidents.jsonl');
  await mkdir(file);
  kept.letGo();
  await kept.keepIn(folder, new Uint8Array(HASH_KEY_BYTES).fill(9));
  kept.contaminated(found());
  await until('it is counted', () => kept.unkept === 1);
  expect(await kept.last(10)).toEqual([]);
  await rmdir(file);
  kept.contaminated(found({ path: '/userId' }));
  kept.contaminated(found({ path: '/recipient_id' }));
  await until('both are on record', async () => (await kept.last(10)).length === 2);
  expect(await verifyJournal(file)).toMatchObject({ entries: 2, fault: null });
  expect(kept.unkept).toBe(1);
});
