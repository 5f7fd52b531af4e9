import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import { Ear } from '../support/ear.ts';
import { freePort } from '../support/free-port.ts';
import {
  decisionFor,
  loadedConfig,
  type ProxyOptions,
  proxy,
  type TestProxy,
} from '../support/proxy.ts';
import { rawClient, rawServer } from '../support/raw.ts';
import { until } from '../support/until.ts';

const open: { close(): unknown }[] = [];
afterEach(async () => {
  for (const thing of open.splice(0).reverse()) await thing.close();
});

interface Got {
  key: string | undefined;
  body: string;
  user: string | undefined;
}

/** A service that notes what it got and answers as told. */
async function service(answer: (got: Got, response: http.ServerResponse) => void) {
  const got: Got[] = [];
  const server = http.createServer((request, response) => {
    let body = '';
    request.on('data', chunk => {
      body += chunk;
    });
    request.on('end', () => {
      const entry = {
        key: request.headers['idempotency-key'] as string | undefined,
        body,
        user: undefined,
      };
      got.push(entry);
      answer(entry, response);
    });
  });
  const port = await freePort();
  await new Promise<void>(resolve => server.listen(port, '127.0.0.1', resolve));
  const close = () => {
    server.closeAllConnections();
    server.close();
  };
  open.push({ close });
  return { got, port, close };
}

const ROUTES: NonNullable<ProxyOptions['routes']> = [
  {
    name: 'broadcast',
    path: '/broadcast',
    protocol: 'http',
    writes: 'both',
    subject: { bodyPointer: '/user_id' },
  },
];

const ok = (_got: Got, response: http.ServerResponse) => response.end('taken');

async function withBoth(
  legacy: { port: number },
  candidate: { port: number },
  options: Partial<ProxyOptions> = {},
): Promise<TestProxy> {
  const front = await proxy({
    legacy: legacy.port,
    candidate: candidate.port,
    routes: ROUTES,
    decider: (_route, subject) => ({
      decision: {
        ...decisionFor(subject?.id.startsWith('c') ? 'candidate' : 'legacy'),
        writeTo: 'both',
      },
      revision: 'test',
    }),
    ...options,
  });
  open.push(front);
  return front;
}

async function post(front: TestProxy, body: string, headers: Record<string, string> = {}) {
  const answer = await fetch(`http://127.0.0.1:${front.port}/broadcast`, {
    method: 'POST',
    body,
    headers,
  });
  return {
    status: answer.status,
    text: await answer.text(),
    side: answer.headers.get('x-cutover-side'),
  };
}

test('a write reaches both services with one idempotency key, and the answer is of whoever serves its user', async () => {
  const legacy = await service((_g, r) => r.end('from legacy'));
  const candidate = await service((_g, r) => r.end('from candidate'));
  const front = await withBoth(legacy, candidate, { listen: { showSide: true } });
  const one = await post(front, '{"user_id":"c1","event":{"n":1}}');
  expect(one).toEqual({ status: 200, text: 'from candidate', side: 'candidate' });
  const two = await post(front, '{"user_id":"l1"}', { 'idempotency-key': 'mine' });
  expect(two).toEqual({ status: 200, text: 'from legacy', side: 'legacy' });
  await until('both have both', () => legacy.got.length === 2 && candidate.got.length === 2);
  expect(legacy.got.map(g => g.body)).toEqual(candidate.got.map(g => g.body));
  const keyOf = (got: Got[], body: string) => got.find(g => g.body.includes(body))?.key;
  expect(keyOf(legacy.got, 'c1')).toMatch(/^[0-9a-f-]{36}$/);
  expect(keyOf(candidate.got, 'c1')).toBe(keyOf(legacy.got, 'c1'));
  expect([keyOf(legacy.got, 'l1'), keyOf(candidate.got, 'l1')]).toEqual(['mine', 'mine']);
  await until('both are noted as agreed', () => front.agreed.length === 2);
  expect(front.splits).toEqual([]);
});

