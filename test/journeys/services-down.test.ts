// One service is down: its users are told so, clearly and in time, and nobody else notices.
import { afterEach, describe, expect, test } from 'vitest';
import { startBroadcaster } from '../../src/broadcast/server.ts';
import { rawServer } from '../support/raw.ts';
import { goldenPath, login, type Stack, sidesOf, stack } from '../support/stack.ts';
import { until } from '../support/until.ts';

let up: Stack;
afterEach(() => up.close());

const users = Array.from({ length: 20 }, (_, i) => `user_${1001 + i}`);

async function usersBySide(): Promise<{ legacy: string[]; candidate: string[] }> {
  const sockets = await Promise.all(users.map(user => login(up.proxy.listen, user)));
  const found = [...sidesOf(up.proxy)];
  for (const socket of sockets) socket.close();
  await until('all have left', () => sidesOf(up.proxy).size === 0);
  const on = (side: string) => found.filter(([, where]) => where === side).map(([user]) => user);
  return { legacy: on('legacy'), candidate: on('candidate') };
}

describe.each(['legacy', 'candidate'] as const)('%s down', down => {
  const other = down === 'legacy' ? 'candidate' : 'legacy';

  test('its users get a clear 502, the others are served, and it works again when it is back', async () => {
    up = await stack({ stage: ['canary', 50] });
    const by = await usersBySide();
    const { port } = up.services[down];
    await up.services[down].close();
    for (const user of by[down]) {
      await expect(login(up.proxy.listen, user)).rejects.toThrow('502');
    }
    expect(await Promise.all(by[other].map(user => goldenPath(up.proxy.listen, user)))).toEqual(
      by[other].map(() => 'done'),
    );
    const secret = 'a secret of the tests, long enough for HS256';
    up.services[down] = await startBroadcaster({
      kind: down === 'legacy' ? 'legacy' : 'ssot',
      port,
      keys: { secret },
    });
    expect(await Promise.all(by[down].map(user => goldenPath(up.proxy.listen, user)))).toEqual(
      by[down].map(() => 'done'),
    );
  });

  test('with sessions open: those end, the others do not, and nothing is left', async () => {
    up = await stack({ stage: ['canary', 50] });
    const sockets = new Map(
      await Promise.all(
        users.map(async user => [user, await login(up.proxy.listen, user)] as const),
      ),
    );
    const sides = sidesOf(up.proxy);
    await up.services[down].close();
    const there = (user: string) => sockets.get(user)?.readyState === 1;
    await until('its sessions have ended', () =>
      users.every(user => there(user) === (sides.get(user) === other)),
    );
    expect([...sidesOf(up.proxy).values()].every(side => side === other)).toBe(true);
    expect(sidesOf(up.proxy).size).toBe([...sides.values()].filter(side => side === other).length);
    for (const socket of sockets.values()) socket.close();
    await until('all have left', () => sidesOf(up.proxy).size === 0);
  });
});

test('a service that hangs is a 504 in its time, and the other side does not wait for it', async () => {
  const hanging = await rawServer();
  up = await stack({ stage: ['canary', 50] });
  const by = await usersBySide();
  const { port } = up.services.candidate;
  await up.services.candidate.close();
  await hanging.listenAt(port);
  const [first = ''] = by.candidate;
  const waiting = login(up.proxy.listen, first);
  const startedAt = performance.now();
  expect(await goldenPath(up.proxy.listen, by.legacy[0] ?? '')).toBe('done');
  await expect(waiting).rejects.toThrow('504');
  expect(performance.now() - startedAt).toBeLessThan(10_000);
  await until('the hanging service is let go', () =>
    hanging.connections.every(c => c.ended || c.closed),
  );
  hanging.close();
});
