// 60: flags that flip while a request or a handshake is under way. It keeps the side that was decided
// for it, and the log says by which flags that was.
import { afterEach, expect, test } from 'vitest';
import { createDecider } from '../../src/control/decider.ts';
import { openMemoryFlags } from '../../src/control/flags/provider.ts';
import type { Decider } from '../../src/ports.ts';
import { route, serve, shadow, silent } from '../support/flags.ts';
import { answer, asked, closeAll, closing, connected, get } from '../support/lane.ts';
import { proxy } from '../support/proxy.ts';
import { rawServer, upgradeRequest } from '../support/raw.ts';
import { until } from '../support/until.ts';

afterEach(closeAll);

/** Both services, played by the test, and flags that it flips; `decided` are the revisions asked for. */
async function scene() {
  const legacy = closing(await rawServer());
  const candidate = closing(await rawServer());
  const features = [serve(0), shadow(0)];
  const flags = closing(await openMemoryFlags({ features, routes: () => [], logger: silent }));
  const flagsOf = route('events', { serve: 'events.serve', shadow: 'events.shadow' }).flags;
  const decided: string[] = [];
  const inner = createDecider(flags);
  const decider: Decider = (of, subject) => {
    const found = inner(of, subject);
    decided.push(found.revision);
    return found;
  };
  const front = closing(
    await proxy({
      legacy: legacy.port,
      candidate: candidate.port,
      routes: [
        { name: 'events', path: '/ws', protocol: 'websocket' },
        { name: 'write', path: '/api/write', protocol: 'http', writes: 'both', flags: flagsOf },
        { name: 'api', path: '/api/*', protocol: 'http', flags: flagsOf },
      ],
      decider,
    }),
  );
  let toCandidate = false;
  const flip = () => {
    toCandidate = !toCandidate;
    flags.apply([serve(toCandidate ? 1000 : 0), shadow(0)]);
    return flags.revision;
  };
  const logged = (message: string) =>
    front.logged.map(line => JSON.parse(line)).filter(({ msg }) => msg === message);
  return { legacy, candidate, front, flags, flip, decided, logged };
}

test('a request whose service answers after the flip', async () => {
  const { legacy, candidate, front, flags, flip, decided, logged } = await scene();
  const client = await connected(front);
  const first = flags.revision;
  client.write(get('/api/one'));
  const one = await asked(legacy);
  const second = flip();
  one.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no');
  // The next one, sent ahead on the same connection, goes by the flags of its own time.
  client.write(get('/api/two'));
  const two = await asked(candidate);
  one.write('k');
  two.write(answer('two'));
  await client.has('\r\n\r\ntwo');
  expect(client.text).toMatch(/\r\n\r\nokHTTP/);
  await until('both are logged', () => logged('request ended').length === 2);
  expect(logged('request ended').map(({ side, reason, flags: by }) => [side, reason, by])).toEqual([
    ['legacy', 'anonymous', first],
    ['candidate', 'anonymous', second],
  ]);
  expect(decided).toEqual([first, second]);
});

test('a request whose connection is lost, and replaced, after the flip', async () => {
  const { legacy, candidate, front, flags, flip, decided } = await scene();
  const client = await connected(front);
  client.write(get('/api/one'));
  const upstream = await asked(legacy);
  upstream.write(answer('one'));
  await client.has('one');
  client.write(get('/api/two'));
  await upstream.has('/api/two');
  flip();
  upstream.socket.resetAndDestroy();
  (await asked(legacy)).write(answer('two'));
  await client.has('\r\n\r\ntwo');
  expect(candidate.connections).toHaveLength(0);
  expect(decided).not.toContain(flags.revision);
});

test('a body that is held while the flags flip twice is decided on once, when it is whole', async () => {
  const { legacy, candidate, front, flip, decided, logged } = await scene();
  const client = await connected(front);
  client.write('POST /api/write HTTP/1.1\r\nHost: h\r\nContent-Length: 8\r\n\r\nhalf');
  const revision = flip();
  client.write('half');
  (await asked(candidate)).write(answer('done'));
  flip();
  await client.has('\r\n\r\ndone');
  expect(legacy.connections).toHaveLength(0);
  expect(decided).toEqual([revision]);
  await until('it is logged', () => logged('request ended').length === 1);
  expect(logged('request ended')[0]).toMatchObject({ side: 'candidate', flags: revision });
});

test('a WebSocket whose service accepts after the flip', async () => {
  const { legacy, candidate, front, flags, flip, decided, logged } = await scene();
  const first = flags.revision;
  const client = await connected(front);
  client.write(upgradeRequest());
  const upstream = await asked(legacy);
  flip();
  await upstream.accept();
  await client.has('101');
  upstream.write('from legacy');
  await client.has('from legacy');
  expect([...front.traffic.sessionsOf('events')].map(({ side }) => side)).toEqual(['legacy']);
  expect(candidate.connections).toHaveLength(0);
  client.socket.destroy();
  upstream.socket.end();
  await until('the end is logged', () => logged('session ended').length === 1);
  expect(logged('session ended')[0]).toMatchObject({ side: 'legacy', flags: first });
  expect(decided).toEqual([first]);
});