// Where a pointer names the user, every request was once held and read for him: reads counted as nobody's, and were
// neither shown to the other service nor moved with their user.
describe('a request without a body, where bodies name the user, is about whoever sends it', () => {
  const identity: Partial<ProxyOptions> = {
    identity: { sources: [{ from: 'header', name: 'X-User' }], verify: 'unverified' },
    listen: { trustedProxies: ['127.0.0.1'], showSide: true },
  };

  test('a read goes where he is served, and is shown to the other service', async () => {
    const legacy = await service((_g, r) => r.end('same'));
    const candidate = await service((_g, r) => r.end('same'));
    const ear = new Ear();
    const front = await withBoth(legacy, candidate, {
      ...{ ...identity, tap: ear },
      decider: (_route, subject) => {
        const side = subject?.id === 'c1' ? 'candidate' : 'legacy';
        const second = {
          side: side === 'legacy' ? 'candidate' : 'legacy',
          role: 'shadow',
        } as const;
        return { decision: { ...decisionFor(side), second }, revision: 'test' };
      },
    });
    const answer = await fetch(`http://127.0.0.1:${front.port}/broadcast`, {
      headers: { 'x-user': 'c1' },
    });
    expect(answer.headers.get('x-cutover-side')).toBe('candidate');
    const { method, subject, primary } = await until('it is compared', () => ear.exchanges[0]);
    expect({ method, user: subject?.id, primary }).toEqual({
      ...{ method: 'GET', user: 'c1', primary: 'candidate' },
    });
  });

  test('and a write that goes to both is answered by whoever serves him', async () => {
    const legacy = await service((_g, r) => r.end('from legacy'));
    const candidate = await service((_g, r) => r.end('from candidate'));
    const front = await withBoth(legacy, candidate, identity);
    const answer = await fetch(`http://127.0.0.1:${front.port}/broadcast`, {
      ...{ method: 'DELETE', headers: { 'x-user': 'c1' } },
    });
    expect(await answer.text()).toBe('from candidate');
    await until('both took it', () => front.agreed.length === 1);
    expect([legacy.got.length, candidate.got.length]).toEqual([1, 1]);
  });
});

test('the judge is told of each service once it has answered a write, or will not', async () => {
  const legacy = await service(ok);
  let answerLate = (): void => undefined;
  const candidate = await service((_got, response) => {
    answerLate = () => void response.end('taken');
  });
  const ear = new Ear();
  const front = await withBoth(legacy, candidate, { tap: ear });
  await post(front, '{"user_id":"l1"}');
  await until('the copy is there', () => candidate.got.length === 1);
  expect(ear.writes).toEqual([['legacy']]);
  answerLate();
  await until('both have answered', () => ear.writes[0]?.length === 2);
  expect(ear.writes).toEqual([['legacy', 'candidate']]);
  candidate.close();
  await post(front, '{"user_id":"l2"}');
  await until('nobody is there', () => ear.writes[1]?.length === 2);
  expect(ear.writes[1]?.toSorted()).toEqual(['candidate', 'legacy']);
});

// The fault: a write made everybody's events late, so that what was dropped for another user passed for early.
test('... and whom it is about, where its body names him: whoever sends it may do so for anybody', async () => {
  const [legacy, candidate] = [await service(ok), await service(ok)];
  const ear = new Ear();
  const front = await withBoth(legacy, candidate, {
    ...{ identity: { sources: [{ from: 'header', name: 'X-User' }], verify: 'unverified' } },
    tap: ear,
  });
  const headers = { 'x-user': 'c1' };
  await post(front, '{"user_id":"l1"}', headers);
  await post(front, '{"about":"l1"}', headers);
  await fetch(`http://127.0.0.1:${front.port}/broadcast`, { method: 'DELETE', headers });
  expect(ear.writesAbout).toEqual(['l1', null, null]);
});

test('a second service that hangs adds nothing to the answer', async () => {
  const legacy = await service(ok);
  const candidate = await service(() => undefined);
  const front = await withBoth(legacy, candidate, { upstream: { responseTimeoutMs: 500 } });
  const answer = await post(front, '{"user_id":"l1"}');
  expect(answer.status).toBe(200);
  // It came while the other one had not answered: nothing is noted yet.
  expect([front.splits.length, front.agreed.length]).toEqual([0, 0]);
  await until('the split is noted', () => front.splits.length === 1);
  expect(front.splits[0]).toMatchObject({
    route: 'broadcast',
    cause: 'second-refused',
    primary: { side: 'legacy', outcome: 200 },
    second: { side: 'candidate', outcome: 'upstream-timeout' },
  });
});

