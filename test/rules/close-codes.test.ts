// The table of close codes, case by case: who hears the end of a primary leg, in quiet and during a move.
import { describe, expect, test } from 'vitest';
import { type EndOfLeg, endOfLeg } from '../../src/rules/handover/close-codes.ts';
import { type Handover, steady, step } from '../../src/rules/handover/handover.ts';

const CASES: readonly [
  codes: readonly number[],
  steady: EndOfLeg,
  moving: EndOfLeg,
  why: string,
][] = [
  [[1000], 'pass', 'pass', 'it is done with its client'],
  [
    [1001],
    'pass',
    'fail-over',
    'it goes: its own goodbye, and what a candidate says that is shut down',
  ],
  [[1002, 1003, 1007, 1009, 1010], 'pass', 'pass', 'the client sent something wrong'],
  [[1004, 1005], 'pass', 'pass', 'a goodbye all the same'],
  [[1006, 1015], 'fail-over', 'fail-over', 'the connection was lost, as by a reset'],
  [[1008], 'pass', 'pass', 'the client is not welcome, and would not be elsewhere'],
  [[1011, 1012, 1013, 1014], 'fail-over', 'fail-over', 'it fails, restarts, is overloaded'],
  [[0, 999, 1016, 2999, 5000, 65_535], 'pass', 'pass', 'nobody knows what that means'],
  [[3000, 3999, 4000, 4001, 4999], 'pass', 'pass', "the application's own word"],
];

const end = (state: Handover, code: number, more = {}) =>
  step(state, {
    ...{ kind: 'primary-lost', code, atBoundary: true, failover: true, clientClosed: false },
    ...more,
  });
const kinds = ({ actions }: { actions: readonly { kind: string }[] }) =>
  actions.map(({ kind }) => kind);
const moving = (second: Handover['second']) =>
  step(steady('candidate', second), { kind: 'switch', to: 'legacy', atBoundary: false }).state;

describe.each(CASES)('%j', (codes, quiet, onTheWay, why) => {
  test.each(codes)(`%i, ${why}: ${quiet}, and ${onTheWay} during a move`, code => {
    expect([endOfLeg(code, 'steady'), endOfLeg(code, 'moving')]).toEqual([quiet, onTheWay]);
    const goesOn = (said: EndOfLeg) => (said === 'pass' ? ['pass-end'] : ['cut', 'reconcile']);
    expect(kinds(end(steady('candidate', 'legacy'), code))).toEqual(goesOn(quiet));
    // It waits for a boundary: it is cut already.
    expect(kinds(end(moving('legacy'), code))).toEqual(
      onTheWay === 'pass' ? ['pass-end'] : ['reconcile'],
    );
    // The other service is dialled still: there is nobody to go on with.
    expect(kinds(end(moving(null), code))).toEqual([onTheWay === 'pass' ? 'pass-end' : 'leave']);
  });
});

test('behind the cut no code is heard any more', () => {
  const held = step(moving('legacy'), { kind: 'boundary' }).state;
  for (const [codes] of CASES) {
    for (const code of codes) expect(kinds(end(held, code))).toEqual([]);
  }
});

test('a service that is to be moved to, and ends, is not had: the session stays, whatever it said', () => {
  const stays = step(moving('legacy'), { kind: 'second-lost' });
  expect(kinds(stays)).toEqual(['resume']);
  expect(stays.state).toMatchObject({ phase: 'steady', primary: 'candidate', wanted: 'legacy' });
});

test('a client that has said goodbye gets whatever answers it', () => {
  const closed = { clientClosed: true };
  expect(kinds(end(steady('candidate', 'legacy'), 1006, closed))).toEqual(['pass-end']);
  expect(kinds(end(moving('legacy'), 1006, closed))).toEqual(['pass-end']);
});

test('in the middle of a message nobody else can go on: the client is told to come again', () => {
  const inside = { atBoundary: false };
  expect(kinds(end(steady('candidate', 'legacy'), 1006, inside))).toEqual(['leave']);
});

test('without failover, and without a move, a failure is passed on as it came', () => {
  expect(kinds(end(steady('candidate', 'legacy'), 1006, { failover: false }))).toEqual([
    'pass-end',
  ]);
});

test('legacy stands by for the candidate, and never the other way round', () => {
  for (const [codes] of CASES) {
    for (const code of codes) {
      expect(kinds(end(steady('legacy', 'candidate'), code))).toEqual(['pass-end']);
    }
  }
});

test('who was moved to a service that fails is told to come again', () => {
  const held = step(moving('legacy'), { kind: 'boundary' }).state;
  const { state } = step(held, { kind: 'reconciled' });
  expect(state).toMatchObject({ primary: 'legacy', moved: true });
  expect(kinds(end(state, 1006, { failover: false }))).toEqual(['leave']);
});

test('who is going to be told hears of nothing else, and is one that left if he leaves before', () => {
  const { state } = end(moving(null), 1006);
  expect(state.phase).toBe('leaving');
  for (const input of [
    { kind: 'second-opened', side: 'legacy' },
    { kind: 'switch', to: 'legacy', atBoundary: true },
    { kind: 'second-lost' },
  ] as const) {
    expect(step(state, input)).toEqual({ state, actions: [] });
  }
  expect(step(state, { kind: 'client-gone' }).state.phase).toBe('ended');
});
