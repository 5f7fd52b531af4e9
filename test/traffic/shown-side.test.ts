// Who served a client, told to whoever asks for it: in every lane, and by nobody else's word.
import { afterEach, describe, expect, test } from 'vitest';
import { decisionFor, type ProxyOptions, proxy } from '../support/proxy.ts';
import { type RawEnd, rawClient, rawServer, upgradeRequest } from '../support/raw.ts';

const open: { close(): unknown }[] = [];
afterEach(async () => {
  for (const thing of open.splice(0).reverse()) await thing.close();
});

const ROUTES: NonNullable<ProxyOptions['routes']> = [
  { name: 'events', path: '/ws', protocol: 'websocket' },
  { name: 'api', path: '/api/*', protocol: 'http' },
  { name: 'sse', path: '/events', protocol: 'sse' },
];
const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n';
const REFUSAL = 'HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n';
const get = (path: string) => `GET ${path} HTTP/1.1\r\nHost: proxy.test\r\n\r\n`;

/** What the client got: the answer's head in lower case, and the values of the field in question. */
async function ask(
  request: string,
  { showSide = true, bypassed = false, answer = OK, own = '' } = {},
): Promise<{ head: string; sides: string[] }> {
  const [legacy, candidate] = [await rawServer(), await rawServer()];
  const front = await proxy({
    legacy: legacy.port,
    candidate: candidate.port,
    routes: ROUTES,
    listen: { showSide },
    bypassed: () => bypassed,
    decider: () => ({ decision: decisionFor('candidate'), revision: 'test' }),
  });
  const client = await rawClient(front.port);
  open.push(legacy, candidate, front, { close: () => client.socket.destroy() });
  client.write(request);
  const unrouted = request.includes(' /other ');
  await answered(await (bypassed || unrouted ? legacy : candidate).next(), answer, own);
  await client.has('\r\n\r\n');
  const head = client.text.slice(0, client.text.indexOf('\r\n\r\n')).toLowerCase();
  return { head, sides: [...head.matchAll(/^x-cutover-side: (.*)$/gm)].map(m => m[1] as string) };
}

async function answered(upstream: RawEnd, answer: string, own: string): Promise<void> {
  if (answer === '101') return upstream.accept(undefined, own);
  await upstream.has('\r\n\r\n');
  upstream.write(`${answer}${own}\r\nok`);
}

describe.each([
  ['an HTTP answer', get('/api/x'), {}, 'candidate'],
  ['a stream of events', get('/events'), {}, 'candidate'],
  ['a 101', upgradeRequest('/ws'), { answer: '101' }, 'candidate'],
  ['a refused handshake', upgradeRequest('/ws'), { answer: REFUSAL }, 'candidate'],
  ['what no route names', get('/other'), {}, 'legacy'],
  ['a 101 that no route names', upgradeRequest('/other'), { answer: '101' }, 'legacy'],
  ['an answer in the bypass', get('/api/x'), { bypassed: true }, 'legacy'],
  ['a 101 in the bypass', upgradeRequest('/ws'), { bypassed: true, answer: '101' }, 'legacy'],
  [
    'a refused handshake in the bypass',
    upgradeRequest('/ws'),
    { bypassed: true, answer: REFUSAL },
    'legacy',
  ],
])('%s', (_what, request, options, side) => {
  test('names the side that gave it, whatever the service says', async () => {
    const own = 'X-Cutover-Side: somewhere\r\nX-Own: 1\r\n';
    const { head, sides } = await ask(request, { ...options, own });
    expect(head).toContain('x-own: 1');
    expect(sides).toEqual([side]);
  });

  test('names none without showSide', async () => {
    const { head, sides } = await ask(request, {
      ...options,
      showSide: false,
      own: 'X-Own: 1\r\n',
    });
    expect(head).toContain('x-own: 1');
    expect(sides).toEqual([]);
  });
});
