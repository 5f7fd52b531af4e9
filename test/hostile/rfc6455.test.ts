// Rows 36 to 40: a proxy that forwards bytes behaves like the end behind it. Every case is sent to a good
// end directly and through all lanes, by clients to a service and by services to a client; what comes
// back, and how it ends, must be the same.
import { once } from 'node:events';
import http from 'node:http';
import net from 'node:net';
import type { Duplex } from 'node:stream';
import pino from 'pino';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { WebSocket, WebSocketServer } from 'ws';
import { Judge } from '../../src/judge/judge.ts';
import { DEFAULT_RULES } from '../../src/rules/compare/rules.ts';
import { SIDES } from '../../src/rules/decide.ts';
import { DEFAULT_ISOLATION } from '../../src/rules/isolation/rules.ts';
import { imbalance } from '../../src/rules/pairing/books.ts';
import { FrameTracker } from '../../src/wire/frames.ts';
import { acceptFor } from '../../src/wire/handshake.ts';
import { onTheWay } from '../support/on-the-way.ts';
import { decisionFor, proxy, type TestProxy } from '../support/proxy.ts';
import { RawEnd, rawClient, upgradeRequest } from '../support/raw.ts';
import { until } from '../support/until.ts';
import { type Case, casesOf, type Sender } from './rfc6455-cases.ts';

/**
 * A path that a route names, one whose users nobody else's data is to reach, one whose clients' messages a second
 * service is shown, whose answers are judged, and one that no route names.
 */
const LANES = {
  'the WebSocket lane': '/ws',
  'the WebSocket lane with a guard': '/guarded',
  'the WebSocket lane with a second leg': '/compared',
  'the bypass': '/elsewhere',
} as const;

const GUARDED = 'the WebSocket lane with a guard';
/** The one client that sees a guard: it would refuse that length, which is held as long as it has not come. */
const HELD = 'a length of 1 TB and a few bytes';

/** What the sender got back, and what the receiver says of the end, as far as he says anything. */
interface Outcome {
  readonly bytes: Buffer;
  readonly told: string;
}

/** Plays a case at a service, or a proxy, on this port. */
type Play = (port: number, path: string, send: Case[2]) => Promise<Outcome>;

/** `ws` would refuse 4 MiB in frames of 64 bytes, which are more of them than it takes by itself. */
const READING = { perMessageDeflate: false, maxFragments: 100_000 } as const;
/** Echoes, and says what is wrong with what it can not read. */
const echo = new WebSocketServer({ noServer: true, ...READING });
/** Connections that a case is to be sent by, by the number in their query; the rest is echoed. */
const awaited = new Map<string, (service: RawEnd) => void>();
let plays = 0;
let server: http.Server;
/** Echoes whatever it is shown. */
let second: http.Server;
let judge: Judge;
let front: TestProxy;
const ports = { direct: 0, proxied: 0 };

function echoTo(request: http.IncomingMessage, socket: Duplex, head: Buffer): void {
  echo.handleUpgrade(request, socket, head, open => {
    open.on('message', (data, binary) => open.send(data, { binary }));
    // A close for what it could not read is its answer, and is compared.
    open.on('error', () => undefined);
  });
}

async function listening(which: http.Server): Promise<number> {
  which.listen(0, '127.0.0.1');
  await once(which, 'listening');
  return (which.address() as net.AddressInfo).port;
}

