import { expect, test } from 'vitest';
import { DeliveryBooks } from '../../src/runs/delivery-books.ts';

const USER = 'user_1';

// The fault: a user who had moved off the candidate in the middle of a run got the rest from legacy. What the
// candidate had kept of it was called lost at his next visit.
test('what a client had is not due again, however late a service sends what it kept', () => {
  const books = new DeliveryBooks();
  books.due(USER, 'e1', 'legacy', 0);
  books.read(USER, 'e1', 1);
  books.settle(10_000);
  books.due(USER, 'e1', 'candidate', 20_000);
  books.settle(30_000);
  expect(books.report()).toMatchObject({ eventsSent: 1, lost: 0, duplicated: 0 });
  // Nor is it one too many where it reaches him.
  books.due(USER, 'e1', 'candidate', 40_000);
  books.read(USER, 'e1', 40_001);
  books.read(USER, 'e1', 40_002);
  books.settle(50_000);
  expect(books.report()).toMatchObject({ eventsSent: 1, lost: 0, duplicated: 0 });
  // What nobody sent again is.
  books.read(USER, 'e1', 60_000);
  books.settle(70_000);
  expect(books.report()).toMatchObject({ lost: 0, duplicated: 1 });
});

test('what nobody has read is lost, and what is read twice is doubled', () => {
  const books = new DeliveryBooks();
  for (const key of ['e1', 'e2', 'e3']) books.due(USER, key, 'legacy', 0);
  for (const key of ['e2', 'e3', 'e3']) books.read(USER, key, 1);
  books.settle(10_000);
  expect(books.report()).toMatchObject({
    ...{ eventsSent: 3, eventsDelivered: 2, lost: 1, duplicated: 1 },
  });
});
