// Row 26: a proxy whose service is itself. What goes round is counted on the way: each request comes back
// once to each service that is to have it, is refused there, and nothing of it stays.
import { once } from 'node:events';
import net from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import type { Decision } from '../../src/rules/decide.ts';
import { clientOf } from '../support/line.ts';
import { type ProxyOptions, proxy, type TestProxy } from '../support/proxy.ts';
import { upgradeRequest } from '../support/raw.ts';
import { until } from '../support/until.ts';

const HEAD = /^(?:GET|POST) \S+ HTTP\/1\.1\r\n/gm;

interface Loop {
  readonly front: TestProxy;
  /** Requests that went round so far. */
  hops(): number;
  /** Connections that are on their way round. */
  open(): number;
}

async function loop(options: Partial<ProxyOptions> = {}): Promise<Loop> {
  const connections: net.Socket[] = [];
  let hops = 0;
  let port = 0;
  const way = net.createServer(socket => {
    const back = net.connect({ host: '127.0.0.1', port });
    for (const end of [socket, back]) {
      connections.push(end);
      end
        .on('error', () => undefined)
        .on('close', () => (end === socket ? back : socket).destroy());
    }
    socket.on('data', chunk => {
      hops += chunk.toString('latin1').match(HEAD)?.length ?? 0;
    });
    socket.pipe(back).pipe(socket);
  });
  way.listen(0, '127.0.0.1');
  await once(way, 'listening');
  onTestFinished(() => {
    for (const socket of connections) socket.destroy();
    way.close();
  });
  const front = await proxy({ legacy: (way.address() as net.AddressInfo).port, ...options });
  onTestFinished(() => front.close());
  port = front.port;
  return {
    front,
    hops: () => hops,
    open: () => connections.filter(socket => !socket.destroyed).length,
  };
}

const shown: Decision = {
  ...{
    primary: 'legacy',
    second: { side: 'candidate', role: 'shadow' },
    overhear: false,
    writeTo: 'both',
  },
  ...{ isolation: 'observe', otherIsolation: 'observe', reason: 'serve-flag' },
};
const TWICE: Partial<ProxyOptions> = {
  decider: () => ({ decision: shown, revision: 'test' }),
  routes: [
    { name: 'events', path: '/ws', protocol: 'websocket' },
    { name: 'api', path: '/api/*', protocol: 'http', writes: 'both' },
  ],
};
const get = (path: string) => `GET ${path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n`;
const post = (path: string) =>
  `POST ${path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}`;

test.each<[string, string, Partial<ProxyOptions>, number]>([
  ['a request on a route', get('/api/x'), {}, 1],
  ['a request on the bypass', get('/x'), {}, 1],
  ['a WebSocket on a route', upgradeRequest('/ws'), {}, 1],
  ['a WebSocket on the bypass', upgradeRequest('/elsewhere'), {}, 1],
  ['a request that the candidate is shown', get('/api/x'), TWICE, 2],
  ['a write to both services', post('/api/x'), TWICE, 2],
  ['a WebSocket with a second leg', upgradeRequest('/ws'), TWICE, 2],
])(
  '26: %s goes round once to each service, and is a 508',
  async (_what, request, options, most) => {
    const { front, hops, open } = await loop(options);
    const client = await clientOf(front.port);
    client.write(request);
    await client.has('"code":"loop"');
    expect(client.text).toMatch(/^HTTP\/1\.1 508 /);
    await until('the client is closed', () => client.ended);
    client.socket.destroy();
    await until('nothing is on its way', () => hops() === most && open() === 0);
    expect(front.reports.filter(({ what }) => what === 'loop')).toHaveLength(most);
  },
);
