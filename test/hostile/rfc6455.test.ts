// Rows 36 to 40: a proxy that forwards bytes behaves like the service behind it. Every case is sent to
// the service itself and through the proxy; what comes back, and how it ends, must be the same.
import { once } from 'node:events';
import type net from 'node:net';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { WebSocketServer } from 'ws';
import { FrameTracker } from '../../src/wire/frames.ts';
import { proxy, type TestProxy } from '../support/proxy.ts';
import { rawClient, upgradeRequest } from '../support/raw.ts';
import { until } from '../support/until.ts';
import { CASES, type Case } from './rfc6455-cases.ts';

let service: WebSocketServer;
let front: TestProxy;
const ports = { direct: 0, proxied: 0 };

beforeAll(async () => {
  service = new WebSocketServer({ port: 0, host: '127.0.0.1', perMessageDeflate: false });
  service.on('connection', socket => {
    socket.on('message', (data, binary) => socket.send(data, { binary }));
    // A close for what it could not read is its answer, and is compared.
    socket.on('error', () => undefined);
  });
  await once(service, 'listening');
  ports.direct = (service.address() as net.AddressInfo).port;
  front = await proxy({ legacy: ports.direct });
  ports.proxied = front.port;
});
afterAll(async () => {
  await front.close();
  service.close();
});

/**
 * What came behind the head of the 101, up to the end of the connection. Whether that was an end or a
 * reset of TCP is one to a WebSocket (RFC 6455 7.1.5): what tells them apart is the close frame before.
 */
async function play(port: number, send: Case[2]): Promise<Buffer> {
  const client = await rawClient(port);
  client.write(upgradeRequest());
  await client.has('\r\n\r\n');
  const answer = () => client.received.subarray(client.text.indexOf('\r\n\r\n') + 4);
  const over = () => client.ended || client.closed;
  for (const piece of send) {
    if (over()) break;
    client.write(piece);
    // Small ones arrive in reads of their own.
    if (piece.length < 1_000) await new Promise(resolve => setImmediate(resolve));
  }
  // Whoever asked for a close waits for it. A client that ended the connection at once would race it.
  if (hasClose(Buffer.concat(send)))
    await until('the service closes', () => over() || hasClose(answer()));
  client.socket.end();
  await until('the connection ends', over);
  client.socket.destroy();
  return answer();
}

/** By the suite's chapter. */
function rowOf(section: string): number {
  if (section.startsWith('6.') || section.startsWith('7.5')) return 37;
  return section.startsWith('7.') ? 38 : 36;
}

test.each(CASES.map(([section, what, send]) => [rowOf(section), section, what, send] as const))(
  '%i: %s: %s',
  async (_row, _section, _what, send) => {
    const direct = await play(ports.direct, send);
    const proxied = await play(ports.proxied, send);
    // Said only where they differ: millions of bytes are slow to compare one by one.
    if (!proxied.equals(direct)) expect(proxied).toEqual(direct);
  },
);

test('the cases are what they say: good ones are echoed, bad ones closed for their reason', async () => {
  const codeOf = async (what: string) => {
    const [, , send] = CASES.find(c => c[1] === what) ?? [];
    if (send === undefined) throw new Error(`there is no case "${what}"`);
    const bytes = await play(ports.direct, send);
    return [bytes[0], bytes.subarray(-2).readUInt16BE()];
  };
  expect(await codeOf('text of 128 bytes')).toEqual([0x81, 1000]);
  expect(await codeOf('a close with half a code')).toEqual([0x88, 1002]);
  expect(await codeOf('a lone continuation, in one frame')).toEqual([0x88, 1007]);
  expect(await codeOf('a length beyond 2^53')).toEqual([0x88, 1009]);
});

function hasClose(bytes: Uint8Array): boolean {
  const tracker = new FrameTracker();
  tracker.push(bytes);
  return tracker.closeCode !== null;
}
