import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { changeStage } from '../../src/control/stage-change.ts';
import { statusOf } from '../../src/control/status.ts';
import { flagsFor, type Operated, operated, users } from '../support/operator.ts';
import { until } from '../support/until.ts';

let op: Operated;
afterEach(() => op.close());

/** So many handshakes of the candidate's in the second that follows, so many of them refused. */
function handshakes(count: number, refused: number, status = 503): void {
  op.clock.ms += 1_000;
  for (let i = 0; i < count; i++) {
    if (i < refused) op.signs.handshakeRefused('events', 'candidate', status, null);
    else op.signs.sessionOpened('events', 'candidate', 'serve-flag', 3);
  }
  op.guardrails.look();
}
const bad = () => handshakes(30, 10);
const good = (seconds: number) => {
  for (let i = 0; i < seconds; i++) handshakes(30, 0);
};
const held = () => op.rollbacks.latch.on('events');
const audited = async () => (await op.audit.last(50)).reverse();

describe('in canary', () => {
  beforeEach(async () => {
    op = await operated({ 'events.json': flagsFor('events', 'canary', 20) });
    op.guardrails.look();
  });

  test('a bad candidate is rolled back at once, on record with rule, window and figures', async () => {
    op.traffic.open('events', 'candidate', ...users(3));
    good(5);
    expect(held()).toBeNull();
    bad();
    bad();
    expect(held()).toBe('latched');
    expect(op.traffic.rollbacks).toMatchObject([{ routes: ['events'], sever: false }]);
    await until('both are on record', async () => (await audited()).length === 2);
    const [firing, rollback] = await audited();
    expect(firing).toMatchObject({
      ...{ by: 'guardrail handshakes', action: 'guardrail-rollback' },
      details: {
        route: 'events',
        windowMs: 30_000,
        limit: 5,
        of: 180,
        value: expect.closeTo(5.56, 1),
      },
    });
    expect(rollback).toMatchObject({ by: 'guardrail handshakes', action: 'rollback' });
    expect(op.rollbacks.counts).toMatchObject({ guardrail: 1, operator: 0 });
    expect(await op.metrics.text()).toContain(
      'cutover_guardrails_fired_total{route="events",rule="handshakes",action="rollback"} 1',
    );
    expect(op.logged.some(line => line.includes('a guardrail fired'))).toBe(true);
  });

  test('it fires once, and again after a release when the candidate is still bad', async () => {
    for (let i = 0; i < 5; i++) bad();
    expect(op.rollbacks.counts.guardrail).toBe(1);
    await op.rollbacks.release({ route: 'events', reason: 'mended', by: 'operator alice' });
    // What was before the release says nothing of what was released.
    op.guardrails.look();
    good(5);
    expect(held()).toBeNull();
    for (let i = 0; i < 3; i++) bad();
    expect(held()).toBe('latched');
    expect(op.rollbacks.counts.guardrail).toBe(2);
  });

  test('what legacy refuses too is not the candidate to blame for', () => {
    for (let i = 0; i < 100; i++) {
      if (i < 40) op.signs.handshakeRefused('events', 'legacy', 403, null);
      else op.signs.sessionOpened('events', 'legacy', 'serve-flag', 3);
    }
    bad();
    expect(held()).toBeNull();
  });

  describe('where legacy lets everybody in', () => {
    const refused = (status: number, ...names: string[]) => {
      for (const id of names)
        op.signs.handshakeRefused('events', 'candidate', status, { id, aliases: [] });
    };
    const loop = (count: number, ...names: string[]) =>
      Array.from({ length: count }, (_, i) => names[i % names.length] ?? '');
    beforeEach(() => {
      for (let i = 0; i < 100; i += 1) op.signs.sessionOpened('events', 'legacy', 'serve-flag', 3);
    });

    // The fault: by trying again and again one user whose token had ended had all others taken back.
    test('one user who is refused again and again counts once', () => {
      refused(401, ...loop(30, 'user_1'));
      handshakes(29, 0);
      const reading = op.guardrails.of('events').rules.find(({ rule }) => rule === 'handshakes');
      expect(reading).toMatchObject({ state: 'clear', of: 30 });
      expect(held()).toBeNull();
    });

    test('all of a small canary who are refused again and again count', () => {
      refused(401, ...loop(30, 'user_1', 'user_2', 'user_3'));
      handshakes(0, 0);
      expect(held()).toBe('latched');
    });

    test('one user to whom the candidate says again and again that it fails counts', () => {
      refused(503, ...loop(30, 'user_1'));
      handshakes(0, 0);
      expect(held()).toBe('latched');
    });
  });

  test('what is older than the window is forgotten', () => {
    handshakes(15, 15);
    good(0);
    for (let i = 0; i < 40; i++) handshakes(0, 0);
    handshakes(15, 0);
    expect(
      op.guardrails.of('events').rules.find(({ rule }) => rule === 'handshakes'),
    ).toMatchObject({
      ...{ state: 'too-little', of: 15, value: 0 },
    });
    expect(held()).toBeNull();
  });

  test('one contaminated event is enough, without waiting for the next look', () => {
    op.guardrails.contaminated('events');
    expect(held()).toBe('latched');
  });

  test('what is released within the second holds no stage back', async () => {
    op.guardrails.contaminated('events');
    await op.rollbacks.release({ route: 'events', reason: 'mended', by: 'operator alice' });
    op.guardrails.look();
    expect(op.guardrails.of('events').holds).toBe(false);
    expect(() => op.guardrails.refuseForward('events')).not.toThrow();
  });

  // The fault: by the stage nobody was served, and what the candidate sent to those who were meant nothing.
  test.each(['off', 'shadow', 'killed'])(
    'in stage %s whoever the candidate serves still is taken back when it leaks, and nobody else is held',
    async stage => {
      op.traffic.open('events', 'candidate', 'u1');
      await changeStage(op.proxy, { route: 'events', stage });
      op.guardrails.look();
      expect(op.guardrails.of('events').idle).toBeNull();
      op.guardrails.contaminated('events');
      expect(held()).toBe('latched');
      expect(op.traffic.rollbacks).toMatchObject([{ routes: ['events'] }]);
      await op.rollbacks.release({ route: 'events', reason: 'seen', by: 'operator' });
      op.guardrails.look();
      op.guardrails.contaminated('events');
      expect(held()).toBeNull();
      expect(op.guardrails.of('events').idle).toBe(stage === 'shadow' ? null : 'off');
    },
  );

  // The fault: what leaked on a route that is not in the configuration any more was let pass.
  test('what is open of a route that a new configuration does not have is taken back as well', () => {
    op.traffic.open('events', 'candidate', 'u1');
    const { config } = op.proxy.loaded();
    const routes = config.routes.filter(({ name }) => name !== 'events');
    op.state.config = { ...config, routes };
    op.guardrails.look();
    op.guardrails.contaminated('events');
    expect(held()).toBe('latched');
    expect(op.traffic.sessions).toMatchObject([{ side: 'legacy' }]);
  });

  test('an unknown or other route is not touched', () => {
    op.guardrails.contaminated('gone');
    bad();
    expect(op.rollbacks.latch.on('api')).toBeNull();
  });
});

