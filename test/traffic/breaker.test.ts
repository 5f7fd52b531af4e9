// When a service that has failed is asked again, on a clock that is moved.
import { expect, test } from 'vitest';
import { Breaker } from '../../src/traffic/breaker.ts';

const PAUSE_MS = 5_000;

function broken() {
  let now = 0;
  const breaker = new Breaker(() => now);
  for (let failures = 0; failures < 5; failures += 1) {
    expect(breaker.mayTry()).toBe(true);
    breaker.failed();
  }
  const pass = (ms: number): void => {
    now += ms;
  };
  return { breaker, pass };
}

test('five failures in a row break it, four and a success do not', () => {
  const { breaker } = broken();
  expect([breaker.open, breaker.mayTry()]).toEqual([true, false]);
  const other = new Breaker(() => 0);
  for (let round = 0; round < 3; round += 1) {
    for (let failures = 0; failures < 4; failures += 1) other.failed();
    other.succeeded();
  }
  for (let failures = 0; failures < 4; failures += 1) other.failed();
  expect([other.open, other.mayTry()]).toEqual([false, true]);
});

test('after a pause one may try, and the others after another one', () => {
  const { breaker, pass } = broken();
  pass(PAUSE_MS - 1);
  expect(breaker.mayTry()).toBe(false);
  pass(1);
  expect([breaker.mayTry(), breaker.mayTry()]).toEqual([true, false]);
  // It may take its time, or never be told of.
  pass(PAUSE_MS);
  expect([breaker.mayTry(), breaker.mayTry()]).toEqual([true, false]);
});

test('a try that fails costs another pause, one that succeeds ends it', () => {
  const { breaker, pass } = broken();
  pass(PAUSE_MS);
  expect(breaker.mayTry()).toBe(true);
  breaker.failed();
  expect(breaker.mayTry()).toBe(false);
  pass(PAUSE_MS);
  expect(breaker.mayTry()).toBe(true);
  breaker.succeeded();
  expect([breaker.open, breaker.mayTry(), breaker.mayTry()]).toEqual([false, true, true]);
  breaker.failed();
  expect(breaker.mayTry()).toBe(true);
});
