// Streams of events that the proxy ends itself: for a shutdown, or because an operator wants everybody to
// come back another way.
import { afterEach, describe, expect, test } from 'vitest';
import { answer, asked, closeAll, closing, connected, get, withService } from '../support/lane.ts';
import { decisionFor, type ProxyOptions, type TestProxy } from '../support/proxy.ts';
import { rawServer } from '../support/raw.ts';
import { until } from '../support/until.ts';

afterEach(closeAll);

const routes: NonNullable<ProxyOptions['routes']> = [
  { name: 'sse', path: '/events', protocol: 'sse' },
  { name: 'api', path: '/api/*', protocol: 'http' },
];
const HEAD = 'HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n';

async function withStream(fields = '', limits: ProxyOptions['limits'] = {}) {
  const at = await withService({ routes, limits });
  at.client.write(get('/events'));
  const upstream = await at.service.next();
  await upstream.has('\r\n\r\n');
  upstream.write(`${HEAD}${fields}\r\n`);
  await at.client.has('\r\n\r\n');
  return { ...at, upstream };
}

/** The body without its framing as chunks. */
function body(text: string): string {
  const [, rest = ''] = text.split(/\r\n\r\n(.*)/s);
  return rest.replace(/(?:^|\r\n)[0-9a-f]+\r\n/g, '').replace(/\r\n$/, '');
}
const END = '\r\n0\r\n\r\n';

test('asking for a readable stream takes away nothing else that a trusted proxy says', async () => {
  const { service, client } = await withService({
    routes,
    listen: { trustedProxies: ['127.0.0.1'] },
  });
  const fields = 'X-Forwarded-For: 203.0.113.9\r\nConnection: X-Forwarded-For\r\n';
  client.write(`GET /events HTTP/1.1\r\nHost: x\r\n${fields}\r\n`);
  const upstream = await service.next();
  await upstream.has('\r\n\r\n');
  expect(upstream.text).toContain('X-Forwarded-For: 203.0.113.9, 127.0.0.1');
});

test('a service is asked for a stream that can be read, whatever codings its client would take', async () => {
  const { service, client } = await withService({ routes });
  client.write('GET /events HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip, br\r\n\r\n');
  const upstream = await service.next();
  await upstream.has('\r\n\r\n');
  expect(upstream.text.match(/accept-encoding:.*/gi)).toEqual(['Accept-Encoding: identity']);
  client.write('GET /api/x HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip, br\r\n\r\n');
  upstream.write(`${HEAD}Content-Length: 0\r\n\r\n`);
  await until('the next one came', () => upstream.text.includes('/api/x'));
  expect(upstream.text).toContain('Accept-Encoding: gzip, br');
});

test.each([
  ['between two events', 'data: one\n\n'],
  ['in the middle of one', 'data: on'],
  ['before the first', ''],
])('47: a stream that breaks off %s is cut off, without an end', async (_where, said) => {
  const { client, upstream, front } = await withStream('Transfer-Encoding: chunked\r\n');
  if (said !== '') upstream.write(`${said.length.toString(16)}\r\n${said}\r\n`);
  await client.has(said);
  upstream.socket.destroy();
  await until('the client is cut off', () => client.ended || client.closed);
  expect(body(client.text)).toBe(said);
  expect(client.text).not.toContain(END);
  expect(front.reports).toContainEqual(
    expect.objectContaining({ kind: 'failed', what: 'upstream-closed' }),
  );
});

