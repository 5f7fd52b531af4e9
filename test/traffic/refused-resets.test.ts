// A client may reset at the moment of its refusal, or a little after. node:http takes its own listener
// for errors off a socket with the upgrade, and the lane once took off the last one before it refused:
// 108 of 108 such clients raised an uncaught exception, of which `npm start` died.
import diagnostics from 'node:diagnostics_channel';
import type net from 'node:net';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type ProxyOptions, proxy } from '../support/proxy.ts';
import { type RawEnd, rawClient, rawServer, upgradeRequest } from '../support/raw.ts';
import { until } from '../support/until.ts';

const CLIENTS = 12;

const open: { close(): unknown }[] = [];
const uncaught: string[] = [];
/** Every socket that a server of this process accepted. */
const accepted: net.Socket[] = [];
const onUncaught = (error: unknown) => void uncaught.push(String(error));
const onAccepted = (message: unknown) =>
  void accepted.push((message as { socket: net.Socket }).socket);

beforeEach(() => {
  uncaught.length = 0;
  accepted.length = 0;
  process.on('uncaughtException', onUncaught);
  diagnostics.subscribe('net.server.socket', onAccepted);
});
afterEach(async () => {
  for (const thing of open.splice(0).reverse()) await thing.close();
  process.off('uncaughtException', onUncaught);
  diagnostics.unsubscribe('net.server.socket', onAccepted);
});

const without = (line: RegExp) => upgradeRequest().replace(line, '');

interface Refusal {
  /** What the client is told. */
  readonly says: string;
  readonly request?: string;
  readonly proxy?: Partial<ProxyOptions>;
  /** What the service answers. */
  readonly answer?: string;
  /** A first client takes the only place. */
  readonly full?: boolean;
}

const REFUSALS: Record<string, Refusal> = {
  'a target with a fragment': { says: ' 400 ', request: upgradeRequest('/ws#x') },
  'no key': { says: ' 400 ', request: without(/Sec-WebSocket-Key.*\r\n/) },
  'another version': { says: ' 426 ', request: without(/Sec-WebSocket-Version.*\r\n/) },
  'no credential': { says: ' 401 ', proxy: { identity: { absent: 'reject' } } },
  'no room': { says: ' 503 ', proxy: { limits: { maxSessions: 1 } }, full: true },
  'a service that is not there': { says: ' 502 ', proxy: { legacy: 'http://127.0.0.1:1' } },
  'a service that says nothing': {
    says: ' 504 ',
    proxy: { upstream: { handshakeTimeoutMs: 50 } },
  },
  'a service that does not speak HTTP': { says: ' 502 ', answer: 'SSH-2.0-x\r\n\r\n' },
  'a service with two lengths': {
    says: ' 502 ',
    answer: 'HTTP/1.1 403 No\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab',
  },
  'a service that refuses': {
    says: ' 403 ',
    answer: 'HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno',
  },
  'a bad target in the bypass': {
    says: ' 400 ',
    request: upgradeRequest('/ws#x'),
    proxy: { bypassed: () => true },
  },
  'a service that refuses in the bypass': {
    says: ' 403 ',
    answer: 'HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno',
    proxy: { bypassed: () => true },
  },
};

describe.each(Object.entries(REFUSALS))('%s:', (_what, refusal) => {
  async function clients() {
    const service = await rawServer();
    const front = await proxy({ legacy: service.port, ...refusal.proxy });
    open.push(service, front);
    if (refusal.full) {
      const first = await rawClient(front.port);
      open.push({ close: () => first.socket.destroy() });
      first.write(upgradeRequest());
      await (await service.next()).accept();
      await first.has(' 101 ');
    }
    const all = await Promise.all(Array.from({ length: CLIENTS }, () => rawClient(front.port)));
    const ports = all.map(end => end.socket.localPort);
    // The proxy's own ends of them.
    const sides = await until('all are accepted', () => {
      const found = accepted.filter(
        socket => socket.localPort === front.port && ports.includes(socket.remotePort),
      );
      return found.length === CLIENTS ? found : undefined;
    });
    return { service, all, sides };
  }
  const ask = (end: RawEnd) => end.write(refusal.request ?? upgradeRequest());

  async function answerAll(service: Awaited<ReturnType<typeof rawServer>>): Promise<void> {
    const { answer } = refusal;
    if (answer === undefined) return;
    for (let i = 0; i < CLIENTS; i++) {
      const upstream = await service.next();
      await upstream.has('\r\n\r\n');
      upstream.write(answer);
    }
  }

  test('clients that reset behind their request end, and nothing is left uncaught', async () => {
    const { all, sides } = await clients();
    for (const end of all) {
      ask(end);
      end.socket.resetAndDestroy();
    }
    await until('the proxy has closed them', () => sides.every(socket => socket.closed));
    expect(uncaught).toEqual([]);
  });

  test('clients that send more behind the answer and reset end, and nothing is left uncaught', async () => {
    const { service, all, sides } = await clients();
    for (const end of all) ask(end);
    await answerAll(service);
    for (const end of all) await end.has(refusal.says);
    for (const end of all) {
      for (let i = 0; i < 4; i++) end.write(Buffer.alloc(64 * 1024));
      end.socket.resetAndDestroy();
    }
    await until('the proxy has closed them', () => sides.every(socket => socket.closed));
    expect(uncaught).toEqual([]);
  });
});
