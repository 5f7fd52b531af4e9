import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { FeatureLike } from '../../src/rules/flag-shape.ts';
import { flagStage, pinnedFlags, stageEdits } from '../../src/rules/flag-stage.ts';
import { editPin } from '../../src/rules/pin.ts';
import { STAGES, stageTarget } from '../../src/rules/stage.ts';
import { everybody, kill, pin, serve, shadow } from '../support/flags.ts';

const names = {
  route: 'events',
  serve: 'events.serve',
  shadow: 'events.shadow',
  kill: 'events.kill',
  isolation: 'events.isolation',
};
const lookup = (features: readonly FeatureLike[]) => (name: string) =>
  features.findLast(feature => feature.name === name);
const target = (name: string) => stageTarget(name, name === 'canary' ? 12.5 : undefined);
const stageName = fc.constantFrom(...STAGES);

test('from any stage the edits lead to any other, and there is nothing left to edit then', () => {
  fc.assert(
    fc.property(stageName, stageName, (from, to) => {
      const start = stageEdits(lookup([]), names, target(from));
      const all = [...start, ...stageEdits(lookup(start), names, target(to))];
      expect(flagStage(lookup(all), names).name).toBe(to);
      expect(stageEdits(lookup(all), names, target(to))).toEqual([]);
    }),
  );
});

test('when edits take effect one by one, candidate never serves without legacy beside it on the way', () => {
  fc.assert(
    fc.property(stageName, stageName, (from, to) => {
      const flags = stageEdits(lookup([]), names, target(from));
      const seen: string[] = [];
      for (const edit of stageEdits(lookup(flags), names, target(to))) {
        flags.push(edit);
        seen.push(flagStage(lookup(flags), names).name);
      }
      for (const between of seen.slice(0, -1)) {
        expect(['off', 'shadow', 'canary', 'live']).toContain(between);
      }
    }),
  );
});

test('the kill switch is thrown before anything else and released after everything else', () => {
  const wanted = { serve: 100, shadow: 1000 };
  const thrown = stageEdits(lookup([]), names, { ...wanted, kill: true });
  expect(thrown.map(({ name }) => name)).toEqual([names.kill, names.shadow, names.serve]);
  const killed = lookup([serve(0), shadow(0), kill(true)]);
  const released = stageEdits(killed, names, { ...wanted, kill: false });
  expect(released.map(({ name }) => name)).toEqual([names.shadow, names.serve, names.kill]);
});

test('flags that single users out are named', () => {
  const base = serve(0).strategies[0] ?? everybody();
  const pinned = { ...serve(0), strategies: [pin(['ann'], 'candidate'), base] };
  expect(pinnedFlags(lookup([pinned, shadow(0)]), names, 0)).toEqual([names.serve]);
  const ending = editPin(serve(0), {
    ...{ flag: names.serve, user: 'ann', side: 'candidate', untilMs: 1_000 },
  });
  const at = (nowMs: number) => pinnedFlags(lookup([ending, shadow(0)]), names, nowMs);
  expect([at(999), at(1_000)]).toEqual([[names.serve], []]);
});
