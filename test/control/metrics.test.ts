import fc from 'fast-check';
import { afterEach, expect, test } from 'vitest';
import { closeCodeClass } from '../../src/control/traffic-meter.ts';
import { flagsFor, type Operated, operated } from '../support/operator.ts';

let op: Operated;
afterEach(() => op.close());

/** Value of one sample line, by its name and labels as they are printed. */
function sample(text: string, start: string): number | undefined {
  const line = text.split('\n').find(candidate => candidate.startsWith(`${start} `));
  return line === undefined ? undefined : Number(line.slice(start.length + 1));
}

test('sessions are counted from opening to their end, with side, reason, cause and code', async () => {
  op = await operated();
  const { observer } = op.metrics;
  observer.sessionOpened('events', 'candidate', 'serve-flag', 12);
  observer.sessionClosed('events', 'candidate', 'closed-by-client', 1001, null);
  observer.sessionClosed('events', 'candidate', 'closed-by-client', 4711, null);
  const text = await op.metrics.text();
  const at = 'route="events",side="candidate"';
  expect(sample(text, `cutover_sessions_opened_total{${at},reason="serve-flag"}`)).toBe(1);
  expect(sample(text, `cutover_handshake_seconds_count{${at}}`)).toBe(1);
  expect(sample(text, `cutover_handshake_seconds_sum{${at}}`)).toBe(0.012);
  const cause = `${at},cause="closed-by-client"`;
  expect(sample(text, `cutover_sessions_closed_total{${cause},code="1001"}`)).toBe(1);
  expect(sample(text, `cutover_sessions_closed_total{${cause},code="4xxx"}`)).toBe(1);
});

test('refusals, failures and requests are counted by closed lists', async () => {
  op = await operated();
  const { observer } = op.metrics;
  observer.handshakeRefused('events', 'legacy', 403, null);
  observer.failed('none', 'none', 'bad-request');
  observer.failed('events', 'candidate', 'upstream-timeout');
  observer.requestDone('api', 'legacy', 204, 250, 'service');
  const text = await op.metrics.text();
  const legacy = 'side="legacy"';
  expect(
    sample(text, `cutover_handshakes_refused_total{route="events",${legacy},status="403"}`),
  ).toBe(1);
  expect(sample(text, 'cutover_failures_total{route="none",side="none",code="bad-request"}')).toBe(
    1,
  );
  expect(sample(text, `cutover_requests_total{route="api",${legacy},status="2xx"}`)).toBe(1);
  expect(sample(text, `cutover_request_seconds_sum{route="api",${legacy}}`)).toBe(0.25);
  expect(await op.metrics.failures()).toEqual(
    new Map([
      ['none', { 'bad-request': 1 }],
      ['events', { 'upstream-timeout': 1 }],
    ]),
  );
});

test('the totals of the lanes are shown as they stand at each scrape', async () => {
  op = await operated();
  op.traffic.connecting = 3;
  op.traffic.letGo = { low: 4, exhausted: 1 };
  const lane = op.traffic.of('events', 'legacy');
  Object.assign(lane, { sessionsOpen: 2, bytesToClient: 100, messagesToUpstream: 7 });
  await op.metrics.text();
  Object.assign(lane, { sessionsOpen: 1, bytesToClient: 150, messagesToUpstream: 8 });
  const text = await op.metrics.text();
  const at = 'route="events",side="legacy"';
  expect(sample(text, `cutover_sessions_open{${at}}`)).toBe(1);
  expect(sample(text, `cutover_bytes_total{${at},direction="to_client"}`)).toBe(150);
  expect(sample(text, `cutover_messages_total{${at},direction="to_upstream"}`)).toBe(8);
  expect(sample(text, 'cutover_connecting')).toBe(3);
  expect(sample(text, 'cutover_idle_connections_closed_total{cause="low"}')).toBe(4);
  expect(sample(text, 'cutover_idle_connections_closed_total{cause="exhausted"}')).toBe(1);
});

test('the age of the flags is absent while none are known, and their revision has one sample', async () => {
  op = await operated({ 'bad.json': '{' });
  const unknown = await op.metrics.text();
  expect(sample(unknown, 'cutover_flags_age_seconds')).toBeUndefined();
  expect(sample(unknown, 'cutover_flags_revision_info{revision="none"}')).toBe(1);
  expect(sample(unknown, 'cutover_flag_problems{level="error"}')).toBe(1);
  await op.close();

  op = await operated({ 'events.json': flagsFor('events', 'canary', 10) });
  await op.metrics.text();
  await op.flags.setKill(op.proxy.loaded().config.routes[0] ?? expect.fail(), true);
  const known = await op.metrics.text();
  expect(sample(known, 'cutover_flags_age_seconds')).toBeGreaterThanOrEqual(0);
  const revisions = known.match(/^cutover_flags_revision_info\{.*$/gm);
  expect(revisions).toEqual([`cutover_flags_revision_info{revision="${op.flags.revision}"} 1`]);
});

test('process metrics are there, without those that walk over every socket', async () => {
  op = await operated();
  const text = await op.metrics.text();
  expect(sample(text, 'process_resident_memory_bytes')).toBeGreaterThan(0);
  expect(sample(text, 'process_open_fds')).toBeGreaterThan(3);
  expect(text).toContain('nodejs_eventloop_lag_p99_seconds');
  expect(text).not.toContain('nodejs_active_');
});

test('two proxies in one process count apart', async () => {
  op = await operated();
  const other = await operated();
  other.metrics.observer.requestDone('api', 'legacy', 200, 1, 'service');
  expect(await op.metrics.text()).not.toContain('cutover_requests_total{');
  await other.close();
});

test('whatever codes, statuses and reasons peers make up, the label sets stay small', async () => {
  op = await operated();
  fc.assert(
    fc.property(fc.integer({ min: -1, max: 70_000 }), fc.string(), (number, text) => {
      op.metrics.observer.sessionOpened('events', 'legacy', text, 1);
      op.metrics.observer.sessionClosed('events', 'legacy', 'client-lost', number, null);
      op.metrics.observer.requestDone('events', 'legacy', number, 1, 'service');
      expect(closeCodeClass(number)).toMatch(/^(10(0\d|1[0-5])|[34]xxx|other)$/);
    }),
    { numRuns: 2_000 },
  );
  const text = await op.metrics.text();
  expect(text.match(/^cutover_sessions_closed_total\{/gm)?.length).toBeLessThan(20);
  expect(text.match(/^cutover_requests_total\{/gm)?.length).toBeLessThan(7);
  expect(text.match(/^cutover_sessions_opened_total\{/gm)).toHaveLength(1);
});