// The fault: after a restart in `live` what clients do was held against the candidate, since legacy had done none of it.
describe('where nothing is known of legacy', () => {
  const reading = (name: string) =>
    op.guardrails.of('events').rules.find(({ rule }) => rule === name);
  beforeEach(async () => {
    op = await operated({ 'events.json': flagsFor('events', 'live') });
    op.guardrails.look();
  });

  test('who is refused as a stranger is not the candidate to blame for', () => {
    handshakes(100, 8, 401);
    expect(reading('handshakes')).toMatchObject({ state: 'clear', value: 0, legacy: null });
    expect(held()).toBeNull();
  });

  test.each([429, 503])('who is refused with %d is', status => {
    handshakes(100, 8, status);
    expect(held()).toBe('latched');
  });

  /** 60 sessions end, 15 of them badly, of users with those names. */
  const closes = (code: number, ...names: (string | null)[]) => {
    for (let i = 0; i < 60; i += 1) {
      const name = names[i % names.length] ?? null;
      const subject = name === null ? null : { id: name, aliases: [] };
      const ended = i < 15 ? code : 1000;
      op.signs.sessionClosed('events', 'candidate', 'closed-by-upstream', ended, subject);
    }
    op.guardrails.look();
  };

  test.each([
    ['of one user', 1006, ['alice']],
    ['of nobody that is known', 1006, [null]],
    ['for what was sent', 1007, ['alice', 'bob']],
  ])('sessions without a goodbye are too little to tell: %s', (_whose, code, names) => {
    closes(code, ...names);
    const said = { state: 'too-little', value: 25, legacy: null, lacks: 'legacy' };
    expect(reading('closes')).toMatchObject(said);
    expect(held()).toBeNull();
  });

  // The fault: it broke off everybody whom it had let in, and nothing took them back.
  test.each([1006, 1011])('sessions of several users that it breaks off by %d are', code => {
    closes(code, 'alice', 'bob');
    expect(held()).toBe('latched');
  });

  test('and so are those that legacy had to take over', () => {
    for (let i = 0; i < 20; i += 1) {
      const subject = { id: `user_${i}`, aliases: [] };
      op.signs.sessionMoved('events', 'legacy', 'failover', subject);
    }
    op.guardrails.look();
    expect(held()).toBe('latched');
  });
});