describe.each([
  ['an operator', (front: TestProxy) => void front.traffic.endOpen(1)],
  ['a shutdown', (front: TestProxy) => void front.traffic.drain(1)],
])('%s ends a stream', (_who, end) => {
  test.each(['', 'Content-Encoding: identity\r\n'])(
    'between two events, with a time to come back of its own, and the service is let go %j',
    async coding => {
      const { front, client, upstream } = await withStream(coding);
      upstream.write('data: one\n\n');
      await client.has('data: one\n\n');
      end(front);
      await client.has(END);
      expect(body(client.text)).toMatch(/^data: one\n\nretry: \d{3,4}\n\n$/);
      await until('the service is let go', () => upstream.ended || upstream.closed);
    },
  );

  test('behind the event under way, and what comes after it is not sent', async () => {
    const { front, client, upstream } = await withStream('', { boundaryMs: 20_000 });
    upstream.write('data: half');
    await client.has('data: half');
    end(front);
    upstream.write(' and half\r\n\r\ndata: too late\r\n\r\n');
    await client.has(END);
    expect(body(client.text)).toMatch(/^data: half and half\r\n\r\nretry: \d{3,4}\n\n$/);
  });

  test.each([
    ['with a length', 'Content-Length: 40\r\n', ''],
    ['in chunks', 'Transfer-Encoding: chunked\r\n', ''],
    ['in chunks, stopped at a blank line', 'Transfer-Encoding: chunked\r\n', '3\r\na\n\n\r\n'],
  ])(
    'but no plain answer %s on its route: that comes to its own end or is cut',
    async (_, framing, part) => {
      const { front, client, service } = await withService({ routes });
      client.write(get('/events'));
      const upstream = await service.next();
      await upstream.has('\r\n\r\n');
      upstream.write(`HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n${framing}\r\n${part}`);
      await client.has('\r\n\r\n');
      const before = client.text;
      end(front);
      // What the service says to the next one on the connection must not become the rest of it.
      client.write(get('/events'));
      upstream.socket.destroy();
      await until('it is cut off', () => client.ended || client.closed);
      expect(client.text.slice(before.length).replace(part, '')).toBe('');
    },
  );

  test('by cutting it off, where the event does not end in time', async () => {
    const { front, client, upstream } = await withStream('', { boundaryMs: 100 });
    upstream.write('data: half');
    await client.has('data: half');
    end(front);
    await until('it is cut off', () => client.ended || client.closed);
    expect(client.text).not.toContain(END);
  });

  test('by cutting it off, where it is compressed: events can not be told apart', async () => {
    const { front, client, upstream } = await withStream('Content-Encoding: gzip\r\n');
    upstream.write('\n\n');
    await client.has('\n\n\r\n');
    end(front);
    await until('it is cut off', () => client.ended || client.closed);
    expect(client.text).not.toContain(END);
  });

  test('that has not begun, by cutting it off', async () => {
    const { service, front, client } = await withService({ routes });
    client.write(get('/events'));
    const upstream = await service.next();
    await upstream.has('\r\n\r\n');
    end(front);
    await until('it is cut off', () => client.ended || client.closed);
    expect(client.text).toBe('');
    await until('the service is let go', () => upstream.ended || upstream.closed);
  });
});

/** The fault: of a write that goes to both neither a rollback, nor an operator, nor a shutdown knew that it was one. */
describe.each(['primary', 'both'] as const)('an answer to a write that goes to %s', writeTo => {
  const held = new Set<string>();
  async function withWrite() {
    const second = closing(await rawServer());
    const service = closing(await rawServer());
    const at = await withService({
      ...{ legacy: second.port, candidate: service.port },
      limits: { boundaryMs: 20_000 },
      routes: [{ name: 'sse', path: '/events', protocol: 'sse', writes: writeTo }],
      decider: () => ({ decision: { ...decisionFor('candidate'), writeTo }, revision: 'test' }),
    });
    at.client.write('POST /events HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}');
    return { ...at, upstream: await asked(service) };
  }
  const enders: [string, (front: TestProxy) => void][] = [
    ['a rollback', front => void front.traffic.rollBack(new Set(['sse']))],
    ['an operator', front => void front.traffic.endOpen(1)],
    ['a shutdown', front => void front.traffic.drain(1)],
  ];

  test.each(enders)('that is a stream: %s ends it behind an event', async (_who, end) => {
    const { front, client, upstream } = await withWrite();
    upstream.write(`${HEAD}\r\ndata: half`);
    await client.has('data: half');
    end(front);
    upstream.write(' and half\n\ndata: too late\n\n');
    await client.has(END);
    expect(body(client.text)).toMatch(/^data: half and half\n\nretry: \d{3,4}\n\n$/);
  });

  test.each(enders)(
    'that has not begun is not cut off by %s: it may be the last word on that write',
    async (_who, end) => {
      const { front, client, upstream } = await withWrite();
      end(front);
      upstream.write(answer('taken'));
      await client.has('\r\n\r\ntaken');
    },
  );

  // The fault: it was told to end before it had begun, and nothing took that back: not one event of it came.
  test.each<[string, (front: TestProxy) => void, (front: TestProxy) => void]>([
    [
      'a rollback that is released',
      front => void front.traffic.rollBack(held),
      front => {
        held.clear();
        void front.traffic.reconsider();
      },
    ],
    [
      'an ending that is called off',
      front => void front.traffic.endOpen(1),
      front => front.traffic.stopEnding(),
    ],
  ])('that becomes a stream behind %s goes on', async (_what, begin, takeBack) => {
    const { front, client, upstream } = await withWrite();
    held.add('sse');
    begin(front);
    takeBack(front);
    upstream.write(`${HEAD}\r\ndata: one\n\n`);
    await client.has('data: one\n\n');
    upstream.write('data: two\n\n');
    await client.has('data: two\n\n');
  });

  test('that becomes a stream behind a release, and a shutdown that is not over, ends at once', async () => {
    const { front, client, upstream } = await withWrite();
    held.add('sse');
    void front.traffic.drain(1);
    front.traffic.rollBack(held);
    held.clear();
    await front.traffic.reconsider();
    upstream.write(`${HEAD}\r\ndata: one\n\n`);
    await client.has(END);
  });

  test('that becomes a stream behind the rollback ends at once', async () => {
    const { front, client, upstream } = await withWrite();
    const run = front.traffic.rollBack(new Set(['sse']));
    upstream.write(`${HEAD}\r\ndata: one\n\n`);
    await client.has(END);
    expect(body(client.text)).toMatch(/^(data: one\n\n)?retry: \d{3,4}\n\n$/);
    await run.done;
    expect(run.answers).toEqual({ affected: 1, finished: 0, ended: 1, pending: 0 });
  });
});

