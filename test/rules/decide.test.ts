import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  type Decision,
  decide,
  type FlagFacts,
  type Forced,
  ISOLATION_MODES,
  REASONS,
  type RouteRules,
  type Side,
  type Subject,
} from '../../src/rules/decide.ts';
import { deriveStage, lookThroughKill } from '../../src/rules/stage.ts';

const user: Subject = { id: 'user_1001', aliases: [] };
const route: RouteRules = { name: 'events', writes: 'both' };
const nothing: Forced = { bypass: false, latch: null, legsOn: [] };

const legsOn = (...sides: Side[]): Forced => ({ ...nothing, legsOn: sides });

function facts(serve: number, shadow: number, given: Partial<FlagFacts> = {}): FlagFacts {
  return {
    serve: serve === 1000 ? 'candidate' : 'legacy',
    shadow: shadow > 0,
    kill: false,
    stage: deriveStage(serve, shadow, false),
    ...given,
  };
}

describe('who serves', () => {
  test.each<
    [string, Subject | null, FlagFacts | null, Forced, Decision['primary'], Decision['reason']]
  >([
    [
      'the bypass comes first',
      user,
      facts(1000, 1000),
      { ...nothing, bypass: true, latch: 'latched' },
      'legacy',
      'bypass',
    ],
    [
      'then the latch',
      user,
      facts(1000, 1000, { kill: true }),
      { ...nothing, latch: 'latched' },
      'legacy',
      'latched',
    ],
    ['nothing known is legacy', user, null, nothing, 'legacy', 'flags-unknown'],
    ['then the kill flag', user, facts(1000, 1000, { kill: true }), nothing, 'legacy', 'killed'],
    [
      'no serve flag is legacy',
      user,
      facts(0, 0, { serve: 'missing' }),
      nothing,
      'legacy',
      'serve-flag-missing',
    ],
    [
      'a flag that names no side is legacy',
      user,
      facts(0, 0, { serve: 'unreadable' }),
      nothing,
      'legacy',
      'serve-flag-unreadable',
    ],
    [
      'the serve flag places a user',
      user,
      facts(500, 1000, { serve: 'candidate' }),
      nothing,
      'candidate',
      'serve-flag',
    ],
    [
      'nobody anonymous moves before everybody',
      null,
      facts(999, 1000, { serve: 'candidate' }),
      nothing,
      'legacy',
      'anonymous',
    ],
    ['and then he does', null, facts(1000, 1000), nothing, 'candidate', 'anonymous'],
  ])('%s', (_what, subject, given, forced, primary, reason) => {
    expect(decide(subject, route, given, forced)).toMatchObject({ primary, reason });
  });
});

describe('the second leg', () => {
  test.each<[string, FlagFacts | null, Forced, Decision['second']]>([
    ['off: none', facts(0, 0), nothing, null],
    [
      'shadow: the candidate, as shadow',
      facts(0, 1000),
      nothing,
      { side: 'candidate', role: 'shadow' },
    ],
    ['not sampled: none', facts(0, 100, { shadow: false }), nothing, null],
    [
      'canary, served by the candidate: legacy stands by',
      facts(500, 1000, { serve: 'candidate' }),
      nothing,
      { side: 'legacy', role: 'standby' },
    ],
    [
      'canary, not sampled: legacy stands by all the same',
      facts(500, 100, { serve: 'candidate', shadow: false }),
      nothing,
      { side: 'legacy', role: 'standby' },
    ],
    [
      'canary, served by legacy: as in shadow',
      facts(500, 1000),
      nothing,
      { side: 'candidate', role: 'shadow' },
    ],
    ['live: legacy stands by', facts(1000, 1000), nothing, { side: 'legacy', role: 'standby' }],
    ['complete: none, there is no way back', facts(1000, 0), nothing, null],
    [
      'latched: comparing goes on',
      facts(1000, 1000),
      { ...nothing, latch: 'latched' },
      { side: 'candidate', role: 'shadow' },
    ],
    ['severed: none', facts(1000, 1000), { ...nothing, latch: 'severed' }, null],
    ['bypass: none', facts(0, 1000), { ...nothing, bypass: true }, null],
    ['nothing known: none', null, nothing, null],
  ])('%s', (_what, given, forced, second) => {
    expect(decide(user, route, given, forced).second).toEqual(second);
  });
});

describe('writes', () => {
  test.each<[string, FlagFacts | null, Forced, Decision['writeTo']]>([
    ['off: to legacy', facts(0, 0), nothing, 'primary'],
    ['off, pinned to the candidate: to both', facts(0, 0, { serve: 'candidate' }), nothing, 'both'],
    ['shadow: to both, sampled or not', facts(0, 1, { shadow: false }), nothing, 'both'],
    ['live: to both', facts(1000, 1000), nothing, 'both'],
    ['complete: to the candidate', facts(1000, 0), nothing, 'primary'],
    ['complete, pinned to legacy: to both', facts(1000, 0, { serve: 'legacy' }), nothing, 'both'],
    ['killed in canary: to both still', facts(500, 1000, { kill: true }), nothing, 'both'],
    ['latched in live: to both still', facts(1000, 1000), { ...nothing, latch: 'latched' }, 'both'],
    [
      'severed, a session on the candidate: to legacy alone',
      facts(1000, 1000),
      { ...legsOn('candidate'), latch: 'severed' },
      'primary',
    ],
    ['bypass: to legacy alone', facts(500, 1000), { ...nothing, bypass: true }, 'primary'],
    ['off, a session on the candidate: to both', facts(0, 0), legsOn('candidate'), 'both'],
    ['off, sessions on legacy alone: to legacy', facts(0, 0), legsOn('legacy'), 'primary'],
    [
      'complete, a session on legacy: to both',
      facts(1000, 0),
      legsOn('legacy', 'candidate'),
      'both',
    ],
    ['complete, none on legacy: to the candidate', facts(1000, 0), legsOn('candidate'), 'primary'],
    [
      'bypass, a session on the candidate: to both until it has ended',
      facts(0, 0),
      { ...legsOn('candidate'), bypass: true },
      'both',
    ],
    [
      'bypass over a severed rollback: to legacy alone',
      facts(0, 0),
      { ...legsOn('candidate'), bypass: true, latch: 'severed' },
      'primary',
    ],
    ['nothing known, a session on the candidate: to both', null, legsOn('candidate'), 'both'],
  ])('%s', (_what, given, forced, writeTo) => {
    expect(decide(user, route, given, forced).writeTo).toBe(writeTo);
    expect(decide(user, { ...route, writes: 'primary' }, given, forced).writeTo).toBe('primary');
  });
});

