// From two looks at a proxy to what `cutover top` draws.
import { describe, expect, test } from 'vitest';
import { type Look, topOf } from '../../src/cli/top-rates.ts';
import { figure, topLines } from '../../src/cli/top-view.ts';
import type { LaneStatus, Status, TrafficStatus } from '../../src/control/status.ts';

const lane = (rest: Partial<LaneStatus> = {}): LaneStatus => ({
  ...{ openSessions: 0, openStreams: 0, users: 0, requests: 0 },
  ...{ messagesToClient: 0, messagesToUpstream: 0, bytesToClient: 0, bytesToUpstream: 0 },
  ...rest,
});
const traffic = (
  legacy: Partial<LaneStatus> = {},
  failures: Record<string, number> = {},
): TrafficStatus => ({ legacy: lane(legacy), candidate: lane(), failures });

/** As much of a status as the view reads. */
function look(atMs: number, rest: object = {}): Look {
  const status = {
    ...{ version: '0.1.0', uptimeS: 65, ready: true, connecting: 2, draining: false },
    startedAt: '2026-05-01T12:00:00.000Z',
    flags: { revision: 'file:abc', ageMs: 12_000, errors: 0 },
    bypass: { engaged: null, ...traffic() },
    unrouted: traffic(),
    writes: { routes: [], unkept: 0 },
    routes: [{ name: 'events', stage: { text: 'canary 25%' }, ...traffic() }],
    ...rest,
  };
  return { atMs, status: status as unknown as Status };
}
const route = (name: string, counted: TrafficStatus) => ({
  ...{ name, stage: { text: 'canary 25%' } },
  ...counted,
});
const text = (...of: Parameters<typeof topLines>) => topLines(...of).map(line => line.text);

describe('rates', () => {
  const [before, after] = [1_000, 3_000].map((atMs, i) =>
    look(atMs, {
      routes: [
        route('events', {
          legacy: lane({
            ...{ openSessions: 30, openStreams: 4, users: 29 },
            ...{ messagesToClient: 100 + i * 50, requests: i * 8 },
            ...{ bytesToClient: i * 5_000, bytesToUpstream: i * 500 },
          }),
          candidate: lane({ openSessions: 10, users: 10, messagesToClient: i * 20 }),
          failures: { 'upstream-timeout': 1 + i, 'bad-request': 1 },
        }),
      ],
      writes: {
        routes: [
          { primary: i * 2, both: i * 4, inFlight: 3, splits: { 'too-large': 1, overload: 2 } },
        ],
      },
    }),
  ) as [Look, Look];

  test('are what changed between two looks, by the time between them', () => {
    const top = topOf(before, after);
    expect(top.routes[0]).toEqual({
      ...{ name: 'events', stage: 'canary 25%', failures: 3, failuresPerS: 0.5 },
      legacy: {
        ...{ openSessions: 30, openStreams: 4, users: 29, eventsPerS: 25, requestsPerS: 4 },
        ...{ bytesToClientPerS: 2_500, bytesToUpstreamPerS: 250 },
      },
      candidate: {
        ...{ openSessions: 10, openStreams: 0, users: 10, eventsPerS: 10, requestsPerS: 0 },
        ...{ bytesToClientPerS: 0, bytesToUpstreamPerS: 0 },
      },
    });
    expect(top.writes).toEqual({ perS: 3, toBothPerS: 2, inFlight: 3, splits: 3 });
  });

  test('are not known from one look, nor across a restart, nor for a route that is new', () => {
    expect(topOf(null, before).routes[0]?.legacy).toMatchObject({
      ...{ openSessions: 30, eventsPerS: null, bytesToClientPerS: null },
    });
    const restarted = { ...after, status: { ...after.status, startedAt: '2026-05-01T13:00:00Z' } };
    expect(topOf(before, restarted).routes[0]?.legacy.eventsPerS).toBeNull();
    expect(topOf(before, restarted).writes.perS).toBeNull();
    const renamed = look(3_000, { routes: [route('other', traffic({ requests: 5 }))] });
    expect(topOf(before, renamed).routes[0]?.legacy.requestsPerS).toBeNull();
  });
});

