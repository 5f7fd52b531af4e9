// The judge as a thread: what the lanes hand over comes out as books that add up, whatever befalls it.
import { once } from 'node:events';
import net from 'node:net';
import { brotliCompressSync, deflateSync, gzipSync, zstdCompressSync } from 'node:zlib';
import pino from 'pino';
import { afterEach, expect, test } from 'vitest';
import { WINDOW_MS } from '../../src/judge/docket.ts';
import { Judge } from '../../src/judge/judge.ts';
import type { AnswerSample, StreamTap } from '../../src/ports.ts';
import { DEFAULT_RULES } from '../../src/rules/compare/rules.ts';
import { SIDES, type Side } from '../../src/rules/decide.ts';
import type { Contamination } from '../../src/rules/isolation/incident.ts';
import { DEFAULT_ISOLATION } from '../../src/rules/isolation/rules.ts';
import { type Books, imbalance, unjudgedOf } from '../../src/rules/pairing/books.ts';
import { FrameTracker, wholeFrame } from '../../src/wire/frames.ts';
import { until } from '../support/until.ts';

const RULES = { events: { compare: DEFAULT_RULES, noise: null, isolation: DEFAULT_ISOLATION } };
const open: Judge[] = [];
afterEach(async () => {
  for (const judge of open.splice(0)) await judge.close();
});

function judge(logged: string[] = []): Judge {
  const logger = pino({ level: 'debug' }, { write: line => void logged.push(line) });
  const started = new Judge({ rules: RULES, evidence: null, logger });
  open.push(started);
  return started;
}

/** One session of which both sides can be made to speak. */
function session(judged: Judge, id = 's1', user: string | null = null) {
  const tap: StreamTap = judged.tap.stream({
    route: 'events',
    id,
    format: 'websocket',
    subject: user === null ? null : { id: user, aliases: [] },
  });
  const trackers = { legacy: new FrameTracker(), candidate: new FrameTracker() };
  for (const side of SIDES) tap.legOpened(side, trackers[side]);
  return {
    tap,
    bytes: (side: Side, bytes: Buffer) => tap.follow(side, bytes, trackers[side]),
    say: (side: Side, ...values: unknown[]) => {
      for (const value of values) {
        const text = typeof value === 'string' ? value : JSON.stringify(value);
        tap.follow(side, wholeFrame(1, Buffer.from(text)), trackers[side]);
      }
    },
  };
}

const step = (seq: number, more: object = {}) => ({ type: 'step', run_id: 'r1', seq, ...more });

async function settled(judged: Judge, seen: number): Promise<Books> {
  return until(
    `${seen} are seen and none waits`,
    () => {
      const books = judged.books().get('events');
      if (books === undefined) return undefined;
      expect(imbalance(books)).toBeNull();
      const all = books.legacy.seen + books.candidate.seen;
      return all >= seen && books.legacy.pending + books.candidate.pending === 0
        ? books
        : undefined;
    },
    20_000,
  );
}

test('what both say alike is a match, in text, in pieces, and whatever the order of keys', async () => {
  const judged = judge();
  const { say, bytes } = session(judged);
  say('legacy', step(1, { a: 1, b: [1, { c: null }] }), 'plain text');
  say('candidate', { seq: 1, run_id: 'r1', b: [1, { c: null }], a: 1, type: 'step' }, 'plain text');
  const frame = wholeFrame(1, Buffer.from(JSON.stringify(step(2))));
  bytes('legacy', frame);
  for (const byte of frame) bytes('candidate', Buffer.from([byte]));
  const books = await settled(judged, 6);
  expect(books.legacy).toMatchObject({ seen: 3, match: 3 });
});

test('a difference, one that is missing and one too many are told, and the books add up', async () => {
  const judged = judge();
  const { say, tap } = session(judged);
  say('legacy', step(1), step(2, { a: 1 }), step(3), step(4));
  say('candidate', step(1), step(2, { a: 2 }), step(4), step(4));
  tap.close();
  const books = await settled(judged, 8);
  expect(books.legacy).toMatchObject({ match: 2, mismatch: 1, missing: 1 });
  expect(books.candidate).toMatchObject({ match: 2, mismatch: 1, duplicate: 1 });
});

