import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { type HandoverOptions, Handovers } from '../../src/traffic/handovers.ts';
import type { Session } from '../../src/traffic/session.ts';

let clock = 0;
beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setImmediate', 'clearImmediate'] });
  // Two or so of them fit into a slice.
  vi.spyOn(performance, 'now').mockImplementation(() => {
    clock += 0.1;
    return clock;
  });
});
afterEach(() => {
  vi.restoreAllMocks();
  vi.useRealTimers();
});

/** Everything that is due, and what it throws. */
function turns(): string[] {
  const thrown: string[] = [];
  for (let n = 0; n < 20; n += 1) {
    try {
      vi.advanceTimersByTime(1);
    } catch (error) {
      thrown.push(String(error));
    }
  }
  return thrown;
}

// The fault: nobody behind it was visited, and nobody ever again; who waited for the end of that waited for ever.
test.each([
  ['at the command', 1],
  ['in a slice behind it', 5],
  ['as the last one', 9],
])('a visit that fails %s keeps nobody else from his, and is told', (_, failing) => {
  const handovers = new Handovers({} as HandoverOptions);
  const numbers = (from: number) => Array.from({ length: 9 }, (_, index) => from + index);
  const visited: unknown[] = [];
  let over = 0;
  const look = (all: number[]) =>
    handovers.lookAt(
      all as unknown as Session[],
      session => {
        visited.push(session);
        if ((session as unknown) === failing) throw new Error('of one');
      },
      () => {
        over += 1;
      },
    );
  look(numbers(1));
  expect(turns()).toEqual(['Error: of one']);
  expect([visited, over]).toEqual([numbers(1), 1]);
  look(numbers(11));
  expect(turns()).toEqual([]);
  expect([visited, over]).toEqual([[...numbers(1), ...numbers(11)], 2]);
});
