// What the judge finds of one user's data at another, without its thread and on a clock that is moved.

import { expect, test, vi } from 'vitest';
import { LONGEST_FLUSH_MS } from '../../src/judge/batch.ts';
import { HOLD_MS } from '../../src/judge/contamination-watch.ts';
import { WINDOW_MS } from '../../src/judge/docket.ts';
import type { AnswerSample } from '../../src/ports.ts';
import type { Allowance } from '../../src/rules/compare/rules.ts';
import { SIDES, type Side } from '../../src/rules/decide.ts';
import { DEFAULT_ISOLATION, type IsolationRules } from '../../src/rules/isolation/rules.ts';
import { FrameTracker } from '../../src/wire/frames.ts';
import { judged, TICK_MS } from './watched-users.ts';

const step = (run: string, thread: string, more: object = {}) => ({
  ...{ type: 'agent_thinking', run_id: run, thread_id: thread, step_number: 1 },
  ...{ reasoning: `Thinking about what ${run} is for`, timestamp: 1757953203.4 },
  ...more,
});

test('a foreign address is told within 100 ms, and the pair is contaminated on both sides', () => {
  const { join, pass, whats, told, findings } = judged();
  const ann = join('ann');
  ann.say('legacy', step('run1', 't1'));
  ann.say('candidate', step('run1', 't1', { data: { target_user_id: 'bob' } }));
  pass(HOLD_MS + TICK_MS);
  expect(whats()).toEqual(['routing candidate ann /data/target_user_id']);
  expect(told[0]?.ms).toBeLessThan(100);
  const books = pass(2 * WINDOW_MS);
  expect(books?.candidate.contaminated).toBe(1);
  expect(books?.legacy.contaminated).toBe(1);
  expect(findings.map(({ verdict }) => verdict)).toEqual(['contaminated']);
  expect(whats()).toHaveLength(1);
});

// The fault: of a batch lane and judge had different types, and what both send was not known there.
test('an address is of the event that it stands in, also in a batch', () => {
  const { join, pass, told } = judged();
  const [ann, own] = [join('ann'), { type: 'note', run_id: 'run1', userId: 'ann' }];
  ann.both([own, { type: 'assigned', userId: 'bob' }]);
  pass(HOLD_MS + TICK_MS);
  expect(told.map(({ eventType }) => eventType)).toEqual(['assigned', 'assigned']);
});

// The fault: whose it was stood nowhere where he was the only one in a list or an object, and 42.0 was nobody's name.
test('whose it is by an address is told, however that is written, where it names him alone', () => {
  const { join, pass, told } = judged();
  const ann = join('ann');
  const named = ['"bob"', '["bob"]', '{"id":"bob"}', '42', '42.0', '["42"]', '["bob","carl"]'];
  for (const [n, json] of named.entries())
    ann.say('candidate', `{"type":"a","run_id":"run${n}","userId":${json}}`);
  pass(HOLD_MS + TICK_MS);
  expect(told.map(({ owner }) => owner)).toEqual(['bob', 'bob', 'bob', '42', '42', '42', null]);
});

test('whom its type names is told with it, however many an event names, and by all of his own names', () => {
  const { join, pass, told } = judged();
  const ann = join('ann', ['annie']);
  const event = (type: string, more: object) => ({ type, run_id: type, ...more });
  ann.say('candidate', event('to:bob.carl', { userId: ['bob', 'carl', 'dora'] }));
  ann.say('candidate', event('to:bob', { userId: 'carl', data: { target_user_id: 'bob' } }));
  ann.say('candidate', event('to:annie', { userId: 'carl' }));
  pass(HOLD_MS + TICK_MS);
  // His own stands in the session's id, here.
  expect(told.map(({ names }) => names)).toEqual([
    ['ann', 'bob', 'carl'],
    ['ann', 'bob'],
    ['ann', 'annie'],
  ]);
});

test('what both services send one user is told as such, whichever comes first', () => {
  for (const order of [SIDES, SIDES.toReversed()]) {
    const { join, pass, whats } = judged();
    const ann = join('ann');
    const [first = 'legacy', second = 'candidate'] = order;
    ann.say(first, step('run1', 't1', { userId: 'bob' }));
    pass(HOLD_MS - 2 * TICK_MS);
    expect(whats()).toEqual([]);
    ann.say(second, step('run1', 't1', { userId: 'bob' }));
    expect(whats()).toEqual([
      `routing ${first} ann /userId on-both`,
      `routing ${second} ann /userId on-both`,
    ]);
    pass(2 * WINDOW_MS);
    expect(whats()).toHaveLength(2);
  }
});

// The 50 ms began when the judge had the batch: what opened the next one had few of them.
test('legacy has 50 ms from when the event came, whichever of the two waits for its batch', () => {
  const { join, pass, whats, watch } = judged();
  const [ann, eve] = [join('ann'), join('eve')];
  ann.say('candidate', step('run1', 't1', { userId: 'bob' }));
  pass(5 * TICK_MS);
  ann.say('legacy', step('run1', 't1', { userId: 'bob' }));
  expect(whats().filter(what => !what.endsWith('on-both'))).toEqual([]);
  // One that was the first of its batch has been there for as long as a batch waits.
  eve.say('candidate', { type: 'ping' });
  const about = { route: 'events', session: 's-eve', eventType: 'x', isShown: null } as const;
  const found = { rule: 'routing', side: 'candidate', path: '/x', owner: 'bob' } as const;
  const at = watch.sentAt - LONGEST_FLUSH_MS;
  watch.hold({ ...about, ...found, user: 'eve', onBoth: false, at }, false);
  const before = whats().length;
  pass(4 * TICK_MS);
  expect(whats()).toHaveLength(before);
  pass(TICK_MS);
  expect(whats().slice(before)).toEqual(['routing candidate eve /x']);
});

test('... however they write it, wherever they put it, and whatever else of the two differs', () => {
  const { join, pass, whats, verdicts } = judged();
  const ann = join('ann');
  const named = { type: 'outbox', run_id: 'run1' };
  ann.say('legacy', { ...named, text: 'a', userId: 'josé' });
  ann.say(
    'candidate',
    '{"type":"outbox","run_id":"run1","data":{"userId":"jos\\u00e9"},"text":"b"}',
  );
  const books = pass(2 * WINDOW_MS);
  expect(whats()).toEqual([
    'routing legacy ann /userId on-both',
    'routing candidate ann /data/userId on-both',
  ]);
  expect(verdicts()).toEqual(['mismatch']);
  expect(books?.candidate).toMatchObject({ mismatch: 1, contaminated: 0 });
});

// The key of an event without a run is made of all that it says: a stamp apart, and it was the candidate's alone.
test('... also where nothing but what it says tells it from others', () => {
  const { join, pass, whats } = judged();
  const ann = join('ann');
  ann.say('legacy', { type: 'assigned', userId: 'bob', sent_at: 'at noon' });
  ann.say('candidate', { type: 'assigned', userId: 'bob', sent_at: 'a moment after' });
  // Once each: one more is the candidate's alone, and so is one of another type, or to somebody else.
  for (const [type, userId] of [
    ['assigned', 'bob'],
    ['message', 'bob'],
    ['assigned', 'carl'],
  ])
    ann.say('candidate', { type, userId, sent_at: 'later' });
  pass(2 * WINDOW_MS);
  expect(whats().toSorted()).toEqual([
    ...Array.from({ length: 3 }, () => 'routing candidate ann /userId'),
    'routing candidate ann /userId on-both',
    'routing legacy ann /userId on-both',
  ]);
});

test('... and that hides nothing else that is another user’s in it', () => {
  const { join, pass, whats, verdicts } = judged();
  const [ann, bob] = [join('ann'), join('bob')];
  bob.both(step('run2', 't2'));
  ann.say('legacy', step('run1', 't1', { userId: 'bob' }));
  ann.say('candidate', step('run1', 't2', { userId: 'bob' }));
  pass(2 * WINDOW_MS);
  expect(whats().filter(what => !what.endsWith('on-both'))).toEqual([
    'ledger candidate ann /thread_id',
  ]);
  expect(verdicts()).toEqual(['contaminated']);
});

test('where legacy itself names others, the candidate is given the whole window to be like it', () => {
  const { join, pass, whats } = judged();
  const ann = join('ann');
  ann.both({ type: 'assigned', run_id: 'run1', userId: 'bob' });
  ann.say('candidate', { type: 'assigned', run_id: 'run2', userId: 'carl' });
  pass(WINDOW_MS - 1_000);
  expect(whats().filter(what => !what.endsWith('on-both'))).toEqual([]);
  ann.say('legacy', { type: 'assigned', run_id: 'run2', userId: 'carl' });
  ann.say('candidate', { type: 'assigned', run_id: 'run3', userId: 'dora' });
  // Of another type, or in another place, nothing is known.
  ann.say('candidate', { type: 'message', run_id: 'run4', userId: 'dora' });
  pass(HOLD_MS + TICK_MS);
  expect(whats().filter(what => !what.endsWith('on-both'))).toEqual([
    'routing candidate ann /userId',
  ]);
  pass(WINDOW_MS);
  expect(whats().filter(what => !what.endsWith('on-both'))).toHaveLength(2);
});

test('... and it is known to name others however late it does, and whether or not the candidate is there', () => {
  const assigned = (n: number) => ({ type: 'assigned', run_id: `run${n}`, userId: 'bob' });
  const { join, pass, skip, whats } = judged();
  const ann = join('ann');
  const alone = () => whats().filter(what => !what.endsWith('on-both'));
  // A candidate that is always the faster one; for longer than anything is remembered.
  for (let n = 0; n < 15; n += 1) {
    ann.say('candidate', assigned(n));
    pass(20);
    ann.say('legacy', assigned(n));
    pass(50);
    skip(60_000);
  }
  ann.say('candidate', assigned(99));
  pass(HOLD_MS + 2 * TICK_MS);
  ann.say('legacy', assigned(99));
  pass(2 * WINDOW_MS);
  expect(alone()).toEqual([]);

  // Legacy by itself, and then both.
  const other = judged();
  const eve = other.join('eve');
  eve.stream.legClosed('candidate', 'by-service');
  eve.say('legacy', assigned(0));
  const carl = other.join('carl');
  carl.say('candidate', assigned(1));
  other.pass(HOLD_MS + 2 * TICK_MS);
  carl.say('legacy', assigned(1));
  other.pass(2 * WINDOW_MS);
  expect(other.whats().filter(what => !what.endsWith('on-both'))).toEqual([
    'routing legacy eve /userId',
  ]);
});