test('an operator is told how many there are; requests that are no streams are left alone', async () => {
  const { service, front, client, upstream } = await withStream();
  const plain = await connected(front);
  plain.write(get('/api/x'));
  const answering = await service.next();
  await answering.has('\r\n\r\n');
  expect(front.traffic.endOpen(1)).toBe(1);
  await client.has(END);
  // The connection goes on: the client's next request is served.
  answering.write(answer('plain'));
  await plain.has('plain');
  client.received = Buffer.alloc(0);
  client.write(get('/api/y'));
  const next = await service.next();
  await next.has('GET /api/y');
  next.write(answer('next'));
  await client.has('next');
  expect(upstream.ended || upstream.closed).toBe(true);
});

test('many are ended one after another', async () => {
  const { service, front, client } = await withStream();
  const clients = [client];
  for (let i = 0; i < 9; i += 1) {
    const more = await connected(front);
    more.write(get('/events'));
    const upstream = await service.next();
    await upstream.has('\r\n\r\n');
    upstream.write(`${HEAD}\r\n`);
    await more.has('\r\n\r\n');
    clients.push(more);
  }
  const startedAt = performance.now();
  front.traffic.endOpen(2_000);
  const told = await Promise.all(
    clients.map(async each => {
      await each.has('0\r\n\r\n');
      return performance.now() - startedAt;
    }),
  );
  expect(Math.max(...told)).toBeGreaterThan(1_600);
  // However late the first one is, the last one does not come with it.
  expect(Math.max(...told) - Math.min(...told)).toBeGreaterThan(300);
  const retries = clients.map(({ text }) => /retry: (\d+)/.exec(text)?.[1]);
  expect(new Set(retries).size).toBeGreaterThan(5);
});

test('an ending that is called off leaves alone whom it has not told yet', async () => {
  const { service, front, client } = await withStream();
  const pairs = [];
  for (let i = 0; i < 9; i += 1) {
    const more = await connected(front);
    more.write(get('/events'));
    const upstream = await service.next();
    await upstream.has('\r\n\r\n');
    upstream.write(`${HEAD}\r\n`);
    await more.has('\r\n\r\n');
    pairs.push({ more, upstream });
  }
  const startedAt = performance.now();
  front.traffic.endOpen(1_000);
  await client.has(END);
  front.traffic.stopEnding();
  await until('all would have been told', () => performance.now() > startedAt + 1_100);
  const [last] = pairs.slice(-1);
  last?.upstream.write('data: still here\n\n');
  await last?.more.has('still here');
});

