import { afterEach, expect, test } from 'vitest';
import { readiness } from '../../src/control/health.ts';
import { emptyIsolationBooks } from '../../src/rules/isolation/isolation-books.ts';
import { emptyBooks } from '../../src/rules/pairing/books.ts';
import { flagsFor, type Operated, operated } from '../support/operator.ts';
import { until } from '../support/until.ts';

let op: Operated;
afterEach(() => op.close());

const codes = (remarks: readonly { code: string }[]) => remarks.map(({ code }) => code);

test('a proxy that serves is ready, without remarks', async () => {
  op = await operated({ 'events.json': flagsFor('events', 'off') });
  expect(readiness(op.proxy)).toEqual({ ready: true, reasons: [], warnings: [] });
});

test('it is not ready before the listener is open, nor while draining', async () => {
  op = await operated();
  op.state.traffic = null;
  expect(codes(readiness(op.proxy).reasons)).toEqual(['starting']);
  op.state.traffic = op.traffic;
  op.traffic.draining = true;
  const draining = readiness(op.proxy);
  expect(draining.ready).toBe(false);
  expect(codes(draining.reasons)).toEqual(['draining']);
});

test('without flags it is ready, since legacy serves everybody, and says so', async () => {
  op = await operated({ 'events.json': 'no json' });
  const { ready, warnings } = readiness(op.proxy);
  expect(ready).toBe(true);
  expect(codes(warnings)).toEqual(['flags-unknown']);
});

test('refused flags are a warning while those before them serve on', async () => {
  op = await operated({ 'events.json': flagsFor('events', 'live') });
  await op.write('events.json', '{"version": 2, "features": [');
  await until('the refusal is known', () => readiness(op.proxy).warnings.length > 0);
  expect(codes(readiness(op.proxy).warnings)).toEqual(['flags-refused']);
  expect(readiness(op.proxy).ready).toBe(true);
});

test('a flag that two files define is a refusal too', async () => {
  op = await operated({ 'events.json': flagsFor('events', 'live') });
  await op.write('again.json', flagsFor('events', 'live'));
  await until('the refusal is known', () => readiness(op.proxy).warnings.length > 0);
  expect(codes(readiness(op.proxy).warnings)).toEqual(['flags-refused']);
});

test('lint alone is no warning of health', async () => {
  const odd = flagsFor('events', 'canary', 10).map(flag => ({ ...flag, colour: 'blue' }));
  op = await operated({ 'events.json': odd });
  expect(op.flags.problems().length).toBeGreaterThan(0);
  expect(readiness(op.proxy).warnings).toEqual([]);
});

test('during a take-over the new process is ready before it holds the state folder', async () => {
  op = await operated();
  op.state.lock = 'awaited';
  const { ready, warnings } = readiness(op.proxy);
  expect(ready).toBe(true);
  expect(codes(warnings)).toEqual(['state-awaited']);
});

test('a refused reload is a warning', async () => {
  op = await operated();
  op.state.lastReload = { at: Date.now(), ok: false, problems: ['cutover.yaml:3:1 wrong'] };
  expect(codes(readiness(op.proxy).warnings)).toEqual(['reload-refused']);
});

test('events that one service may lack for want of a write are a warning, once they are more than 0.1 %', async () => {
  op = await operated();
  const books = emptyBooks();
  const judge = { ...op.proxy.judge, books: () => new Map([['events', books]]) };
  books.legacy.seen = 1_000;
  books.legacy.unjudged['write-left-out'] = 1;
  expect(readiness({ ...op.proxy, judge }).warnings).toEqual([]);
  books.legacy.unjudged['write-left-out'] = 2;
  expect(codes(readiness({ ...op.proxy, judge }).warnings)).toEqual(['writes-left-out']);
});

test('addresses that do not fit the names of users are a warning, on whichever route', async () => {
  op = await operated();
  const [events, api] = [emptyIsolationBooks(), emptyIsolationBooks()];
  const isolationBooks = () => new Map(Object.entries({ events, api }));
  const judge = { ...op.proxy.judge, isolationBooks };
  expect(readiness({ ...op.proxy, judge }).warnings).toEqual([]);
  api.identityMismatch = true;
  const { ready, warnings } = readiness({ ...op.proxy, judge });
  expect(ready).toBe(true);
  expect(codes(warnings)).toEqual(['identity-mismatch']);
  events.identityMismatch = true;
  expect(codes(readiness({ ...op.proxy, judge }).warnings)).toEqual(['identity-mismatch']);
  // What is foreign too often, and to fewer users than would say so, is one as well.
  Object.assign(api, { identityMismatch: false, oftenForeign: true });
  Object.assign(events, { oftenForeign: true });
  const both = ['identity-mismatch', 'names-others'];
  expect(codes(readiness({ ...op.proxy, judge }).warnings)).toEqual(both);
  events.identityMismatch = false;
  expect(codes(readiness({ ...op.proxy, judge }).warnings)).toEqual(['names-others']);
});