test('events that are alike are told apart by their number, in whatever order they come', () => {
  for (const [first, second] of [SIDES, SIDES.toReversed()] as [Side, Side][]) {
    const { join, pass, whats } = judged();
    const ann = join('ann');
    const typing = { type: 'typing', run_id: 'run1', userId: 'bob' };
    for (const side of [first, first, second, second]) ann.say(side, typing);
    pass(2 * WINDOW_MS);
    expect(whats().filter(what => !what.endsWith('on-both'))).toEqual([]);
    expect(whats()).toHaveLength(4);
  }
});

test('what legacy did long ago is no excuse for the candidate', () => {
  const { join, pass, whats } = judged();
  const ann = join('ann');
  ann.say('legacy', step('run1', 't1', { userId: 'bob' }));
  pass(11 * 60_000);
  ann.say('candidate', step('run1', 't1', { userId: 'bob' }));
  pass(HOLD_MS + TICK_MS);
  expect(whats()).toEqual(['routing legacy ann /userId', 'routing candidate ann /userId']);
});

test('a hundred addresses that he typed accuse nobody, and do not make the names look wrong', () => {
  const { join, pass, whats, watch } = judged();
  const users = Array.from({ length: 20 }, (_, n) => ({ id: `user${n}`, ...join(`user${n}`) }));
  for (let n = 0; n < 1_000; n += 1) {
    const { id, both } = users[n % 20] as (typeof users)[number];
    both({ type: 'note', run_id: `run${n}`, userId: id });
  }
  const ann = join('ann');
  ann.tells(JSON.stringify(Array.from({ length: 100 }, (_, n) => ({ userId: `u${n}` }))));
  const echo = (n: number) => ({ type: 'echo', run_id: `run${n}`, data: { userId: `u${n}` } });
  for (const side of ['candidate', 'legacy'] as const) {
    for (let n = 0; n < 100; n += 1) ann.say(side, echo(n));
    pass(1_000);
  }
  pass(2 * WINDOW_MS);
  expect(whats().filter(what => !what.endsWith('on-both'))).toEqual([]);
  expect(watch.books().get('events')?.identityMismatch).toBe(false);
});

test('nor is he accused of his own words, whichever service repeats them first', () => {
  const { join, pass, whats } = judged();
  const ann = join('ann');
  const alone = () => whats().filter(what => !what.endsWith('on-both'));
  ann.tells('{"type":"chat","data":{"userId":"bob"}}');
  pass(20_000);
  ann.say('candidate', { type: 'echo', run_id: 'run1', data: { userId: 'bob' } });
  pass(WINDOW_MS - 1_000);
  ann.say('legacy', { type: 'echo', run_id: 'run1', data: { userId: 'bob' } });
  pass(2 * WINDOW_MS);
  expect(alone()).toEqual([]);
  // What only one of them says is told all the same, once the other one has had its window.
  ann.tells('{"type":"chat","data":{"userId":"bob"}}');
  ann.say('candidate', { type: 'other', run_id: 'run2', data: { userId: 'bob' } });
  pass(WINDOW_MS + HOLD_MS);
  expect(alone()).toEqual(['routing candidate ann /data/userId']);
});

test('... and that is forgotten when legacy has not done so for ten minutes', () => {
  const { join, pass, whats } = judged();
  const ann = join('ann');
  ann.both({ type: 'assigned', run_id: 'run1', userId: 'bob' });
  const soon = () => {
    ann.say('candidate', { type: 'assigned', run_id: 'run2', userId: 'carl' });
    pass(HOLD_MS + TICK_MS);
    return whats().filter(what => !what.endsWith('on-both'));
  };
  pass(5 * 60_000);
  expect(soon()).toEqual([]);
  pass(5 * 60_000);
  expect(soon()).toContain('routing candidate ann /userId');
});

test('under load nobody is told of before his time, and beyond what is held that is counted by cause', () => {
  const { join, pass, whats, watch } = judged();
  // Fewer than it takes to see that the names do not fit.
  const users = Array.from({ length: 19 }, (_, n) => join(`user${n}`));
  const events = (user: number, count: number) =>
    Array.from({ length: count }, (_, n) => ({
      ...{ type: 'assigned', run_id: `run${user}-${n}`, userId: 'bob' },
    }));
  const alone = () => whats().filter(what => !what.endsWith('on-both'));
  // Legacy names others in that place: the candidate has the whole window to be like it.
  users[0]?.both({ type: 'assigned', run_id: 'run', userId: 'bob' });
  for (const [n, user] of users.entries()) user.say('candidate', ...events(n, 100));
  pass(1_000);
  for (const [n, user] of users.entries()) user.say('legacy', ...events(n, 100));
  expect(alone()).toEqual([]);
  const crowded = () => watch.books().get('events')?.sides.candidate.crowded;
  expect(crowded()).toMatchObject({ 'told-early': 0, 'not-asked-again': 0, 'twin-forgotten': 0 });

  // What was told of holds no place; the rest does, up to the limit.
  const [rule, side, path] = ['routing', 'candidate', '/userId'] as const;
  const of = { route: 'events', session: 's', eventType: 'assigned', isShown: null } as const;
  const one = { ...{ rule, side, path }, ...of };
  for (let n = 0; n < 50_010; n += 1) {
    watch.hold({ ...one, user: 'ann', owner: 'bob', onBoth: false, at: 0 }, false);
    watch.lookLater({ route: 'events', look: () => undefined });
  }
  expect(alone()).toHaveLength(10);
  expect(crowded()).toMatchObject({ 'told-early': 10, 'not-asked-again': 10, 'twin-forgotten': 0 });
});

// The fault: nobody was told that the rule has forgotten whose something was.
test('contents that made room before their time are counted on the route that needed it', () => {
  const { join, watch } = judged();
  const ann = join('ann');
  for (let n = 1; n <= 200_000; n += 1) {
    const spread = Math.imul(n, 0x9e3779b1) >>> 0;
    watch.contents.teach({ high: spread, low: spread }, { high: 1, low: 1 }, watch.now());
  }
  const forgotten = () => watch.books().get('events')?.sides.legacy.crowded['contents-forgotten'];
  ann.say('legacy', { type: 'agent_message', data: { message: 'a text of its own' } });
  expect(forgotten()).toBe(100_000);
  ann.say('legacy', { type: 'agent_message', data: { message: 'another text of its own' } });
  expect(forgotten()).toBe(100_000);
});

// The fault: who typed a name and had it repeated by the thousand took everybody back, before legacy had its time.
test('... nor is told then what legacy is known to send too, or a client has said: that is in doubt', () => {
  const { join, pass, whats, watch } = judged();
  const ann = join('ann');
  ann.tells('{"type":"chat","data":{"userId":"bob"}}');
  const echo = (n: number) => ({ type: 'echo', run_id: `run${n}`, data: { userId: 'bob' } });
  for (let n = 0; n < 1_010; n += 1) ann.say('candidate', echo(n));
  pass(1_000);
  for (let n = 0; n < 1_010; n += 1) ann.say('legacy', echo(n));
  pass(2 * WINDOW_MS);
  const alone = whats().filter(what => !what.endsWith('on-both'));
  expect(alone.filter(what => what.startsWith('routing candidate'))).toEqual([]);
  const { crowded, inDoubt } = watch.books().get('events')?.sides.candidate ?? {};
  expect([crowded?.['twin-forgotten'], inDoubt]).toEqual([10, 10]);
  const about = { route: 'events', session: 's', eventType: 'x', isShown: null, at: 0 } as const;
  const one = {
    rule: 'routing',
    side: 'candidate',
    path: '/x',
    user: 'ann',
    owner: 'bob',
  } as const;
  const known = { isSpokenFor: true, isLegacyHeard: () => true };
  for (let n = 0; n < 50_010; n += 1) {
    watch.hold({ ...about, ...one, onBoth: false }, true, known);
  }
  expect(whats().filter(what => what.startsWith('routing candidate ann /x'))).toEqual([]);
  expect(watch.books().get('events')?.sides.candidate.inDoubt).toBe(20);
});

test('a leg that is alone is not waited for', () => {
  const { join, whats } = judged();
  const ann = join('ann');
  ann.stream.legClosed('legacy', 'by-service');
  ann.say('candidate', step('run1', 't1', { userId: 'bob' }));
  expect(whats()).toEqual(['routing candidate ann /userId']);
});

// The fault: where legacy's leg was not there, nothing spoke for an address that both services send, or that the client
// himself had said, and everybody was taken back at once, to a legacy that restarted.
test('where legacy is not heard, what it is known to send too, or a client has said, is in doubt and takes nobody back', () => {
  const inDoubt = ({ watch }: ReturnType<typeof judged>) =>
    watch.books().get('events')?.sides.candidate.inDoubt;
  const alone = ({ whats }: ReturnType<typeof judged>) =>
    whats().filter(what => !what.endsWith('on-both'));
  const assigned = { type: 'assigned', run_id: 'run2', userId: 'bob' };
  const known = judged();
  known.join('ann').both({ ...assigned, run_id: 'run1' });
  known.pass(1_000);
  const eve = known.join('eve');
  eve.stream.legClosed('legacy', 'by-service');
  eve.say('candidate', assigned);
  known.pass(2 * WINDOW_MS);
  expect([alone(known), known.verdicts(), inDoubt(known)]).toEqual([[], ['unjudged'], 1]);
  // Nor later, as long as legacy is not there to show that it does so no more.
  known.pass(11 * 60_000);
  eve.say('candidate', { ...assigned, run_id: 'run3' });
  expect([alone(known), inDoubt(known)]).toEqual([[], 2]);
  // Nothing speaks for another place; it is told at once.
  eve.say('candidate', { type: 'assigned', run_id: 'run4', target_user_id: 'bob' });
  expect(alone(known)).toEqual(['routing candidate eve /target_user_id']);

  const said = judged();
  const carl = said.join('carl');
  carl.stream.legClosed('legacy', 'by-service');
  carl.tells('{"type":"chat","data":{"userId":"bob"}}');
  carl.say('candidate', { type: 'echo', run_id: 'run2', data: { userId: 'bob' } });
  said.pass(2 * WINDOW_MS);
  expect([alone(said), said.verdicts(), inDoubt(said)]).toEqual([[], ['unjudged'], 1]);
  carl.say('candidate', { type: 'echo', run_id: 'run3', data: { userId: 'dora' } });
  expect(alone(said)).toEqual(['routing candidate carl /data/userId']);
});

