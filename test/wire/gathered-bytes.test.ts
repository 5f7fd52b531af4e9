import fc from 'fast-check';
import { expect, test } from 'vitest';
import { GatheredBytes } from '../../src/wire/gathered-bytes.ts';

test('what is added in any pieces is there as a whole, and what was taken stays as it is', () => {
  fc.assert(
    fc.property(fc.array(fc.array(fc.uint8Array({ maxLength: 40 }))), wholes => {
      const gathered = new GatheredBytes(100);
      const taken = wholes.map(pieces => {
        for (const piece of pieces) gathered.add(Buffer.from(piece));
        expect(gathered.length).toBe(pieces.reduce((sum, { length }) => sum + length, 0));
        return gathered.take();
      });
      expect(gathered).toHaveLength(0);
      expect(taken).toEqual(wholes.map(pieces => Buffer.concat(pieces)));
    }),
  );
});

test('of a million bytes that come one by one it keeps no more than two million', () => {
  const gathered = new GatheredBytes(1_000_000);
  const byte = Buffer.from('x');
  const before = process.memoryUsage();
  for (let i = 0; i < 1_000_000; i += 1) gathered.add(byte);
  expect(gathered.view.buffer.byteLength).toBe(1_000_000);
  // A list of them has some 100 bytes for each, on the heap.
  expect(process.memoryUsage().heapUsed - before.heapUsed).toBeLessThan(30 * 1_048_576);
});
