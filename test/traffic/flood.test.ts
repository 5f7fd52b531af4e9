import { expect, test } from 'vitest';
import { isFlood } from '../../src/traffic/flood.ts';

test('a shadow may send 8 MiB a second, and four times what the primary does', () => {
  const mb = 1_048_576;
  expect([isFlood(8 * mb, 0), isFlood(8 * mb + 1, 0)]).toEqual([false, true]);
  expect([isFlood(40 * mb, 10 * mb), isFlood(40 * mb + 1, 10 * mb)]).toEqual([false, true]);
});