type Joined = ReturnType<ReturnType<typeof judged>['join']>;
const alone = (whats: readonly string[]) => whats.filter(what => !what.endsWith('on-both'));

const HUSHED: readonly [string, (stream: Joined) => void][] = [
  ['goes away', ({ stream }) => stream.legClosed('legacy', 'by-service')],
  ['goes with its client', ({ stream }) => stream.close()],
  ['waits for a client that does not read', ({ stream }) => stream.held(true)],
];
// The fault: one that had come just before was told a window later all the same.
test.each(HUSHED)('... also where it %s before it can have sent the same', (_how, hush) => {
  const { join, pass, whats, verdicts, watch } = judged();
  join('ann').both({ type: 'assigned', run_id: 'run1', userId: 'bob' });
  const eve = join('eve');
  pass(1_000);
  eve.say('candidate', { type: 'assigned', run_id: 'run2', userId: 'bob' });
  eve.say('candidate', { type: 'notice', run_id: 'run3', userId: 'bob' });
  hush(eve);
  pass(2 * WINDOW_MS);
  expect(whats().filter(what => !what.endsWith('on-both'))).toEqual([
    'routing candidate eve /userId',
  ]);
  expect(watch.books().get('events')?.sides.candidate.inDoubt).toBe(1);
  expect(verdicts().filter(verdict => verdict === 'contaminated').length).toBeLessThan(2);
});

test('... and where its leg has only just come, and may have missed it', () => {
  const { join, pass, whats, watch } = judged();
  join('ann').both({ type: 'assigned', run_id: 'run1', userId: 'bob' });
  const eve = join('eve', [], 'websocket', 0);
  eve.say('candidate', { type: 'assigned', run_id: 'run2', userId: 'bob' });
  pass(2_000);
  eve.say('candidate', { type: 'assigned', run_id: 'run3', userId: 'bob' });
  pass(2 * WINDOW_MS);
  expect(whats().filter(what => !what.endsWith('on-both'))).toEqual([
    'routing candidate eve /userId',
  ]);
  expect(watch.books().get('events')?.sides.candidate.inDoubt).toBe(1);
});

const assignedIn = (n: number) => ({ type: 'assigned', run_id: `run${n}`, userId: 'bob' });
const UNTOLD: readonly [string, (stream: Joined, pass: (ms: number) => void) => void][] = [
  ['what its client said', ({ stream }) => stream.saidAlone('legacy', true)],
  ['what only one service is ever told', ({ stream }) => stream.saidAlone('legacy', false)],
  [
    'what went on while its leg was away',
    ({ stream }, pass) => {
      stream.legClosed('legacy', 'by-service');
      pass(1_000);
      stream.legOpened('legacy', new FrameTracker());
    },
  ],
];
// The fault: that its bytes were read was taken for that it had had its say.
test.each(UNTOLD)('... and where legacy was not told %s', (_what, untold) => {
  const { join, pass, whats, verdicts, watch } = judged();
  join('ann').both(assignedIn(1));
  const eve = join('eve');
  untold(eve, pass);
  pass(2_500);
  eve.say('candidate', assignedIn(2));
  pass(2 * WINDOW_MS);
  expect(alone(whats())).toEqual([]);
  expect(verdicts()).not.toContain('contaminated');
  expect(watch.books().get('events')?.sides.candidate.inDoubt).toBe(1);
  // Not for ever: what comes by itself later is the candidate's own doing.
  pass(90_000);
  eve.say('candidate', assignedIn(3));
  pass(2 * WINDOW_MS);
  expect(alone(whats())).toEqual(['routing candidate eve /userId']);
});

// The fault: only the first that no other service is told, and only the last that legacy was not, was remembered.
test('... whenever that was, and whatever it is not told afterwards', () => {
  const { join, pass, whats } = judged();
  join('ann').both(assignedIn(1));
  const eve = join('eve');
  eve.stream.saidAlone('legacy', false);
  pass(70_000);
  eve.stream.saidAlone('legacy', false);
  pass(1_000);
  eve.say('candidate', assignedIn(2));
  pass(2 * WINDOW_MS);
  pass(60_000);
  eve.stream.saidAlone('legacy', true);
  pass(1_000);
  eve.say('candidate', assignedIn(3));
  pass(2_000);
  eve.stream.saidAlone('legacy', true);
  pass(2 * WINDOW_MS);
  expect(alone(whats())).toEqual([]);
});

// The fault: a client's words were noted twice a minute, and those that came between counted for as much less.
test.each([45, 59])(
  '... for a minute of the last time, whichever of them was noted: %i s',
  afterS => {
    const { join, pass, whats } = judged();
    join('ann').both(assignedIn(1));
    const eve = join('eve');
    eve.stream.saidAlone('legacy', false);
    pass(29_000);
    eve.stream.saidAlone('legacy', false);
    pass(afterS * 1_000);
    eve.say('candidate', assignedIn(2));
    pass(2 * WINDOW_MS);
    expect(alone(whats())).toEqual([]);
  },
);

// The fault: a judge that is behind was told of no time, and told nobody of what waited for legacy until it was not.
test('a judge that is behind tells what legacy had two windows for by the time of what it reads', () => {
  const { join, skip, pass, whats } = judged();
  const ann = join('ann');
  ann.both(assignedIn(1));
  const eve = join('eve');
  pass(2_000);
  eve.say('candidate', assignedIn(2));
  const read = (seconds: number) => {
    for (let second = 0; second < seconds; second += 1) {
      skip(1_000);
      ann.both({ type: 'seen' });
    }
    return alone(whats());
  };
  expect(read(9)).toEqual([]);
  expect(read(3)).toEqual(['routing candidate eve /userId']);
});

// The fault: where legacy serves, what its client says to it alone was taken for what it was not told.
test.each([true, false])(
  'but not where the candidate was not told; that it was to be is %s',
  isMeant => {
    const { join, pass, whats } = judged();
    join('ann').both(assignedIn(1));
    const eve = join('eve');
    eve.stream.saidAlone('candidate', isMeant);
    eve.say('candidate', assignedIn(2));
    pass(2 * WINDOW_MS);
    expect(alone(whats())).toEqual(['routing candidate eve /userId']);
  },
);

// The fault: where legacy serves, and was slower to open, that was taken for coming to what was under way.
test.each([true, false])('nor where legacy opens later as the one that serves: %s', isPrimary => {
  const { join, pass, whats } = judged();
  join('ann').both(assignedIn(1));
  const eve = join('eve');
  eve.stream.legClosed('legacy', 'by-service');
  eve.stream.legOpened('legacy', new FrameTracker(), 0, isPrimary);
  pass(2_500);
  eve.say('candidate', assignedIn(2));
  pass(2 * WINDOW_MS);
  expect(alone(whats())).toEqual(isPrimary ? ['routing candidate eve /userId'] : []);
});

// The fault: what it would have said by a write that it was not given was what it did not say.
test('... and where legacy lacks a write', () => {
  const { join, pass, whats, leaveOut } = judged();
  join('ann').both(assignedIn(1));
  const eve = join('eve');
  leaveOut('legacy');
  eve.say('candidate', assignedIn(2));
  pass(2 * WINDOW_MS);
  expect(alone(whats())).toEqual([]);
});

// The fault: whoever is slow with a write had a window for what it says by it, and as long again for the verdict.
test.each([
  ['answers later', 6_500, []],
  ['hangs', 30_000, ['routing candidate eve /userId']],
] as const)('... and while legacy has not answered a write, which it %s', (_how, afterMs, told) => {
  const { join, pass, whats, findings, beginWrite } = judged();
  join('ann').both(assignedIn(1));
  const eve = join('eve');
  pass(2_000);
  const answered = beginWrite();
  pass(100);
  answered('candidate');
  eve.say('candidate', assignedIn(2));
  pass(afterMs);
  answered('legacy');
  eve.say('legacy', assignedIn(2));
  pass(3 * WINDOW_MS);
  expect(alone(whats()).filter(what => what.includes('candidate'))).toEqual(told);
  if (told.length === 0) expect(findings.every(({ verdict }) => verdict === 'match')).toBe(true);
});

// The fault: a process that had stood still told what was held before it read what had come meanwhile.
test('... and before what came is read, where the process itself stood still', () => {
  const { join, pass, skip, whats, watch } = judged();
  join('ann').both(assignedIn(1));
  const eve = join('eve');
  pass(2_000);
  eve.say('candidate', assignedIn(2));
  skip(WINDOW_MS + 1_000);
  watch.settle();
  eve.say('legacy', assignedIn(2));
  pass(2 * WINDOW_MS);
  expect(alone(whats())).toEqual([]);
});

// The fault: what the candidate had kept for its client, and legacy had sent long before, was a leak.
test.each([3_000, 12_000, 30_000])('... and what the candidate sends again after %i ms', awayMs => {
  const { join, pass, whats } = judged();
  join('ann').both(assignedIn(1));
  const eve = join('eve');
  eve.stream.legClosed('candidate', 'by-service');
  pass(500);
  eve.say('legacy', assignedIn(2));
  pass(awayMs);
  eve.stream.legOpened('candidate', new FrameTracker());
  eve.say('candidate', assignedIn(2));
  pass(1_000);
  // It comes and goes.
  eve.stream.legClosed('candidate', 'by-service');
  eve.stream.legOpened('candidate', new FrameTracker());
  pass(2 * WINDOW_MS);
  expect(alone(whats()).filter(what => what.includes('candidate'))).toEqual([]);
});

// The fault: a leg that had been there for an hour was taken for heard for an hour, however soon after it was followed.
test('... and where it is only just followed, however long its leg has been there', () => {
  const { join, pass, whats } = judged();
  join('ann').both(assignedIn(1));
  const eve = join('eve', [], 'websocket', 0, 3_600_000);
  pass(80);
  eve.say('candidate', assignedIn(2));
  pass(2 * WINDOW_MS);
  expect(alone(whats())).toEqual([]);
});

