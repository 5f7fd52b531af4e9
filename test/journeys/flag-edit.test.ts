// An edited flag moves new connections of the users whom it covers, and nobody else.
import { afterEach, expect, test } from 'vitest';
import { goldenPath, login, type Stack, sidesOf, stack } from '../support/stack.ts';
import { until } from '../support/until.ts';

let up: Stack;
afterEach(() => up.close());

const users = Array.from({ length: 60 }, (_, i) => `user_${1001 + i}`);

/** Everybody logs in and out; which side served whom. */
async function sides(): Promise<Map<string, string>> {
  const sockets = await Promise.all(users.map(user => login(up.proxy.listen, user)));
  const found = sidesOf(up.proxy);
  for (const socket of sockets) socket.close();
  await until('all have left', () => sidesOf(up.proxy).size === 0);
  return found;
}

const on = (found: Map<string, string>, side: string) =>
  [...found].filter(([, where]) => where === side).map(([user]) => user);

test('an edit reaches the next connection; open sessions stay; nobody else moves', async () => {
  up = await stack();
  const stays = await login(up.proxy.listen, 'user_1001');
  const before = up.proxy.flags.revision;
  const editedAt = performance.now();
  await up.editFlags('live');
  await until('the flags are read', () => up.proxy.flags.revision !== before);
  const tookMs = performance.now() - editedAt;
  console.log(`file edit to effect: ${tookMs.toFixed(0)} ms`);
  expect(tookMs).toBeLessThan(1_000);
  const moved = await login(up.proxy.listen, 'user_1002');
  expect(Object.fromEntries(sidesOf(up.proxy))).toEqual({
    user_1001: 'legacy',
    user_1002: 'candidate',
  });
  expect(stays.readyState).toBe(stays.OPEN);
  for (const socket of [stays, moved]) socket.close();
  await until('both have left', () => sidesOf(up.proxy).size === 0);
  expect(new Set((await sides()).values())).toEqual(new Set(['candidate']));
});

test('a share moves the same users every time, and a greater one only adds to them', async () => {
  up = await stack({ stage: ['canary', 20] });
  const at20 = on(await sides(), 'candidate');
  expect(at20.length).toBeGreaterThan(2);
  expect(at20.length).toBeLessThan(30);
  // Again and again: a user stays on a side.
  for (let i = 0; i < 3; i += 1)
    expect(on(await sides(), 'candidate').sort()).toEqual([...at20].sort());
  const before = up.proxy.flags.revision;
  await up.editFlags('canary', 50);
  await until('the flags are read', () => up.proxy.flags.revision !== before);
  const at50 = on(await sides(), 'candidate');
  expect(at50.length).toBeGreaterThan(at20.length);
  expect(at50).toEqual(expect.arrayContaining(at20));
});

test('on either side a user gets his five events', async () => {
  up = await stack({ stage: ['canary', 50] });
  expect(await Promise.all(users.map(user => goldenPath(up.proxy.listen, user)))).toEqual(
    users.map(() => 'done'),
  );
  expect(up.services.legacy.counts.due).toBeGreaterThan(0);
  expect(up.services.candidate.counts.due).toBeGreaterThan(0);
  expect(up.services.legacy.counts.due + up.services.candidate.counts.due).toBe(users.length * 5);
});