beforeAll(async () => {
  second = http.createServer().on('upgrade', echoTo);
  server = http.createServer();
  server.on('upgrade', (request, socket, head) => {
    const number = /\?(\d+)$/.exec(request.url ?? '')?.[1];
    if (number === undefined) return echoTo(request, socket, head);
    const accept = acceptFor(request.headers['sec-websocket-key'] ?? '');
    socket.write(
      `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`,
    );
    awaited.get(number)?.(new RawEnd(socket as net.Socket));
  });
  ports.direct = await listening(server);
  const paths = ['/ws', '/guarded', '/compared'];
  const routes = paths.map(path => ({ name: path.slice(1), path, protocol: 'websocket' as const }));
  const rules = { compare: DEFAULT_RULES, noise: null, isolation: DEFAULT_ISOLATION };
  judge = new Judge({
    rules: Object.fromEntries(routes.map(({ name }) => [name, rules])),
    ...{ evidence: null, logger: pino({ level: 'silent' }) },
  });
  front = await proxy({
    legacy: ports.direct,
    candidate: await listening(second),
    tap: judge.tap,
    identity: { sources: [{ from: 'header', name: 'X-User' }], verify: 'unverified' },
    listen: { trustedProxies: ['127.0.0.1'] },
    routes: routes.map(route => ({ ...route, mirror: 'all' })),
    decider: ({ name }) => ({
      decision: {
        ...decisionFor('legacy'),
        second: name === 'compared' ? { side: 'candidate', role: 'shadow' } : null,
        isolation: name === 'guarded' ? 'sanitize' : 'observe',
      },
      revision: 'test',
    }),
  });
  ports.proxied = front.port;
});
afterAll(async () => {
  await front.close();
  await judge.close();
  for (const each of [server, second]) each.close();
});

/** What comes to one end from now on, behind `before`: megabytes of it, which are not to be looked through again. */
function collect({ socket }: RawEnd, before: Buffer) {
  const pieces: Buffer[] = [];
  const tracker = new FrameTracker();
  const onData = (piece: Buffer) => {
    pieces.push(piece);
    tracker.push(piece);
  };
  onData(before);
  socket.removeAllListeners('data').on('data', onData);
  return { hasClose: () => tracker.closeCode !== null, bytes: () => Buffer.concat(pieces) };
}

const isOver = (end: RawEnd) => end.ended || end.closed;

async function sendAll(end: RawEnd, send: Case[2]): Promise<void> {
  for (const piece of send) {
    if (isOver(end)) return;
    end.write(piece);
    // Small ones arrive in reads of their own.
    if (piece.length < 1_000) await new Promise(resolve => setImmediate(resolve));
  }
}

/**
 * What came behind the head of the 101, up to the end of the connection. Whether that was an end or a
 * reset of TCP is one to a WebSocket (RFC 6455 7.1.5): what tells them apart is the close frame before.
 */
async function playClient(port: number, path: string, send: Case[2]): Promise<Outcome> {
  const client = await rawClient(port);
  client.write(upgradeRequest(path, 'X-User: ann\r\n'));
  await client.has('\r\n\r\n');
  const answer = collect(client, client.received.subarray(client.text.indexOf('\r\n\r\n') + 4));
  await sendAll(client, send);
  // Whoever asked for a close waits for it. A client that ended the connection at once would race it.
  if (hasClose(Buffer.concat(send)))
    await until('the service closes', () => isOver(client) || answer.hasClose());
  client.socket.end();
  await until('the connection ends', () => isOver(client));
  client.socket.destroy();
  return { bytes: answer.bytes(), told: '' };
}

/** The same from the other end. A service ends the connection when it has a close (RFC 6455 7.1.1). */
async function playService(port: number, path: string, send: Case[2]): Promise<Outcome> {
  plays += 1;
  const number = String(plays);
  const accepted = new Promise<RawEnd>(resolve => awaited.set(number, resolve));
  const tcp = net.connect({ host: '127.0.0.1', port });
  const client = new WebSocket(`ws://127.0.0.1:${port}${path}?${number}`, {
    ...READING,
    headers: { 'X-User': 'ann' },
    createConnection: () => tcp,
    // By chance otherwise.
    generateMask: mask => void mask.fill(0),
  });
  const told: string[] = [];
  client.on('message', (data, binary) => client.send(data, { binary }));
  client.on('error', error => told.push(error.message));
  client.on('close', (code, reason) => told.push(`${code} ${reason.toString('hex')}`));
  await once(client, 'open');
  const headBytes = tcp.bytesRead;
  const service = await accepted;
  const answer = collect(service, service.received);
  awaited.delete(number);
  await sendAll(service, send);
  const all = Buffer.concat(send);
  // A guard gives nobody the beginning of a message that never ends: then the proxy has read it.
  const isHeld = path === LANES[GUARDED] && !endsWhole(all);
  await until('it has been read', () =>
    isHeld
      ? onTheWay(service, 'out') === 0
      : tcp.bytesRead - headBytes >= all.length || client.readyState !== WebSocket.OPEN,
  );
  await new Promise(resolve => setImmediate(resolve));
  if (hasClose(all) || client.readyState !== WebSocket.OPEN)
    await until('the client closes', () => isOver(service) || answer.hasClose());
  service.socket.end();
  await until('both are over', () => isOver(service) && client.readyState === WebSocket.CLOSED);
  service.socket.destroy();
  return { bytes: answer.bytes(), told: told.join(', ') };
}