// The fault: what the judge itself failed to read of legacy's was taken for heard.
test('... and where the judge failed to read what legacy sent', () => {
  const { join, pass, whats, watch, failing } = judged();
  join('ann').both({ type: 'assigned', run_id: 'run1', userId: 'bob' });
  const eve = join('eve');
  const assigned = (n: number) => ({ type: 'assigned', run_id: `run${n}`, userId: 'bob' });
  vi.spyOn(watch, 'legacyNames').mockImplementationOnce(() => {
    throw new Error('a fault of the judge');
  });
  expect(failing(() => eve.say('legacy', assigned(2)))).toHaveLength(1);
  pass(30);
  eve.say('candidate', assigned(2));
  pass(2_000);
  eve.say('candidate', assigned(3));
  pass(2 * WINDOW_MS);
  expect(whats().filter(what => !what.endsWith('on-both'))).toEqual([
    'routing candidate eve /userId',
  ]);
  expect(watch.books().get('events')?.sides.candidate.inDoubt).toBe(1);
});

// The fault: a copy that was left out a moment before the candidate's came was none that legacy may have sent.
test('... and where what legacy sent a moment before was left out', () => {
  const { join, pass, overload, whats, watch } = judged();
  const assigned = (n: number) => ({ type: 'assigned', run_id: `run${n}`, userId: 'bob' });
  join('ann').both(assigned(1));
  const eve = join('eve');
  overload();
  eve.say('legacy', assigned(2));
  eve.say('legacy', { type: 'note', run_id: 'run2' });
  pass(30);
  eve.say('candidate', assigned(2), { type: 'note', run_id: 'run2' });
  pass(2_000);
  eve.say('candidate', assigned(3));
  pass(2 * WINDOW_MS);
  expect(whats().filter(what => !what.endsWith('on-both'))).toEqual([
    'routing candidate eve /userId',
  ]);
  expect(watch.books().get('events')?.sides.candidate.inDoubt).toBe(1);
});

// The fault: legacy had sent its own of the event, which named nobody else, and what it might have sent besides was still in
// doubt once it was not heard any more: the verdict said contaminated, and nobody was told.
test.each([
  ['goes away', 0, ({ stream }: Joined) => stream.legClosed('legacy', 'by-service')],
  ['goes with its client', 0, ({ stream }: Joined) => stream.close()],
  ['waits for a client that does not read', 1, ({ stream }: Joined) => stream.held(true)],
  [
    'is left out',
    1,
    ({ say }: Joined, overload: () => void) => {
      overload();
      say('legacy', { type: 'note', run_id: 'run9' });
    },
  ],
  ['has only just come', 0, null],
] as const)(
  '... but not where it has sent its own of the event, however soon after it %s',
  (_how, doubtedAtOnce, hush) => {
    // Before it is known that the two are one, it may be in doubt for so long.
    for (const [isAtOnce, sinceMs, doubted] of [
      [false, 60_000, 0],
      [true, 11 * 60_000, doubtedAtOnce],
    ] as const) {
      const { join, pass, skip, overload, whats, findings, watch } = judged();
      const assigned = { type: 'assigned', step: 1, text: 'hello dear' };
      join('ann').both({ ...assigned, run_id: 'run1', userId: 'bob' });
      skip(sinceMs);
      const eve = join('eve', [], 'websocket', hush === null ? 0 : 2_000);
      eve.say('legacy', { ...assigned, run_id: 'run2', userId: 'eve' });
      eve.say('candidate', { ...assigned, run_id: 'run2', userId: 'bob' });
      if (!isAtOnce) pass(1_500);
      hush?.(eve, overload);
      pass(WINDOW_MS);
      eve.stream.close();
      pass(WINDOW_MS);
      expect(alone(whats())).toEqual(['routing candidate eve /userId']);
      expect(findings.filter(({ verdict }) => verdict === 'contaminated')).toHaveLength(1);
      expect(watch.books().get('events')?.sides.candidate.inDoubt).toBe(doubted);
    }
  },
);

test('... nor of two that name him at one time', () => {
  const { join, pass, whats, verdicts } = judged();
  const assigned = { type: 'assigned', run_id: 'run2' };
  join('ann').both({ ...assigned, run_id: 'run1', userId: 'bob' });
  const eve = join('eve');
  for (const [side, userId] of [
    ['legacy', 'eve'],
    ['candidate', 'bob'],
  ] as const) {
    for (const text of ['hello dear', 'and good bye']) eve.say(side, { ...assigned, userId, text });
  }
  eve.stream.close();
  pass(2 * WINDOW_MS);
  expect(alone(whats())).toEqual(Array.from({ length: 2 }, () => 'routing candidate eve /userId'));
  expect(verdicts()).toEqual(['contaminated', 'contaminated']);
});

// The fault: what had been told of as in doubt stayed so, whatever legacy said then.
test('what is in doubt is so until legacy has had its say, whichever way', () => {
  for (const named of ['eve', 'bob']) {
    const { join, pass, whats, verdicts, watch } = judged();
    const assigned = { type: 'assigned', step: 1, text: 'hello dear' };
    join('ann').both({ ...assigned, run_id: 'run1', userId: 'bob' });
    const eve = join('eve');
    eve.say('candidate', { ...assigned, run_id: 'run2', userId: 'bob' });
    eve.stream.held(true);
    pass(WINDOW_MS + 1_000);
    const before = whats().length;
    const { inDoubt, contaminated } = watch.books().get('events')?.sides.candidate ?? {};
    expect([inDoubt, contaminated?.routing, verdicts()]).toEqual([1, 0, []]);
    eve.stream.held(false);
    eve.say('legacy', { ...assigned, run_id: 'run2', userId: named });
    pass(2 * WINDOW_MS);
    const both = ['candidate', 'legacy'].map(side => `routing ${side} eve /userId on-both`);
    expect(whats().slice(before)).toEqual(
      named === 'bob' ? both : ['routing candidate eve /userId'],
    );
    expect(verdicts()).toEqual(named === 'bob' ? [] : ['contaminated']);
  }
});

// The fault: one pause of a client that reads slowly, and what legacy had not sent for a window after it was in doubt.
test('nor for longer than a window after a client that did not read for a moment', () => {
  const { join, pass, whats, verdicts, told } = judged();
  join('ann').both({ type: 'assigned', run_id: 'run1', userId: 'bob' });
  const eve = join('eve');
  eve.say('candidate', { type: 'assigned', run_id: 'run2', userId: 'bob' });
  pass(1_000);
  eve.stream.held(true);
  pass(50);
  eve.stream.held(false);
  pass(2 * WINDOW_MS);
  expect(alone(whats())).toEqual(['routing candidate eve /userId']);
  expect(told.at(-1)?.ms).toBeLessThan(1_050 + WINDOW_MS + 100);
  expect(verdicts()).toEqual(['contaminated']);
});

// A client without a credential that says more than is heard is to hide nobody's leak.
test('... but by what was not heard of somebody whom nobody knows, nothing is in doubt', () => {
  const { join, floods, whats } = judged();
  const eve = join('eve');
  eve.stream.legClosed('legacy', 'by-service');
  floods();
  eve.say('candidate', { type: 'echo', run_id: 'run2', userId: 'bob' });
  expect(whats()).toEqual(['routing candidate eve /userId']);
});

// In an event whose address proves nothing a thread does, as in any other.
test('... and what it carries of another’s besides is told', () => {
  const { join, pass, whats } = judged();
  join('ann').both(step('run1', 't1'), { type: 'assigned', run_id: 'run1', userId: 'bob' });
  pass(1_000);
  const eve = join('eve', [], 'websocket', 0);
  eve.say('candidate', step('run2', 't1', { type: 'assigned', userId: 'bob' }));
  pass(2 * WINDOW_MS);
  expect(alone(whats())).toEqual(['ledger candidate eve /thread_id']);
});

test("legacy's own contamination is told, and as legacy's", () => {
  const { join, pass, whats } = judged();
  join('ann').say('legacy', step('run1', 't1', { userId: 'bob' }));
  pass(HOLD_MS + TICK_MS);
  expect(whats()).toEqual(['routing legacy ann /userId']);
});

test("an event of another user's is known by his thread when its pair does not come", () => {
  const { join, pass, told, verdicts } = judged();
  const [ann, bob] = [join('ann'), join('bob')];
  ann.both(step('run1', 't1'));
  bob.both(step('run2', 't2'));
  // The run is bob's own by its id; the thread is not.
  bob.say('candidate', step('run3', 't1'));
  const before = WINDOW_MS - TICK_MS;
  pass(before);
  expect(told).toEqual([]);
  const books = pass(100 + TICK_MS);
  expect(told).toMatchObject([{ what: 'ledger candidate bob /thread_id', owner: 'ann' }]);
  expect(told[0]?.ms).toBeLessThanOrEqual(WINDOW_MS + 100);
  expect(verdicts()).toEqual(['contaminated']);
  expect(books?.candidate.contaminated).toBe(1);
  expect(books?.candidate.extra).toBe(0);
});

test('legacy says whose a thread is, however much later than the leak', () => {
  const { join, pass, whats } = judged();
  const [ann, bob] = [join('ann'), join('bob')];
  bob.say('candidate', step('run3', 't1'));
  pass(WINDOW_MS - 1_000);
  ann.both(step('run1', 't1'));
  pass(2_000);
  expect(whats()).toEqual(['ledger candidate bob /thread_id']);
});

// What comes before the first pair may be of before legacy's leg was there, and was taken for that without a look.
test('another user’s event is found as the first that ever comes, and what may be his is not accused', () => {
  const { join, pass, whats, verdicts } = judged();
  const ann = join('ann');
  for (const run of ['run1', 'run2']) ann.both(step(run, run));
  const [bob, carl, dora] = ['bob', 'carl', 'dora'].map(id => join(id, [], 'websocket', 0));
  bob?.say('candidate', step('run1', 'run1'));
  // A run that nobody else has, and one that he is in: legacy goes on with it.
  carl?.say('candidate', step('run3', 'run3'));
  dora?.say('candidate', step('run2', 'run2', { step_number: 2 }));
  pass(WINDOW_MS - 1_000);
  dora?.say('legacy', step('run2', 'run2', { step_number: 3 }));
  pass(2 * WINDOW_MS);
  expect(whats()).toEqual(['ledger candidate bob /thread_id']);
  expect(verdicts().toSorted()).toEqual(['contaminated', 'missing', 'unjudged', 'unjudged']);
});

