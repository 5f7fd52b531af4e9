// Unleash's own conformance cases, through our repository and the client as the provider uses it.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { type Context, InMemStorageProvider, Unleash, UnleashEvents } from 'unleash-client';
import { afterAll, describe, expect, test } from 'vitest';
import { type RepositoryContent, SetRepository } from '../../../src/control/flags/repository.ts';
import type { FeatureLike, SegmentLike } from '../../../src/rules/flag-shape.ts';

interface Case<T> {
  description: string;
  context: Omit<Context, 'currentTime'> & { currentTime?: string };
  toggleName: string;
  expectedResult: T;
}
interface DeltaEvent {
  type: string;
  feature?: FeatureLike;
  featureName?: string;
  segment?: SegmentLike;
  segmentId?: number;
  features?: FeatureLike[];
  segments?: SegmentLike[];
}
interface Specification {
  name: string;
  state: { features?: FeatureLike[]; segments?: SegmentLike[]; events?: DeltaEvent[] };
  tests?: Case<boolean>[];
  variantTests?: Case<Record<string, unknown>>[];
}

const folder = join(
  dirname(createRequire(import.meta.url).resolve('@unleash/client-specification/package.json')),
  'specifications',
);
const load = (file: string) => JSON.parse(readFileSync(join(folder, file), 'utf8'));
const specifications: Specification[] = load('index.json').map(load);

/** Files never hold deltas; the cases that do are folded into the set that they amount to. */
function contentOf({ features = [], segments = [], events = [] }: Specification['state']) {
  const flags = new Map(features.map(feature => [feature.name, feature]));
  const parts = new Map(segments.map(segment => [segment.id, segment]));
  for (const event of events) {
    for (const feature of [...(event.features ?? []), event.feature ?? []].flat()) {
      flags.set(feature.name, feature);
    }
    for (const segment of [...(event.segments ?? []), event.segment ?? []].flat()) {
      parts.set(segment.id, segment);
    }
    if (event.featureName !== undefined) flags.delete(event.featureName);
    if (event.segmentId !== undefined) parts.delete(event.segmentId);
  }
  return { features: [...flags.values()], segments: [...parts.values()] };
}

async function clientOver(content: RepositoryContent): Promise<Unleash> {
  const repository = new SetRepository();
  const unleash = new Unleash({
    appName: 'test',
    url: 'http://flags.invalid/',
    repository,
    disableMetrics: true,
    storageProvider: new InMemStorageProvider(),
    disableAutoStart: true,
    skipInstanceCountWarning: true,
  });
  unleash.on(UnleashEvents.Error, error => {
    throw error;
  });
  await unleash.start();
  repository.swap(content);
  return unleash;
}

/** The field goes by two names in the cases and the client. */
function plain(variant: Record<string, unknown>): unknown {
  const { featureEnabled, ...rest } = variant;
  const on = rest.feature_enabled ?? featureEnabled;
  return JSON.parse(JSON.stringify({ ...rest, feature_enabled: on }));
}

let asserted = 0;
describe.each(specifications)('$name', ({ state, tests = [], variantTests = [] }) => {
  const client = clientOver(contentOf(state));
  const contextOf = ({ currentTime, ...rest }: Case<unknown>['context']): Context =>
    currentTime === undefined ? rest : { ...rest, currentTime: new Date(currentTime) };

  test.each(tests)('$description', async ({ toggleName, context, expectedResult }) => {
    const unleash = await client;
    expect(unleash.isEnabled(toggleName, contextOf(context))).toBe(expectedResult);
    asserted += 1;
  });

  test.each(variantTests)('$description (variant)', async expected => {
    const unleash = await client;
    const variant = unleash.getVariant(expected.toggleName, contextOf(expected.context));
    expect(plain({ ...variant })).toEqual(plain(expected.expectedResult));
    asserted += 1;
  });
});

afterAll(() => {
  const cases = specifications.flatMap(({ tests = [], variantTests = [] }) => [
    ...tests,
    ...variantTests,
  ]);
  console.log(`${asserted} of ${cases.length} assertions of the client specification hold`);
  expect(cases.length).toBeGreaterThan(250);
  expect(asserted).toBe(cases.length);
});
