import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import net from 'node:net';
import path from 'node:path';
import tls from 'node:tls';
import { expect, test } from 'vitest';
import { ConfigSchema } from '../../src/config/schema.ts';
import { unreachable } from '../../src/control/reach.ts';

const loaded = (url: string, ca: { legacy?: string } = {}) => ({
  config: ConfigSchema.parse({
    listen: {},
    upstreams: { legacy: { url }, candidate: { url: 'http://127.0.0.1:1' } },
    routes: [{ name: 'events', path: '/ws', protocol: 'websocket' }],
  }),
  secrets: { ca },
});

test('a service that listens can be reached, one that does not is named with its reason', async () => {
  const server = net.createServer(socket => socket.destroy()).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as net.AddressInfo;
  expect(await unreachable(loaded(`http://127.0.0.1:${port}`), 'legacy')).toBeNull();
  server.close();
  await once(server, 'close');
  expect(await unreachable(loaded(`http://127.0.0.1:${port}`), 'legacy')).toBe('ECONNREFUSED');
  expect(await unreachable(loaded('http://nowhere.invalid'), 'legacy')).toMatch(
    /^E(NOTFOUND|AI_AGAIN)$/,
  );
});

// The fault: it was connected to and no more, and the lanes then refused each connection for its certificate.
test('a service behind TLS can be reached if somebody vouches for its certificate', async () => {
  const read = (file: string) =>
    readFile(path.join(import.meta.dirname, '../fixtures/tls', file), 'utf8');
  const [cert, key] = await Promise.all([read('cert.pem'), read('key.pem')]);
  const server = tls.createServer({ cert, key }).on('tlsClientError', () => undefined);
  server.listen(0, 'localhost');
  await once(server, 'listening');
  const url = `https://localhost:${(server.address() as net.AddressInfo).port}`;
  expect(await unreachable(loaded(url), 'legacy')).toMatch(/SELF_SIGNED|UNABLE_TO_VERIFY/);
  expect(await unreachable(loaded(url, { legacy: cert }), 'legacy')).toBeNull();
  server.close();
});
