// At what pace clients are told to come again.
import { expect, test } from 'vitest';
import { Departures } from '../../src/traffic/departures.ts';
import type { Session } from '../../src/traffic/session.ts';
import { until } from '../support/until.ts';

const sessions = (count: number): Session[] =>
  Array.from({ length: count }, (_, id) => ({ id }) as unknown as Session);

test('what a busy turn has held up is made up for, and time in which nobody waited is not', async () => {
  let told = 0;
  const departures = new Departures({
    perS: () => 200,
    isDue: () => true,
    tell: () => {
      told += 1;
    },
  });
  // It has been there for a while: no more than one is told at once all the same.
  await until('time has gone by', () => performance.now() > 600);
  const addedAt = performance.now();
  for (const session of sessions(400)) departures.add(session);
  await until('the first is told', () => told > 0);
  // No more than what a turn that came late has held up; two of them lie 2.5 ms apart, or more.
  expect(told).toBeLessThan(10 + (performance.now() - addedAt) / 2.5);
  const before = told;
  const busyUntil = performance.now() + 500;
  while (performance.now() < busyUntil);
  await until('the next are told', () => told > before);
  // 100 were due in half a second, each some 5 ms after the one before.
  expect(told - before).toBeGreaterThan(50);
  departures.close();
});

// The fault: a rollback's waited behind all of another route's planned change, and the candidate served them meanwhile.
test('who is told because of a rollback is told first, whoever came before', async () => {
  const told: Session[] = [];
  const departures = new Departures<Session>({
    perS: () => 200,
    isDue: () => true,
    tell: session => told.push(session),
  });
  const planned = sessions(1_000);
  for (const session of planned) departures.add(session);
  const [rolledBack, gone] = sessions(2) as [Session, Session];
  const promoted = planned[999] as Session;
  for (const session of [rolledBack, gone, promoted]) departures.add(session, { isUrgent: true });
  // What is less pressing changes nothing.
  departures.add(promoted);
  departures.forget(gone);
  await until('some are told', () => told.length >= 4);
  expect(told.map(session => planned.indexOf(session)).slice(0, 4)).toEqual([-1, 999, 0, 1]);
  expect(told[0]).toBe(rolledBack);
  departures.close();
});