// Who sends binary data, or too much to be heard, could have the candidate show him another's thread by its name.
test('he takes nobody back by asking for another’s thread in what nobody can read, nor makes it look shared', () => {
  const { join, pass, whats, watch } = judged();
  const [ann, bob, eve] = [join('ann'), join('bob'), join('eve')];
  ann.both(step('run1', 't1'), step('run1', 't2'));
  bob.tells(null);
  bob.say('candidate', step('run2', 't1'));
  bob.both(step('run3', 't2'));
  pass(2 * WINDOW_MS);
  expect(whats()).toEqual([]);
  expect(watch.books().get('events')?.sides.candidate.inDoubt).toBe(1);
  for (const thread of ['t1', 't2']) eve.say('candidate', step(`run-${thread}`, thread));
  pass(60_000);
  bob.say('candidate', step('run4', 't1'));
  pass(2 * WINDOW_MS);
  expect(whats()).toEqual([
    'ledger candidate eve /thread_id',
    'ledger candidate eve /thread_id',
    'ledger candidate bob /thread_id',
  ]);
});

// One client without a credential that said much in half a minute, and no thread at another user's was told of.
test('whoever says more than is heard takes from nobody that his thread is told of at another', () => {
  const { join, pass, whats, floods, watch } = judged();
  const [ann, bob] = [join('ann'), join('bob')];
  ann.both(step('run1', 't1'));
  floods();
  bob.say('candidate', step('run2', 't1'));
  pass(2 * WINDOW_MS);
  expect(whats()).toEqual(['ledger candidate bob /thread_id']);
  expect(watch.books().get('events')?.sides.candidate.inDoubt).toBe(0);
});

test('a thread that legacy gives to two users is nobody’s', () => {
  const { join, pass, whats, verdicts } = judged();
  const [ann, bob] = [join('ann'), join('bob')];
  ann.both(step('run1', 't1'));
  bob.both(step('run2', 't1'));
  bob.say('candidate', step('run3', 't1'));
  pass(2 * WINDOW_MS);
  expect(whats()).toEqual([]);
  expect(verdicts()).toEqual(['extra']);
});

test('a thread that legacy goes on using stays its user’s for days; one that nobody uses is forgotten', () => {
  const { join, skip, pass, whats, watch } = judged();
  const [ann, bob, carl] = [join('ann'), join('bob'), join('carl')];
  ann.both(step('run0', 't0'));
  for (let hour = 1; hour <= 72; hour += 1) {
    skip(3_600_000);
    carl.both(step(`run-c${hour}`, `t-c${hour}`));
    // By the same session, of which the ledger has heard long ago.
    ann.both(step('run1', 't1', { step_number: hour }));
  }
  const thread = (name: string) => watch.identifiers.ownerOf(watch.hash('thread_id', name));
  expect(thread('t0')).toBeNull();
  bob.say('candidate', step('run3', 't1'));
  pass(2 * WINDOW_MS);
  expect(whats()).toEqual(['ledger candidate bob /thread_id']);
});

test('an identifier is compared in its own field: run "7" is not thread "7"', () => {
  const { join, pass, whats } = judged({ identifiers: ['/run_id', '/thread_id'] });
  const [ann, bob] = [join('ann'), join('bob')];
  ann.both(step('7', 't1'));
  bob.say('candidate', step('run3', '7'));
  pass(2 * WINDOW_MS);
  expect(whats()).toEqual([]);
});

test('an event whose thread was changed to another user’s on its way is his', () => {
  const { join, pass, whats, verdicts } = judged();
  const [ann, bob] = [join('ann'), join('bob')];
  ann.both(step('run1', 't1'));
  bob.say('legacy', step('run2', 't2'));
  bob.say('candidate', step('run2', 't1'));
  pass(2 * WINDOW_MS);
  expect(whats()).toEqual(['ledger candidate bob /thread_id']);
  expect(verdicts()).toEqual(['contaminated']);
});

test.each([
  ['beside his own at the root', { thread_id: 't2', data: { thread_id: 't1' } }],
  ['in the second envelope', { data: { thread_id: 't2' }, payload: { thread_id: 't1' } }],
  ['in a batch', [step('run2', 't2'), { type: 'x', data: { thread_id: 't1' } }]],
])('a thread of another user’s is found %s, changed or alone', (_where, event) => {
  for (const isPaired of [true, false]) {
    const { join, pass, whats, verdicts } = judged();
    const [ann, bob] = [join('ann'), join('bob')];
    ann.both(step('run1', 't1'));
    bob.both(step('run2', 't2'));
    const text = JSON.stringify(event);
    if (isPaired) bob.say('legacy', text.replaceAll('t1', 't2'));
    bob.say('candidate', text);
    pass(2 * WINDOW_MS);
    expect(whats()).toEqual(['ledger candidate bob /thread_id']);
    expect(verdicts()).toContain('contaminated');
  }
});

test('whose a thread is legacy says in an envelope and in a batch as well', () => {
  const { join, pass, whats } = judged();
  const [ann, bob] = [join('ann'), join('bob')];
  ann.both({ ...step('run1', 't1'), data: { thread_id: 't2' } });
  ann.both([step('run3', 't3'), 'no event', step('run4', 't4')]);
  for (const thread of ['t2', 't3', 't4']) bob.say('candidate', step(`run-${thread}`, thread));
  // He has it from legacy too, in a batch.
  bob.both([step('run5', 't5')]);
  bob.say('candidate', step('run6', 't5'));
  pass(2 * WINDOW_MS);
  expect(whats()).toEqual(Array.from({ length: 3 }, () => 'ledger candidate bob /thread_id'));
});

test('and if legacy tells only afterwards whose it is, that is told then', () => {
  const { join, pass, whats, verdicts } = judged();
  const [ann, bob] = [join('ann'), join('bob')];
  bob.say('legacy', step('run2', 't2'));
  bob.say('candidate', step('run2', 't1'));
  pass(2_000);
  expect(verdicts()).toEqual(['mismatch']);
  ann.both(step('run1', 't1'));
  pass(WINDOW_MS);
  expect(whats()).toEqual(['ledger candidate bob /thread_id']);
});

const note = (text: string) => ({ type: 'note', text, timestamp: 1757953203.4 });

/** Notes to several users, so that their type is known to be about one each. */
function withNotes(isolation: Partial<IsolationRules> = {}) {
  const all = judged(isolation);
  const users = ['ann', 'bob', 'carl', 'dora'].map(id => all.join(id));
  all.pass(1_000);
  for (let n = 0; n < 12; n += 1) {
    users[n % 4]?.both(note(`what is said to one user, number ${n}`));
  }
  all.pass(1_000);
  return { ...all, users };
}

test('content that legacy sent one user alone is his, wherever else it turns up', () => {
  const { users, pass, told, verdicts } = withNotes();
  const [ann, bob] = users;
  ann?.both(note('the balance of this account is 42'));
  bob?.say('candidate', note('the balance of this account is 42'));
  pass(WINDOW_MS + 100 + TICK_MS);
  expect(told).toMatchObject([{ what: 'fingerprint candidate bob', owner: 'ann' }]);
  expect(told[0]?.ms).toBeLessThanOrEqual(WINDOW_MS + 100);
  expect(verdicts()).toEqual(['contaminated']);
});

// The fault: a client of the candidate's alone took everybody back by what both services say to whoever says so.
test.each([
  ['not to be told', false],
  ['to be told, and was not', true],
])('... but for what the candidate says after something that legacy was %s', (_what, isMeant) => {
  const { users, pass, told, watch } = withNotes();
  const [ann, bob, carl] = users;
  ann?.both(note('you can reset it in your settings'));
  bob?.stream.saidAlone('legacy', isMeant);
  bob?.say('candidate', note('you can reset it in your settings'));
  carl?.say('candidate', note('you can reset it in your settings'));
  pass(2 * WINDOW_MS);
  expect(told).toMatchObject([{ what: 'fingerprint candidate carl', owner: 'ann' }]);
  expect(watch.books().get('events')?.sides.candidate.inDoubt).toBe(1);
});

// The fault: of each text the first 256 characters counted, which templates have in common.
test('his own report is his, however much of it stands in everybody’s', () => {
  const head = '<p>Thank you for being with us.</p>'.repeat(10);
  const report = (about: string) => ({ type: 'report', html: `${head}${about}` });
  const { join, pass, whats } = judged();
  const users = ['ann', 'bob', 'carl'].map(id => join(id));
  for (let n = 0; n < 13; n += 1) users[n % 3]?.both(report(`number ${n}`.padEnd(20 + n)));
  pass(1_000);
  users[0]?.both(report('Dear Ann, your balance is 1,234'));
  users[1]?.say('candidate', report('Dear Bob, your balance is 9,876'));
  pass(2 * WINDOW_MS);
  expect(whats()).toEqual([]);
  users[1]?.say('candidate', report('Dear Ann, your balance is 1,234'));
  pass(2 * WINDOW_MS);
  expect(whats()).toEqual(['fingerprint candidate bob']);
});

// What legacy sent the wrong user was taken for that one's: the candidate, which sent it to the right one, was accused.
test('what says itself whose it is, legacy’s mistake makes nobody else’s', () => {
  const { users, pass, whats } = withNotes();
  const [ann, bob, carl] = users;
  const anns = { ...note('the balance of this account is 42'), user_id: 'ann' };
  bob?.say('legacy', anns, step('run1', 't1', { data: { owner_id: 'ann' } }));
  ann?.say('candidate', anns, step('run1', 't1', { step_number: 2 }));
  pass(2 * WINDOW_MS);
  expect(whats()).toEqual([]);
  // It is not anybody's for that, nor is what another name stands in, or a name that is no user's.
  carl?.say('candidate', anns, step('run1', 't1', { step_number: 3 }));
  bob?.say(
    'legacy',
    { ...note('bob has 17'.padEnd(30, '.')), user_id: 'agent' },
    step('run2', 't2'),
  );
  ann?.say('candidate', { ...note('bob has 17'.padEnd(30, '.')), user_id: 'agent' });
  ann?.say('candidate', step('run2', 't2', { user_id: 'ann' }));
  pass(2 * WINDOW_MS);
  expect(whats().toSorted()).toEqual([
    'fingerprint candidate ann',
    'fingerprint candidate carl',
    'ledger candidate ann /thread_id',
    'ledger candidate carl /thread_id',
  ]);
});

