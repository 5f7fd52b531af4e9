// Rows 29 and 47: answers that end with their connection, and break off before.
import { once } from 'node:events';
import net from 'node:net';
import tls from 'node:tls';
import { afterEach, expect, test } from 'vitest';
import { asked, closeAll, closing, withService } from '../support/lane.ts';
import { listenerKeys } from '../support/listener-keys.ts';
import { RawEnd, upgradeRequest } from '../support/raw.ts';
import { until } from '../support/until.ts';

/** Type of the records that hold a goodbye (RFC 5246 7.2.1); 1.3 would hide it. */
const ALERT = 21;

afterEach(closeAll);

/** The fault: the reset that is due threw in TLS, and the client waited for ever. */
test('47: in TLS an answer that breaks off before the end of its connection ends without a goodbye', async () => {
  const { service, front } = await withService({ secrets: { tls: await listenerKeys() } });
  const { port, sent } = await between(front.port);
  const options = { host: '127.0.0.1', port, rejectUnauthorized: false } as const;
  const socket = tls.connect({ ...options, maxVersion: 'TLSv1.2' });
  closing({ close: () => socket.destroy() });
  const client = new RawEnd(socket);
  client.write('GET /api/x HTTP/1.0\r\nHost: h\r\n\r\n');
  const upstream = await asked(service);
  upstream.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n');
  await client.has('half');
  upstream.socket.destroy();
  await until('the client is cut off', () => client.closed);
  expect(client.text).toMatch(/\r\n\r\nhalf$/);
  expect(recordTypes(sent())).not.toContain(ALERT);
});

test.each([
  ['resets', 'ECONNRESET'],
  ['ends', undefined],
])(
  '29, 47: a refusal that a service %s before or at its end is no more whole for the client than for us',
  async (how, code) => {
    const { service, client } = await withService();
    client.write(upgradeRequest());
    const upstream = await asked(service);
    upstream.write('HTTP/1.1 403 No\r\n\r\nhalf');
    await client.has('half');
    if (how === 'resets') upstream.socket.resetAndDestroy();
    else upstream.socket.end();
    await until('the client sees the end', () => client.ended || client.closed);
    expect(client.ended).toBe(code === undefined);
    expect((client.socket.errored as NodeJS.ErrnoException | null)?.code).toBe(code);
    expect(client.text).toMatch(/\r\n\r\nhalf$/);
  },
);

/** Passes bytes on to that port, and keeps those that it sends. */
async function between(port: number): Promise<{ port: number; sent: () => Buffer }> {
  const chunks: Buffer[] = [];
  const server = net.createServer(client => {
    const front = net.connect(port, '127.0.0.1');
    closing({ close: () => front.destroy() });
    front.on('data', chunk => chunks.push(chunk));
    // The client's own end is what the test looks at.
    for (const socket of [client, front]) socket.on('error', () => undefined);
    client.pipe(front).pipe(client);
  });
  closing(server);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as net.AddressInfo).port,
    sent: () => Buffer.concat(chunks),
  };
}

/** RFC 5246 6.2.1: a type, a version, a length, and so many bytes. */
function recordTypes(bytes: Buffer): number[] {
  const types: number[] = [];
  for (let at = 0; at + 5 <= bytes.length; at += 5 + bytes.readUInt16BE(at + 3))
    types.push(bytes[at] as number);
  return types;
}