// The fault: when descriptors ran out, the candidate's users were all taken back.
test('what the proxy could not ask the candidate for want of its own says nothing against it', async () => {
  op = await operated({ 'api.json': flagsFor('api', 'live') });
  const requests = (count: number, by: 'service' | 'proxy') => {
    for (let i = 0; i < count; i += 1) op.signs.requestDone('api', 'candidate', 503, 1, by);
    op.guardrails.look();
  };
  op.guardrails.look();
  requests(100, 'proxy');
  const errors = op.guardrails.of('api').rules.find(({ rule }) => rule === 'errors');
  expect(errors).toMatchObject({ state: 'too-little', of: 0 });
  requests(50, 'service');
  expect(op.rollbacks.latch.on('api')).toBe('latched');
});

test.each(['legacy', 'candidate'] as const)(
  'no stage goes forward while %s can not be reached; back goes always',
  async side => {
    op = await operated({ 'events.json': flagsFor('events', 'canary', 5) });
    op.state.unreachable[side] = 'ECONNREFUSED';
    await expect(
      changeStage(op.proxy, { route: 'events', stage: 'canary', percent: 10 }),
    ).rejects.toThrow(`the ${side} service can not be reached (ECONNREFUSED)`);
    await changeStage(op.proxy, { route: 'events', stage: 'canary', percent: 1 });
  },
);

// The fault: it went forward under the rollback, and a release then sent everybody.
test.each(['rollback', 'guardrail'])(
  'a stage forward that waits when a %s comes is refused',
  async what => {
    op = await operated({ 'events.json': flagsFor('events', 'canary', 10) });
    op.guardrails.look();
    const { promise: reached, resolve: isAsked } = Promise.withResolvers<void>();
    const { promise: answer, resolve: goOn } = Promise.withResolvers<null>();
    op.proxy.unreachable = () => {
      isAsked();
      return answer;
    };
    const changing = changeStage(op.proxy, { route: 'events', stage: 'live' });
    changing.catch(() => undefined);
    await reached;
    if (what === 'guardrail') op.guardrails.contaminated('events');
    else await op.rollbacks.rollback({ route: 'events', reason: 'leak', by: 'operator' });
    goOn(null);
    await expect(changing).rejects.toThrow('a rollback holds events on legacy');
    const [events] = op.proxy.loaded().config.routes;
    expect(events && op.flags.stage(events)).toMatchObject({ name: 'canary', serve: 100 });
  },
);

