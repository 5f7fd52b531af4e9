// The clients of a soak, each kind with one visit: what it does, and what it must get.
import { once } from 'node:events';
import http from 'node:http';
import net from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import { WebSocket } from 'ws';
import { FLOOD_BYTES } from './service.ts';

/** Whatever takes longer has failed. */
const MOST_MS = 30_000;
const UPLOAD = Buffer.alloc(400_000, 'u');

export interface Visitor {
  readonly port: number;
  /** `Authorization` field of the user. */
  readonly bearer: string;
}

/** One visit; rejects if the visitor did not get what was his. */
export type Visit = (visitor: Visitor) => Promise<void>;

export interface Kind {
  /** Visits at a time, and the pause of each visitor before he comes again. */
  readonly visitors: number;
  readonly pauseMs: number;
  readonly visit: Visit;
}

export const KINDS: Readonly<Record<string, Kind>> = {
  churn: { visitors: 8, pauseMs: 100, visit: comeAndGo },
  'slow readers': { visitors: 4, pauseMs: 500, visit: readSlowly },
  'slow downloads': { visitors: 2, pauseMs: 500, visit: downloadSlowly },
  resets: { visitors: 4, pauseMs: 100, visit: resetSomewhere },
  'refused upgrades': { visitors: 2, pauseMs: 100, visit: beRefused },
  uploads: { visitors: 2, pauseMs: 200, visit: upload },
  streams: { visitors: 6, pauseMs: 200, visit: listen },
  requests: { visitors: 4, pauseMs: 20, visit: ask },
};

/** A WebSocket that says something now and then, until `over`; rejects if it was ended before that. */
export async function stay({ port, bearer }: Visitor, over: Promise<void>): Promise<void> {
  const socket = await open(port, bearer);
  const timer = setInterval(() => socket.send('{"type":"still","event_id":"here"}'), 1_000);
  const closed = once(socket, 'close');
  const ended = await Promise.race([closed, over]);
  clearInterval(timer);
  if (ended !== undefined) throw new Error(`ended with ${ended[0]} "${ended[1]}"`);
  await close(socket, 1000);
}

async function comeAndGo({ port, bearer }: Visitor): Promise<void> {
  const socket = await open(port, bearer);
  for (let i = 0; i < 5; i += 1) {
    const answer = once(socket, 'message', inTime());
    socket.send(JSON.stringify({ type: 'say', event_id: `${i}`, words: 'w'.repeat(i * 400) }));
    await answer;
  }
  await close(socket, 4000);
}

async function readSlowly({ port, bearer }: Visitor): Promise<void> {
  const socket = await open(port, bearer, '/ws?flood');
  let bytes = 0;
  socket.on('message', data => {
    bytes += (data as Buffer).length;
    socket.pause();
    setTimeout(() => socket.resume(), 20);
  });
  await until(() => bytes >= FLOOD_BYTES);
  await close(socket, 1000);
}

async function downloadSlowly({ port, bearer }: Visitor): Promise<void> {
  const response = await request(port, bearer, { path: '/api/large' });
  let bytes = 0;
  for await (const chunk of response) {
    bytes += chunk.length;
    await pause(5);
  }
  expectEqual(bytes, FLOOD_BYTES);
}

/** Leaves without a word, in one of the moments in which one can. */
async function resetSomewhere({ port, bearer }: Visitor): Promise<void> {
  const fields = `Host: h\r\nAuthorization: ${bearer}\r\n`;
  const upgrade = `GET /ws?flood HTTP/1.1\r\n${fields}Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n`;
  const requests = [
    'GET /api/x HT',
    upgrade,
    upgrade.replace('?flood', ''),
    upgrade.replace('/ws?flood', '/unrouted'),
    `GET /events HTTP/1.1\r\n${fields}\r\n`,
    `GET /api/large HTTP/1.1\r\n${fields}\r\n`,
    `GET /large HTTP/1.1\r\n${fields}\r\n`,
    `POST /api/x HTTP/1.1\r\n${fields}Content-Length: 1000\r\n\r\nhalf`,
    'garbage\r\n\r\n',
  ];
  const socket = net.connect({ host: '127.0.0.1', port });
  // It resets, and may be reset.
  socket.on('error', () => undefined);
  await once(socket, 'connect', inTime());
  socket.write(requests[Math.floor(Math.random() * requests.length)] ?? '');
  await pause(Math.random() * 50);
  socket.resetAndDestroy();
}

async function beRefused({ port, bearer }: Visitor): Promise<void> {
  const socket = socketTo({ port, bearer }, '/ws?refused');
  const [, response] = (await once(socket, 'unexpected-response', inTime())) as [
    unknown,
    http.IncomingMessage,
  ];
  const body = Buffer.concat(await response.toArray()).toString();
  expectEqual(`${response.statusCode} ${body}`, '403 {"error":"not you"}');
}

async function upload({ port, bearer }: Visitor): Promise<void> {
  const answer = await request(port, bearer, { path: '/api/upload', method: 'POST' }, UPLOAD);
  const { bytes } = JSON.parse(Buffer.concat(await answer.toArray()).toString());
  expectEqual(bytes, UPLOAD.length);
}

async function listen({ port, bearer }: Visitor): Promise<void> {
  const response = await request(port, bearer, { path: '/events' });
  let text = '';
  for await (const chunk of response) {
    text += chunk;
    if (text.includes('id: 20\n')) break;
  }
  const ids = [...text.matchAll(/^id: (\d+)$/gm)].map(([, id]) => Number(id));
  expectEqual(ids.slice(0, 20).join(), Array.from({ length: 20 }, (_, i) => i + 1).join());
}

/** Ten requests on one connection. */
async function ask({ port, bearer }: Visitor): Promise<void> {
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  try {
    for (let i = 0; i < 10; i += 1) {
      const path = i % 3 === 2 ? '/unrouted' : '/api/x';
      const response = await request(port, bearer, { path, agent });
      expectEqual(response.statusCode, 200);
      await response.resume().toArray();
    }
  } finally {
    agent.destroy();
  }
}

export async function open(port: number, bearer: string, path = '/ws'): Promise<WebSocket> {
  const socket = socketTo({ port, bearer }, path);
  await once(socket, 'open', inTime());
  return socket;
}

function socketTo({ port, bearer }: Visitor, path: string): WebSocket {
  const socket = new WebSocket(`ws://127.0.0.1:${port}${path}`, {
    headers: { authorization: bearer },
  });
  // What comes after its visitor has given up is one failed visit, and not the end of the soak.
  socket.on('error', () => undefined);
  return socket;
}

export async function close(socket: WebSocket, code: number): Promise<void> {
  const closed = once(socket, 'close', inTime());
  socket.close(code);
  expectEqual((await closed)[0], code);
}

async function request(
  port: number,
  bearer: string,
  options: http.RequestOptions,
  body?: Buffer,
): Promise<http.IncomingMessage> {
  const outgoing = http.request({
    ...{ host: '127.0.0.1', port, agent: false, headers: { authorization: bearer } },
    ...options,
    ...inTime(),
  });
  const answered = once(outgoing, 'response');
  outgoing.end(body);
  return (await answered)[0];
}

export async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  const { signal } = inTime();
  while (!(await condition())) await pause(20, undefined, { signal });
}

function inTime(): { signal: AbortSignal } {
  return { signal: AbortSignal.timeout(MOST_MS) };
}

function expectEqual(seen: unknown, expected: unknown): void {
  if (seen !== expected) throw new Error(`got ${String(seen).slice(0, 200)}, not ${expected}`);
}
