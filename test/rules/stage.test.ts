import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  deriveStage,
  isForward,
  lookThroughKill,
  STAGES,
  stageTarget,
} from '../../src/rules/stage.ts';

test.each([
  [0, 0, 'off'],
  [0, 1, 'shadow'],
  [0, 1000, 'shadow'],
  [1, 1000, 'canary'],
  [999, 1, 'canary'],
  [1000, 1000, 'live'],
  [1000, 0, 'complete'],
  [500, 0, 'mixed'],
  [undefined, 0, 'mixed'],
  [0, undefined, 'mixed'],
] as const)('serve %s and shadow %s of 1000 is %s', (serve, shadow, name) => {
  expect(deriveStage(serve, shadow, false).name).toBe(name);
  const killed = deriveStage(serve, shadow, true);
  expect(killed.name).toBe('killed');
  expect(lookThroughKill(killed).name).toBe(name);
});

test('what is asked for is what is derived', () => {
  for (const name of STAGES) {
    const { serve, shadow, kill } = stageTarget(name, name === 'canary' ? 12.5 : undefined);
    expect(deriveStage(serve, shadow, kill).name).toBe(name);
  }
  expect(stageTarget('canary', 12.5).serve).toBe(125);
  expect(stageTarget('shadow', 0.1).shadow).toBe(1);
});

test('every tenth of a percent is a thousandth, none is lost to rounding', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 999 }), thousandths => {
      expect(stageTarget('canary', thousandths / 10).serve).toBe(thousandths);
    }),
  );
});

test.each([
  ['canary', undefined, /needs a percentage/],
  ['canary', 0, /0\.1 to 99\.9/],
  ['canary', 100, /0\.1 to 99\.9/],
  ['canary', 12.55, /steps of 0\.1/],
  ['canary', Number.NaN, /0\.1 to 99\.9/],
  ['shadow', 100.1, /0\.1 to 100/],
  ['live', 5, /takes no percentage/],
  ['livee', undefined, /no stage "livee".*off, shadow, canary, live, complete/],
] as const)('%s %s is refused with what would be right', (name, percent, message) => {
  expect(() => stageTarget(name, percent)).toThrow(message);
});

type Shares = Parameters<typeof deriveStage>;

test.each<[Shares, Shares, boolean]>([
  [[0, 0, false], [0, 1000, false], false],
  [[0, 1000, false], [1, 1000, false], true],
  [[500, 1000, false], [100, 1000, false], false],
  [[1000, 1000, false], [1000, 0, false], true],
  [[1000, 1000, true], [1000, 1000, false], true],
  [[100, 1000, false], [1000, 1000, true], false],
  [[undefined, 1000, false], [100, 1000, false], true],
])('from %j to %j is forward: %s', (before, after, forward) => {
  expect(isForward(deriveStage(...before), deriveStage(...after))).toBe(forward);
});
