// What an operator reads of a comparison's books.
import { expect, test } from 'vitest';
import { booksView } from '../../src/control/books-view.ts';
import { addBooks, bookLatencies, emptyBooks, imbalance } from '../../src/rules/pairing/books.ts';

test('how long both took to answer is read per side, right to within a quarter, and moves no verdict', () => {
  const [books, more] = [emptyBooks(), emptyBooks()];
  for (let n = 0; n < 90; n += 1) bookLatencies(books, { legacy: 10, candidate: 20 });
  for (let n = 0; n < 10; n += 1) bookLatencies(more, { legacy: 100, candidate: 2_000 });
  // Nobody waits for an answer that one of them never gave.
  bookLatencies(more, { legacy: 60_000, candidate: null });
  addBooks(books, more);
  const { legacy, candidate } = booksView(books);
  const near = (ms: number) => [ms * 0.99, ms * 1.26];
  for (const [found, ms] of [
    [legacy.latencyMs?.p50, 10],
    [legacy.latencyMs?.p99, 100],
    [candidate.latencyMs?.p50, 20],
    [candidate.latencyMs?.p99, 2_000],
  ] as const) {
    const [least = 0, most = 0] = near(ms);
    expect(found).toBeGreaterThanOrEqual(least);
    expect(found).toBeLessThanOrEqual(most);
  }
  expect(imbalance(books)).toBeNull();
  expect(booksView(emptyBooks()).legacy.latencyMs).toBeNull();
});
