import fc from 'fast-check';
import { expect, test } from 'vitest';
import { UnitTracker } from '../../src/rules/unit-tracker.ts';
import { type Finding, VERDICTS, type Verdict } from '../../src/rules/verdict.ts';

const MINUTE = 60_000;

function finding(verdict: Verdict, unit = 'run_1', at = 0, eventType = 'a'): Finding {
  return {
    ...{ verdict, because: null, route: 'events', eventType, key: null, unit, session: 's', at },
    ...{ legacy: {}, candidate: {}, sides: [], differences: [] },
  };
}

/** What is counted of the route as a whole and of each type, all hours together. */
function counted(tracker: UnitTracker, nowMs = Number.POSITIVE_INFINITY): Record<string, string> {
  const counts: Record<string, [number, number]> = {};
  for (const { eventType, units, diverged } of tracker.take(nowMs)) {
    const sum = counts[eventType ?? '*'] ?? [0, 0];
    counts[eventType ?? '*'] = [sum[0] + diverged, sum[1] + units];
  }
  return Object.fromEntries(Object.entries(counts).map(([type, [d, n]]) => [type, `${d} of ${n}`]));
}

test('a run diverges once, however many of its events do, and by the types that do', () => {
  const tracker = new UnitTracker();
  for (const verdict of ['match', 'mismatch', 'match', 'missing'] as const) {
    tracker.add(finding(verdict, 'run_1', 0, 'a'));
    tracker.add(finding('match', 'run_1', 0, 'b'));
    tracker.add(finding('noise', 'run_2', 0, 'a'));
  }
  expect(counted(tracker)).toEqual({ '*': '1 of 2', a: '1 of 2', b: '0 of 1' });
});

test.each(Object.keys(VERDICTS) as Verdict[])('%s counts as what it says', verdict => {
  const tracker = new UnitTracker();
  tracker.add(finding(verdict));
  const nothing = ['failed-alike', 'unjudged'].includes(verdict);
  const clean = ['match', 'noise'].includes(verdict);
  expect(counted(tracker)['*']).toBe(nothing ? undefined : clean ? '0 of 1' : '1 of 1');
});

test('a unit is counted when it is over: idle for a minute, or ten minutes old', () => {
  const tracker = new UnitTracker();
  tracker.add(finding('match', 'run', 0));
  for (let at = 0; at <= 9 * MINUTE; at += MINUTE / 2) tracker.add(finding('match', 'session', at));
  expect(counted(tracker, MINUTE)['*']).toBeUndefined();
  expect(counted(tracker, MINUTE + 1)['*']).toBe('0 of 1');
  expect(counted(tracker, 10 * MINUTE)['*']).toBeUndefined();
  expect(counted(tracker, 10 * MINUTE + 1)['*']).toBe('0 of 1');
  expect(tracker.open).toBe(0);
});

test('when it is counted does not depend on what was found', () => {
  for (const verdict of ['match', 'mismatch'] as const) {
    const tracker = new UnitTracker();
    tracker.add(finding(verdict));
    expect(tracker.take(MINUTE)).toEqual([]);
    expect(tracker.take(MINUTE + 1)).toHaveLength(2);
  }
});

test('what a session says outside of runs is counted apart from them', () => {
  const tracker = new UnitTracker();
  tracker.add(finding('mismatch', 'run_1'));
  tracker.add(finding('match', 's'));
  tracker.add(finding('match', 's', 1, 'heartbeat'));
  const whole = tracker.take(Number.POSITIVE_INFINITY).filter(each => each.eventType === null);
  expect(whole.map(({ of, units, diverged }) => [of, units, diverged])).toEqual([
    ['run', 1, 1],
    ['session', 1, 0],
  ]);
});

test('runs of one name are as many as users have them, and a thread of that name is another one', () => {
  const tracker = new UnitTracker();
  for (let user = 0; user < 20; user += 1) {
    const verdict = user === 7 ? 'mismatch' : 'match';
    tracker.add({ ...finding(verdict, '1'), session: `s${user}` }, [
      `user_${user}`,
      'his other name',
    ]);
    // He has a second session, which sees the same run.
    tracker.add({ ...finding('match', '1'), session: `again ${user}` }, [`user_${user}`]);
    tracker.add({ ...finding('match', '1'), session: `s${user}`, unitLevel: 1 }, [`user_${user}`]);
  }
  // Who is not known is one of his session.
  for (const session of ['a', 'b']) tracker.add({ ...finding('match', '1'), session });
  expect(counted(tracker)['*']).toBe('1 of 42');
});

