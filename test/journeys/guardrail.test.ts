// A candidate that fails its users is taken out by itself: nobody has to be awake.
import { afterEach, expect, test } from 'vitest';
import { goldenPath, login, type Stack, stack } from '../support/stack.ts';
import { until } from '../support/until.ts';

let up: Stack;
afterEach(() => up.close());

test('the candidate refuses everybody: after some twenty of them all are served, by legacy', async () => {
  up = await stack({ stage: ['live'] });
  const users = Array.from({ length: 200 }, (_, i) => `user_${1001 + i}`);
  expect(await goldenPath(up.proxy.listen, 'user_1001')).toBe('done');
  await up.services.candidate.close();
  const failed: string[] = [];
  await until('the guardrail has acted', async () => {
    const user = users[failed.length] ?? '';
    try {
      (await login(up.proxy.listen, user)).close();
      return true;
    } catch {
      failed.push(user);
      return false;
    }
  });
  // With the one that went well before, twenty: fewer are too few to tell.
  expect(failed.length).toBeGreaterThanOrEqual(19);
  for (const user of failed.slice(0, 10)) {
    expect(await goldenPath(up.proxy.listen, user)).toBe('done');
  }
});
