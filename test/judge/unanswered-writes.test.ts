// A service that has not answered a write may still send what the write causes: legacy's event is not
// missing there before a window has passed since the answer.
import { expect, test } from 'vitest';
import type { Batch } from '../../src/judge/batch.ts';
import { Docket, WINDOW_MS } from '../../src/judge/docket.ts';
import { BatchTap } from '../../src/judge/tap.ts';
import { UnansweredWrites } from '../../src/judge/unanswered-writes.ts';
import { DEFAULT_RULES } from '../../src/rules/compare/rules.ts';
import { SIDES, type Side } from '../../src/rules/decide.ts';
import { DEFAULT_ISOLATION } from '../../src/rules/isolation/rules.ts';
import type { Books } from '../../src/rules/pairing/books.ts';
import { FrameTracker, wholeFrame } from '../../src/wire/frames.ts';

import { unwatched } from './unwatched.ts';
import { judged as watched } from './watched-users.ts';

const TICK_MS = 100;

/** The judge without its thread, on a clock that the test moves. */
function judged() {
  let now = 1_000_000;
  const writes = new UnansweredWrites(WINDOW_MS);
  const batches: Batch[] = [];
  const tap = new BatchTap({ send: batch => void batches.push(batch), now: () => now, writes });
  const docket = new Docket({
    rules: { events: { compare: DEFAULT_RULES, noise: null, isolation: DEFAULT_ISOLATION } },
    watch: unwatched(),
    onFinding: () => undefined,
    onFailure: error => {
      throw error;
    },
  });
  const connect = (id: string) => {
    const stream = tap.stream({ route: 'events', id, format: 'websocket', subject: null });
    const trackers = { legacy: new FrameTracker(), candidate: new FrameTracker() };
    for (const side of SIDES) stream.legOpened(side, trackers[side]);
    return { stream, trackers };
  };
  let session = connect('s1');
  return {
    say: (side: Side, value: object) => {
      const frame = wholeFrame(1, Buffer.from(JSON.stringify(value)));
      session.stream.follow(side, frame, session.trackers[side]);
    },
    /** The client leaves, and both services have him again at once. */
    connectAnew: () => {
      session.stream.close();
      session = connect('s2');
    },
    write: () => tap.write(null),
    leaveOut: () => tap.writeLeftOut('candidate'),
    /** Lets so much time pass, and returns the books. */
    pass: (ms: number): Books => {
      for (const end = now + ms; now < end; ) {
        now = Math.min(end, now + TICK_MS);
        tap.flush();
        for (const batch of batches.splice(0)) docket.take(batch);
        docket.sweep(now, writes.look(now));
      }
      return docket.books().get('events') as Books;
    },
  };
}

const step = (seq: number) => ({ type: 'step', run_id: 'r1', seq });

function withPair(): ReturnType<typeof judged> {
  const session = judged();
  session.pass(2 * WINDOW_MS);
  for (const side of SIDES) session.say(side, step(1));
  return session;
}

test('an event that the candidate sends after it answered a write late is no false alarm', () => {
  const { say, write, pass } = withPair();
  const answered = write();
  say('legacy', step(2));
  answered('legacy');
  pass(1.5 * WINDOW_MS);
  answered('candidate');
  pass(100);
  say('candidate', step(2));
  const { legacy, candidate } = pass(2 * WINDOW_MS);
  expect(legacy).toMatchObject({ match: 2, missing: 0 });
  expect(candidate).toMatchObject({ match: 2, extra: 0 });
});

test('an event that does not follow the answer to its write within a window is missing then', () => {
  const { say, write, pass } = withPair();
  const answered = write();
  say('legacy', step(2));
  answered('legacy');
  pass(0.5 * WINDOW_MS);
  answered('candidate');
  expect(pass(WINDOW_MS - TICK_MS).legacy).toMatchObject({ missing: 0, pending: 1 });
  expect(pass(3 * TICK_MS).legacy).toMatchObject({ missing: 1, pending: 0 });
});

test('a write holds up no event that came before it, nor one behind its answer', () => {
  const { say, write, pass } = withPair();
  say('legacy', step(2));
  pass(TICK_MS);
  const hanging = write();
  pass(TICK_MS);
  expect(pass(WINDOW_MS).legacy).toMatchObject({ missing: 1, pending: 0 });
  for (const side of SIDES) hanging(side);
  pass(TICK_MS);
  say('legacy', step(3));
  expect(pass(WINDOW_MS + 2 * TICK_MS).legacy).toMatchObject({ missing: 2, pending: 0 });
});

