// A client that reads what it has just written: the other service may not have taken the write yet.
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, expect, test } from 'vitest';
import { Ear } from '../support/ear.ts';
import { decisionFor, proxy } from '../support/proxy.ts';
import { until } from '../support/until.ts';

const open: { close(): unknown }[] = [];
afterEach(async () => {
  for (const thing of open.splice(0).reverse()) await thing.close();
});

/** Counts writes; while `isHeld` they are kept back until they are released, and so are reads. */
async function counter() {
  let count = 0;
  const held: (() => void)[] = [];
  const reads: (() => void)[] = [];
  let answered = 0;
  const service = {
    port: 0,
    answered: () => answered,
    isHeld: false,
    held,
    areReadsHeld: false,
    reads,
  };
  const server = http.createServer((request, response) => {
    request.resume();
    const say = () => {
      answered += 1;
      response.end(JSON.stringify({ count }));
    };
    const write = () => {
      count += 1;
      say();
    };
    if (request.method !== 'POST') {
      if (service.areReadsHeld) reads.push(say);
      else say();
    } else if (service.isHeld) held.push(write);
    else write();
  });
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  service.port = (server.address() as AddressInfo).port;
  open.push({
    close: () => {
      server.closeAllConnections();
      server.close();
    },
  });
  return service;
}

/** Both services behind a proxy that shows everything to both, and a client with two connections. */
async function withCounters(protocol: 'http' | 'sse' = 'http') {
  const [legacy, candidate] = [await counter(), await counter()];
  const ear = new Ear();
  const second = { side: 'candidate', role: 'shadow' } as const;
  const decision = { ...decisionFor('legacy'), second, writeTo: 'both' } as const;
  const front = await proxy({
    ...{ legacy: legacy.port, candidate: candidate.port, tap: ear },
    listen: { trustedProxies: ['127.0.0.1'] },
    identity: { sources: [{ from: 'header', name: 'X-User' }], verify: 'unverified' },
    routes: [{ name: 'api', path: '/*', protocol, writes: 'both' }],
    decider: () => ({ decision, revision: 'test' }),
  });
  open.push(front);
  const connection = () => {
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
    open.push({ close: () => agent.destroy() });
    return (method: string, user: string) =>
      new Promise<string>((resolve, reject) => {
        const headers = { 'x-user': user };
        const to = { host: '127.0.0.1', port: front.port, path: '/count', method, agent, headers };
        const asked = http.request(to, answer => {
          let text = '';
          answer.on('data', chunk => (text += chunk)).on('end', () => resolve(text));
        });
        asked.on('error', reject).end();
      });
  };
  return { legacy, candidate, ear, ask: connection(), askElsewhere: connection() };
}

const besideWrites = (ear: Ear) =>
  ear.exchanges.filter(({ method }) => method === 'GET').map(each => each.isBesideWrite);

test.each([
  ['on its connection', 'ask', 'http'],
  ['of its user, on another one', 'askElsewhere', 'http'],
  ['of its user, where streams are due', 'askElsewhere', 'sse'],
] as const)(
  'the judge knows of a read that overtakes the second copy of a write %s',
  async (_where, by, protocol) => {
    const user = 'ann';
    const { candidate, ear, ...client } = await withCounters(protocol);
    candidate.isHeld = true;
    await client.ask('POST', 'ann');
    expect(await client[by]('GET', user)).toBe('{"count":1}');
    await until('the candidate has the write', () => candidate.held.length === 1);
    await until('the read is told', () => besideWrites(ear).length === 1);
    candidate.held.shift()?.();
    await until('the write is compared', () => ear.exchanges.length === 2);
    expect(await client[by]('GET', user)).toBe('{"count":1}');
    await until('the next one is told', () => besideWrites(ear).length === 2);
    expect(besideWrites(ear)).toEqual([true, false]);
    expect(ear.unpairedOnes).toEqual([]);
    const texts = (['legacy', 'candidate'] as const).map(side =>
      String(ear.exchanges[2]?.[side].body),
    );
    expect(texts).toEqual(['{"count":1}', '{"count":1}']);
  },
);

test("another user's read, on another connection, is beside nothing", async () => {
  const { candidate, ear, ask, askElsewhere } = await withCounters();
  candidate.isHeld = true;
  await ask('POST', 'ann');
  await askElsewhere('GET', 'bob');
  await until('it is compared', () => ear.exchanges.some(({ method }) => method === 'GET'));
  expect(besideWrites(ear)).toEqual([false]);
});

// The fault: only the second service's copy counted, and where the candidate was the faster one each poll differed.
test('... or the write itself at the service that answers the client', async () => {
  const { legacy, candidate, ear, ask, askElsewhere } = await withCounters();
  legacy.isHeld = true;
  const written = ask('POST', 'ann');
  await until('legacy has the write', () => legacy.held.length === 1);
  await until('the candidate has answered', () => candidate.answered() === 1);
  expect(await askElsewhere('GET', 'ann')).toBe('{"count":0}');
  await until('the read is told', () => besideWrites(ear).length === 1);
  legacy.held.shift()?.();
  expect(await written).toBe('{"count":1}');
  await until('the write is compared', () => ear.exchanges.length === 2);
  expect(await askElsewhere('GET', 'ann')).toBe('{"count":1}');
  await until('the next one is told', () => besideWrites(ear).length === 2);
  expect(besideWrites(ear)).toEqual([true, false]);
});

test('a write that begins while he reads may be in one answer alone, whichever that is', async () => {
  const { legacy, candidate, ear, ask, askElsewhere } = await withCounters();
  legacy.areReadsHeld = true;
  const read = askElsewhere('GET', 'ann');
  await until('legacy has the read', () => legacy.reads.length === 1);
  await until('the candidate has answered it', () => candidate.answered() === 1);
  await ask('POST', 'ann');
  legacy.areReadsHeld = false;
  legacy.reads.shift()?.();
  expect(await read).toBe('{"count":1}');
  await until('it is told', () => besideWrites(ear).length === 1);
  // The next one has nothing beside it.
  await askElsewhere('GET', 'ann');
  await until('so is the next one', () => besideWrites(ear).length === 2);
  expect(besideWrites(ear)).toEqual([true, false]);
});