describe('the picture', () => {
  test('has two lines a route, no wider than 79 columns', () => {
    const top = topOf(
      look(0),
      look(1_000, {
        routes: [
          {
            name: 'a-route-with-a-name-of-forty-characters-x',
            stage: { text: 'killed (canary 12.5% beneath)' },
            legacy: lane({ messagesToClient: 123_456, bytesToClient: 987_654_321, users: 10_000 }),
            candidate: lane({ openSessions: 1_234_567 }),
            failures: { internal: 123_456 },
          },
        ],
      }),
    );
    const lines = text(top, 24);
    expect(lines).toEqual([
      'cutover 0.1.0, up 1 min 5 s, ready, 2 connecting',
      'flags file:abc, read 12 s ago',
      'writes 0/s, 0/s to both, 0 in flight; 0 split',
      '',
      'route       stage        side        open  users events/s  req/s bytes/s errors',
      'a-route-wi… killed (can… legacy         0    10k        -      -       -   123k',
      '                         candidate   1.2M      0        -      -       -',
    ]);
    expect(Math.max(...lines.map(line => line.length))).toBeLessThanOrEqual(79);
  });

  test('shows what came past all routes only if something did, and a bypass in words', () => {
    expect(text(topOf(null, look(0)), 24).join('\n')).not.toMatch(/\((unrouted|bypass)\)/);
    const engaged = { reason: 'candidate\x1b[2J leaks', at: '2026-05-01T12:00:00.000Z' };
    const lines = text(
      topOf(
        null,
        look(0, {
          unrouted: traffic({ requests: 3 }),
          bypass: { engaged, ...traffic({ openSessions: 1 }) },
        }),
      ),
      24,
    );
    expect(lines[3]).toBe('bypass since 2026-05-01T12:00:00.000Z: candidate?[2J leaks');
    expect(lines.join('\n')).toMatch(/^\(unrouted\) +legacy alone legacy +0 /m);
    expect(lines.join('\n')).toMatch(/^\(bypass\) +legacy alone legacy +1 /m);
  });

  test('counts the routes that do not fit, and keeps the notice in view', () => {
    const routes = Array.from({ length: 10 }, (_, i) => route(`r${i}`, traffic()));
    const top = topOf(null, look(0, { routes }));
    expect(text(top, 25)).toHaveLength(25);
    expect(text(top, 25).at(-1)).toMatch(/candidate/);
    const small = text(top, 12, 'no answer');
    expect(small).toHaveLength(11);
    expect(small.slice(-2)).toEqual(['… and 8 more', 'no answer']);
    expect(text(top, 3).length).toBe(6);
  });

  test('is red where it hurts: not ready, errors that go on, flags that are wrong', () => {
    const failing = topOf(
      look(0),
      look(1_000, {
        ...{ ready: false, draining: true },
        flags: { revision: 'none', ageMs: null, errors: 1 },
        routes: [route('events', traffic({}, { internal: 1 }))],
      }),
    );
    const lines = topLines(failing, 24);
    expect(lines[0]).toEqual({
      ...{ text: 'cutover 0.1.0, up 1 min 5 s, draining, 2 connecting', style: 'red' },
    });
    expect(lines[1]).toEqual({ text: 'flags none, unknown, 1 error', style: 'red' });
    expect(lines.find(({ text: line }) => line.startsWith('events'))?.style).toBe('red');
  });
});

test.each([
  [null, '-'],
  [0, '0'],
  [7.54, '7.5'],
  [9.96, '10'],
  [312.4, '312'],
  [999, '999'],
  [999.6, '1.0k'],
  [4_250, '4.3k'],
  [38_000, '38k'],
  [999_900, '1.0M'],
  [1_234_567, '1.2M'],
  [5e15, '5000T'],
])('%s is %s', (value, shown) => {
  expect(figure(value)).toBe(shown);
});
