// One user of a thousand fields had legacy repeat two addresses that he had typed, and isolation was disarmed for
// everybody: any thousandth of the fields was enough, whosever they were, and for good.
import { expect, test } from 'vitest';
import { IdentityFit } from '../../src/rules/isolation/identity-fit.ts';

const user = (low: number) => ({ high: 0, low });

/** So many users get so many fields each. */
function fields(fit: IdentityFit, users: number, each: number, foreign = 0): void {
  for (let n = 0; n < each; n += 1) {
    for (let low = 1; low <= users; low += 1) fit.note(1, foreign, user(low));
  }
}

test('names that are foreign to most of 20 users, of 1,000 fields, do not fit', () => {
  const fit = new IdentityFit();
  fields(fit, 20, 49, 1);
  expect(fit.isMismatch).toBe(false);
  fields(fit, 20, 1, 1);
  expect(fit.isMismatch).toBe(true);
  const few = new IdentityFit();
  fields(few, 19, 1_000, 1);
  expect(few.isMismatch).toBe(false);
});

test('what half of the users get, however much of it, disarms nothing; what one more gets does', () => {
  const fit = new IdentityFit();
  fields(fit, 20, 50);
  for (let low = 1; low <= 10; low += 1) for (let n = 0; n < 200; n += 1) fit.note(1, 1, user(low));
  expect([fit.isMismatch, fit.isOftenForeign]).toEqual([false, true]);
  fit.note(1, 1, user(11));
  expect(fit.isMismatch).toBe(true);
});

test('more than one in a thousand is often, of 1,000 fields and 20 users', () => {
  const fit = new IdentityFit();
  fields(fit, 20, 49);
  fit.note(19, 2, user(1));
  expect(fit.isOftenForeign).toBe(false);
  fit.note(1, 0, user(1));
  expect(fit.isOftenForeign).toBe(true);
  fields(fit, 20, 50);
  expect(fit.isOftenForeign).toBe(false);
});

test('of most users, but of less than a thousandth of the fields, it is a leak and no mismatch', () => {
  const fit = new IdentityFit();
  fields(fit, 20, 900);
  for (let low = 1; low <= 18; low += 1) fit.note(1, 1, user(low));
  expect(fit.isMismatch).toBe(false);
  fields(fit, 20, 1, 1);
  expect(fit.isMismatch).toBe(true);
});

test('names that were put right fit after some time; one user who fills it with his own brings that no nearer', () => {
  const fit = new IdentityFit();
  fields(fit, 20, 100, 1);
  for (let n = 0; n < 9_000; n += 1) fit.note(1, 1, user(1));
  for (let n = 0; n < 50_000; n += 1) fit.note(1, 1, user(1));
  expect(fit.isMismatch).toBe(true);
  fields(fit, 20, 1_100);
  expect(fit.isMismatch).toBe(false);
});

test('what is known from before counts until there is enough to tell', () => {
  const fit = new IdentityFit(true);
  expect(fit.isMismatch).toBe(true);
  fields(fit, 20, 49);
  expect(fit.isMismatch).toBe(true);
  fields(fit, 20, 1);
  expect(fit.isMismatch).toBe(false);
});