test('writes that are answered hold up nothing, however many there are', () => {
  const { say, write, pass } = withPair();
  say('legacy', step(2));
  for (let ms = 0; ms < WINDOW_MS + 2 * TICK_MS; ms += TICK_MS) {
    const answered = write();
    for (const side of SIDES) answered(side);
    pass(TICK_MS);
  }
  expect(pass(TICK_MS).legacy).toMatchObject({ missing: 1, pending: 0 });
});

test('a legacy that has not answered holds up what the candidate sent before', () => {
  const { say, write, pass } = withPair();
  const answered = write();
  answered('candidate');
  say('candidate', step(2));
  expect(pass(1.8 * WINDOW_MS).candidate).toMatchObject({ extra: 0, pending: 1 });
  say('legacy', step(2));
  answered('legacy');
  expect(pass(2 * WINDOW_MS).candidate).toMatchObject({ extra: 0, match: 2 });
});

test('a write that is not answered for ever holds up for one window more, and nothing after that', () => {
  const { say, write, pass } = withPair();
  write();
  say('legacy', step(2));
  expect(pass(2 * WINDOW_MS - 2 * TICK_MS).legacy).toMatchObject({ missing: 0, pending: 1 });
  expect(pass(4 * TICK_MS).legacy).toMatchObject({ missing: 1, pending: 0 });
  // It hangs still: what comes now is in no doubt for longer than that.
  say('legacy', step(3));
  expect(pass(2 * WINDOW_MS + 2 * TICK_MS).legacy).toMatchObject({ missing: 2, pending: 0 });
});

// The fault: a copy of a write waits its turn at the candidate while its user connects anew. Legacy's event went to the
// connection before, the candidate's to the new one, where it was extra.
test('what a write does late, of which legacy had told the connection before, is no extra event of the new one', () => {
  const { say, write, pass, connectAnew } = withPair();
  const answered = write();
  say('legacy', { type: 'step', run_id: 'r2', seq: 1 });
  answered('legacy');
  pass(TICK_MS);
  connectAnew();
  pass(TICK_MS);
  for (let seq = 1; seq <= 8; seq += 1) {
    for (const side of SIDES) say(side, { type: 'step', run_id: 'r3', seq });
    pass(2 * TICK_MS);
  }
  say('candidate', { type: 'step', run_id: 'r2', seq: 1 });
  answered('candidate');
  expect(pass(2 * WINDOW_MS).candidate).toMatchObject({ match: 9, extra: 0 });
});

test.each([
  ['once it has answered', 0],
  ['though a write hangs for longer than a window', 2 * WINDOW_MS],
])('... and what it says of its own is one, %s', (_when, hangsMs) => {
  const { say, write, pass, connectAnew } = withPair();
  const answered = write();
  answered('legacy');
  pass(TICK_MS + hangsMs);
  connectAnew();
  if (hangsMs === 0) answered('candidate');
  for (let seq = 1; seq <= 8; seq += 1) {
    for (const side of SIDES) say(side, { type: 'step', run_id: 'r3', seq });
    pass(TICK_MS / 2);
  }
  say('candidate', { type: 'step', run_id: 'r2', seq: 1 });
  expect(pass(3 * WINDOW_MS).candidate).toMatchObject({ match: 9, extra: 1 });
});

const BOBS = { run_id: 'r2', sender_id: 'bob' };

// The fault: where all writes took long, what the candidate dropped for one who had just connected was put down to them.
test.each([
  ['it was about another user', 'bob', { run_id: 'r2' }, 0, 'missing'],
  ['... and hangs until the window is over', 'bob', { run_id: 'r2' }, WINDOW_MS, 'missing'],
  [
    '... unless others have the run as well',
    'bob',
    { run_id: 'r2', isShared: true },
    0,
    'unjudged',
  ],
  ['... or nothing says whose it is', 'bob', { news: 'of both' }, 0, 'unjudged'],
  ['... or another user has made it', 'bob', BOBS, 0, 'unjudged'],
  ['... or nobody here is called so', 'user_17', { run_id: 'r2' }, 0, 'unjudged'],
  ['it was about him', 'ann', { run_id: 'r2' }, 0, 'unjudged'],
  ['... and hangs until the window is over', 'ann', { run_id: 'r2' }, WINDOW_MS, 'unjudged'],
  ['nobody knows whom it was about', null, { run_id: 'r2' }, 0, 'unjudged'],
])('of a write that legacy takes late, where %s', (_where, about, fields, hangsMs, verdict) => {
  const users = watched();
  const bob = users.join('bob');
  const answered = users.beginWrite(about);
  answered('candidate');
  users.pass(500);
  const ann = users.join('ann', [], 'websocket', 10);
  for (let seq = 1; seq <= 8; seq += 1) {
    ann.both({ type: 'step', run_id: 'r3', seq });
    users.pass(TICK_MS / 4);
  }
  const { isShared = false, ...its } = fields as typeof fields & { isShared?: boolean };
  const dropped = { type: 'step', seq: 1, ...its };
  ann.say('legacy', dropped);
  if (isShared) bob.both(dropped);
  users.pass(hangsMs + TICK_MS);
  answered('legacy');
  users.pass(2 * WINDOW_MS);
  expect(users.verdicts()).toEqual([verdict]);
});

