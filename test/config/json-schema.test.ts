import { describe, expect, test } from 'vitest';
import { configJsonSchema, knownKeys } from '../../src/config/json-schema.ts';

const schema = configJsonSchema();
const text = JSON.stringify(schema);

test('the schema for editors is draft 2020-12 and describes its fields', () => {
  expect(schema.$schema).toBe('https://json-schema.org/draft/2020-12/schema');
  expect(schema.required).toEqual(['listen', 'upstreams', 'routes']);
  expect(schema.additionalProperties).toBe(false);
  expect(text).toContain('Open client WebSockets.');
  expect(text.match(/"description"/g)?.length).toBeGreaterThan(40);
});

test('an editor accepts a variable where a number or one of some words is asked for', () => {
  expect(schema.properties?.listen).toMatchObject({
    properties: {
      port: {
        default: 8080,
        anyOf: [
          { type: 'integer', minimum: 0, maximum: 65_535 },
          { type: 'string', pattern: '\\$\\{' },
        ],
      },
    },
  });
});

describe('known keys', () => {
  test('are those of the place in the file', () => {
    expect(knownKeys(['admin'], {})).toEqual(['host', 'port']);
    expect(knownKeys(['routes', 3, 'flags'], {})).toEqual(['serve', 'shadow', 'kill', 'isolation']);
  });

  test('follow the kind of identity source that stands there', () => {
    const at = ['identity', 'sources', 0];
    expect(knownKeys(at, { from: 'cookie' })).toEqual(['from', 'name']);
    expect(knownKeys(at, { from: 'query' })).toEqual(['from', 'names', 'singleUse']);
  });
});
