// What an operator's alerts on other users' data are made of: every count, by its labels.
import { afterEach, beforeEach, expect, test } from 'vitest';
import { LaneIsolation } from '../../src/control/lane-isolation.ts';
import { createMetrics } from '../../src/control/metrics.ts';
import type { Prevented } from '../../src/ports.ts';
import type { Contamination } from '../../src/rules/isolation/incident.ts';
import {
  emptyIsolationBooks,
  type IsolationBooks,
} from '../../src/rules/isolation/isolation-books.ts';
import { NOTHING_JUDGED, type Operated, operated, user } from '../support/operator.ts';

let op: Operated;
let books: IsolationBooks;
beforeEach(async () => {
  op = await operated();
  books = emptyIsolationBooks();
});
afterEach(() => op.close());

const laneOf = () =>
  new LaneIsolation({ onPrevented: () => undefined, judge: NOTHING_JUDGED, logger: op.logger });

/** The samples of what is called so; zeros say nothing. */
async function samples(names: RegExp, isolation = laneOf()): Promise<string[]> {
  const judge = { ...NOTHING_JUDGED, isolationBooks: () => new Map([['events', books]]) };
  const metrics = createMetrics({ ...op, traffic: () => op.traffic, isolation, judge });
  const lines = (await metrics.text()).split('\n');
  return lines.filter(line => names.test(line) && !line.endsWith(' 0')).sort();
}

const found = (more: Partial<Contamination> = {}): Contamination => ({
  ...{ rule: 'routing', route: 'events', session: 's1', side: 'candidate', isShown: true },
  ...{ path: '/userId', eventType: 'notice', onBoth: false, user: 'ann', owner: 'bob', at: 0 },
  ...more,
});
const prevented: Prevented = {
  ...{ route: 'events', side: 'candidate', session: 's1', subject: user('ann') },
  ...{ path: '/userId', eventType: 'notice', owner: 'bob', outcome: 'sanitized', compared: true },
};

test('contaminated events are counted by who sent them, what told, and what became of them', async () => {
  op.incidents.contaminated(found());
  op.incidents.contaminated(found());
  op.incidents.contaminated(found({ rule: 'ledger', isShown: false }));
  op.incidents.contaminated(found({ side: 'legacy', isShown: false }));
  const of = (labels: string) => `cutover_contaminations_total{route="events",${labels}}`;
  expect(await samples(/^cutover_contaminations_total/)).toEqual([
    `${of('side="candidate",rule="ledger",outcome="not-shown"')} 1`,
    `${of('side="candidate",rule="routing",outcome="delivered"')} 2`,
    `${of('side="legacy",rule="routing",outcome="not-shown"')} 1`,
  ]);
});

test('what the judge looked at, left in doubt and gave up is counted route by route', async () => {
  const { legacy, candidate } = books.sides;
  Object.assign(legacy, { fields: 11, onBoth: 1, inDoubt: 1 });
  Object.assign(candidate, { fields: 12, onBoth: 2, inDoubt: 3 });
  legacy.uninspectable['too-large'] = 4;
  candidate.uninspectable.binary = 5;
  legacy.crowded['told-early'] = 6;
  candidate.crowded['twin-forgotten'] = 7;
  const names = /^cutover_(contaminations_on_both|isolation_|routing_|identity_)/;
  expect(await samples(names)).toEqual([
    'cutover_contaminations_on_both_total{route="events"} 2',
    'cutover_isolation_crowded_total{route="events",side="candidate",because="twin-forgotten"} 7',
    'cutover_isolation_crowded_total{route="events",side="legacy",because="told-early"} 6',
    'cutover_isolation_in_doubt_total{route="events"} 3',
    'cutover_isolation_unread_total{route="events",side="candidate",because="binary"} 5',
    'cutover_isolation_unread_total{route="events",side="legacy",because="too-large"} 4',
    'cutover_routing_fields_total{route="events",side="candidate"} 12',
    'cutover_routing_fields_total{route="events",side="legacy"} 11',
  ]);
  books.identityMismatch = true;
  expect(await samples(/^cutover_identity_mismatch/)).toEqual([
    'cutover_identity_mismatch{route="events"} 1',
  ]);
});

test('what the lanes did is counted by what became of it: passed and withheld apart', async () => {
  const lane = laneOf();
  lane.prevented(prevented);
  lane.prevented(prevented);
  lane.prevented({ ...prevented, outcome: 'blocked' });
  lane.narrowed('events', 'candidate');
  lane.uninspected('events', 'candidate', 'binary', false);
  lane.uninspected('events', 'candidate', 'binary', true);
  lane.uninspected('events', 'candidate', 'binary', true);
  lane.uninspected('api', 'legacy', 'coded', true);
  const at = 'route="events",side="candidate"';
  const names = /^cutover_isolation_(prevented|narrowed|uninspected)/;
  expect(await samples(names, lane)).toEqual([
    `cutover_isolation_narrowed_total{${at}} 1`,
    `cutover_isolation_prevented_total{${at},outcome="blocked"} 1`,
    `cutover_isolation_prevented_total{${at},outcome="sanitized"} 2`,
    'cutover_isolation_uninspected_total{route="api",side="legacy",because="coded",outcome="withheld"} 1',
    `cutover_isolation_uninspected_total{${at},because="binary",outcome="passed"} 1`,
    `cutover_isolation_uninspected_total{${at},because="binary",outcome="withheld"} 2`,
  ]);
});