describe('a stream whose side has changed', () => {
  /** Legacy serves everybody; routes that are named in `moved` have the candidate's side from then on. */
  async function withStreams(
    names: readonly string[],
    {
      onSwitch = 'in-place',
      limits = {},
    }: { onSwitch?: 'in-place' | 'drain' } & Pick<ProxyOptions, 'limits'>,
  ) {
    const moved = new Set<string>();
    const at = await withService({
      routes: [
        { name: 'a', path: '/a', protocol: 'sse', onSwitch },
        { name: 'b', path: '/b', protocol: 'sse', onSwitch },
        { name: 'api', path: '/api/*', protocol: 'http' },
      ],
      limits,
      decider: ({ name }) => ({
        decision: {
          ...decisionFor(moved.has(name) ? 'candidate' : 'legacy'),
          ...(moved.has('bypass') && name === 'a' ? { reason: 'bypass' } : {}),
        },
        revision: 'test',
      }),
    });
    const streams = [];
    for (const name of names) {
      const client = await connected(at.front);
      client.write(get(`/${name}`));
      const upstream = await asked(at.service);
      upstream.write(`${HEAD}\r\ndata: one\n\n`);
      await client.has('data: one\n\n');
      streams.push({ client, upstream });
    }
    const decide = (...those: readonly string[]) => {
      moved.clear();
      for (const name of those) moved.add(name);
      return at.front.traffic.reconsider();
    };
    return { ...at, streams, decide };
  }
  const ended = (streams: readonly { client: { text: string } }[]) =>
    streams.filter(({ client }) => client.text.includes(END)).length;

  // The fault: it stayed where it was for as long as its client did, under the kill flag, too.
  test('ends, one after another at the pace that is set; other streams and answers go on', async () => {
    const { front, service, streams, decide } = await withStreams(['a', 'a', 'b', 'a', 'a'], {
      limits: { movesPerS: 5 },
    });
    const plain = await connected(front);
    plain.write(get('/api/x'));
    const answering = await asked(service);
    const startedAt = performance.now();
    await decide('a', 'api');
    const ofA = streams.filter((_, i) => i !== 2);
    await until('they have ended', () => ended(ofA) === 4);
    expect(performance.now() - startedAt).toBeGreaterThan(250);
    const retries = ofA.map(({ client }) => /retry: (\d+)\n\n/.exec(client.text)?.[1]);
    expect(new Set(retries).size).toBeGreaterThan(1);
    answering.write(answer('plain'));
    await plain.has('plain');
    streams[2]?.upstream.write('data: still here\n\n');
    await streams[2]?.client.has('still here');
    expect([...front.traffic.sessionsOf('b')]).toMatchObject([{ side: 'legacy' }]);
    expect(ended(streams)).toBe(4);
  });

  // The faults: a request was cut off for being on such a route, and a client that may not ask again got a part that
  // looked whole.
  test('is an answer that has not begun, or one to a write: those come to their own end', async () => {
    const { front, service, decide } = await withStreams([], { limits: { movesPerS: 500 } });
    const ends = [];
    for (const method of ['GET', 'GET', 'POST']) {
      const client = await connected(front);
      const length = method === 'POST' ? 'Content-Length: 0\r\n' : '';
      client.write(`${method} /a HTTP/1.1\r\nHost: h\r\n${length}\r\n`);
      ends.push({ client, upstream: await asked(service) });
    }
    const [plain, late, write] = ends;
    if (plain === undefined || late === undefined || write === undefined) throw new Error();
    const chunk = 'b\r\ndata: one\n\n\r\n';
    write.upstream.write(`${HEAD}Transfer-Encoding: chunked\r\n\r\n${chunk}`);
    await write.client.has('data: one');
    await decide('a');
    plain.upstream.write(answer('plain'));
    await plain.client.has('\r\n\r\nplain');
    // A stream that only begins now has the side that is not its own any more, and goes as all others.
    late.upstream.write(`${HEAD}\r\ndata: one\n\n`);
    await late.client.has(END);
    expect(body(late.client.text)).toMatch(/retry: \d+\n\n$/);
    write.upstream.write(`${chunk}0\r\n\r\n`);
    await write.client.has(END);
    expect(body(write.client.text)).toBe('data: one\n\ndata: one\n\n');
  });

  test.each([
    ['whose side is the right one again', []],
    ['in a bypass, to which only what is new goes', ['a', 'bypass']],
  ])('goes on, %s when it has its turn', async (_what, then) => {
    const { streams, decide } = await withStreams(['a', 'a', 'a', 'a', 'b'], {
      limits: { movesPerS: 1 },
    });
    await decide('a');
    await until('the first has ended', () => ended(streams) > 0);
    // One that has its turn behind them has it when they were asked.
    await decide('b', ...then);
    await until('the one behind them has ended', () => ended(streams.slice(4)) === 1);
    // Nearly always all but the first: half a second and more lies between any two of them.
    const rest = streams.slice(0, 4).filter(stream => ended([stream]) === 0);
    expect(rest.length).toBeGreaterThan(0);
    for (const { client, upstream } of rest) {
      upstream.write('data: still here\n\n');
      await client.has('still here');
    }
  });

  test('has its time to leave where its route drains, and loses none of it to what was taken back', async () => {
    const { streams, decide } = await withStreams(['a', 'b'], {
      ...{ onSwitch: 'drain', limits: { leaveMs: 1_500 } },
    });
    const startedAt = performance.now();
    await decide('a', 'b');
    await decide('a');
    await until('the one whose time is over has ended', () => ended(streams.slice(0, 1)) === 1);
    expect(performance.now() - startedAt).toBeGreaterThan(1_400);
    await decide('a', 'b');
    streams[1]?.upstream.write('data: still here\n\n');
    await streams[1]?.client.has('still here');
    expect(ended(streams)).toBe(1);
  });
});