test('what a service was not given a write for is not missing there, whoever was to hear of it', async () => {
  const judged = judge();
  const [one, other] = [session(judged), session(judged, 's2')];
  for (const { say } of [one, other]) for (const side of SIDES) say(side, step(1));
  await settled(judged, 4);
  judged.tap.writeLeftOut('candidate')();
  one.say('legacy', step(2));
  other.say('legacy', step(3));
  // It was given all others; what it alone says has no such excuse.
  for (const side of SIDES) one.say(side, step(4));
  other.say('candidate', step(5));
  // Nor does it say anything else for want of one.
  one.say('legacy', step(6, { a: 1 }));
  one.say('candidate', step(6, { a: 2 }));
  const books = await settled(judged, 11);
  expect(books.legacy).toMatchObject({ match: 3, mismatch: 1, missing: 0 });
  expect(unjudgedOf(books.legacy)).toBe(2);
  expect(books.legacy.unjudged['write-left-out']).toBe(2);
  expect(books.candidate).toMatchObject({ match: 3, mismatch: 1, extra: 1 });
});

test('a side that is closed is settled once nothing of it waits for the other one', async () => {
  const judged = judge();
  const { say, tap } = session(judged);
  let settled = 0;
  say('legacy', step(1), step(2));
  say('candidate', step(1));
  tap.legClosed('legacy', 'left');
  tap.onceSettled(() => (settled += 1));
  await until('one waits', () => judged.books().get('events')?.legacy.match === 1);
  expect(settled).toBe(0);
  say('candidate', step(2));
  await until('it is settled', () => settled === 1);
  await until('both are pairs', () => judged.books().get('events')?.legacy.match === 2);
  // Whoever asks later is told at once.
  tap.onceSettled(() => (settled += 1));
  expect(settled).toBe(2);
});

test('what a twin of legacy says is held against legacy, and is in no books', async () => {
  const judged = judge();
  judged.measureNoise('events', { rules: DEFAULT_RULES, redact: [] });
  const { say } = session(judged);
  const facts = { route: 'events', id: 's1', format: 'websocket', subject: null } as const;
  const twin = judged.tap.stream({ ...facts, isTwin: true });
  const tracker = new FrameTracker();
  twin.legOpened('candidate', tracker);
  for (let seq = 0; seq < 3; seq += 1) {
    for (const side of SIDES) say(side, step(seq, { load: 1 }));
    const text = JSON.stringify(step(seq, { load: 2 }));
    twin.follow('candidate', wholeFrame(1, Buffer.from(text)), tracker);
  }
  const type = await until('all are compared', async () => {
    const found = (await judged.noise('events'))?.get('step');
    return found?.pairs.twin === 3 && found.pairs.candidate === 3 ? found : undefined;
  });
  expect(type.places).toEqual(
    new Map([
      ['/load', { values: { twin: 3, candidate: 0 }, otherwise: { twin: 0, candidate: 0 } }],
    ]),
  );
  twin.close();
  const books = await settled(judged, 6);
  expect([books.legacy.seen, books.candidate.seen, books.legacy.match]).toEqual([3, 3, 3]);
  judged.measureNoise('events', null);
  expect(await judged.noise('events')).toBeNull();
});