// A write that hangs counts for a window, and not for as long as it hung once somebody gives it up.
test('what has hung for longer than a window before somebody came excuses nothing that is dropped for him', () => {
  const users = watched();
  const answered = users.beginWrite(null);
  answered('candidate');
  users.pass(3 * WINDOW_MS);
  const ann = users.join('ann', [], 'websocket', 10);
  for (let seq = 1; seq <= 8; seq += 1) {
    ann.both({ type: 'step', run_id: 'r3', seq });
    users.pass(TICK_MS / 4);
  }
  ann.say('legacy', { type: 'step', run_id: 'r2', seq: 1 });
  ann.both({ type: 'step', run_id: 'r2', seq: 2 });
  users.pass(TICK_MS);
  answered('legacy');
  users.pass(2 * WINDOW_MS);
  expect(users.verdicts()).toEqual(['missing']);
});

test("of so many users as can not be told by name, what one write does late may be anybody's", () => {
  const writes = new UnansweredWrites(WINDOW_MS);
  for (let n = 0; n < 300; n += 1) writes.begin(1_000, `user-${n}`)('candidate', 1_010 + n);
  const { whose, times } = writes.look(1_400).late.candidate;
  expect(whose).toHaveLength(257);
  const timesOf = (user: string | null) => {
    const at = 3 * whose.indexOf(user);
    return [...times.subarray(at, at + 3)];
  };
  expect(timesOf('user-255')).toEqual([1_000, 1_265, 265]);
  expect(timesOf(null)).toEqual([1_000, 1_309, 309]);
  expect(writes.look(1_500).late.candidate.whose).toEqual([]);
});

test('what comes of an upload that the candidate is not given is not missing there, however long that takes', () => {
  const { say, leaveOut, pass } = withPair();
  const [answered, other] = [leaveOut(), leaveOut()];
  pass(WINDOW_MS);
  say('legacy', step(2));
  expect(pass(2 * WINDOW_MS).legacy.unjudged['write-left-out']).toBe(1);
  answered();
  pass(2 * WINDOW_MS);
  say('legacy', step(3));
  other();
  expect(pass(2 * WINDOW_MS).legacy.unjudged['write-left-out']).toBe(2);
  say('legacy', step(4));
  expect(pass(2 * WINDOW_MS).legacy).toMatchObject({ match: 1, missing: 1 });
});

// The fault: by how things stood at ticks alone an event was due up to two of them, 200 ms, after its window.
test('an event is due when its window ends, to the millisecond, whenever it was looked', () => {
  const writes = new UnansweredWrites(WINDOW_MS);
  const dueAt = (nowMs: number) => writes.look(nowMs).due;
  const answered = writes.begin(10_000, null);
  answered('legacy', 10_030);
  answered('candidate', 10_047);
  expect(dueAt(15_011)).toEqual({ legacy: 9_999, candidate: 9_999 });
  expect(dueAt(15_033)).toEqual({ legacy: 9_999, candidate: 10_032 });
  expect(dueAt(15_070)).toEqual({ legacy: 10_069, candidate: 10_069 });
  // One behind another: the older one that is not answered counts.
  const [first, second] = [writes.begin(20_000, null), writes.begin(20_010, null)];
  second('candidate', 20_020);
  first('candidate', 20_040);
  for (const done of [first, second]) done('legacy', 20_041);
  expect([25_030, 25_050].map(at => dueAt(at).legacy)).toEqual([19_999, 20_049]);
});

test('what is known of writes is bounded, whether or not anybody looks', () => {
  const writes = new UnansweredWrites(100);
  for (let ms = 1_000; ms < 61_000; ms += 1) {
    for (let nth = 0; nth < 3; nth += 1) for (const side of SIDES) writes.begin(ms, null)(side, ms);
  }
  expect(writes.changes).toBeLessThanOrEqual(201);
  writes.look(61_000);
  expect(writes.changes).toBeLessThanOrEqual(101);
});
