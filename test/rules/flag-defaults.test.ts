import { expect, test } from 'vitest';
import { initialFlags } from '../../src/rules/flag-defaults.ts';
import { lintFlags } from '../../src/rules/flag-lint.ts';
import { flagStage } from '../../src/rules/flag-stage.ts';

const names = {
  route: 'r',
  serve: 'r.serve',
  shadow: 'r.shadow',
  kill: 'r.kill',
  isolation: 'r.i',
};

test('the flags of a beginning are stage off, and nothing about them is doubtful', () => {
  const flags = initialFlags(names);
  expect(flags.map(({ name }) => name)).toEqual(['r.serve', 'r.shadow', 'r.kill', 'r.i']);
  expect(flagStage(name => flags.find(flag => flag.name === name), names).name).toBe('off');
  expect(lintFlags(flags, [names])).toEqual([]);
});

test('an Unleash server, which orders variants by name, makes nothing doubtful of them', () => {
  const stored = initialFlags(names).map(flag => ({
    ...flag,
    strategies: flag.strategies.map(strategy => ({
      ...strategy,
      variants: strategy.variants?.toSorted((a, b) => (a.name < b.name ? -1 : 1)),
    })),
  }));
  expect(lintFlags(stored, [names])).toEqual([]);
});
