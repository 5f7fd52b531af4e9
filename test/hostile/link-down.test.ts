// Row 42: a peer whose link goes down says nothing any more, and nobody says so for it. TCP keepalive
// finds out, whatever the lane, and whichever end it is.
import { expect, onTestFinished, test } from 'vitest';
import { type FarEnd, farEnd } from '../support/far-end.ts';
import { clientOf } from '../support/line.ts';
import { proxy } from '../support/proxy.ts';
import { type RawEnd, rawServer, upgradeRequest } from '../support/raw.ts';
import { hasNetworkNamespaces } from '../support/tools.ts';
import { until } from '../support/until.ts';

/** 30 s of silence, three probes 10 s apart, and the kernel's own coarse timers. */
const MOST_MS = 65_000;
/** Far less, and something else than the silence was the reason. */
const LEAST_MS = 30_000;

const STREAM = 'HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n: hello\n\n';

/** Requests that last, by the lane that takes them. */
const LASTING: Readonly<Record<string, string>> = {
  'a WebSocket': upgradeRequest(),
  'an unrouted WebSocket': upgradeRequest('/elsewhere'),
  'a stream': 'GET /api/events HTTP/1.1\r\nHost: h\r\n\r\n',
  'an unrouted stream': 'GET /events HTTP/1.1\r\nHost: h\r\n\r\n',
};

/** Connects, says `request`, prints a line when an answer has begun, and stays. */
const clientScript = (port: number, host: string, request: string) => `
import net from 'node:net';
const socket = net.connect(${port}, '${host}', () => socket.write(${JSON.stringify(request)}));
socket.once('data', () => console.log('answered'));`;

/** Answers each request as it asks, and then says nothing. */
const serviceScript = (host: string) => `
import net from 'node:net';
import { createHash } from 'node:crypto';
const server = net.createServer(socket => socket.once('data', head => {
  const key = /sec-websocket-key: (\\S+)/i.exec(head)?.[1];
  const accept = createHash('sha1').update(key + '258EAFA5-E914-47DA-95CA-C5AB0DC85B11').digest('base64');
  socket.write(key === undefined ? ${JSON.stringify(STREAM)} : 'HTTP/1.1 101 Ok\\r\\nUpgrade: websocket\\r\\nConnection: Upgrade\\r\\nSec-WebSocket-Accept: ' + accept + '\\r\\n\\r\\n');
})).listen(0, '${host}', () => console.log(server.address().port));`;

test.skipIf(!hasNetworkNamespaces())(
  '42: a peer whose link is down is gone within 60 s, and so is the other end of its connection',
  { timeout: 120_000 },
  async () => {
    const far = farEnd(process.pid % 256);
    onTestFinished(() => far.close());
    const ends = { ...(await farClients(far)), ...(await farServices(far)) };

    far.pull();
    const pulledAt = performance.now();
    const goneAfter = await Promise.all(
      Object.entries(ends).map(async ([what, end]) => {
        await until(`${what} is let go`, () => end.ended || end.closed, MOST_MS);
        return [what, performance.now() - pulledAt] as const;
      }),
    );
    expect(goneAfter.filter(([, ms]) => ms < LEAST_MS)).toEqual([]);
    expect(goneAfter).toHaveLength(2 * Object.keys(LASTING).length);
  },
);

/** Clients on the other machine; the ends of their connections at a service here. */
async function farClients(far: FarEnd): Promise<Record<string, RawEnd>> {
  const service = await rawServer();
  onTestFinished(() => service.close());
  const front = await proxy({ legacy: service.port, listen: { host: far.near } });
  onTestFinished(() => front.close());
  const ends: Record<string, RawEnd> = {};
  for (const [what, request] of Object.entries(LASTING)) {
    const answered = far.run(clientScript(front.port, far.near, request));
    const upstream = await service.next();
    if (request.includes('Upgrade')) await upstream.accept();
    else upstream.write(STREAM);
    await answered;
    ends[`${what} of a far client`] = upstream;
  }
  return ends;
}

/** Clients here, of a service on the other machine. */
async function farServices(far: FarEnd): Promise<Record<string, RawEnd>> {
  const port = await far.run(serviceScript(far.far));
  const front = await proxy({ legacy: `http://${far.far}:${port}` });
  onTestFinished(() => front.close());
  const ends: Record<string, RawEnd> = {};
  for (const [what, request] of Object.entries(LASTING)) {
    const client = await clientOf(front.port);
    client.write(request);
    await client.has('\r\n\r\n');
    ends[`${what} of a far service`] = client;
  }
  return ends;
}