test('a unit that comes back after its end is counted as another one', () => {
  const tracker = new UnitTracker();
  tracker.add(finding('mismatch', 'run', 0));
  tracker.add(finding('match', 'run', 2 * MINUTE));
  expect(counted(tracker)['*']).toBe('1 of 2');
});

test('what is forgotten is not counted, whether it was under way or had ended', () => {
  const tracker = new UnitTracker();
  for (const route of ['a', 'b']) {
    tracker.add({ ...finding('mismatch', 'run_1', 0), route });
    tracker.add({ ...finding('mismatch', 'run_1', 2 * MINUTE), route });
  }
  tracker.forget('a');
  const routes = () => tracker.take(Number.POSITIVE_INFINITY).map(({ route }) => route);
  expect(routes()).toEqual(['b', 'b']);
  tracker.add(finding('match', 'run_2'));
  tracker.forget(null);
  expect([tracker.open, routes()]).toEqual([0, []]);
});

test('what a session goes on with begins anew once it was forgotten, or is over', () => {
  const tracker = new UnitTracker();
  tracker.add(finding('match'));
  tracker.forget('events');
  tracker.add(finding('match'));
  expect(counted(tracker)).toEqual({ '*': '0 of 1', a: '0 of 1' });
  tracker.add(finding('match', 'run_1', 0));
  tracker.add(finding('match', 'run_1', MINUTE + 1));
  expect(counted(tracker)).toEqual({ '*': '0 of 2', a: '0 of 2' });
});

// One who was called agent had agent_message called <user ...>_message, of everybody and for as long as it ran.
test('a user stands in a type that was his first, and in none that others had before him', () => {
  const tracker = new UnitTracker();
  const say = (user: string, type: string) =>
    tracker.add({ ...finding('match', `run of ${user}`), eventType: type }, [user]);
  say('ann', 'agent_message');
  say('agent', 'agent_message');
  say('ann', 'between_ann_bob');
  say('bob', 'between_ann_bob');
  say('carl', 'between_ann_bob');
  const named = tracker.take(Number.POSITIVE_INFINITY).map(({ eventType, names }) => {
    return [eventType, names];
  });
  expect(named).toContainEqual(['agent_message', undefined]);
  expect(named).toContainEqual(['between_ann_bob', ['ann', 'bob']]);
});

test('units of different hours are counted apart', () => {
  const tracker = new UnitTracker();
  tracker.add(finding('match', 'a', 59 * MINUTE));
  tracker.add(finding('match', 'b', 60 * MINUTE));
  expect(tracker.take(Number.POSITIVE_INFINITY).map(({ hour }) => hour)).toEqual([0, 0, 1, 1]);
});

test('more units than are held: the oldest ends early, and that is counted; types that are made up share one', () => {
  const tracker = new UnitTracker();
  for (let i = 0; i < 21_000; i += 1) tracker.add(finding('match', `run_${i}`, 0, `type_${i}`));
  expect(tracker.open).toBe(20_000);
  expect(tracker.crowdedOut).toBe(1_000);
  const counts = counted(tracker);
  expect(counts['*']).toBe('0 of 21000');
  expect(Object.keys(counts)).toHaveLength(102);
  expect(counts['(other)']).toBe('0 of 20900');
});

test('however findings interleave, every unit is counted once, and diverges if anything in it does', () => {
  const verdicts = fc.constantFrom<Verdict>('match', 'noise', 'mismatch', 'extra', 'unjudged');
  const events = fc.array(fc.tuple(fc.nat(5), verdicts), { maxLength: 60 });
  fc.assert(
    fc.property(events, given => {
      const tracker = new UnitTracker();
      for (const [unit, verdict] of given) tracker.add(finding(verdict, `run_${unit}`));
      const judged = given.filter(([, verdict]) => verdict !== 'unjudged');
      const units = new Set(judged.map(([unit]) => unit));
      const bad = judged.filter(([, verdict]) => ['mismatch', 'extra'].includes(verdict));
      const diverged = new Set(bad.map(([unit]) => unit));
      expect(counted(tracker)['*'] ?? '0 of 0').toBe(`${diverged.size} of ${units.size}`);
    }),
  );
});