describe('what only one service took', () => {
  test.each([
    [
      'the second refuses',
      ok,
      (_g: Got, r: http.ServerResponse) => r.writeHead(500).end(),
      'second-refused',
    ],
    [
      'the primary refuses',
      (_g: Got, r: http.ServerResponse) => r.writeHead(422).end(),
      ok,
      'primary-refused',
    ],
  ])(
    '%s: a split, with digest and key, without the body',
    async (_what, forLegacy, forCandidate, cause) => {
      const front = await withBoth(await service(forLegacy), await service(forCandidate));
      await post(front, '{"user_id":"l1","secret":"s3cr3t"}');
      await until('the split is noted', () => front.splits.length === 1);
      expect(front.splits[0]).toMatchObject({ cause, bytes: 34 });
      expect(front.splits[0]?.digest).toMatch(/^[0-9a-f]{64}$/);
      expect(JSON.stringify([front.splits, front.logged])).not.toMatch(/s3cr3t|l1"/);
    },
  );

  test('neither takes it: no split', async () => {
    const refuse = (_g: Got, r: http.ServerResponse) => r.writeHead(400).end();
    const front = await withBoth(await service(refuse), await service(refuse));
    await post(front, '{"user_id":"l1"}');
    await until('it is noted as agreed', () => front.agreed.length === 1);
  });

  test('a service that is not there: a split, and the client has its answer', async () => {
    const gone = await service(ok);
    gone.close();
    const front = await withBoth(await service(ok), gone);
    expect((await post(front, '{"user_id":"l1"}')).status).toBe(200);
    await until(
      'the split is noted',
      () => front.splits[0]?.second?.outcome === 'upstream-unreachable',
    );
  });
});

test('a body of more than 1 MiB goes to the primary alone, whole, and is counted', async () => {
  const legacy = await service(ok);
  const candidate = await service(ok);
  const ear = new Ear();
  const front = await withBoth(legacy, candidate, { tap: ear });
  const body = 'x'.repeat(3_000_000);
  expect((await post(front, body)).status).toBe(200);
  // Without a length beforehand as well: held until it is too much, then let go.
  const chunked = await fetch(`http://127.0.0.1:${front.port}/broadcast`, {
    method: 'POST',
    body: new Blob([body]).stream(),
    duplex: 'half',
  } as RequestInit);
  expect(chunked.status).toBe(200);
  expect(legacy.got.map(g => g.body.length)).toEqual([3_000_000, 3_000_000]);
  expect(candidate.got).toEqual([]);
  expect(front.splits.map(s => [s.cause, s.primary.outcome])).toEqual([
    ['too-large', 200],
    ['too-large', 200],
  ]);
  // So that what the candidate does not say for want of them is not held against it.
  expect([...new Set(ear.leftOut)]).toEqual(['candidate']);
  expect(ear.leftOutOpen).toBe(0);
});

// The fault: from its head to its answer, which a client could put hours apart, nothing was missing for anybody.
test('one counts by what of it is on its way: a moment for its beginning and for each MiB, and all the time once it is there', async () => {
  const waiting: (() => unknown)[] = [];
  let got = 0;
  const server = http.createServer((request, answer) => {
    request.on('data', (chunk: Buffer) => {
      got += chunk.length;
    });
    request.on('end', () => waiting.push(() => answer.end('taken')));
  });
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  open.push({ close: () => void server.closeAllConnections() }, server);
  const legacy = { port: (server.address() as AddressInfo).port };
  const ear = new Ear();
  const front = await withBoth(legacy, await service(ok), { tap: ear });
  const client = await rawClient(front.port);
  open.push({ close: () => client.socket.destroy() });
  const counted = () => [ear.leftOut.length, ear.leftOutOpen];
  const send = async (bytes: number) => {
    const all = got + bytes;
    client.write('x'.repeat(bytes));
    await until('legacy has it', () => got === all);
  };
  client.write('POST /broadcast HTTP/1.1\r\nHost: h\r\nContent-Length: 2000000\r\n\r\n');
  await send(1);
  expect(counted()).toEqual([1, 0]);
  await send(1_048_574);
  expect(counted()).toEqual([1, 0]);
  await send(1);
  await send(1);
  expect(counted()).toEqual([2, 0]);
  await send(2_000_000 - 1_048_577);
  await until('legacy is about to answer', () => waiting.length === 1);
  expect(counted()).toEqual([3, 1]);
  waiting[0]?.();
  await client.has('taken');
  expect(counted()).toEqual([3, 0]);
});

test.each(['legacy has answered', 'its client has left'])(
  'what the candidate does not say for want of one is not held against it until %s',
  async how => {
    const waiting: (() => unknown)[] = [];
    const legacy = await service((_g, r) => waiting.push(() => r.end('taken')));
    const ear = new Ear();
    const front = await withBoth(legacy, await service(ok), { tap: ear });
    const client = await rawClient(front.port);
    open.push({ close: () => client.socket.destroy() });
    const head = 'POST /broadcast HTTP/1.1\r\nHost: h\r\nContent-Length: 2000000\r\n\r\n';
    client.write(head + 'x'.repeat(2_000_000));
    await until('legacy has it', () => waiting.length === 1);
    expect([ear.leftOut.at(-1), ear.leftOutOpen]).toEqual(['candidate', 1]);
    if (how === 'its client has left') client.socket.destroy();
    else waiting[0]?.();
    await until('it is over', () => ear.leftOutOpen === 0);
  },
);

test('a copy that finds no room is held against nobody until the primary has answered', async () => {
  const [answers, waiting]: (() => unknown)[][] = [[], []];
  const legacy = await service((got, r) => {
    if (got.body.includes('last')) answers?.push(() => r.end('last'));
    else r.end('taken');
  });
  const candidate = await service((_g, r) => waiting?.push(() => r.end()));
  const ear = new Ear();
  const front = await withBoth(legacy, candidate, { tap: ear });
  const { client, post: send } = await backend(front);
  for (let n = 0; n < 101; n++) {
    send(`{"user_id":"l1","n":${n}}`);
    await client.has('taken');
  }
  expect(ear.leftOut).toEqual([]);
  send('{"user_id":"l1","n":"last"}');
  await until('legacy has it', () => answers?.length === 1);
  expect([ear.leftOut, ear.leftOutOpen]).toEqual([['candidate'], 1]);
  answers?.[0]?.();
  await client.has('last');
  await until('it is over', () => ear.leftOutOpen === 0);
});

test('a body of more than 1 MiB that the primary does not take either is no split', async () => {
  const legacy = await service((_g, r) => r.writeHead(413).end());
  const front = await withBoth(legacy, await service(ok));
  expect((await post(front, 'x'.repeat(2_000_000))).status).toBe(413);
  expect(front.begun).toEqual(['broadcast primary']);
  expect(front.splits).toEqual([]);
});

test('reads go to one service only', async () => {
  const legacy = await service(ok);
  const candidate = await service(ok);
  const front = await withBoth(legacy, candidate);
  await fetch(`http://127.0.0.1:${front.port}/broadcast`);
  expect([legacy.got.length, candidate.got.length]).toEqual([1, 0]);
});

test('a client that leaves takes the write from neither service', async () => {
  let release = () => undefined as unknown;
  const legacy = await service((_g, r) => {
    release = () => r.end();
  });
  const candidate = await service(ok);
  const front = await withBoth(legacy, candidate);
  const leaving = new AbortController();
  const answer = fetch(`http://127.0.0.1:${front.port}/broadcast`, {
    method: 'POST',
    body: '{"user_id":"l1"}',
    signal: leaving.signal,
  }).catch(() => 'left');
  await until('both have it', () => legacy.got.length === 1 && candidate.got.length === 1);
  leaving.abort();
  expect(await answer).toBe('left');
  release();
  await until('both took it', () => front.agreed.length === 1);
});

test('a body that names nobody, or is no JSON, is nobody’s', async () => {
  const seen: (string | null)[] = [];
  const legacy = await service(ok);
  const front = await withBoth(legacy, legacy, {
    decider: (_route, subject) => {
      seen.push(subject?.id ?? null);
      return { decision: decisionFor('legacy'), revision: 'test' };
    },
  });
  for (const body of [
    '{"user_id":"u"}',
    '{"user_id":7}',
    '{}',
    '[]',
    '{"user_id":',
    '{"user_id":{}}',
    '',
  ]) {
    await post(front, body);
  }
  expect(seen).toEqual(['u', '7', null, null, null, null, null]);
});

/** One client connection, as a backend holds it. */
async function backend(front: TestProxy) {
  const client = await rawClient(front.port);
  open.push({ close: () => client.socket.destroy() });
  return {
    client,
    post(body: string, fields = '') {
      client.received = Buffer.alloc(0);
      client.write(
        `POST /broadcast HTTP/1.1\r\nHost: h\r\n${fields}Content-Length: ${body.length}\r\n\r\n${body}`,
      );
    },
  };
}

test('a second write that hangs holds up no later write to that service on the same client connection', async () => {
  const legacy = await service(ok);
  const candidate = await service((got, r) => {
    if (got.body.includes('"c1"')) r.end('from candidate');
  });
  const front = await withBoth(legacy, candidate);
  const { client, post: send } = await backend(front);
  send('{"user_id":"l1"}');
  await client.has('taken');
  await until('the candidate holds its copy', () => candidate.got.length === 1);
  // The same service serves this user, and must not keep him waiting for what is nobody's answer.
  send('{"user_id":"c1"}');
  await client.has('from candidate');
});

// The fault: behind a balancer one connection's copies took the room that there is for everybody's.
test('a client connection on which too many copies wait has further ones left out, and leaves the room to others', async () => {
  const [legacy, candidate] = [await service(ok), await service(() => undefined)];
  const front = await withBoth(legacy, candidate);
  const { client, post: send } = await backend(front);
  for (let n = 0; n < 110; n++) {
    send(`{"user_id":"l1","n":${n}}`);
    await client.has('taken');
  }
  await until('some are left out', () => front.splits.length === 9);
  expect(new Set(front.splits.map(({ cause }) => cause))).toEqual(new Set(['overload']));
  const other = await backend(front);
  other.post('{"user_id":"l2"}');
  await until('the copy of another one is there', () => candidate.got.length === 2);
  expect(front.splits).toHaveLength(9);
});

// The fault: copies that waited for their turn went to a severed candidate one after another, for minutes.
describe('a rollback that severs the candidate lets go of copies that are not sent yet', () => {
  test('they are splits at once, and their turns and their room are free', async () => {
    const waiting: (() => unknown)[] = [];
    const [legacy, candidate] = [
      await service(ok),
      await service((_g, r) => waiting.push(() => r.end())),
    ];
    const ear = new Ear();
    const front = await withBoth(legacy, candidate, { tap: ear });
    const { client, post: send } = await backend(front);
    for (const n of [1, 2, 3]) {
      send(`{"user_id":"l1","n":${n}}`, `Idempotency-Key: k${n}\r\n`);
      await client.has('taken');
    }
    await until('the first one is there', () => candidate.got.length === 1);
    front.traffic.rollBack(new Set(['another']), { sever: true });
    front.traffic.rollBack(new Set(['broadcast']));
    expect(front.splits).toEqual([]);
    front.traffic.rollBack(new Set(['broadcast']), { sever: true });
    expect(front.splits.map(({ key }) => key)).toEqual(['k2', 'k3']);
    expect(front.splits[0]).toMatchObject({
      ...{ cause: 'severed', bytes: 22, digest: expect.stringMatching(/^[0-9a-f]{64}$/) },
      primary: { side: 'legacy', outcome: 200 },
      second: { side: 'candidate', outcome: 'severed' },
    });
    expect(ear.leftOut).toEqual(['candidate', 'candidate']);
    // What it has had is what it answers.
    waiting[0]?.();
    await until('the first one is taken by both', () => front.agreed.length === 1);
    send('{"user_id":"l1","n":4}');
    await until('one of after a release is there', () => candidate.got.length === 2);
    expect(candidate.got[1]?.body).toContain('"n":4');
    waiting[1]?.();
    await until('it is taken by both', () => front.agreed.length === 2);
    await front.traffic.drain(1);
    expect(candidate.got).toHaveLength(2);
  });

  test('one that legacy has not answered is a split once it takes that, and none if it does not', async () => {
    const answers: ((status: number) => unknown)[] = [];
    const legacy = await service((_g, r) => answers.push(status => r.writeHead(status).end()));
    const candidate = await service(() => undefined);
    const front = await withBoth(legacy, candidate);
    const clients = [await backend(front), await backend(front)];
    for (const [index, { post: send }] of clients.entries()) {
      send('{"user_id":"l1"}');
      await until('legacy has it', () => answers.length === 2 * index + 1);
      answers[2 * index]?.(200);
      await until('the candidate has it', () => candidate.got.length === index + 1);
      send('{"user_id":"l1"}');
      await until('legacy has the next one', () => answers.length === 2 * index + 2);
    }
    front.traffic.rollBack(new Set(['broadcast']), { sever: true });
    expect(front.splits).toEqual([]);
    answers[1]?.(200);
    answers[3]?.(422);
    await until('one is a split', () => front.splits.length === 1);
    await until('the other is none', () => front.agreed.length === 1);
    expect(front.splits[0]?.cause).toBe('severed');
  });

  test('copies for legacy, of whom the candidate serves, are on their way still', async () => {
    const waiting: (() => unknown)[] = [];
    const legacy = await service((_g, r) => waiting.push(() => r.end()));
    const front = await withBoth(legacy, await service(ok));
    const { client, post: send } = await backend(front);
    for (const n of [1, 2]) {
      send(`{"user_id":"c1","n":${n}}`);
      await client.has('taken');
    }
    front.traffic.rollBack(new Set(['broadcast']), { sever: true });
    for (const n of [1, 2]) {
      await until('the next one is there', () => legacy.got.length === n);
      waiting[n - 1]?.();
    }
    await until('both took both', () => front.agreed.length === 2);
    expect(front.splits).toEqual([]);
  });

  test('one whose connection does not stand yet is not sent either', async () => {
    const legacy = await service(ok);
    // It takes the connection and says nothing of TLS.
    const candidate = await rawServer();
    open.push(candidate);
    const front = await withBoth(legacy, candidate, {
      candidate: `https://127.0.0.1:${candidate.port}`,
    });
    const { client, post: send } = await backend(front);
    for (const _ of [1, 2]) {
      send('{"user_id":"l1"}');
      await client.has('taken');
    }
    const dialled = await candidate.next();
    front.traffic.rollBack(new Set(['broadcast']), { sever: true });
    expect(front.splits.map(({ cause }) => cause)).toEqual(['severed', 'severed']);
    await until('it is let go', () => dialled.ended || dialled.closed);
    await front.traffic.drain(1);
    expect(candidate.connections).toHaveLength(1);
  });
});

test('second writes of one client connection reach their service in order', async () => {
  const legacy = await service(ok);
  const waiting: (() => unknown)[] = [];
  const candidate = await service((_g, r) => waiting.push(() => r.end()));
  const front = await withBoth(legacy, candidate);
  const { client, post: send } = await backend(front);
  for (const n of [1, 2, 3]) {
    send(`{"user_id":"l1","n":${n}}`);
    await client.has('taken');
  }
  for (const n of [1, 2, 3]) {
    await until('the next one is there', () => candidate.got.length === n);
    expect(candidate.got[n - 1]?.body).toContain(`"n":${n}`);
    waiting[n - 1]?.();
  }
});

/*
 * Connections to services are one user's: with each other cookie or token there is another one. A backend whose CSRF
 * cookie changes with every answer had its writes arrive side by side at the second service.
 */
test('second writes of one client connection reach their service one after another when its credentials change too', async () => {
  const waiting: (() => unknown)[] = [];
  const candidate = await service((_g, r) => waiting.push(() => r.end()));
  const front = await withBoth(await service(ok), candidate);
  const { client, post: send } = await backend(front);
  for (const n of [1, 2, 3]) {
    send(`{"user_id":"l1","n":${n}}`, `Cookie: csrf=${n}\r\n`);
    await client.has('taken');
  }
  // Another client's, sent behind them: what was not to wait is there before it.
  const { post: sendOther } = await backend(front);
  sendOther('{"user_id":"l2"}');
  await until('the other one’s is there', () => candidate.got.some(g => g.body.includes('l2')));
  expect(candidate.got.map(g => g.body)).toEqual(['{"user_id":"l1","n":1}', '{"user_id":"l2"}']);
  // Those that wait have no client any more, and go all the same.
  client.socket.destroy();
  for (const n of [2, 3]) {
    for (const end of waiting.splice(0)) end();
    await until('the next one is there', () => candidate.got.length === n + 1);
    expect(candidate.got.at(-1)?.body).toContain(`"n":${n}`);
  }
});

// The fault: copies that waited went to the address before, where nobody was any more.
test.each(['stays', 'has left'])(
  'copies that wait for their turn over a reload go to where their service is since then, while their client %s',
  async what => {
    const waiting: (() => unknown)[] = [];
    const [legacy, before, since] = [
      await service(ok),
      await service((_g, r) => waiting.push(() => r.end())),
      await service(ok),
    ];
    const front = await withBoth(legacy, before);
    const { client, post: send } = await backend(front);
    for (const n of [1, 2, 3]) {
      send(`{"user_id":"l1","n":${n}}`);
      await client.has('taken');
    }
    await until('the first one is there', () => before.got.length === 1);
    front.traffic.reload(
      loadedConfig({ legacy: legacy.port, candidate: since.port, routes: ROUTES }),
    );
    if (what === 'has left') client.socket.destroy();
    waiting[0]?.();
    await until('all are taken by both', () => front.agreed.length === 3);
    expect(since.got.map(({ body }) => JSON.parse(body).n)).toEqual([2, 3]);
    expect(before.got).toHaveLength(1);
    expect(front.splits).toEqual([]);
  },
);

test('a second answer without end is noted by its status and then given up', async () => {
  let closed = 0;
  const legacy = await service(ok);
  const candidate = await service((_g, r) => {
    r.on('close', () => {
      closed += 1;
    });
    r.writeHead(200).write('more to come');
  });
  const front = await withBoth(legacy, candidate, { upstream: { responseTimeoutMs: 300 } });
  expect((await post(front, '{"user_id":"l1"}')).status).toBe(200);
  await until('both took it', () => front.agreed.length === 1);
  await until('the candidate is let go', () => closed === 1);
  // A shutdown waits for second writes; this one is over.
  await front.traffic.drain(1);
});

test('an answer without end is given up some time after its client has left', async () => {
  let closed = 0;
  const legacy = await service((_g, r) => {
    r.on('close', () => {
      closed += 1;
    });
    r.writeHead(200).write('a stream');
  });
  const front = await withBoth(legacy, await service(ok), { upstream: { responseTimeoutMs: 300 } });
  const { client, post: send } = await backend(front);
  send('{"user_id":"l1"}');
  await client.has('a stream');
  client.socket.destroy();
  await until('legacy is let go', () => closed === 1);
  await until('both took it', () => front.agreed.length === 1);
});

test.each([
  ['taken out by Connection', 'Connection: Idempotency-Key\r\nIdempotency-Key: mine\r\n', /^mine$/],
  ['given twice', 'Idempotency-Key: a\r\nIdempotency-Key: b\r\n', /^[0-9a-f-]{36}$/],
  ['empty', 'Idempotency-Key:\r\n', /^[0-9a-f-]{36}$/],
  ['very long', `Idempotency-Key: ${'k'.repeat(4_000)}\r\n`, /^k{4000}$/],
])(
  'both services get one key, the same, where the client’s own is %s',
  async (_what, fields, key) => {
    const refuse = (_g: Got, r: http.ServerResponse) => r.writeHead(500).end();
    const [legacy, candidate] = [await service(ok), await service(refuse)];
    const front = await withBoth(legacy, candidate);
    const { post: send } = await backend(front);
    send('{"user_id":"l1"}', fields);
    await until('the split is noted', () => front.splits.length === 1);
    expect(legacy.got[0]?.key).toMatch(key);
    expect(candidate.got[0]?.key).toBe(legacy.got[0]?.key);
    expect(front.splits[0]?.key).toBe(legacy.got[0]?.key?.slice(0, 255));
  },
);

/** Catches a hang; 136 MB go over loopback. */
const LIMIT_MS = 120_000;

test(
  'bodies that wait for a hung second service take 64 MiB at most; further copies are counted as overload',
  async () => {
    const legacy = await service(ok);
    const candidate = await service(() => undefined);
    const ear = new Ear();
    const front = await withBoth(legacy, candidate, { tap: ear });
    const body = `{"user_id":"l1","x":"${'x'.repeat(1_000_000)}"}`;
    for (let i = 0; i < 68; i += 1) expect((await post(front, body)).status).toBe(200);
    await until('one is noted', () => front.splits.length > 0);
    expect(front.splits[0]).toMatchObject({
      cause: 'overload',
      primary: { side: 'legacy', outcome: 200 },
      second: { side: 'candidate', outcome: 'overload' },
    });
    expect(front.splits).toHaveLength(1);
    expect(ear.leftOut).toEqual(['candidate']);
  },
  LIMIT_MS,
);

test('every write is counted by where it goes, reads are not', async () => {
  const legacy = await service(ok);
  const front = await withBoth(legacy, await service(ok));
  await post(front, '{"user_id":"l1"}');
  await post(front, 'x'.repeat(2_000_000));
  await fetch(`http://127.0.0.1:${front.port}/broadcast`);
  await fetch(`http://127.0.0.1:${front.port}/elsewhere`, { method: 'DELETE' });
  expect(front.begun).toEqual(['broadcast both', 'broadcast primary', 'unrouted primary']);
});

test('a body whose client has left counts as held until the primary has done with it', async () => {
  const legacy = await service(() => undefined);
  const front = await withBoth(legacy, await service(ok));
  const leaving = await rawClient(front.port);
  leaving.write('POST /broadcast HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\n');
  leaving.write('x'.repeat(1_000));
  await until('the primary has it', () => legacy.got.length === 1);
  leaving.socket.destroy();
  await until('its end is noticed', () =>
    front.logged.some(line => line.includes('request ended')),
  );
  expect(front.traffic.heldBytes.requests).toBe(1_000);
  legacy.close();
  await until('its room is free', () => front.traffic.heldBytes.requests === 0);
});

test('a body whose answer has no end counts as held until it is given up', async () => {
  const legacy = await service((_g, response) => response.write('begun'));
  const options = { upstream: { responseTimeoutMs: 300 } };
  const front = await withBoth(legacy, await service(ok), options);
  const leaving = await rawClient(front.port);
  leaving.write('POST /broadcast HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n0123456789');
  await leaving.has('begun');
  expect(front.traffic.heldBytes.requests).toBe(10);
  leaving.socket.destroy();
  await until('its room is free', () => front.traffic.heldBytes.requests === 0);
});

describe('in the bypass, while somebody on the candidate is to hear of them', () => {
  const engaged = { bypassed: () => true };
  const routed = (legacy: { port: number }, candidate: { port: number }, o = {}) =>
    withBoth(legacy, candidate, { ...engaged, ...o });

  test('both get the same bytes and key, and legacy’s answer is the client’s', async () => {
    const legacy = await service((_g, r) => r.end('from legacy'));
    const candidate = await service((_g, r) => r.writeHead(201).end('from candidate'));
    const front = await routed(legacy, candidate);
    const warnings: Error[] = [];
    const onWarning = (warning: Error) => void warnings.push(warning);
    process.on('warning', onWarning);
    const body = `{"user_id":"c1","x":"${'x'.repeat(500_000)}"}`;
    expect(await post(front, body)).toMatchObject({ status: 200, text: 'from legacy' });
    await post(front, 'short', { 'idempotency-key': 'mine' });
    await until('both have both', () => legacy.got.length === 2 && candidate.got.length === 2);
    expect(candidate.got.map(({ key, body }) => [key, body]).sort()).toEqual(
      legacy.got.map(({ key, body }) => [key, body]).sort(),
    );
    expect(legacy.got.map(got => got.key)).toContain('mine');
    await until('both are noted as agreed', () => front.agreed.length === 2);
    expect(front.begun).toEqual(['bypass both', 'bypass both']);
    process.off('warning', onWarning);
    expect(warnings).toEqual([]);
  });

  test.each([
    ['hangs', 500, 'upstream-timeout', () => undefined],
    ['breaks off', 20_000, 'upstream-closed', (_g: Got, r: http.ServerResponse) => r.destroy()],
    ['refuses', 20_000, 503, (_g: Got, r: http.ServerResponse) => r.writeHead(503).end()],
  ] as const)(
    'a candidate that %s does not keep the client waiting, and is noted',
    async (_how, responseTimeoutMs, outcome, answer) => {
      const [legacy, candidate] = [await service(ok), await service(answer)];
      const front = await routed(legacy, candidate, { upstream: { responseTimeoutMs } });
      expect(await post(front, '{}')).toMatchObject({ status: 200, text: 'taken' });
      await until('the split is noted', () => front.splits.length === 1);
      expect(front.splits[0]).toMatchObject({
        ...{ route: 'bypass', cause: 'second-refused' },
        second: { side: 'candidate', outcome },
      });
    },
  );

  test('more than 1 MiB is legacy’s alone, and counts', async () => {
    const [legacy, candidate] = [await service(ok), await service(ok)];
    const ear = new Ear();
    const front = await routed(legacy, candidate, { tap: ear });
    expect((await post(front, 'x'.repeat(3_000_000))).status).toBe(200);
    expect(legacy.got[0]?.body.length).toBe(3_000_000);
    await until('the split is noted', () => front.splits.length === 1);
    expect(front.splits[0]?.cause).toBe('overload');
    expect(ear.leftOut).toEqual(['candidate']);
    expect(candidate.got).toEqual([]);
  });

  test('both get the head of a write before any of its body has come', async () => {
    const [legacy, candidate] = [await rawServer(), await rawServer()];
    open.push(legacy, candidate);
    const front = await routed(legacy, candidate);
    const { client } = await backend(front);
    client.write('POST /broadcast HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\n');
    const both = [await legacy.next(), await candidate.next()];
    for (const upstream of both) await upstream.has('\r\n\r\n');
    client.write('body');
    for (const upstream of both) await upstream.has('\r\n\r\nbody');
  });

  /** The fault: legacy's was broken off, and the candidate kept its copy. */
  test.each(['closes', 'half-closes', 'resets'])(
    'a client that %s behind a whole write takes it from neither service',
    async how => {
      const waiting: (() => void)[] = [];
      const left: string[] = [];
      const slow = (side: string) =>
        service((_g, r) => {
          waiting.push(() => r.end());
          r.once('close', () => {
            if (!r.writableFinished) left.push(side);
          });
        });
      const front = await routed(await slow('legacy'), await slow('candidate'));
      const { client, post: send } = await backend(front);
      send('{"user_id":"l1"}');
      await until('both have it', () => waiting.length === 2);
      if (how === 'closes') client.socket.destroy();
      else if (how === 'half-closes') client.socket.end();
      else client.socket.resetAndDestroy();
      // Behind it, from somebody else: by then it is known that the first one has left.
      const { post: sendOther } = await backend(front);
      sendOther('{"user_id":"l2"}');
      await until('both have the other one as well', () => waiting.length === 4);
      expect(left).toEqual([]);
      const drained = front.traffic.drain(20_000);
      for (const end of waiting) end();
      await until('both took both', () => front.agreed.length === 2);
      await drained;
      expect(left).toEqual([]);
      expect(front.splits).toEqual([]);
    },
  );

  test('legacy has its time for a write whose client has left, and no more', async () => {
    let closed = 0;
    const hanging = (_g: Got, r: http.ServerResponse) => r.once('close', () => (closed += 1));
    const [legacy, candidate] = [await service(hanging), await service(ok)];
    const front = await routed(legacy, candidate, { upstream: { responseTimeoutMs: 500 } });
    const { client, post: send } = await backend(front);
    send('{"user_id":"l1"}');
    await until('legacy has it', () => legacy.got.length === 1);
    client.socket.destroy();
    await until('legacy is let go', () => closed === 1);
    await until('the split is noted', () => front.splits.length === 1);
    expect(front.splits[0]).toMatchObject({
      cause: 'primary-refused',
      primary: { side: 'legacy', outcome: 'upstream-timeout' },
    });
    expect(front.reports.filter(r => r.kind === 'failed')).toEqual([]);
  });

  // The fault: a rollback that severs the candidate let go of the other lane's copies alone.
  test('a copy whose connection does not stand yet is let go by a rollback that severs', async () => {
    const legacy = await service(ok);
    // It takes the connection and says nothing of TLS.
    const candidate = await rawServer();
    open.push(candidate);
    const ear = new Ear();
    const front = await routed(legacy, candidate, {
      ...{ candidate: `https://127.0.0.1:${candidate.port}`, tap: ear },
    });
    expect(await post(front, '{"user_id":"l1"}')).toMatchObject({ status: 200, text: 'taken' });
    const dialled = await candidate.next();
    front.traffic.rollBack(new Set(['another']), { sever: true });
    front.traffic.rollBack(new Set(['broadcast']));
    expect(front.splits).toEqual([]);
    front.traffic.rollBack(new Set(['broadcast']), { sever: true });
    expect(front.splits).toMatchObject([
      { route: 'bypass', cause: 'severed', second: { side: 'candidate', outcome: 'severed' } },
    ]);
    expect(ear.leftOut).toEqual(['candidate']);
    await until('it is let go', () => dialled.ended || dialled.closed);
    await front.traffic.drain(1);
    expect(candidate.connections).toHaveLength(1);
  });

  test('a copy that the candidate has been sent is not taken back by a rollback that severs', async () => {
    const waiting: (() => unknown)[] = [];
    const legacy = await service(ok);
    const candidate = await service((_g, r) => waiting.push(() => r.end()));
    const front = await routed(legacy, candidate);
    await post(front, '{"user_id":"l1"}');
    await until('the candidate has it', () => candidate.got.length === 1);
    front.traffic.rollBack(new Set(['broadcast']), { sever: true });
    waiting[0]?.();
    await until('both took it', () => front.agreed.length === 1);
    expect(front.splits).toEqual([]);
  });

  test('an upload that its client breaks off is neither’s', async () => {
    const [legacy, candidate] = [await service(ok), await service(ok)];
    const front = await routed(legacy, candidate);
    const client = await rawClient(front.port);
    client.write('POST /broadcast HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n01234');
    await until('it is under way', () => front.begun.length === 1);
    client.socket.destroy();
    await until('it is noted', () => front.agreed.length === 1);
    expect([...legacy.got, ...candidate.got]).toEqual([]);
  });
});
