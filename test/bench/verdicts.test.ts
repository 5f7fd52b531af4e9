// The yardstick of the comparison: what it counts as found, and that it can tell a wrong finding from a
// right one; then a small run of the whole through the real proxy.
import { expect, test } from 'vitest';
import { benchVerdicts, PLANTED_KINDS } from '../../bench/verdicts.ts';
import { scoreOf } from '../../bench/verdicts-score.ts';
import type { FaultKind } from '../../src/broadcast/fault.ts';
import type { PlantedFault } from '../../src/broadcast/fault-planter.ts';
import type { KeptFinding } from '../../src/control/evidence/kept.ts';
import type { Verdict } from '../../src/rules/verdict.ts';
import { finding as found } from '../support/evidence.ts';

const keyOf = (run: string) => `k1:["agent_started","${run}",null]`;
const RUNS = new Map([
  ['run_a', 'alice'],
  ['run_b', 'bob'],
]);

function planted(kind: FaultKind, detail: PlantedFault['detail'] = {}): PlantedFault {
  const event = { event_type: 'agent_started', event_key: keyOf('run_a') };
  return { seq: 0, kind, user: 'alice', run_id: 'run_a', detail, ...event };
}

function finding(verdict: Verdict, rest: Partial<KeptFinding> = {}): KeptFinding {
  const session = 'session of alice';
  const whole = { verdict, key: keyOf('run_a'), session, differences: [], ...rest };
  return { ...found(whole), id: 1, cut: false };
}

const at = (path: string): Partial<KeptFinding> => ({
  differences: [{ kind: 'value', path, legacy: 1, candidate: 2 }],
});
/** Says whose session it is: legacy sends nothing wrong. */
const bobsOwn = finding('mismatch', { key: keyOf('run_b'), session: 'session of bob' });

test.each<[string, PlantedFault, readonly KeptFinding[]]>([
  ['a dropped event', planted('drop'), [finding('missing')]],
  ['one sent twice', planted('duplicate'), [finding('duplicate', { sides: ['candidate'] })]],
  ['one that was overtaken', planted('reorder'), [finding('out-of-order')]],
  ['another type', planted('wrong-type'), [finding('mismatch', at('/type'))]],
  [
    'a rewritten maker',
    planted('rewrite-provenance', { fields: ['sender_id'] }),
    [finding('mismatch', at('/sender_id'))],
  ],
  ['a wrong address', planted('routing-field'), [finding('contaminated', at('/target_user_id'))]],
  [
    'a wrong address inside',
    planted('nested-routing-field'),
    [finding('contaminated', at('/data/target_user_id'))],
  ],
  [
    "somebody else's event",
    planted('misroute', { to: 'bob' }),
    [
      finding('missing', { sides: ['legacy'] }),
      finding('contaminated', { session: 'session of bob', sides: ['candidate'] }),
    ],
  ],
])('%s is found where it is named rightly, and nowhere else', (_, fault, right) => {
  expect(scoreOf([fault], right, RUNS)).toMatchObject({ planted: 1, found: 1, falseAlarms: 0 });
  expect(scoreOf([fault], [], RUNS)).toMatchObject({ found: 0, missed: [expect.any(String)] });
  const wrong = right.map(each => ({ ...each, key: keyOf('run_b') }));
  expect(scoreOf([fault], wrong, RUNS)).toMatchObject({ found: 0, falseAlarms: right.length });
  const misnamed = right.map(each => ({ ...each, verdict: 'noise' as const }));
  expect(scoreOf([fault], misnamed, RUNS)).toMatchObject({ found: 0, falseAlarms: right.length });
  const twice = [...right, ...right.map(each => ({ ...each, id: 2 }))];
  expect(scoreOf([fault], twice, RUNS)).toMatchObject({ found: 1, falseAlarms: right.length });
});

test('a fault found in the wrong place, or at the wrong user, is not found', () => {
  const elsewhere = [finding('mismatch', at('/data/message'))];
  expect(scoreOf([planted('wrong-type')], elsewhere, RUNS)).toMatchObject({ found: 0 });
  const atBob = [finding('missing', { session: 'session of bob', sides: ['legacy'] }), bobsOwn];
  expect(scoreOf([planted('drop')], atBob, RUNS)).toMatchObject({ found: 0 });
});

test('every kind of fault is found through the running proxy, and nothing besides', async () => {
  const result = await benchVerdicts({
    ...{ json: true, events: 1_500, clean: 0, users: 20, jitter: 300 },
    ...{ faults: 0.08, seed: 7 },
  });
  expect([result.missed, result.alarms]).toEqual([[], []]);
  expect(result).toMatchObject({ found: result.planted, falseAlarms: 0 });
  expect(Object.keys(result.byKind).sort()).toEqual([...PLANTED_KINDS].sort());
  expect(result.unjudged).toBeLessThanOrEqual(0.001);
}, 240_000);
