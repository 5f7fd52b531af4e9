// Who may share a port, and for how long. A takeover once gave up after two minutes, and served on for good without admin port, readiness,
// metrics or lock: an operator who was slow to end the old process had one that he could not ask.
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import pino from 'pino';
import { afterEach, expect, test, vi } from 'vitest';
import { loadConfig } from '../../src/config/load.ts';
import type { Status } from '../../src/control/status.ts';
import { type RunningProxy, startProxy } from '../../src/main.ts';
import { freePort } from '../support/free-port.ts';
import { admin, place } from '../support/stack.ts';
import { until } from '../support/until.ts';

const open: { close(): unknown }[] = [];
afterEach(async () => {
  vi.restoreAllMocks();
  for (const thing of open.splice(0).reverse()) await thing.close();
});

/** Starts proxies of one folder, at fixed ports. */
async function starter(
  port?: number,
): Promise<(takeOver: boolean) => Promise<[RunningProxy, string[], string]>> {
  const where = await place({ legacy: 'http://127.0.0.1:1', candidate: 'http://127.0.0.1:1' });
  open.push(where);
  const env = { PORT: String(port ?? (await freePort())), ADMIN_PORT: String(await freePort()) };
  const loaded = await loadConfig(path.join(where.folder, 'cutover.yaml'), env);
  return async takeOver => {
    const logged: string[] = [];
    const logger = pino({}, { write: (line: string) => void logged.push(line) });
    const proxy = await startProxy({ loaded, env, logger, takeOver });
    open.push(proxy);
    return [proxy, logged, where.folder];
  };
}

test('a takeover waits for as long as the old process lives, and says so again and again', async () => {
  const start = await starter();
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

test('what a guardrail holds is held by whoever takes over, and after a restart', async () => {
  const start = await starter();
  const [first, , folder] = await start(false);
  const held = async (proxy: RunningProxy) => {
    const { routes } = (await admin(proxy, folder, '/status')).body as unknown as Status;
    return routes.find(({ name }) => name === 'events')?.guardrails.holds;
  };
  expect(await held(first)).toBe(false);
  await first.close();
  const reading = { rule: 'latency', action: 'hold', state: 'exceeded', limit: 100, of: 200 };
  await writeFile(
    path.join(folder, 'state', 'holds.json'),
    JSON.stringify({ events: [{ ...reading, value: 400, legacy: 20 }] }),
  );
  const [old] = await start(false);
  expect(await held(old)).toBe(true);
  const [next] = await start(true);
  await old.drain();
  expect(await held(next)).toBe(true);
});

test('a takeover that is ended while it waits leaves the old process alone', async () => {
  const start = await starter();
  const [old] = await start(false);
  const [next] = await start(true);
  await next.drain();
  await expect(next.admin).rejects.toThrow();
  expect((await fetch(`${await old.admin}/readyz`)).status).toBe(200);
});

// Whoever lets a new version in is let in by strangers: two proxies of different folders that were
// given one port by mistake once shared the clients without a word.
test('a port where somebody listens is refused with a sentence, and not shared', async () => {
  const port = await freePort();
  const [old] = await (await starter(port))(false);
  const stranger = await starter(port);
  await expect(stranger(false)).rejects.toMatchObject({
    code: 'conflict',
    field: 'listen',
    message: `the listen address 127.0.0.1:${port} can not be had: another process listens there`,
  });
  // What it had taken by then it gave up again.
  await old.close();
  const [next] = await stranger(false);
  expect(next.listen).toBe(`http://127.0.0.1:${port}`);
});