test('in a batch as well; a row of a list, which has no type, is nobody’s', () => {
  const { users, pass, whats } = withNotes();
  const [ann, bob] = users;
  const balance = note('the balance of this account is 42');
  ann?.both([balance, { text: 'a row of a list of some length' }]);
  bob?.say('candidate', [{ text: 'a row of a list of some length' }]);
  pass(2 * WINDOW_MS);
  expect(whats()).toEqual([]);
  bob?.say('candidate', [note('what is said to bob alone'), balance]);
  pass(2 * WINDOW_MS);
  expect(whats()).toEqual(['fingerprint candidate bob']);
});

test('content that went to several users, or of a type for everybody, accuses nobody', () => {
  const shared = withNotes();
  shared.users[0]?.both(note('maintenance begins at midnight'));
  shared.users[1]?.both(note('maintenance begins at midnight'));
  shared.users[2]?.say('candidate', note('maintenance begins at midnight'));
  shared.pass(2 * WINDOW_MS);
  expect(shared.whats()).toEqual([]);

  const declared = withNotes({ everyone: ['note'] });
  declared.users[0]?.both(note('maintenance begins at midnight'));
  declared.users[1]?.say('candidate', note('maintenance begins at midnight'));
  declared.pass(2 * WINDOW_MS);
  expect(declared.whats()).toEqual([]);

  const learned = withNotes();
  for (let n = 0; n < 6; n += 1) {
    for (const user of learned.users) user.both(note(`to everybody, number ${n}`));
  }
  learned.users[0]?.both(note('to everybody, so far only to one'));
  learned.users[1]?.say('candidate', note('to everybody, so far only to one'));
  learned.pass(2 * WINDOW_MS);
  expect(learned.whats()).toEqual([]);

  const young = judged();
  const [ann, bob] = [young.join('ann'), young.join('bob')];
  young.pass(1_000);
  ann.both(note('the first note that anybody ever gets'));
  bob.say('candidate', note('the first note that anybody ever gets'));
  young.pass(2 * WINDOW_MS);
  expect(young.whats()).toEqual([]);
});

test('an answer to a client, and a failure, say nothing of whose they are', () => {
  const { join, pass, whats } = judged();
  const users = ['ann', 'bob', 'carl'].map(id => join(id));
  const pong = (n: number) => ({ type: 'pong', data: { said: `an answer, number ${n}` } });
  for (let n = 0; n < 12; n += 1) users[n % 3]?.both(pong(n));
  users[0]?.both(pong(99));
  users[1]?.say('candidate', pong(99));
  pass(2 * WINDOW_MS);
  expect(whats()).toEqual([]);
});

test('a marker at another user is told at once, wherever it stands', () => {
  const markers = [
    { text: 'cutovermarker00aa', user: 'ann' },
    { text: 'cutovermarker00bb', user: 'bob' },
  ];
  const { join, pass, told, whats } = judged({}, markers);
  const [ann, bob] = [join('ann'), join('b', ['bob'])];
  ann.both(step('run1', 't1', { reasoning: 'a question of cutovermarker00aa' }));
  bob.both(step('run2', 't2', { reasoning: 'a question of cutovermarker00bb' }));
  bob.say('candidate', step('run3', 't2', { data: [['and cutovermarker00aa']] }));
  pass(HOLD_MS + TICK_MS);
  expect(whats()).toEqual(['marker candidate b']);
  expect(told[0]?.owner).toBe('ann');
});

const MARKERS = [
  { text: 'cutovermarker00aa', user: 'ann' },
  { text: 'cutovermarker00bb', user: 'bob' },
];

test.each([
  ['escaped', '{"type":"x","run_id":"r","text":"cutover\\u006Darker00aa"}'],
  [
    'escaped in JSON within a string',
    '{"type":"x","run_id":"r","text":"{\\"a\\":\\"\\\\u0063utovermarker00aa\\"}"}',
  ],
  ['in text that is no JSON', 'a question of cutovermarker00aa'],
])('a marker is found where it is %s', (_how, text) => {
  const { join, pass, whats } = judged({}, MARKERS);
  join('bob').say('candidate', text);
  pass(HOLD_MS + TICK_MS);
  expect(whats()).toEqual(['marker candidate bob']);
});

test('in what is too long to be compared a marker is found wherever it is cut, and it is counted', () => {
  const { join, pass, whats, watch } = judged({}, MARKERS);
  const bob = join('bob');
  const much = 'x'.repeat(1_048_560);
  // The reads of a socket cut it in several places.
  for (const cut of [0, 5, 16])
    bob.say('candidate', `"${much}${'y'.repeat(cut)}cutovermarker00aa"`);
  bob.say('candidate', `"${much}cutovermarker00bb, his own"`);
  const sse = join('eve', [], 'sse');
  for (const part of ['data: ', much, 'cutovermark', 'er00aa', '\n\n']) sse.raw('candidate', part);
  pass(HOLD_MS + TICK_MS);
  expect(whats()).toEqual([
    ...Array.from({ length: 3 }, () => 'marker candidate bob'),
    'marker candidate eve',
  ]);
  const books = watch.books().get('events');
  expect(books?.sides.candidate.uninspectable['too-large']).toBe(5);
});

test('where legacy’s addresses do not fit its users, they prove nothing and nobody is accused', () => {
  const { join, pass, whats, watch, verdicts } = judged();
  const users = Array.from({ length: 20 }, (_, n) => join(`u-${n}`));
  const event = (n: number, run: number) => step(`run${run}`, `t${n}`, { userId: `user_${n}` });
  for (let run = 0; run < 50; run += 1) {
    for (const [n, user] of users.entries()) user.both(event(n, run));
  }
  pass(HOLD_MS + TICK_MS);
  expect(watch.books().get('events')).toMatchObject({
    identityMismatch: true,
    sides: { legacy: { fields: 1_000, foreign: 1_000 } },
  });
  // What came before was both services': no reason to roll back.
  expect(whats().filter(what => !what.endsWith('on-both'))).toEqual([]);
  const before = whats().length;
  users[0]?.both(event(0, 99));
  users[0]?.say('candidate', step('run100', 't0', { userId: 'user_1' }));
  pass(2 * WINDOW_MS);
  expect(whats()).toHaveLength(before);
  expect(verdicts().at(-1)).toBe('extra');
});

// The fault: any reload had everybody's addresses taken for others' again, and a candidate that was first rolled back.
test('a configuration that is read again does not forget that names do not fit; names that do are seen to', () => {
  const { join, pass, skip, whats, watch } = judged();
  const users = Array.from({ length: 20 }, (_, n) => join(`u-${n}`));
  const event = (name: string, n: number, run: number) =>
    step(`run${run}`, `t${n}`, { userId: `${name}${n}` });
  const mismatch = () => watch.books().get('events')?.identityMismatch;
  for (let run = 0; run < 50; run += 1)
    for (const [n, user] of users.entries()) user.both(event('user_', n, run));
  skip(11 * 60_000);
  expect(mismatch()).toBe(true);
  watch.setRules('events', DEFAULT_ISOLATION);
  expect(mismatch()).toBe(true);
  const before = whats().length;
  users[3]?.say('candidate', event('user_', 3, 90));
  pass(200);
  users[3]?.say('legacy', event('user_', 3, 90));
  pass(2 * WINDOW_MS);
  expect(whats()).toHaveLength(before);
  for (let run = 100; run < 150; run += 1)
    for (const [n, user] of users.entries()) user.both(event('u-', n, run));
  pass(HOLD_MS);
  expect(mismatch()).toBe(false);
});

test('one user who has legacy say other names, by whatever way, takes nobody else’s protection away', () => {
  const { join, pass, whats, watch } = judged();
  const users = Array.from({ length: 20 }, (_, n) => join(`u${n}`));
  for (let run = 0; run < 50; run += 1) {
    for (const [n, user] of users.entries())
      user.both(step(`run${n}-${run}`, `t${n}`, { userId: `u${n}` }));
  }
  for (let n = 0; n < 50; n += 1) users[0]?.both(step(`e${n}`, 't0', { data: { userId: 'zz' } }));
  pass(HOLD_MS);
  expect(watch.books().get('events')?.identityMismatch).toBe(false);
  const before = whats().length;
  users[1]?.say('candidate', step('leak', 't1', { userId: 'u2' }));
  pass(HOLD_MS + TICK_MS);
  expect(whats().slice(before)).toEqual(['routing candidate u1 /userId']);
});

// 56 KB a second were 250,000 words in half a minute, and with those there was room for no more of anybody's.
test('one who never stops talking delays nobody else’s telling', () => {
  const { join, pass, skip, told } = judged();
  const [ann, bob] = [join('ann'), join('bob')];
  for (let second = 0; second < 29; second += 1) {
    const words = Array.from({ length: 10_000 }, (_, n) => (second * 10_000 + n).toString(36));
    ann.tells(words.join(' '));
    skip(1_000);
  }
  bob.say('candidate', step('run1', 't1', { userId: 'carl' }));
  pass(HOLD_MS + TICK_MS);
  expect(told).toMatchObject([{ what: 'routing candidate bob /userId', owner: 'carl' }]);
});

test('a client that calls himself by his name makes no echo of his data: at another it is told at once', () => {
  const { join, pass, whats } = judged();
  const [ann, bob] = [join('ann', ['ann@example.com']), join('bob')];
  ann.tells('{"type":"subscribe","userId":"ann","mail":"ann@example.com"}');
  bob.say('candidate', step('r1', 't1', { userId: 'ann' }));
  bob.say('candidate', step('r2', 't1', { userId: 'ann@example.com' }));
  pass(HOLD_MS + TICK_MS);
  expect(whats()).toHaveLength(2);
  // Another user has spoken of him: legacy is given its time.
  bob.tells('@ann: hello');
  bob.say('candidate', step('r3', 't1', { userId: 'ann' }));
  pass(HOLD_MS + TICK_MS);
  expect(whats()).toHaveLength(2);
  pass(WINDOW_MS);
  expect(whats()).toHaveLength(3);
});

test('... not even by what was found just before that was seen', () => {
  const { join, pass, whats } = judged();
  const users = Array.from({ length: 20 }, (_, n) => join(`u-${n}`));
  const event = (n: number, run: number) => step(`run${run}`, `t${n}`, { userId: `user_${n}` });
  for (const [n, user] of users.entries()) user.say('candidate', event(n, 0));
  for (let run = 1; run <= 50; run += 1) {
    for (const [n, user] of users.entries()) user.both(event(n, run));
  }
  pass(2 * WINDOW_MS);
  expect(whats().filter(what => !what.endsWith('on-both'))).toEqual([]);
});

