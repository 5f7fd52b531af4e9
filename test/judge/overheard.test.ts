// What legacy sends to users who are not compared says whose data is whose, and nothing else comes of it.
import { expect, test, vi } from 'vitest';
import { WINDOW_MS } from '../../src/judge/docket.ts';
import type { AnswerSample } from '../../src/ports.ts';
import { wholeFrame } from '../../src/wire/frames.ts';
import { judged } from './watched-users.ts';

const step = (run: string, thread: string, more: object = {}) => ({
  ...{ type: 'agent_thinking', run_id: run, thread_id: thread, step_number: 1 },
  ...{ reasoning: `Thinking about what ${run} is for`, timestamp: 1757953203.4 },
  ...more,
});

const answer = (body: object): AnswerSample => ({
  ...{ status: 200, headers: ['content-type', 'application/json'], end: 'complete' },
  ...{ marker: null, code: null, ms: 1, body: Buffer.from(JSON.stringify(body)) },
});

const LEDGER = ['ledger candidate bob /thread_id'];

// The fault: only users who are sampled taught the ledger, and an event of anybody else's was an `extra` alone.
test('the event of a user who is not compared is known as his at one who is', () => {
  const { join, overhear, pass, whats, told, verdicts } = judged();
  const [ann, bob] = [overhear('ann'), join('bob')];
  ann.gets(step('run1', 't1'));
  bob.both(step('run2', 't2'));
  bob.say('candidate', step('run1', 't1'));
  const books = pass(2 * WINDOW_MS);
  expect(whats()).toEqual(LEDGER);
  expect(told[0]?.owner).toBe('ann');
  expect(verdicts()).toEqual(['contaminated']);
  // And hers are in nobody's books.
  expect([books?.legacy.seen, books?.candidate.seen]).toEqual([1, 2]);
});

test('so is it by an event stream, by an answer, and after she has left', () => {
  const { join, overhear, overheardAnswer, pass, whats } = judged();
  const [ann, bob] = [overhear('ann', 'sse'), join('bob')];
  ann.raw(Buffer.from(`data: ${JSON.stringify(step('run1', 't1'))}\n\n`));
  ann.leaves();
  overheardAnswer('carl', answer({ thread_id: 't3' }));
  bob.say('candidate', step('run2', 't1'), step('run3', 't3'));
  pass(2 * WINDOW_MS);
  expect(whats()).toEqual([...LEDGER, ...LEDGER]);
});

test('content that legacy sent such a user alone is hers as well', () => {
  const { join, overhear, pass, whats } = judged();
  const note = (user: string, n: number) => ({
    ...{ type: 'note', number: n, text: `the balance of ${user} is ${n}` },
  });
  const [ann, bob] = [overhear('ann'), join('bob')];
  const others = Array.from({ length: 25 }, (_, n) => overhear(`user_${n}`));
  for (const [n, other] of others.entries()) other.gets(note(`user_${n}`, n));
  ann.gets(note('ann', 99));
  bob.say('candidate', note('ann', 99));
  pass(2 * WINDOW_MS);
  expect(whats()).toEqual(['fingerprint candidate bob']);
});

test('what legacy gives two of them is nobody’s, unless one has asked for it by its name', () => {
  const { join, overhear, pass, whats } = judged();
  const [ann, carl, eve, bob] = [overhear('ann'), overhear('carl'), overhear('eve'), join('bob')];
  ann.gets(step('run1', 't1'), step('run1', 't2'));
  carl.gets(step('run2', 't1'));
  eve.tells('show me t2');
  eve.gets(step('run3', 't2'));
  bob.say('candidate', step('run4', 't1'));
  pass(2 * WINDOW_MS);
  expect(whats()).toEqual([]);
  bob.say('candidate', step('run4', 't2'));
  pass(2 * WINDOW_MS);
  expect(whats()).toEqual(LEDGER);
});

// What legacy alone is told the candidate can repeat to nobody: it must not keep anybody's leak for 5 s.
test('a name that such a user says makes no echo of another’s address', () => {
  const { join, overhear, pass, whats } = judged();
  const [ann, bob] = [overhear('ann'), join('bob')];
  ann.tells('what is carl up to?');
  bob.say('candidate', step('run1', 't1', { data: { target_user_id: 'carl' } }));
  pass(100);
  expect(whats()).toEqual(['routing candidate bob /data/target_user_id']);
});

test('an address of somebody else in what legacy sends her is told, and as legacy’s', () => {
  const { overhear, overheardAnswer, pass, whats } = judged();
  overhear('ann').gets(step('run1', 't1', { userId: 'bob' }));
  overheardAnswer('ann', answer({ recipient_id: 'bob' }));
  pass(2 * WINDOW_MS);
  expect(whats()).toEqual(['routing legacy ann /userId', 'routing legacy ann /recipient_id']);
});

test('frames that can not be followed end what is heard of that stream, and of no other', () => {
  const { join, overhear, pass, whats } = judged();
  const [ann, carl, bob] = [overhear('ann'), overhear('carl'), join('bob')];
  ann.raw(Buffer.from([0x82, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]));
  ann.gets(step('run1', 't1'));
  carl.gets(step('run3', 't3'));
  bob.say('candidate', step('run2', 't1'), step('run4', 't3'));
  pass(2 * WINDOW_MS);
  expect(whats()).toEqual(LEDGER);
});

