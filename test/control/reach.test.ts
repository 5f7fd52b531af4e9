import { once } from 'node:events';
import net from 'node:net';
import { expect, test } from 'vitest';
import { ConfigSchema } from '../../src/config/schema.ts';
import { unreachable } from '../../src/control/reach.ts';

const loaded = (url: string) => ({
  config: ConfigSchema.parse({
    listen: {},
    upstreams: { legacy: { url }, candidate: { url: 'http://127.0.0.1:1' } },
    routes: [{ name: 'events', path: '/ws', protocol: 'websocket' }],
  }),
  ...{ file: 'cutover.yaml', secrets: { ca: {} }, noise: {} },
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
