import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { broadcasterRules } from '../../src/broadcast/compare-rules.ts';
import { knownKeys } from '../../src/config/json-schema.ts';
import { parseConfig } from '../../src/config/load.ts';
import { ConfigError, problemText } from '../../src/config/problem.ts';
import { DEFAULT_RULES } from '../../src/rules/compare/rules.ts';

function routeWith(compare: string): string {
  return `listen: {}
upstreams: { legacy: { url: http://a/ }, candidate: { url: http://b/ } }
routes:
  - { name: events, path: /ws, protocol: websocket, compare: ${compare} }
`;
}

function said(compare: string): string[] {
  try {
    parseConfig(routeWith(compare), 'c.yaml', {});
    return [];
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return error.problems.map(problem => problemText(problem).replace('c.yaml:', ''));
  }
}

test('a route that says nothing is compared by the default rules, which excuse nothing', () => {
  const [route] = parseConfig(routeWith('{}'), 'c.yaml', {}).routes;
  expect(route?.compare).toEqual(DEFAULT_RULES);
  expect(DEFAULT_RULES.allow).toEqual([]);
});

test('cutover.yaml carries the rules that follow from the list of differences, no more and no less', () => {
  const file = new URL('../../cutover.yaml', import.meta.url).pathname;
  const { routes } = parseConfig(readFileSync(file, 'utf8'), file, {});
  for (const name of ['events', 'sse']) {
    const compare = routes.find(route => route.name === name)?.compare;
    const { allow, replies, ...rest } = broadcasterRules('singleton');
    expect(compare).toMatchObject(rest);
    expect(new Set(compare?.replies)).toEqual(new Set(replies));
    expect(new Set(compare?.allow.map(sorted))).toEqual(new Set(allow.map(sorted)));
  }
});

function sorted({ types, ...rest }: { readonly types?: readonly string[] | undefined }): object {
  return { ...rest, types: types?.toSorted() };
}

test('a rule that would hide whose an event is gets a sentence at its place in the file', () => {
  const field = '4:94 routes[0].compare.allow[0].path: ';
  expect(said('{ allow: [{ as: anything, path: /user_id }] }')).toEqual([
    `${field}names a user ("user_id"): who an event is for and whose it is must arrive untouched, so it can not be "anything"`,
  ]);
  expect(said('{ allow: [{ as: anything, path: /payload }] }')).toEqual([
    `${field}covers the fields that say who an event is for and whose it is; name single fields instead`,
  ]);
});

test('what no rule has is told with what was probably meant', () => {
  expect(said('{ allow: [{ path: /a, as: generated }] }')[0]).toMatch(
    /^4:\d+ routes\[0\]\.compare\.allow\[0\]\.as: must be one of "time".*did you mean "generated-id"\?$/,
  );
  expect(said('{ allow: [{ path: /a, as: time }] }')).toEqual([
    expect.stringContaining('routes[0].compare.allow[0].withinMs: is missing; it must be a number'),
  ]);
  expect(said('{ allow: [{ path: a, as: anything }] }')).toEqual([
    expect.stringContaining('must be a JSON pointer (RFC 6901), such as /user_id'),
  ]);
  expect(said('{ allows: [] }')).toEqual([
    expect.stringContaining('there is no key "allows" here; did you mean "allow"?'),
  ]);
  expect(knownKeys(['routes', 0, 'compare', 'allow', 0], { as: 'time' })).toEqual([
    'path',
    'types',
    'as',
    'withinMs',
  ]);
});