test('what came while the process was not scheduled is read before its window ends', async () => {
  const judged = judge();
  const { say } = session(judged);
  const server = net.createServer(socket => {
    socket.on('data', data => say('candidate', JSON.parse(String(data))));
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const service = net.connect((server.address() as net.AddressInfo).port, '127.0.0.1');
  await once(service, 'connect');
  for (const side of SIDES) say(side, step(1));
  await settled(judged, 2);
  say('legacy', step(2));
  await until('it waits', () => judged.books().get('events')?.legacy.pending === 1);
  // In the turn of the loop in which timers come before what is read.
  await new Promise(setImmediate);
  // In the kernel at once; then everything is due.
  service.write(JSON.stringify(step(2)));
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, WINDOW_MS + 300);
  const books = await settled(judged, 4);
  service.destroy();
  server.close();
  expect(books.legacy).toMatchObject({ match: 2, missing: 0 });
});

test.each([
  ['10,000 levels', `${'['.repeat(10_000)}${']'.repeat(10_000)}`],
  ['a key called __proto__', '{"type":"a","__proto__":{"polluted":true}}'],
  ['duplicate keys', '{"type":"a","type":"b","type":"a"}'],
  ['a lone surrogate', '{"type":"a","text":"\\ud800"}'],
  ['no JSON', '{"type":'],
  ['more than is compared', 'x'.repeat(1_100_000)],
])('%s on both sides: a verdict or a reason, never a crash', async (_name, text) => {
  const judged = judge();
  const { say } = session(judged);
  say('legacy', text, step(1));
  say('candidate', text, step(1));
  const books = await settled(judged, 4);
  expect(
    books.legacy.match + books.legacy.unjudged['too-deep'] + books.legacy.unjudged['too-large'],
  ).toBe(2);
  expect(judged.failures).toBe(0);
  expect(Object.hasOwn(Object.prototype, 'polluted')).toBe(false);
});

test('numbers beyond 2^53 that differ in the last digit are not the same', async () => {
  const judged = judge();
  const { say } = session(judged);
  say('legacy', '{"type":"a","run_id":"r","seq":1,"id":9007199254740993}');
  say('candidate', '{"type":"a","run_id":"r","seq":1,"id":9007199254740992}');
  expect((await settled(judged, 2)).legacy.mismatch).toBe(1);
});

test('binary is compared by its bytes, and text that is no UTF-8 not at all', async () => {
  const judged = judge();
  const { bytes } = session(judged);
  for (const side of SIDES) {
    bytes(side, wholeFrame(2, Buffer.from([1, 2, 3])));
    bytes(side, wholeFrame(1, Buffer.from([0xff, 0xfe])));
  }
  const books = await settled(judged, 4);
  expect(books.legacy.match).toBe(1);
  expect(books.legacy.unjudged['not-comparable']).toBe(1);
});

test('a frame that can not be followed ends the judging of that session and of no other', async () => {
  const judged = judge();
  const [torn, whole] = [session(judged, 'torn'), session(judged, 'whole')];
  torn.say('legacy', step(1));
  torn.say('candidate', step(1));
  torn.bytes('candidate', Buffer.from([0x81, 127, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]));
  torn.say('legacy', step(2));
  whole.say('legacy', step(1));
  whole.say('candidate', step(1));
  torn.tap.close();
  const books = await settled(judged, 5);
  expect(books.legacy).toMatchObject({ match: 2, missing: 0 });
  expect(unjudgedOf(books.legacy)).toBe(1);
});

test('when the judge is behind, copies are left out and counted, and nothing is called missing', async () => {
  const judged = judge();
  const { say } = session(judged);
  const text = 'y'.repeat(60_000);
  // 24 MB a side at once: three times what may be in hand.
  for (let n = 0; n < 400; n += 1) for (const side of SIDES) say(side, step(n, { text }));
  expect(judged.bytesLeftOut).toBeGreaterThan(0);
  // Once there is room again, the streams are picked up.
  await until(
    'there is room again',
    () => {
      for (const side of SIDES) say(side, step(1_000_000, { text: 'small' }));
      return (judged.books().get('events')?.legacy.unjudged.overload ?? 0) > 100;
    },
    20_000,
  );
  const books = await until(
    'none waits',
    () => {
      const found = judged.books().get('events');
      return found?.legacy.pending === 0 && found.candidate.pending === 0 ? found : undefined;
    },
    20_000,
  );
  expect(imbalance(books)).toBeNull();
  expect(books.legacy.unjudged.overload).toBeGreaterThan(100);
  expect([books.legacy.missing, books.candidate.extra]).toEqual([0, 0]);
});

test('a judge that dies begins anew; what it had in hand is counted, and streams go on', async () => {
  const logged: string[] = [];
  const judged = judge(logged);
  const { say } = session(judged);
  say('legacy', step(1));
  say('candidate', step(1));
  await settled(judged, 2);
  say('legacy', step(2));
  await until('one waits', () => judged.books().get('events')?.legacy.pending === 1);
  // Rules that no configuration lets through end the thread; the next one gets the ones after them.
  judged.setRules({
    events: { ...RULES.events, compare: { ...DEFAULT_RULES, key: null as never } },
  });
  judged.setRules(RULES);
  await until('it is back', () => judged.restarts === 1 && judged.running);
  for (const side of SIDES) say(side, step(3), step(4));
  const books = await settled(judged, 7);
  expect(books.legacy.seen).toBe(4);
  expect(books.legacy.unjudged['judge-restart']).toBe(1);
  expect(books.legacy.match).toBe(3);
});

// The fault: the next thread knew the routes of the configuration alone, and those who are still connected by another
// one were compared by no rules of theirs, and not watched.
test('... and judges whoever came by a route that is gone by the rules that it had', async () => {
  const lenient = { ...DEFAULT_RULES, allow: [{ path: '/a', as: 'anything' }] } as const;
  const judged = judge();
  judged.setRules({ events: { ...RULES.events, compare: lenient } });
  const { say } = session(judged);
  for (const side of SIDES) say(side, step(1));
  await settled(judged, 2);
  judged.setRules({ another: null as never });
  judged.setRules({ another: RULES.events });
  await until('it is back', () => judged.restarts === 1 && judged.running);
  for (const side of SIDES) say(side, step(2));
  say('legacy', step(3, { a: 1 }));
  say('candidate', step(3, { a: 2 }));
  const books = await settled(judged, 6);
  expect(books.legacy).toMatchObject({ mismatch: 0, noise: 1 });
});

test('... and does not forget that names do not fit, before it or in its own thread', async () => {
  const told: Contamination[] = [];
  const judged = new Judge({
    ...{ rules: RULES, evidence: null, logger: pino({ level: 'silent' }) },
    onContamination: found => told.push(found),
  });
  open.push(judged);
  const users = Array.from({ length: 20 }, (_, n) => session(judged, `s${n}`, `u-${n}`));
  const named = (n: number, seq: number) => step(seq, { userId: `user_${n}` });
  for (let seq = 0; seq < 50; seq += 1) {
    for (const [n, { say }] of users.entries()) for (const side of SIDES) say(side, named(n, seq));
  }
  await until('it is known', () => judged.identityMismatch('events'));
  judged.setRules({
    events: { ...RULES.events, compare: { ...DEFAULT_RULES, key: null as never } },
  });
  judged.setRules(RULES);
  await until('it is back', () => judged.restarts === 1 && judged.running);
  const before = told.length;
  const { say, tap } = users[0] as (typeof users)[number];
  for (const side of SIDES) say(side, step(98), step(99));
  const { legacy } = judged.books().get('events') as Books;
  await until('it reads', () => (judged.books().get('events')?.legacy.seen ?? 0) > legacy.seen);
  // The candidate alone, for which nobody is waited.
  tap.legClosed('legacy', 'left');
  say('candidate', named(1, 100));
  const foreign = () => judged.isolationBooks().get('events')?.sides.candidate.foreign;
  await until('it has seen it', () => foreign() === 1_001);
  expect(judged.identityMismatch('events')).toBe(true);
  expect(judged.isolationBooks().get('events')?.identityMismatch).toBe(true);
  expect(told.slice(before)).toEqual([]);
});

function answer(body: string | Buffer, more: Partial<AnswerSample> = {}): AnswerSample {
  return {
    ...{
      status: 200,
      headers: ['Content-Type', 'application/json'],
      end: 'complete',
      marker: null,
      code: null,
      ms: 1,
    },
    body: Buffer.from(body),
    ...more,
  };
}

/** Of two parts. */
function parts(boundary: string, said: string): AnswerSample {
  const line = `--${boundary.replaceAll('"', '')}`;
  return answer(`${line}\r\n\r\n{"a":1}\r\n${line}\r\n\r\n\xff${said}\r\n${line}--\r\n`, {
    headers: ['Content-Type', `multipart/mixed; boundary=${boundary}`],
  });
}

test.each([
  ['the same JSON', answer('{"a":1,"b":2}'), answer('{"b":2,"a":1}'), 'match'],
  ['another value', answer('{"a":1}'), answer('{"a":2}'), 'mismatch'],
  ['another status', answer('{}'), answer('{}', { status: 404 }), 'mismatch'],
  [
    'the same, once compressed (76)',
    answer('{"a":1}'),
    answer(gzipSync('{"a":1}'), {
      headers: ['Content-Encoding', 'gzip', 'content-type', 'application/json'],
    }),
    'match',
  ],
  ...(
    [
      ['br', brotliCompressSync],
      ['deflate', deflateSync],
      ['zstd', zstdCompressSync],
    ] as const
  ).map(([coding, code]) => {
    const headers = ['Content-Encoding', coding, 'content-type', 'application/json'];
    const coded = answer(code('{"a":1}'), { headers });
    return [`the same, once in ${coding} (76)`, answer('{"a":1}'), coded, 'match'] as const;
  }),
  ['the same parts behind other boundaries (76)', parts('a1', '1'), parts('"b 2"', '1'), 'match'],
  ['other parts behind other boundaries', parts('a1', '1'), parts('b2', '2'), 'mismatch'],
  [
    'parts that hold the boundary in a line',
    parts('a1', 'x --a1'),
    parts('b2', 'x --b2'),
    'mismatch',
  ],
  ['one that broke off (47)', answer('{"a":1}'), answer('{"a"', { end: 'cut' }), 'mismatch'],
  [
    'two that fail alike',
    answer('x', { status: 503 }),
    answer('x', { status: 503 }),
    'failed-alike',
  ],
] as const)('two answers, %s', async (_name, legacy, candidate, verdict) => {
  const judged = judge();
  judged.tap.exchange({
    ...{
      route: 'events',
      id: 'x1',
      subject: null,
      primary: 'legacy',
      method: 'GET',
      isWrite: false,
    },
    ...{ legacy, candidate },
  });
  const books = await settled(judged, 2);
  expect(books.legacy[verdict]).toBe(1);
});

test('a bomb is not blown up (76)', async () => {
  const judged = judge();
  const bomb = gzipSync(Buffer.alloc(200_000_000));
  judged.tap.exchange({
    ...{
      route: 'events',
      id: 'x1',
      subject: null,
      primary: 'legacy',
      method: 'GET',
      isWrite: false,
    },
    legacy: answer('{}'),
    candidate: answer(bomb, {
      headers: ['Content-Encoding', 'gzip', 'Content-Type', 'application/json'],
    }),
  });
  const books = await settled(judged, 2);
  expect(books.legacy.unjudged['too-large']).toBe(1);
});

test('an answer that found no room while it came is unjudged for that, on both sides', async () => {
  const judged = judge();
  judged.tap.exchange({
    ...{
      route: 'events',
      id: 'x1',
      subject: null,
      primary: 'legacy',
      method: 'GET',
      isWrite: false,
    },
    legacy: { ...answer(''), body: 'overload' },
    candidate: answer('{}'),
  });
  const books = await settled(judged, 2);
  expect([books.legacy.unjudged.overload, books.candidate.unjudged.overload]).toEqual([1, 1]);
});

test('answers whose integers beyond 2^53 differ are a mismatch, and those that are alike a match', async () => {
  const judged = judge();
  const answer = (account: string): AnswerSample => ({
    ...{ status: 200, headers: ['Content-Type', 'application/json'], end: 'complete' },
    marker: null,
    ...{ code: null, ms: 1, body: Buffer.from(`{"account":${account}}`) },
  });
  for (const [id, candidate] of [
    ['x1', '9007199254740992'],
    ['x2', '9007199254740993'],
  ] as const) {
    judged.tap.exchange({
      ...{ route: 'events', id, subject: null, primary: 'legacy', method: 'GET', isWrite: false },
      ...{ legacy: answer('9007199254740993'), candidate: answer(candidate) },
    });
  }
  const books = await settled(judged, 4);
  expect(books.legacy).toMatchObject({ seen: 2, match: 1, mismatch: 1 });
});
