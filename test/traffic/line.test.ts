import { expect, test } from 'vitest';
import { Line } from '../../src/traffic/line.ts';

test('whoever came first has his turn first, and who comes meanwhile has his behind him', () => {
  const line = new Line<string>();
  line.add('a');
  line.add('b');
  expect([line.take(), line.length]).toEqual(['a', 1]);
  line.add('c');
  expect([line.take(), line.take(), line.take(), line.length]).toEqual(['b', 'c', undefined, 0]);
  line.add('d');
  expect([line.take(), line.length]).toEqual(['d', 0]);
});
