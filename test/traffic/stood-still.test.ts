// A process that stands still for a while (stopped, moved with its machine, or busy) finds its time limits over before it
// has read what came meanwhile. Services that had answered were once said to have given no answer.
import net from 'node:net';
import { setImmediate } from 'node:timers/promises';
import { afterEach, test, vi } from 'vitest';
import { answer, asked, closeAll, get, withService } from '../support/lane.ts';
import { upgradeRequest } from '../support/raw.ts';

afterEach(async () => {
  vi.restoreAllMocks();
  await closeAll();
});

/** Longer than any limit here, and than the second between two looks. */
function standStill(): void {
  const until = performance.now() + 1_200;
  while (performance.now() < until);
}

const WAYS = [
  ['a request', get('/api/x'), 'ok'],
  ['a request on no route', get('/x'), 'ok'],
  ['an upgrade', upgradeRequest(), '101 Switching Protocols'],
] as const;

test.each(WAYS)('an answer to %s that has come meanwhile is one', async (what, text, due) => {
  const upstream = { responseTimeoutMs: 500, handshakeTimeoutMs: 500 };
  const { service, client } = await withService({ upstream });
  client.write(text);
  const end = await asked(service);
  // Between reads and time limits: it is written to the system at once, and read by nobody yet.
  await setImmediate();
  if (what === 'an upgrade') await end.accept();
  else end.write(answer());
  standStill();
  await client.has('HTTP/1.1 ');
  await client.has(due);
});

test.each([WAYS[0], WAYS[2]])(
  '%s goes to a service that has accepted the connection meanwhile',
  async (what, text, due) => {
    const { service, client } = await withService({ upstream: { connectTimeoutMs: 500 } });
    const { connect } = net;
    vi.spyOn(net, 'connect').mockImplementationOnce(((options: net.NetConnectOpts) => {
      process.nextTick(standStill);
      return connect(options);
    }) as typeof net.connect);
    client.write(text);
    const end = await asked(service);
    if (what === 'an upgrade') await end.accept();
    else end.write(answer());
    await client.has(due);
  },
);