const CASES = { client: casesOf('client'), service: casesOf('service') };
const PLAYS: Readonly<Record<Sender, Play>> = { client: playClient, service: playService };

/** By the suite's chapter. */
function rowOf(section: string): number {
  if (section.startsWith('6.') || section.startsWith('7.5')) return 37;
  return section.startsWith('7.') ? 38 : 36;
}

describe.each(['client', 'service'] as const)('sent by the %s:', sender => {
  const play = PLAYS[sender];
  test.each(CASES[sender].map(c => [rowOf(c[0]), ...c] as const))(
    '%i: %s: %s',
    async (_row, _section, what, send) => {
      const [direct, ...proxied] = await Promise.all([
        play(ports.direct, '/ws', send),
        ...Object.values(LANES).map(path => play(ports.proxied, path, send)),
      ]);
      for (const [i, { bytes, told }] of proxied.entries()) {
        const lane = Object.keys(LANES)[i];
        if (what === HELD && sender === 'service' && lane === GUARDED) {
          expect({ bytes: bytes.length, told }).toEqual({ bytes: 0, told: '1006 ' });
          continue;
        }
        expect(told, lane).toBe(direct.told);
        // Said only where they differ: millions of bytes are slow to compare one by one.
        if (!bytes.equals(direct.bytes)) expect(bytes, lane).toEqual(direct.bytes);
      }
    },
  );
});

test('what they have said to a second service, and it to them, was judged, and its books balance', async () => {
  expect(judge.failures + judge.restarts).toBe(0);
  const books = await until('nothing waits any more', () => {
    const of = judge.books().get('compared');
    return of !== undefined && of.legacy.pending + of.candidate.pending === 0 ? of : null;
  });
  expect(imbalance(books)).toBeNull();
  for (const side of SIDES) expect(books[side].seen).toBeGreaterThan(100);
  expect(books.legacy.match).toBeGreaterThan(50);
});

test('the cases are what they say: good ones are echoed, bad ones closed for their reason', async () => {
  for (const sender of ['client', 'service'] as const) {
    const codeOf = async (what: string) => {
      const [, , send] = CASES[sender].find(c => c[1] === what) ?? [];
      if (send === undefined) throw new Error(`there is no case "${what}"`);
      const { bytes } = await PLAYS[sender](ports.direct, '/ws', send);
      return [bytes[0], bytes.subarray(-2).readUInt16BE()];
    };
    expect(await codeOf('text of 128 bytes')).toEqual([0x81, 1000]);
    expect(await codeOf('a close with half a code')).toEqual([0x88, 1002]);
    expect(await codeOf('a lone continuation, in one frame')).toEqual([0x88, 1007]);
    expect(await codeOf('UTF-8 or not: f4908080')).toEqual([0x88, 1007]);
    expect(await codeOf('7 bytes of text')).toEqual([0x88, 1007]);
    expect(await codeOf('the noncharacter U+1FFFE')).toEqual([0x81, 1000]);
    expect(await codeOf('4 MiB in frames of 64 bytes')).toEqual([0x82, 1000]);
    expect(await codeOf('a length beyond 2^53')).toEqual([0x88, 1009]);
  }
});

/** The last message is there to its end. */
function endsWhole(bytes: Uint8Array): boolean {
  const tracker = new FrameTracker();
  tracker.push(bytes);
  return tracker.atMessageBoundary;
}

function hasClose(bytes: Uint8Array): boolean {
  const tracker = new FrameTracker();
  tracker.push(bytes);
  return tracker.closeCode !== null;
}
