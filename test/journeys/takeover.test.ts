// A takeover once gave up after two minutes, and served on for good without admin port, readiness,
// metrics or lock: an operator who was slow to end the old process had one that he could not ask.
import path from 'node:path';
import pino from 'pino';
import { afterEach, expect, test, vi } from 'vitest';
import { loadConfig } from '../../src/config/load.ts';
import { type RunningProxy, startProxy } from '../../src/main.ts';
import { freePort } from '../support/free-port.ts';
import { place } from '../support/stack.ts';
import { until } from '../support/until.ts';

const open: { close(): unknown }[] = [];
afterEach(async () => {
  vi.restoreAllMocks();
  for (const thing of open.splice(0).reverse()) await thing.close();
});

/** Both of one configuration, with fixed ports and one state folder. */
async function twoOf(): Promise<(takeOver: boolean) => Promise<[RunningProxy, string[]]>> {
  const where = await place({ legacy: 'http://127.0.0.1:1', candidate: 'http://127.0.0.1:1' });
  open.push(where);
  const env = { PORT: String(await freePort()), ADMIN_PORT: String(await freePort()) };
  const loaded = await loadConfig(path.join(where.folder, 'cutover.yaml'), env);
  return async takeOver => {
    const logged: string[] = [];
    const logger = pino({}, { write: (line: string) => void logged.push(line) });
    const proxy = await startProxy({ loaded, env, logger, takeOver });
    open.push(proxy);
    return [proxy, logged];
  };
}

test('a takeover waits for as long as the old process lives, and says so again and again', async () => {
  const start = await twoOf();
  const [old] = await start(false);
  const [next, logged] = await start(true);
  const reminders = () =>
    logged.filter(line => line.includes('the takeover waits') && line.includes('is held by'));
  await until('it says that it waits', () => reminders().length === 1);

  // Ten minutes go by, in steps: the clock is set forward, nothing else is.
  const clock = performance.now.bind(performance);
  let passedMs = 0;
  vi.spyOn(performance, 'now').mockImplementation(() => clock() + passedMs);
  for (let minute = 1; minute <= 10; minute += 1) {
    passedMs = minute * 60_000;
    await until(`it says so in minute ${minute}`, () => reminders().length === minute + 1);
  }
  await old.drain();
  const admin = await next.admin;
  expect((await fetch(`${admin}/readyz`)).status).toBe(200);
});

test('a takeover that is ended while it waits leaves the old process alone', async () => {
  const start = await twoOf();
  const [old] = await start(false);
  const [next] = await start(true);
  await next.drain();
  await expect(next.admin).rejects.toThrow();
  expect((await fetch(`${await old.admin}/readyz`)).status).toBe(200);
});