describe('a hold', () => {
  const splits = (count: number) => {
    op.clock.ms += 1_000;
    const split = {
      ...({ route: 'events', cause: 'second-refused', key: 'k', digest: 'd', bytes: 1 } as const),
      primary: { side: 'legacy', outcome: 200 },
      second: { side: 'candidate', outcome: 500 },
    } as const;
    for (let i = 0; i < 60; i++) {
      op.writes.begun('events', 'both');
      if (i < count) op.writes.split(split);
      else op.writes.agreed('events');
    }
    op.guardrails.look();
  };

  test('refuses a stage forward, not one back, and lets go after it has been calm', async () => {
    op = await operated({ 'events.json': flagsFor('events', 'shadow') });
    op.guardrails.look();
    splits(30);
    expect(held()).toBeNull();
    await expect(
      changeStage(op.proxy, { route: 'events', stage: 'canary', percent: 5 }),
    ).rejects.toThrow(/a guardrail holds events where it is: writeSplits 50 % of 60, limit 1 %/);
    await changeStage(op.proxy, { route: 'events', stage: 'off' });
    await changeStage(op.proxy, { route: 'events', stage: 'shadow' });
    op.clock.ms += 31_000;
    op.guardrails.look();
    op.clock.ms += 150_000;
    op.guardrails.look();
    await changeStage(op.proxy, { route: 'events', stage: 'canary', percent: 5 });
  });

  // The fault: whoever restarted the proxy could go forward at once.
  test('outlives a restart, until it has been calm for as long; one that has let go, does not', async () => {
    op = await operated({ 'events.json': flagsFor('events', 'shadow') });
    op.guardrails.look();
    splits(30);
    const file = path.join(op.stateDir, 'holds.json');
    const kept = () => readFile(file, 'utf8').catch(() => '');
    await until('it is on disk', async () => (await kept()).includes('writeSplits'));
    op.guardrails.close();
    op.clock.ms += 60_000;
    const again = await op.guard();
    again.close();
    const refuses = () => expect(() => again.refuseForward('events'));
    again.look();
    refuses().toThrow(/a guardrail holds events where it is: writeSplits 50 % of 60, limit 1 %/);
    expect(again.counts.size).toBe(0);
    op.clock.ms += 149_000;
    again.look();
    refuses().toThrow();
    op.clock.ms += 1_000;
    again.look();
    refuses().not.toThrow();
    await until('that is on disk', async () => (await kept()) === '{}\n');
    const third = await op.guard();
    third.close();
    expect(third.of('events').holds).toBe(false);
  });

  test.each(['no JSON', '{"events":[{"rule":"nonsense"}]}'])(
    'of a file that can not be read holds nothing, and the log says so: %s',
    async text => {
      op = await operated({ 'events.json': flagsFor('events', 'shadow') });
      await writeFile(path.join(op.stateDir, 'holds.json'), text);
      const again = await op.guard();
      again.close();
      expect(again.of('events').holds).toBe(false);
      expect(op.logged.join()).toContain('it is not known what guardrails held');
    },
  );

  test('is in the status, with what can not be told yet', async () => {
    op = await operated({ 'events.json': flagsFor('events', 'shadow') });
    op.guardrails.look();
    splits(30);
    const { routes } = await statusOf(op.proxy, op.metrics, Date.now());
    expect(routes[0]?.guardrails).toMatchObject({
      ...{ idle: null, holds: true },
      rules: [
        { rule: 'writeSplits', state: 'exceeded', firedMs: 0 },
        { rule: 'divergence', state: 'too-little', firedMs: null },
        { rule: 'contamination', state: 'clear' },
      ],
    });
    // A route without flags is off: nothing to look at.
    expect(routes[1]?.guardrails).toEqual({ idle: 'off', holds: false, rules: [] });
  });
});

describe('a leak', () => {
  const seconds = (count: number) => {
    for (let i = 0; i < count; i++) {
      op.clock.ms += 1_000;
      op.guardrails.look();
    }
  };
  const leaked = () =>
    op.guardrails.of('events').rules.find(({ rule }) => rule === 'contamination')?.value;

  // The fault: what leaked was counted up for good, so that the rule stayed exceeded, and the hold with it.
  test('holds a shadowed route for its window and five that are calm, and no longer', async () => {
    op = await operated({ 'events.json': flagsFor('events', 'shadow') });
    // The first thing that is known of the route.
    op.guardrails.contaminated('events');
    expect(leaked()).toBe(1);
    seconds(20);
    op.guardrails.contaminated('events');
    expect(leaked()).toBe(2);
    seconds(170);
    expect(leaked()).toBe(0);
    expect(() => op.guardrails.refuseForward('events')).toThrow(
      /a guardrail holds events where it is: contamination .* 150 s after that has ended/,
    );
    seconds(15);
    expect(() => op.guardrails.refuseForward('events')).not.toThrow();
    expect([...op.guardrails.counts.values()]).toEqual([1]);
  });

  // The fault: the firing that had been refused as stale stood for ever, and no later one went beyond it.
  test('that found legacy stale rolls back once it is not any more, and so does the next one', async () => {
    op = await operated({ 'events.json': flagsFor('events', 'complete') });
    op.guardrails.look();
    op.guardrails.contaminated('events');
    expect(held()).toBeNull();
    await changeStage(op.proxy, { route: 'events', stage: 'live', acceptStale: true });
    op.guardrails.look();
    expect(held()).toBe('latched');
    await op.rollbacks.release({ route: 'events', reason: 'mended', by: 'operator alice' });
    op.guardrails.look();
    expect(held()).toBeNull();
    op.guardrails.contaminated('events');
    expect(held()).toBe('latched');
  });
});

test('a rollback from complete is for a person to decide: the guardrail says so and holds', async () => {
  op = await operated({ 'events.json': flagsFor('events', 'complete') });
  op.guardrails.look();
  bad();
  bad();
  expect(op.logged.filter(line => line.includes('does not roll back'))).toHaveLength(1);
  expect(held()).toBeNull();
  expect(op.guardrails.of('events').holds).toBe(true);
  await until('it is on record', async () => (await audited()).length > 0);
  expect(await audited()).toMatchObject([{ action: 'guardrail-hold' }]);
});
