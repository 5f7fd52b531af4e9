// Generated ids are known for as long as they are spoken of, however long they are themselves.
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { expect, test } from 'vitest';
import { IdClasses } from '../../src/rules/compare/ids.ts';

const long = (end: string) => `${'x'.repeat(500)}${end}`;

test.each([
  ['texts', long('1'), long('2'), long('3')],
  ['numbers', 10n ** 100n, 10n ** 100n + 1n, 10n ** 100n + 2n],
])('ids of any length are told apart: %s', (_kind, one, other, third) => {
  const ids = new IdClasses();
  ids.learn('a', one, other);
  expect(ids.relation('a', one, other)).toBe('same');
  expect(ids.relation('a', one, third)).toBe('other');
  expect(ids.relation('a', third, other)).toBe('other');
  expect(ids.relation('a', other, third)).toBe('unknown');
  expect(ids.relation('a', String(one), other)).toBe(typeof one === 'string' ? 'same' : 'other');
});

/** In a thread as the judge's, with less room. */
const MANY_LONG_IDS = `
  const { workerData } = await import('node:worker_threads');
  const { IdClasses } = await import(workerData);
  const ids = new IdClasses();
  const text = Buffer.alloc(1_000_000, 'x');
  const made = n => { text.writeUInt32LE(n); return text.toString('latin1'); };
  for (let n = 0; n < 100; n += 1) ids.learn('event_id', made(2 * n), made(2 * n + 1));
`;

// The fault: pairs were counted, whatever their length, and one user's ids took all of the judge's memory.
test('ids of a megabyte each take no more room than others', async () => {
  const workerData = new URL('../../src/rules/compare/ids.ts', import.meta.url).href;
  const thread = new Worker(new URL(`data:text/javascript,${encodeURIComponent(MANY_LONG_IDS)}`), {
    workerData,
    resourceLimits: { maxOldGenerationSizeMb: 64 },
  });
  const [code] = await once(thread, 'exit');
  expect(code).toBe(0);
});
