import { expect, test } from 'vitest';
import { parseConfig } from '../../src/config/load.ts';
import { ConfigError, problemText } from '../../src/config/problem.ts';
import { DEFAULT_ISOLATION } from '../../src/rules/isolation/rules.ts';

function routeWith(isolation: string): string {
  return `listen: {}
upstreams: { legacy: { url: http://a/ }, candidate: { url: http://b/ } }
routes:
  - { name: events, path: /ws, protocol: websocket, isolation: ${isolation} }
`;
}

const parsed = (isolation: string) =>
  parseConfig(routeWith(isolation), 'c.yaml', {}).routes[0]?.isolation;

function said(isolation: string): string[] {
  try {
    parsed(isolation);
    return [];
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return error.problems.map(problem => problemText(problem).replace(/^c\.yaml:4:\d+ /, ''));
  }
}

test('a route that says nothing has the default fields, and no mode of its own', () => {
  expect(parsed('{}')).toEqual(DEFAULT_ISOLATION);
  expect(parsed('{ mode: block, routing: [to] }')).toEqual({
    ...DEFAULT_ISOLATION,
    mode: 'block',
    routing: ['to'],
  });
});

test('what can not be a field, a mode or a pointer is told with what would be right', () => {
  const at = 'routes[0].isolation';
  expect(said('block')).toEqual([`${at}: must be a mapping (key: value) (got text)`]);
  expect(said('{ mode: sanitise }')).toEqual([
    `${at}.mode: must be one of "observe", "sanitize", "block" (got "sanitise"); did you mean "sanitize"?`,
  ]);
  expect(said('{ routing: ["a\\"b"] }')).toEqual([
    `${at}.routing[0]: must be the name of a field: 1 to 100 of letters, digits and _ . : @ $ -`,
  ]);
  expect(said('{ content: [message] }')).toEqual([
    `${at}.content[0]: must be a JSON pointer (RFC 6901), such as /user_id`,
  ]);
  expect(said('{ provenance: { receipt: [user_id] } }')).toEqual([
    `${at}.provenance.receipt[0]: is none of isolation.routing (recipient_id, target_user_id, userId), so it is not looked at anyway`,
  ]);
  expect(said('{ routings: [] }')[0]).toContain('did you mean "routing"?');
});
