// Counts that wait for a disk to be written again.
import { expect, test } from 'vitest';
import { CarriedCounts } from '../../src/rules/carried-counts.ts';
import type { UnitCount } from '../../src/rules/unit-tracker.ts';

test('what could not be written yet is not counted either once counting begins anew, on that route or on all', () => {
  const units = ['a', 'b'].map((route): UnitCount => {
    return { route, eventType: null, of: 'run', hour: 0, units: 1, diverged: 1 };
  });
  const carried = new CarriedCounts();
  carried.add({ groups: [], units });
  const routes = () =>
    carried
      .with({ groups: [], examples: [], units: [], dropped: {} })
      .units.map(({ route }) => route);
  carried.forgetUnits('a');
  expect(routes()).toEqual(['b']);
  carried.forgetUnits(null);
  expect(routes()).toEqual([]);
});
