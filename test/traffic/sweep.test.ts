// Looking after open sessions is no reason to keep their clients waiting.
import { afterEach, expect, test, vi } from 'vitest';
import { Session } from '../../src/traffic/session.ts';
import { asked, closeAll, closing, connected } from '../support/lane.ts';
import { proxy } from '../support/proxy.ts';
import { rawServer, upgradeRequest } from '../support/raw.ts';
import { until } from '../support/until.ts';

afterEach(closeAll);
afterEach(() => void vi.restoreAllMocks());

test('traffic has its turn in the middle of a long sweep', async () => {
  const service = closing(await rawServer());
  const front = closing(
    await proxy({
      legacy: service.port,
      routes: [{ name: 'events', path: '/ws', protocol: 'websocket' }],
    }),
  );
  for (let n = 0; n < 4; n += 1) {
    const client = await connected(front);
    client.write(upgradeRequest());
    await (await asked(service)).accept();
    await client.has('101');
  }
  let turn = 0;
  const swept = new Map<Session, number>();
  vi.spyOn(Session.prototype, 'sweep').mockImplementation(function (this: Session) {
    setImmediate(() => {
      turn += 1;
    });
    // As thousands of them take together.
    for (const end = performance.now() + 2; performance.now() < end; );
    if (!swept.has(this)) swept.set(this, turn);
  });
  await until('all have been swept', () => swept.size === 4);
  expect(new Set(swept.values()).size).toBeGreaterThan(2);
});
