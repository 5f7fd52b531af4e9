// The fault: a client that reset while its credential was being verified had told its end already when
// its request was sent on. Nobody heard it: its stream, and the second one that was shown beside it, stayed
// open as long as the services liked. A soak found 46 of them after four minutes.
import { pbkdf2 } from 'node:crypto';
import { promisify } from 'node:util';
import { SignJWT } from 'jose';
import { expect, onTestFinished, test } from 'vitest';
import { line } from '../support/line.ts';
import { decisionFor } from '../support/proxy.ts';
import { rawServer } from '../support/raw.ts';
import { until } from '../support/until.ts';

const SECRET = new TextEncoder().encode('a secret of the tests, long enough for HS256');
const CLIENTS = 20;
/** Some tenths of a second for each of the threads that verify. */
const ROUNDS = 400_000;

const tokenOf = (user: string) =>
  new SignJWT({ sub: user })
    .setProtectedHeader({ alg: 'HS256' })
    .setExpirationTime('1h')
    .sign(SECRET);

/** The threads are busy with something else: credentials have to wait. */
function busyThreads() {
  const busy = Promise.all(
    Array.from({ length: 8 }, () => promisify(pbkdf2)('p', 's', ROUNDS, 64, 'sha512')),
  );
  let isBusy = true;
  void busy.then(() => {
    isBusy = false;
  });
  return { busy, isBusy: () => isBusy };
}

test('46: clients that leave before it is known who they are leave nothing open, on either side', async () => {
  const candidate = await rawServer();
  onTestFinished(() => candidate.close());
  const { service, front, client } = await line({
    candidate: candidate.port,
    routes: [{ name: 'sse', path: '/events', protocol: 'sse' }],
    identity: { sources: [{ from: 'bearer' }], verify: { secretFile: 'secret' } },
    secrets: { ca: {}, identitySecret: SECRET },
    decider: () => ({
      decision: {
        ...decisionFor('legacy'),
        second: { side: 'candidate', role: 'shadow' },
      },
      revision: 'test',
    }),
  });
  const token = await tokenOf('user_1');
  const clients = await Promise.all(Array.from({ length: CLIENTS }, client));
  const { busy, isBusy } = busyThreads();
  for (const { socket } of clients)
    socket.write(`GET /events HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer ${token}\r\n\r\n`);
  // Once this one is answered, those before it have been read as well.
  const marker = await client();
  marker.write('GET / HTTP/1.1\r\n\r\n');
  await marker.has('HTTP/1.1 400 ');
  for (const { socket } of clients) socket.resetAndDestroy();
  await until('all have left', () => clients.every(({ closed }) => closed));
  expect(isBusy()).toBe(true);
  await busy;
  await until('both services are let go', () =>
    [...service.connections, ...candidate.connections].every(c => c.ended || c.closed),
  );
  const counters = () => [...front.traffic.counters()].map(one => one.counters);
  await until('no stream is counted as open', () =>
    counters().every(c => c.streamsOpen === 0 && c.secondLegsOpen === 0),
  );
  // Whoever stays is served as ever.
  const stays = await client();
  stays.write(`GET /events HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer ${token}\r\n\r\n`);
  await until('he is shown to both', () => counters().some(c => c.streamsOpen === 1));
  expect(stays.closed).toBe(false);
});

// The fault: each was on record as a fault of the proxy's own.
test('one that leaves behind a whole write, before it is known who it is, is nobody’s failure', async () => {
  const { service, front, client } = await line({
    routes: [{ name: 'api', path: '/api/*', protocol: 'http', writes: 'both' }],
    identity: { sources: [{ from: 'bearer' }], verify: { secretFile: 'secret' } },
    secrets: { ca: {}, identitySecret: SECRET },
  });
  const token = await tokenOf('user_1');
  const [leaves, marker] = [await client(), await client()];
  const { busy, isBusy } = busyThreads();
  leaves.write(
    `POST /api/x HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer ${token}\r\nContent-Length: 2\r\n\r\nhi`,
  );
  marker.write('GET / HTTP/1.1\r\n\r\n');
  await marker.has('HTTP/1.1 400 ');
  leaves.socket.resetAndDestroy();
  await until('it has left', () => leaves.closed);
  expect(isBusy()).toBe(true);
  await busy;
  // Whoever is verified behind it is served.
  const stays = await client();
  stays.write(`GET /api/x HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer ${token}\r\n\r\n`);
  await until('it is served', () => service.connections.length === 1);
  expect(front.logged.filter(text => text.includes('"level":50'))).toEqual([]);
  expect(front.reports.filter(({ what }) => what === 'internal')).toEqual([]);
});
