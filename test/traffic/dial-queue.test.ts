// Who is dialled for first, and how many at once. What is dialled is played: who waits is all that matters.
import { expect, test } from 'vitest';
import { DialQueue, type Need } from '../../src/traffic/dial-queue.ts';
import type { Session } from '../../src/traffic/session.ts';
import { until } from '../support/until.ts';

const session = (activeAt: number): Session => ({ activeAt }) as unknown as Session;

test('who is to be let in goes first, then who is rolled back, then who is to move, then ways back, then what is only compared; of each the last active one', async () => {
  const order: Session[] = [];
  const queue = new DialQueue<Session>(
    () => ({ movesPerS: 100_000, dialsAtOnce: 1 }),
    one => order.push(one) > 0,
  );
  const [shadow, standby, old, young, promoted, rolledBack, entering] = [
    ...[5, 4, 1, 2, 3, 0, -1],
  ].map(session) as Session[];
  const needs: [Session | undefined, Need][] = [
    [shadow, 'shadow'],
    [promoted, 'shadow'],
    [old, 'move'],
    [young, 'move'],
    [standby, 'standby'],
    [promoted, 'move'],
    [rolledBack, 'rollback'],
    [entering, 'entry'],
    // What is less pressing changes nothing.
    [young, 'standby'],
  ];
  for (const [one, need] of needs) queue.add(one as Session, need);
  const due = [entering, rolledBack, promoted, young, old, standby, shadow];
  for (let n = 1; n <= due.length; n += 1) {
    await until('the next is dialled', () => order.length === n);
    queue.add(order.at(-1) as Session, 'move');
    queue.done(order.at(-1) as Session);
  }
  expect(order).toEqual(due);
  queue.close();
});

test('one that needs no leg any more when it is its turn takes nobody its place', async () => {
  const order: Session[] = [];
  const [gone, next] = [session(2), session(1)];
  const queue = new DialQueue<Session>(
    () => ({ movesPerS: 100_000, dialsAtOnce: 1 }),
    one => order.push(one) > 0 && one !== gone,
  );
  queue.add(gone, 'move');
  queue.add(next, 'move');
  await until('the next is dialled', () => order.length === 2);
  expect(order).toEqual([gone, next]);
  queue.close();
});

// The fault: it waited behind all who were in line when it came, and the candidate served its session meanwhile.
test('a rollback is not kept waiting by planned moves that are in order already', async () => {
  const order: Session[] = [];
  const queue = new DialQueue<Session>(
    () => ({ movesPerS: 100_000, dialsAtOnce: 1 }),
    one => order.push(one) > 0,
  );
  const planned = Array.from({ length: 100 }, (_, index) => session(index));
  for (const one of planned) queue.add(one, 'move');
  await until('the first is dialled', () => order.length === 1);
  const rolledBack = session(0);
  queue.add(rolledBack, 'rollback');
  // It waited for a planned move before.
  queue.add(planned[0] as Session, 'rollback');
  for (let n = 2; n <= 4; n += 1) {
    queue.done(order.at(-1) as Session);
    await until('the next is dialled', () => order.length === n);
  }
  expect(new Set(order.slice(1, 3))).toEqual(new Set([rolledBack, planned[0]]));
  expect(order[3]).toBe(planned[98]);
  queue.close();
});

// The fault: a rollback adds its sessions in slices, and all of the first one went before whoever came later.
test('who is added while others are in order goes before them if it was active later', async () => {
  const order: Session[] = [];
  const queue = new DialQueue<Session>(
    () => ({ movesPerS: 100_000, dialsAtOnce: 1 }),
    one => order.push(one) > 0,
  );
  const slices = [0, 1].map(slice => Array.from({ length: 10 }, (_, n) => session(10 * slice + n)));
  for (const one of slices[0] ?? []) queue.add(one, 'rollback');
  await until('the first is dialled', () => order.length === 1);
  for (const one of slices[1] ?? []) queue.add(one, 'rollback');
  queue.done(order[0] as Session);
  await until('the next is dialled', () => order.length === 2);
  expect(order[1]).toBe(slices[1]?.at(-1));
  queue.close();
});