const answer = (body: object | string | Buffer): AnswerSample => ({
  ...{ status: 200, headers: ['content-type', 'application/json'], end: 'complete' },
  ...{ marker: null, code: null, ms: 1 },
  body:
    typeof body === 'string' || Buffer.isBuffer(body)
      ? Buffer.from(body as string)
      : Buffer.from(JSON.stringify(body)),
});

test.each([
  ['behind a byte order mark', '\uFEFF{"thread_id":"t1"}'],
  ['in a list', '[{"thread_id":"t2"},{"thread_id":"t1"}]'],
])('a thread of another user’s is found in an answer, %s', (_where, text) => {
  const { join, ask, pass, whats, verdicts } = judged();
  join('ann').both(step('run1', 't1'));
  ask('bob', answer(text.replaceAll('t1', 't2')), answer(text));
  pass(2 * WINDOW_MS);
  expect(whats()).toEqual(['ledger candidate bob /thread_id']);
  expect(verdicts()).toEqual(['contaminated']);
});

test('a byte order mark before JSON is a difference of its own, and hides no other', () => {
  const { ask, pass, findings } = judged();
  const [plain, marked] = ['{"n":1}', '\uFEFF{"n":1}'];
  ask('ann', answer(marked), answer(marked));
  ask('ann', answer(plain), answer(marked));
  ask('ann', answer(marked), answer('\uFEFF{"n":2}'));
  pass(2 * WINDOW_MS);
  const paths = findings.map(({ differences }) => differences.map(({ path }) => path));
  expect(paths).toEqual([[], ['/isMarked'], ['/body/n']]);
});

test('an answer to one user with another’s address is contaminated, unless both services give it', () => {
  const { ask, pass, whats, verdicts } = judged();
  ask('ann', answer({ balance: 1 }), answer({ balance: 1, data: { target_user_id: 'bob' } }));
  pass(HOLD_MS + TICK_MS);
  expect(whats()).toEqual(['routing candidate ann /data/target_user_id']);
  expect(verdicts()).toEqual(['contaminated']);
  // An outbox names those whom its messages are for, and differs elsewhere.
  ask('ann', answer({ n: 1, recipient_id: 'bob' }), answer({ n: 2, recipient_id: 'bob' }));
  ask('ann', answer({ recipient_id: 'bob' }), answer({ recipient_id: 'bob' }));
  const books = pass(2 * WINDOW_MS);
  expect(whats().slice(1)).toEqual([
    'routing legacy ann /recipient_id on-both',
    'routing candidate ann /recipient_id on-both',
    'routing legacy ann /recipient_id on-both',
    'routing candidate ann /recipient_id on-both',
  ]);
  expect(books?.candidate).toMatchObject({ seen: 3, contaminated: 1, mismatch: 1, match: 1 });
});

test('one byte that is no UTF-8 hides neither an address nor whose a thread is', () => {
  const { join, ask, pass, whats, verdicts, watch } = judged();
  join('ann').both(step('run1', 't1'));
  const bad = (text: string) => answer(Buffer.from(`{"n":"\xff",${text}}`, 'latin1'));
  ask('bob', bad('"n":1'), bad('"userId":"ann"'));
  pass(HOLD_MS + TICK_MS);
  ask('bob', bad('"thread_id":"t2"'), bad('"thread_id":"t1"'));
  pass(2 * WINDOW_MS);
  expect(whats()).toEqual(['routing candidate bob /userId', 'ledger candidate bob /thread_id']);
  expect(verdicts()).toEqual(['contaminated', 'contaminated']);
  expect(watch.books().get('events')?.sides.candidate.uninspectable.binary).toBe(0);
});

test('an answer that its client has is told of within 100 ms, though the other one is never there', () => {
  const { answered, ask, pass, told, whats, findings } = judged();
  const bobs = answer({ data: { target_user_id: 'bob' } });
  answered('ann', 'candidate', bobs);
  pass(HOLD_MS + TICK_MS);
  expect(whats()).toEqual(['routing candidate ann /data/target_user_id']);
  expect(told[0]?.ms).toBeLessThan(100);
  // It comes after all: the pair is contaminated, and nothing is told twice.
  ask('ann', answer({ data: {} }), bobs);
  pass(2 * WINDOW_MS);
  expect(whats()).toHaveLength(1);
  expect(findings.map(({ verdict }) => verdict)).toEqual(['contaminated']);
  // In time, and with the same address: it is both services'.
  answered('eve', 'candidate', bobs);
  ask('eve', bobs, bobs);
  pass(2 * WINDOW_MS);
  expect(whats().slice(1)).toEqual([
    'routing candidate eve /data/target_user_id on-both',
    'routing legacy eve /data/target_user_id on-both',
  ]);
});

// The fault: an answer of the candidate's, whose client has it, was told where legacy failed to answer.
test('of an answer that legacy fails to give, an address that it is known to give is in doubt', () => {
  const { ask, answered, pass, whats, verdicts, watch } = judged();
  const [outbox, other] = [{ userId: 'bob' }, { target_user_id: 'bob' }].map(answer);
  const failed = { ...answer(''), status: 0, end: 'failed', body: null } as const;
  const inDoubt = () => watch.books().get('events')?.sides.candidate.inDoubt;
  ask('ann', outbox as AnswerSample, outbox as AnswerSample);
  const before = whats().length;
  // The fault: that it wants to be asked later was its say.
  const later = [408, 425, 429].map(status => ({ ...answer({ error: 'slow down' }), status }));
  for (const none of [failed, ...later]) {
    for (const isFirst of [true, false]) {
      if (isFirst) answered('eve', 'candidate', outbox as AnswerSample);
      ask('eve', none, outbox as AnswerSample);
      pass(2 * WINDOW_MS);
    }
  }
  // There is no other one, ever.
  answered('dora', 'candidate', outbox as AnswerSample);
  pass(2 * WINDOW_MS);
  expect([whats().slice(before), inDoubt()]).toEqual([[], 9]);
  expect(verdicts()).not.toContain('contaminated');
  // Legacy says that it is not for him; and nothing speaks for another place.
  ask('carl', { ...answer({ error: 'no' }), status: 403 }, outbox as AnswerSample);
  ask('carl', failed, other as AnswerSample);
  pass(2 * WINDOW_MS);
  expect(whats().slice(before)).toEqual([
    'routing candidate carl /userId',
    'routing candidate carl /target_user_id',
  ]);
});

// The fault: a thread that both shared, or a public text that one other user had read, was another's where legacy had
// no time to say so: whoever drove himself into legacy's limits took everybody back.
test('what legacy did not get to say accuses nobody of another’s thread or content', () => {
  const { ask, pass, whats, verdicts, watch } = judged();
  const inDoubt = () => watch.books().get('events')?.sides.candidate.inDoubt;
  for (let n = 0; n < 10; n += 1) {
    const own = answer({ about: `whatever user ${n} has said of himself` });
    ask(`user${n}`, own, own);
  }
  const texts = [{ thread_id: 't1' }, { name: 'a product with a long name', price: 9 }].map(answer);
  for (const each of texts) ask('ann', each, each);
  const failed = { ...answer(''), status: 0, end: 'failed', body: null } as const;
  const later = [429, 503].map(status => ({ ...answer({ error: 'slow down' }), status }));
  const said = later.length + 1;
  for (const none of [failed, ...later]) for (const each of texts) ask('bob', none, each);
  pass(2 * WINDOW_MS);
  expect([whats(), inDoubt()]).toEqual([[], 2 * said]);
  expect(verdicts()).not.toContain('contaminated');
  // Its own answer says another thing, and so does its refusal.
  const [thread, product] = texts as [AnswerSample, AnswerSample];
  ask('bob', answer({ thread_id: 't2' }), thread);
  ask('bob', answer({ name: 'another product with a name' }), product);
  ask('bob', { ...answer({ error: 'no' }), status: 403 }, thread);
  expect(whats()).toEqual([
    'ledger candidate bob /thread_id',
    'fingerprint candidate bob',
    'ledger candidate bob /thread_id',
  ]);
});

// The fault: of two answers to a write only the class of their status is compared, and nobody looked at the rest.
test('another’s thread in the answer to a write is on record, and accuses nobody: services may number their own', () => {
  const { ask, post, pass, whats, verdicts, watch } = judged();
  ask('ann', answer({ thread_id: 't1' }), answer({ thread_id: 't1' }));
  post('bob', answer({ thread_id: 't2' }), answer({ thread_id: 't1' }));
  // What both say is his, and so is what was made for him.
  post('bob', answer({ thread_id: 't1' }), answer({ thread_id: 't1' }));
  post('bob', answer({ thread_id: 't3' }), answer({ thread_id: 't4' }));
  pass(2 * WINDOW_MS);
  expect(watch.books().get('events')?.sides.candidate.inDoubt).toBe(1);
  expect([whats(), verdicts()]).toEqual([[], []]);
});

test('... and is no doubt where a rule says that each service makes up its own', () => {
  const rule = { path: '/thread_id', as: 'generated-id', types: ['POST 2xx'] } as const;
  const { ask, post, pass, watch } = judged({}, [], [rule]);
  ask('ann', answer({ thread_id: 't1' }), answer({ thread_id: 't1' }));
  post('bob', answer({ thread_id: 't2' }), answer({ thread_id: 't1' }));
  pass(2 * WINDOW_MS);
  expect(watch.books().get('events')?.sides.candidate.inDoubt).toBe(0);
});

// The fault: an identifier that a rule lets the candidate add was no difference, and nobody looked whose it was.
test.each(['socket', 'answer'] as const)(
  'another’s thread is his also where the candidate may add one: %s',
  by => {
    const allow = [{ path: '/thread_id', as: 'candidate-adds' }] as const;
    const { join, ask, pass, whats, verdicts } = judged({}, [], allow);
    const bare = { type: 'agent_thinking', run_id: 'run1', step_number: 1 };
    join('ann').both({ ...bare, thread_id: 't1' });
    join('eve').both({ ...bare, run_id: 'run3', thread_id: 't3' });
    const bob = join('bob');
    const say = (thread_id: string, n: number) => {
      const [left, right] = [{ ...bare, run_id: `run${n}` }, { thread_id }];
      if (by === 'answer') return ask('bob', answer(left), answer({ ...left, ...right }));
      bob.say('legacy', left);
      bob.say('candidate', { ...left, ...right });
    };
    say('t2', 2);
    pass(2 * WINDOW_MS);
    expect([whats(), verdicts()]).toEqual([[], []]);
    say('t1', 4);
    pass(2 * WINDOW_MS);
    expect([whats(), verdicts()]).toEqual([['ledger candidate bob /thread_id'], ['contaminated']]);
  },
);

