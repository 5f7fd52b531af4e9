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

/** Counts writes; `hold` keeps them back until it is released. */
async function counter() {
  let count = 0;
  const held: (() => void)[] = [];
  const service = { port: 0, isHeld: false, held };
  const server = http.createServer((request, response) => {
    request.resume();
    const say = () => response.end(JSON.stringify({ count }));
    const write = () => {
      count += 1;
      say();
    };
    if (request.method !== 'POST') say();
    else if (service.isHeld) held.push(write);
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

test('a read that would overtake the second copy of a write of its client is not compared', async () => {
  const [legacy, candidate] = [await counter(), await counter()];
  const ear = new Ear();
  const second = { side: 'candidate', role: 'shadow' } as const;
  const decision = { ...decisionFor('legacy'), second, writeTo: 'both' } as const;
  const front = await proxy({
    ...{ legacy: legacy.port, candidate: candidate.port, tap: ear },
    routes: [{ name: 'api', path: '/*', protocol: 'http', writes: 'both' }],
    decider: () => ({ decision, revision: 'test' }),
  });
  open.push(front);
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  open.push({ close: () => agent.destroy() });
  const ask = (method: string) =>
    new Promise<string>((resolve, reject) => {
      const to = { host: '127.0.0.1', port: front.port, path: '/count', method, agent };
      const asked = http.request(to, answer => {
        let text = '';
        answer.on('data', chunk => (text += chunk)).on('end', () => resolve(text));
      });
      asked.on('error', reject).end();
    });
  candidate.isHeld = true;
  await ask('POST');
  expect(await ask('GET')).toBe('{"count":1}');
  await until('the candidate has the write', () => candidate.held.length === 1);
  expect(ear.unpairedOnes).toEqual(['api legacy']);
  candidate.held.shift()?.();
  await until('the write is compared', () => ear.exchanges.length === 1);
  // From here on reads are compared again.
  expect(await ask('GET')).toBe('{"count":1}');
  await until('the read is compared', () => ear.exchanges.length === 2);
  const texts = (['legacy', 'candidate'] as const).map(side =>
    String(ear.exchanges[1]?.[side].body),
  );
  expect(texts).toEqual(['{"count":1}', '{"count":1}']);
});
