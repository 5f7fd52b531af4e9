import { UnleashEvents } from 'unleash-client';
import { expect, test } from 'vitest';
import { SetRepository } from '../../../src/control/flags/repository.ts';
import { feature, pin, serve } from '../../support/flags.ts';

test('ready is told once, changes each time, whichever of start and content comes first', async () => {
  for (const startFirst of [true, false]) {
    const repository = new SetRepository();
    const told: string[] = [];
    repository.on(UnleashEvents.Ready, () => told.push('ready'));
    repository.on(UnleashEvents.Changed, () => told.push('changed'));
    if (startFirst) await repository.start();
    repository.swap({ features: [serve(1)], segments: [] });
    if (!startFirst) await repository.start();
    repository.swap({ features: [serve(2)], segments: [] });
    expect(told.filter(what => what === 'ready')).toHaveLength(1);
    expect(told.filter(what => what === 'changed')).toHaveLength(2);
  }
});

test('a swap replaces everything', () => {
  const repository = new SetRepository();
  repository.swap({ features: [feature('a')], segments: [{ id: 1, constraints: [] }] });
  repository.swap({ features: [feature('b')], segments: [{ id: 2, constraints: [] }] });
  expect(repository.getToggles().map(({ name }) => name)).toEqual(['b']);
  expect([repository.getToggle('a'), repository.getSegment(1)]).toEqual([undefined, undefined]);
  expect(repository.getSegment(2)).toMatchObject({ id: 2 });
});

test('features are given with their segments in full, and unknown ones as absent', () => {
  const repository = new SetRepository();
  const strategy = { ...pin([], 'candidate'), constraints: [], segments: [1, 2] };
  const constraints = [{ contextName: 'userId', operator: 'IN', values: ['ann'] }];
  repository.swap({
    features: [feature('a', { strategies: [strategy] })],
    segments: [{ id: 1, constraints }],
  });
  const [first] = repository.getTogglesWithSegmentData();
  expect(first?.strategies?.[0]?.segments).toEqual([{ id: 1, constraints }, undefined]);
});