// The fault: identifiers in answers were held to the rules for events without a type, not to those for such answers,
// and those in a list to none: whoever allowed each service to number its own was accused of another's.
test.each<[string, Allowance, (id: string, n: number) => object]>([
  [
    'of such answers',
    { path: '/request_id', as: 'generated-id', types: ['GET 2xx'] },
    (request_id, n) => ({ request_id, n }),
  ],
  [
    'of elements',
    { path: '/*/request_id', as: 'generated-id' },
    (request_id, n) => [{ request_id }, { n }],
  ],
])('what each service numbers by itself is nobody’s, by a rule for those %s', (_of, rule, of) => {
  const { ask, pass, whats, verdicts } = judged({}, [], [rule]);
  ask('ann', answer(of('req-1', 1)), answer(of('req-7', 1)));
  ask('bob', answer(of('req-2', 1)), answer(of('req-1', 1)));
  // Also where something else differs.
  ask('carl', answer(of('req-3', 1)), answer(of('req-1', 2)));
  pass(2 * WINDOW_MS);
  expect([whats(), verdicts()]).toEqual([[], ['mismatch']]);
});

// The fault: neither answer of a read beside a write of the same user was looked into, nor told whose data is whose.
test('beside a write two answers may differ, but in that one has failed, and nobody is accused by that', () => {
  const { ask, pass, findings, whats, watch } = judged();
  const beside = (legacy: AnswerSample, candidate: AnswerSample) =>
    ask('bob', legacy, candidate, '/', 'candidate', true);
  const [one, two] = [answer({ n: 1 }), answer({ n: 2 })];
  beside(one, two);
  beside(one, one);
  beside(one, { ...one, status: 500 });
  expect(findings.map(({ verdict, because }) => [verdict, because])).toEqual([
    ['unjudged', 'beside-write'],
    ['match', null],
    ['mismatch', null],
  ]);
  ask('ann', answer({ thread_id: 't1' }), answer({ thread_id: 't1' }));
  beside(answer({ thread_id: 't2' }), answer({ thread_id: 't1' }));
  // What legacy says is his all the same.
  beside(answer({ thread_id: 't3' }), answer({ thread_id: 't3' }));
  ask('ann', answer({ thread_id: 't1' }), answer({ thread_id: 't3' }));
  pass(2 * WINDOW_MS);
  expect(whats()).toEqual(['ledger candidate ann /thread_id']);
  expect(watch.books().get('events')?.sides.candidate.inDoubt).toBe(1);
});

// The fault: what a service was not given was told as a difference to whoever asked for it.
test('answers differ for a while where one service lacks a write, but in that one has failed', () => {
  const { ask, leaveOut, pass, skip, findings } = judged();
  const ask1 = () => ask('ann', answer({ files: 1 }), answer({ files: 0 }));
  ask1();
  leaveOut('candidate');
  ask1();
  ask('ann', answer({ files: 1 }), answer({ files: 1 }));
  ask('ann', answer({ files: 1 }), { ...answer({ files: 1 }), status: 503 });
  pass(2 * WINDOW_MS);
  skip(WINDOW_MS);
  ask1();
  expect(findings.map(({ verdict, because }) => [verdict, because])).toEqual([
    ['mismatch', null],
    ['unjudged', 'write-left-out'],
    ['match', null],
    ['mismatch', null],
    ['mismatch', null],
  ]);
});

const MINUTE_MS = 60_000;
// The fault: of an answer that its client has first, doubt was final before legacy had answered, and its answer, which
// named nobody else, was not asked: the verdict said contaminated, and nobody was told.
test.each([
  ['soon after', 11 * MINUTE_MS, 90, 0],
  ['after a while', 11 * MINUTE_MS, 200, 0],
  ['in a place that is usual', MINUTE_MS, 200, 0],
  ['beyond the window', MINUTE_MS, WINDOW_MS + 1_000, 1],
] as const)(
  'legacy’s answer ends what is in doubt of the candidate’s, %s',
  (_when, sinceMs, lateMs, inDoubt) => {
    for (const named of ['eve', 'bob']) {
      const { ask, answered, pass, skip, told, whats, verdicts, watch } = judged();
      const outbox = (userId: string) => answer({ userId, items: 1 });
      ask('ann', outbox('bob'), outbox('bob'));
      pass(1_000);
      skip(sinceMs);
      const before = whats().length;
      answered('eve', 'candidate', outbox('bob'));
      pass(lateMs);
      expect(whats()).toHaveLength(before);
      ask('eve', outbox(named), outbox('bob'));
      const both = ['candidate', 'legacy'].map(side => `routing ${side} eve /userId on-both`);
      expect(whats().slice(before)).toEqual(
        named === 'bob' ? both : ['routing candidate eve /userId'],
      );
      expect(told.at(-1)?.ms).toBeLessThan(lateMs + 100);
      pass(2 * WINDOW_MS);
      expect(verdicts()).toEqual(named === 'bob' ? [] : ['contaminated']);
      expect(watch.books().get('events')?.sides.candidate.inDoubt).toBe(inDoubt);
      expect(whats()).toHaveLength(before + (named === 'bob' ? 2 : 1));
    }
  },
);

// A client that has legacy's answer already gets a 304 of it: the candidate's, whose tag is another, was told as a leak
// of its own, and an outbox that names others took everybody back.
test('of what legacy’s client has already nobody knows whom it names, but by its tag, and nobody is accused', () => {
  const { ask, answered, pass, whats, verdicts, watch } = judged({}, MARKERS);
  const tagged = (tag: string, more: Partial<AnswerSample> = {}): AnswerSample => ({
    ...answer({ recipient_id: 'carl' }),
    ...{ headers: ['content-type', 'application/json', 'ETag', tag], ...more },
  });
  const unchanged = (tag: string) => tagged(tag, { status: 304, body: Buffer.alloc(0) });
  const [ours, theirs] = ['"2c-mIlg1Xw9pLk3aB7cQ"', 'W/"2c-0qGf4Dz8tHn5rYvE"'];
  ask('bob', unchanged(ours), tagged(theirs), '/', 'legacy');
  pass(2 * WINDOW_MS);
  expect(whats()).toEqual([]);
  expect(watch.books().get('events')?.sides.candidate.inDoubt).toBe(1);
  ask('bob', unchanged(theirs), tagged(`W/${theirs.slice(2)}`), '/', 'legacy');
  pass(2 * WINDOW_MS);
  expect(whats().splice(0)).toEqual(['routing candidate bob /recipient_id on-both']);
  expect(verdicts()).toEqual(['unjudged']);
  // A count of versions says nothing, what was planted is nobody's own, and what was shown is told.
  ask('bob', unchanged('"7"'), tagged('"7"'), '/', 'legacy');
  const planted = { body: Buffer.from('{"a":"cutovermarker00aa"}') };
  ask('bob', unchanged(ours), tagged(theirs, planted), '/', 'legacy');
  ask('eve', unchanged(ours), tagged(theirs), '/', 'candidate');
  // Legacy's own, where the candidate has not sent it again.
  answered('dora', 'candidate', unchanged(theirs));
  ask('dora', tagged(ours), unchanged(theirs), '/', 'candidate');
  pass(2 * WINDOW_MS);
  expect(whats().slice(1)).toEqual([
    'marker candidate bob',
    'routing candidate eve /recipient_id',
    'routing legacy dora /recipient_id',
  ]);
  expect(watch.books().get('events')?.sides.candidate.inDoubt).toBe(2);
  expect(verdicts()).toEqual(['unjudged', 'contaminated', 'contaminated', 'unjudged']);
});

test('a marker is found in answers of every kind; what can not be looked into is counted by cause', () => {
  const { ask, pass, whats, watch } = judged({}, MARKERS);
  const page = (text: string | Buffer, more: Partial<AnswerSample> = {}): AnswerSample => ({
    ...answer({}),
    ...{ headers: ['content-type', 'text/html'], body: Buffer.from(text as string), ...more },
  });
  const coded = { headers: ['content-encoding', 'odd'] };
  const own = page('<h1>cutovermarker00bb</h1>');
  ask('bob', own, page('<h1>cutovermarker00aa</h1>'));
  ask('bob', own, page(Buffer.concat([Buffer.of(0xff), Buffer.from('cutovermarker00aa')])));
  ask('bob', own, page('', { body: null, marker: 'ann' }));
  ask('bob', own, page('odd', coded));
  ask('bob', own, page('<b>"userId":"ann"</b>'));
  pass(HOLD_MS + TICK_MS);
  expect(whats()).toEqual(Array.from({ length: 3 }, () => 'marker candidate bob'));
  expect(watch.books().get('events')?.sides.candidate.uninspectable).toEqual({
    ...{ binary: 0, 'not-utf8': 0, 'not-json': 1, 'too-large': 1, coded: 1 },
  });
});

test('an event stream is read as a socket is, and names the type where the event does not', () => {
  const { join, whats, pass } = judged({ provenance: { receipt: ['recipient_id'] } });
  const ann = join('ann', [], 'sse');
  ann.raw('legacy', 'data: {"type":"x","n":1}\n\n');
  ann.raw('candidate', 'data: {"type":"x","n":1,\ndata: "userId":"bob"}\n\n');
  for (const side of SIDES) ann.raw(side, 'event: receipt\ndata: {"recipient_id":"bob"}\n\n');
  pass(HOLD_MS + TICK_MS);
  expect(whats()).toEqual(['routing candidate ann /userId']);
});

test('nobody anonymous is accused, and what can not be read is counted', () => {
  const { join, pass, whats, watch } = judged();
  const ann = join('ann');
  ann.both('42["event",{"userId":"bob"}]');
  pass(2 * WINDOW_MS);
  expect(whats()).toEqual([]);
  const books = watch.books().get('events');
  expect(books?.sides.candidate.uninspectable['not-json']).toBe(1);
});
