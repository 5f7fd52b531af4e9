// Legacy is asked twice: what is sent a second time, what never is, and that the client has nothing to do
// with it.
import http from 'node:http';
import type net from 'node:net';
import { afterEach, expect, test } from 'vitest';
import { Ear } from '../support/ear.ts';
import type { ProxyOptions } from '../support/proxy.ts';
import { decisionFor, proxy } from '../support/proxy.ts';
import { until } from '../support/until.ts';

const open: { close(): unknown }[] = [];
afterEach(async () => {
  for (const thing of open.splice(0).reverse()) await thing.close();
});

interface Asked {
  method: string;
  role: string | undefined;
  credential: string | undefined;
}

/** A service that answers with how often it was asked; `answer` may hold back. */
async function service(answer: (response: http.ServerResponse, nth: number) => void) {
  const asked: Asked[] = [];
  const server = http.createServer(({ method = '', headers }, response) => {
    const role = headers['x-cutover-role'] as string | undefined;
    asked.push({ method, role, credential: headers.authorization });
    answer(response, asked.length);
  });
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  const close = () => {
    server.closeAllConnections();
    server.close();
  };
  open.push({ close });
  return { asked, port: (server.address() as net.AddressInfo).port };
}

async function withTwins(options: Pick<ProxyOptions, 'legacy'> & Partial<ProxyOptions>) {
  const ear = new Ear();
  const front = await proxy({
    tap: ear,
    twins: { take: () => true, isOn: () => true },
    ...options,
  });
  open.push(front);
  const ask = (init: RequestInit = {}) => fetch(`http://127.0.0.1:${front.port}/api/x`, init);
  return { ear, front, ask };
}

const counted = (response: http.ServerResponse, nth: number) =>
  void response.end(JSON.stringify({ nth }));

test('a safe request goes to legacy a second time, marked, as the same user', async () => {
  const { asked, port } = await service(counted);
  const { ear, ask } = await withTwins({ legacy: port });
  const answer = await ask({ headers: { authorization: 'Bearer a' } });
  await until('both have answered', () => ear.twinned.length === 1);
  expect(
    asked.toSorted((a, b) => Number(a.role === 'shadow') - Number(b.role === 'shadow')),
  ).toEqual([
    { method: 'GET', role: undefined, credential: 'Bearer a' },
    { method: 'GET', role: 'shadow', credential: 'Bearer a' },
  ]);
  const [{ legacy, candidate, route } = expect.fail()] = ear.twinned;
  const texts = [legacy.body, candidate.body].map(String);
  expect([route, texts.toSorted()]).toEqual(['api', ['{"nth":1}', '{"nth":2}']]);
  // The client's own answer is the first of the two.
  expect(await answer.text()).toBe(texts[0]);
  // It is nobody's comparison of the two services.
  expect([ear.exchanges, ear.unpairedOnes]).toEqual([[], []]);
});

test('nothing that may change state is sent twice, nor what the candidate serves', async () => {
  const legacy = await service(counted);
  const candidate = await service(counted);
  let side: 'legacy' | 'candidate' = 'legacy';
  const { ear, ask } = await withTwins({
    ...{ legacy: legacy.port, candidate: candidate.port },
    decider: () => ({ decision: decisionFor(side), revision: 'test' }),
  });
  for (const method of ['POST', 'PUT', 'DELETE', 'PATCH']) await ask({ method });
  side = 'candidate';
  await ask();
  side = 'legacy';
  await ask();
  await until('the last one was', () => ear.twinned.length === 1);
  expect(legacy.asked.map(({ method }) => method)).toEqual([
    ...['POST', 'PUT', 'DELETE', 'PATCH', 'GET', 'GET'],
  ]);
  expect(candidate.asked).toHaveLength(1);
});

test('what is not sampled is asked once', async () => {
  const { asked, port } = await service(counted);
  let sampled = 0;
  const { ear, ask } = await withTwins({
    legacy: port,
    twins: { isOn: () => true, take: route => route === 'api' && ++sampled === 2 },
  });
  for (let i = 0; i < 3; i++) await ask();
  await until('one of three is', () => ear.twinned.length === 1);
  expect(asked).toHaveLength(4);
});

test('the stream of a twin of legacy stands beside a stream that is compared, while it is measured', async () => {
  const streams = await service(response => {
    response.writeHead(200, { 'content-type': 'text/event-stream' }).write('data: x\n\n');
  });
  const twin = await service((response, nth) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.write(`data: ${nth} of the twin\n\n`);
  });
  let isOn = true;
  const { ear, front } = await withTwins({
    ...{ legacy: streams.port, candidate: streams.port, legacyTwin: twin.port },
    routes: [{ name: 'sse', path: '/events', protocol: 'sse' }],
    decider: () => ({
      decision: { ...decisionFor('legacy'), second: { side: 'candidate', role: 'shadow' } },
      revision: 'test',
    }),
    twins: { take: () => isOn, isOn: () => isOn },
  });
  const stream = async () => {
    const answer = await fetch(`http://127.0.0.1:${front.port}/events`);
    open.push({ close: () => answer.body?.cancel() });
  };
  await stream();
  const heard = await until('the judge hears of it', () => ear.streams.find(s => s.facts.isTwin));
  await until('and hears it', () => heard.bytesOf.candidate.length > 0);
  expect(Buffer.concat(heard.bytesOf.candidate).toString()).toBe('data: 1 of the twin\n\n');
  expect(heard.facts.id).toBe(ear.streams.find(s => !s.facts.isTwin)?.facts.id);
  expect(twin.asked).toMatchObject([{ method: 'GET', role: 'shadow' }]);
  isOn = false;
  await until('it ends when nobody measures', () => heard.notes.includes('end'));
  await stream();
  await until('the next one is compared', () => streams.asked.length === 4);
  expect(twin.asked).toHaveLength(1);
});

test('a second answer that never comes holds up nobody, and counts for nothing', async () => {
  const { asked, port } = await service((response, nth) => {
    if (nth === 1) counted(response, nth);
  });
  const { ear, front, ask } = await withTwins({
    legacy: port,
    upstream: { responseTimeoutMs: 200 },
    twins: { isOn: () => true, take: () => asked.length === 0 },
  });
  // Whichever of the two came first was answered; the other one's end is its time limit.
  const answer = await ask();
  await until(
    'one was given up',
    () => front.reports.some(({ kind }) => kind === 'second-ended') || answer.status === 504,
  );
  expect(ear.twinned.filter(({ candidate }) => candidate.end === 'complete').length).toBe(
    answer.status === 504 ? 1 : 0,
  );
});
