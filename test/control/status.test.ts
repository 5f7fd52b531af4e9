import { afterEach, expect, test } from 'vitest';
import { statusOf } from '../../src/control/status.ts';
import { flagsFor, type Operated, operated, users } from '../support/operator.ts';

let op: Operated;
afterEach(() => op.close());

const status = () => statusOf(op.proxy, op.metrics, Date.now());

test('each route shows its stage, flags, open sessions, messages and failures by side', async () => {
  op = await operated({ 'events.json': flagsFor('events', 'canary', 12.5) });
  op.traffic.open('events', 'legacy', ...users(7));
  op.traffic.open('events', 'candidate', 'c1');
  op.traffic.of('events', 'candidate').messagesToClient = 42;
  op.metrics.observer.failed('events', 'candidate', 'upstream-unreachable');
  const { routes } = await status();
  expect(routes[0]).toMatchObject({
    name: 'events',
    path: '/ws',
    protocol: 'websocket',
    stage: { name: 'canary', text: 'canary 12.5%', servePercent: 12.5, shadowPercent: 100 },
    flags: { serve: 'events.serve', kill: 'events.kill' },
    legacy: { openSessions: 7 },
    candidate: { openSessions: 1, messagesToClient: 42 },
    failures: { 'upstream-unreachable': 1 },
  });
  expect(routes[1]).toMatchObject({ name: 'api', stage: { name: 'off' }, failures: {} });
});

// The fault: only the metric told that shadows had been broken off; an operator saw `unjudged (no-second)`.
test('second legs that were lost are counted by side and cause, and not those that ended as they were meant to', async () => {
  op = await operated();
  const { observer } = op.metrics;
  for (const end of ['refused', 'refused', 'broken', 'ended', 'unwanted'] as const)
    observer.secondLegEnded('events', 'candidate', 'shadow', end);
  for (const role of ['standby', 'shadow'] as const)
    observer.secondLegEnded('events', 'legacy', role, 'closed');
  const { routes } = await status();
  expect(routes.map(({ secondLegsLost }) => secondLegsLost)).toEqual([
    { legacy: { closed: 2 }, candidate: { refused: 2, broken: 1 } },
    { legacy: {}, candidate: {} },
  ]);
});

test('a user with several sessions is one user, and somebody anonymous is none', async () => {
  op = await operated();
  op.traffic.open('events', 'legacy', 'ann', 'ann', 'bob');
  op.traffic.sessions.push({ route: 'events', side: 'candidate', subject: null });
  const lane = op.traffic.of('events', 'candidate');
  lane.sessionsOpen = 1;
  Object.assign(lane, { bytesToClient: 5_000, bytesToUpstream: 70 });
  expect((await status()).routes[0]).toMatchObject({
    legacy: { openSessions: 3, users: 2, bytesToClient: 0 },
    candidate: { openSessions: 1, users: 0, bytesToClient: 5_000, bytesToUpstream: 70 },
  });
});

test('a killed route shows the stage beneath, which returns when the kill flag is released', async () => {
  const killed = [
    ...flagsFor('events', 'canary', 12.5),
    { name: 'events.kill', enabled: true, strategies: [{ name: 'default' }] },
  ];
  op = await operated({ 'events.json': killed });
  expect((await status()).routes[0]?.stage).toMatchObject({
    name: 'killed',
    beneath: 'canary',
    text: 'killed (canary 12.5% beneath)',
  });
});

test('traffic that no route names is told apart', async () => {
  op = await operated();
  op.traffic.open('unrouted', 'legacy', 'x');
  const { unrouted } = await status();
  expect(unrouted.note).toContain('neither flagged nor compared');
  expect(unrouted.legacy.openSessions).toBe(1);
});

test('it tells flags, configuration, reload, addresses, draining and warnings', async () => {
  op = await operated({ 'events.json': flagsFor('events', 'shadow') });
  op.traffic.connecting = 2;
  op.traffic.draining = true;
  op.state.warnings = ['file descriptors: 1024 are too few'];
  op.state.lastReload = { at: 0, ok: false, problems: ['cutover.yaml:3:1 listen: wrong'] };
  const now = await status();
  expect(now).toMatchObject({
    version: '0.1.0',
    ready: false,
    draining: true,
    connecting: 2,
    state: 'held',
    addresses: { listen: 'http://127.0.0.1:8080', admin: null },
    capacity: ['file descriptors: 1024 are too few'],
    config: {
      file: '/etc/cutover.yaml',
      lastReload: {
        at: '1970-01-01T00:00:00.000Z',
        ok: false,
        problems: ['cutover.yaml:3:1 listen: wrong'],
      },
    },
    flags: { provider: 'file', revision: op.flags.revision, errors: 0 },
  });
  expect(now.uptimeS).toBeGreaterThanOrEqual(5);
  expect(now.flags.ageMs).toBeGreaterThanOrEqual(0);
});

test('hundreds of flag problems are counted, and fifty of them shown', async () => {
  const broken = Array.from({ length: 300 }, (_, i) => ({
    name: `f${i}`,
    enabled: true,
    strategies: [],
    colour: 'blue',
  }));
  op = await operated({ 'many.json': broken });
  const { flags } = await status();
  expect(flags.errors + flags.lintWarnings).toBeGreaterThanOrEqual(300);
  expect(flags.problems).toHaveLength(50);
});