test('isolation is what the flag says, else the route, else it follows who serves', () => {
  const of = (given: FlagFacts, rules: RouteRules = route) =>
    decide(user, rules, given, nothing).isolation;
  expect(of(facts(0, 0))).toBe('observe');
  expect(of(facts(1000, 1000))).toBe('sanitize');
  expect(of(facts(1000, 1000), { ...route, protocol: 'sse' })).toBe('sanitize');
  // An outbox names others, and is his.
  expect(of(facts(1000, 1000), { ...route, protocol: 'http' })).toBe('observe');
  expect(of(facts(1000, 1000), { ...route, isolation: { mode: 'observe' } })).toBe('observe');
  expect(
    of(facts(1000, 1000, { isolation: 'block' }), { ...route, isolation: { mode: 'observe' } }),
  ).toBe('block');
});

test('the other side, where that serves somebody still, is looked at as it would be', () => {
  const modes = (decision: Decision) => [decision.isolation, decision.otherIsolation];
  expect(modes(decide(user, route, facts(1000, 1000), nothing))).toEqual(['sanitize', 'observe']);
  expect(modes(decide(user, route, facts(0, 1000), nothing))).toEqual(['observe', 'sanitize']);
  const strict = { ...route, isolation: { mode: 'block' as const } };
  expect(modes(decide(user, strict, facts(0, 1000), nothing))).toEqual(['block', 'block']);
});

test('whatever comes in, a frozen decision with a documented reason comes out, and doubt means legacy', () => {
  const share = fc.option(fc.integer({ min: 0, max: 1000 }), { nil: undefined });
  const anyFacts = fc.option(
    fc.record({
      serve: fc.constantFrom('legacy', 'candidate', 'missing', 'unreadable'),
      shadow: fc.boolean(),
      kill: fc.boolean(),
      isolation: fc.constantFrom(undefined, ...ISOLATION_MODES),
      stage: fc
        .tuple(share, share, fc.boolean())
        .map(shares => lookThroughKill(deriveStage(...shares))),
    }),
  );
  const forced = fc.record({
    bypass: fc.boolean(),
    latch: fc.constantFrom(null, 'latched', 'severed'),
    legsOn: fc.subarray<Side>(['legacy', 'candidate']),
  });
  fc.assert(
    fc.property(fc.option(fc.constant(user)), anyFacts, forced, (subject, given, force) => {
      const decision = decide(subject, route, given, force);
      expect(Object.isFrozen(decision)).toBe(true);
      expect(Object.keys(REASONS)).toContain(decision.reason);
      if (given === null || given.kill || force.bypass || force.latch !== null)
        expect(decision.primary).toBe('legacy');
      expect(decision.second?.side).not.toBe(decision.primary);
    }),
  );
});

// The fault: of users who were sampled alone was known whose data is whose.
test('whoever is served by legacy and not compared is heard, where others are compared', () => {
  const served = (serve: number, shadow: number, given: Partial<FlagFacts> = {}) =>
    facts(serve, shadow, { serve: 'legacy', shadow: false, ...given });
  const isHeard = (who: Subject | null, known: FlagFacts | null, forced = nothing) =>
    decide(who, route, known, forced).overhear;
  expect(isHeard(user, served(0, 100))).toBe(true);
  expect(isHeard(user, served(100, 100))).toBe(true);
  expect(isHeard(user, served(100, 100, { kill: true }))).toBe(true);
  expect(isHeard(user, served(0, 100), { ...nothing, latch: 'latched' })).toBe(true);
  // Compared, or anonymous, or served by the candidate.
  expect(isHeard(user, served(0, 100, { shadow: true }))).toBe(false);
  expect(isHeard(null, served(0, 100))).toBe(false);
  expect(isHeard(user, served(1000, 0, { serve: 'candidate' }))).toBe(false);
  // ... and while the candidate serves some whom legacy stands by.
  expect(isHeard(user, served(500, 0))).toBe(true);
  expect(isHeard(user, served(500, 0, { kill: true }))).toBe(false);
  expect(isHeard(user, served(500, 0), { ...nothing, latch: 'latched' })).toBe(false);
  // Nobody is compared.
  expect(isHeard(user, served(1000, 0))).toBe(false);
  expect(isHeard(user, served(1000, 0), { ...nothing, latch: 'latched' })).toBe(false);
  expect(isHeard(user, served(0, 0))).toBe(false);
  expect(isHeard(user, null)).toBe(false);
  expect(isHeard(user, served(0, 100), { ...nothing, latch: 'severed' })).toBe(false);
  expect(isHeard(user, served(0, 100), { ...nothing, bypass: true })).toBe(false);
});