// The fault: what stood behind it in the same read was not read, and the next read taken for the beginning of a frame.
test('an event at which looking fails costs that event, wherever it is cut', () => {
  const { join, overhear, pass, whats, watch, failing } = judged();
  const [ann, bob, carl] = [overhear('ann'), join('bob'), join('carl')];
  const frames = ['t1', 't2', 't3'].map(thread =>
    wholeFrame(1, Buffer.from(JSON.stringify(step('run1', thread)))),
  );
  const bytes = Buffer.concat(frames);
  const failures = failing(() => {
    const taught = vi.spyOn(watch.identifiers, 'teach').mockImplementationOnce(() => {
      throw new Error('it is full');
    });
    ann.raw(bytes.subarray(0, bytes.length - 30));
    taught.mockRestore();
    ann.raw(bytes.subarray(bytes.length - 30));
  });
  expect(failures).toHaveLength(1);
  bob.say('candidate', ...['t2', 't3'].map(thread => step(`own-${thread}`, thread)));
  // The same on a stream that is compared.
  const compared = failing(() => {
    const taught = vi.spyOn(watch.identifiers, 'teach').mockImplementationOnce(() => {
      throw new Error('it is full');
    });
    const own = ['t4', 't5'].map(thread =>
      wholeFrame(1, Buffer.from(JSON.stringify(step('run5', thread)))),
    );
    carl.stream.follow('legacy', Buffer.concat(own), carl.trackers.legacy);
    bob.say('legacy');
    taught.mockRestore();
  });
  expect(compared).toHaveLength(1);
  bob.say('candidate', step('own-t5', 't5'));
  pass(2 * WINDOW_MS);
  expect(whats()).toEqual([...LEDGER, ...LEDGER, ...LEDGER]);
});

test('a judge that begins anew hears them from where the next message begins', () => {
  const { overhear, tap } = judged();
  const ann = overhear('ann');
  const frame = wholeFrame(1, Buffer.from(JSON.stringify(step('run1', 't1'))));
  ann.stream?.follow('legacy', frame.subarray(0, 20), ann.tracker);
  tap.beginAnew();
  expect(ann.stream?.hears('legacy')).toBe(false);
  ann.stream?.follow('legacy', Buffer.concat([frame.subarray(20), frame]), ann.tracker);
  expect(ann.stream?.hears('legacy')).toBe(true);
  expect(tap.bytesUnheard).toBe(frame.length - 20);
});

test('an answer that refuses, fails or breaks off teaches nothing', () => {
  const { join, overheardAnswer, pass, whats } = judged();
  const bob = join('bob');
  const body = { thread_id: 't1' };
  overheardAnswer('ann', { ...answer(body), status: 404 });
  overheardAnswer('ann', { ...answer(body), status: 502 });
  overheardAnswer('ann', { ...answer(body), end: 'cut', body: Buffer.from('{"thread_id":"t1"') });
  overheardAnswer('ann', { ...answer(body), status: 0, end: 'failed', body: Buffer.alloc(0) });
  bob.say('candidate', step('run1', 't1'));
  pass(2 * WINDOW_MS);
  expect(whats()).toEqual([]);
});

// The faults: who spoke in what nobody can read made another's thread look shared; a thousand of legacy's addresses were
// kept for each stream, for a twin that never comes.
test('asking in what nobody can read shares nothing; a legacy that names others all day fills nothing', () => {
  const { join, overhear, pass, whats, watch } = judged();
  const [ann, eve, bob] = [overhear('ann'), overhear('eve'), join('bob')];
  ann.gets(step('run1', 't1'));
  eve.tells(null);
  eve.gets(step('run2', 't1'));
  bob.say('candidate', step('run3', 't1'));
  pass(2 * WINDOW_MS);
  expect(whats()).toEqual(LEDGER);
  for (let n = 0; n < 1_500; n += 1) ann.gets({ type: 'a', number: n, userId: 'bob' });
  const { legacy } = watch.books().get('events')?.sides ?? {};
  expect([legacy?.contaminated.routing, legacy?.crowded['twin-forgotten']]).toEqual([1_500, 0]);
  // One by one a hundred in a second.
  expect(whats()).toHaveLength(1 + 100);
});

test('while the judge is behind they are left out first, up to a whole message, and counted', () => {
  const { join, overhear, pass, whats, tap, busy } = judged();
  const [ann, bob, carl] = [overhear('ann'), join('bob'), overhear('carl', 'sse')];
  const text = (event: object) => wholeFrame(1, Buffer.from(JSON.stringify(event)));
  const [first, second] = [text(step('run1', 't1')), text(step('run2', 't2'))];
  const event = (thread: string) => Buffer.from(`data: ${JSON.stringify(step('r', thread))}\n\n`);
  const before = tap.bytesLeftOut;
  const { stream } = ann;
  const goOn = busy();
  stream?.follow('legacy', first.subarray(0, 20), ann.tracker);
  carl.stream?.bytes('legacy', event('t3').subarray(0, 40));
  expect([stream?.hears('legacy'), carl.stream?.hears('legacy')]).toEqual([false, false]);
  bob.stream.follow('legacy', text(step('run5', 't5')), bob.trackers.legacy);
  goOn();
  stream?.follow('legacy', Buffer.concat([first.subarray(20), second]), ann.tracker);
  carl.stream?.bytes('legacy', event('t3').subarray(40));
  carl.stream?.bytes('legacy', event('t4'));
  expect([stream?.hears('legacy'), tap.bytesLeftOut]).toEqual([true, before]);
  expect(tap.bytesUnheard).toBe(first.length + 40);
  for (const [n, thread] of ['t1', 't2', 't3', 't4'].entries())
    bob.say('candidate', step(`own-${n}`, thread));
  pass(2 * WINDOW_MS);
  expect(whats()).toEqual([...LEDGER, ...LEDGER]);
});
