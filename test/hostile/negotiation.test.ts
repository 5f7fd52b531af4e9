// Rows 33 to 35 and 39: opening a WebSocket, and what its frames may claim afterwards.
import { describe, expect, test } from 'vitest';
import { acceptFor } from '../../src/wire/handshake.ts';
import { clientFrame, frame } from '../support/frame.ts';
import { asked, line } from '../support/line.ts';
import { KEY, upgradeRequest } from '../support/raw.ts';
import { until } from '../support/until.ts';

const SWITCH = `HTTP/1.1 101 Ok\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${acceptFor(KEY)}\r\n`;

const WAYS = [
  ['a route', {}],
  ['the bypass', { bypassed: () => true }],
] as const;

const OFFERS = [
  ['one extension', 'Sec-WebSocket-Extensions: permessage-deflate\r\n'],
  [
    'parameters that are garbage',
    'Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=99999999999999999999; a=";\r\n',
  ],
  ['names of what objects have', 'Sec-WebSocket-Extensions: __proto__, constructor; toString\r\n'],
  ['many extensions', `Sec-WebSocket-Extensions: ${'x, '.repeat(2_000)}y\r\n`],
  [
    'several lines of them',
    'Sec-WebSocket-Extensions: x\r\nSec-WebSocket-Extensions: y, z; q=1\r\n',
  ],
  ['an empty list', 'Sec-WebSocket-Extensions: ,,;\r\n'],
] as const;

/** What a head says of extensions, value by value. */
const extensionsIn = (head: string) =>
  [...head.matchAll(/^sec-websocket-extensions: (.*)\r$/gim)].map(m => m[1]);

test.each(OFFERS)(
  '35: a client that offers %s on a route: nothing of it is offered to the service, none is accepted',
  async (_what, fields) => {
    const { service, client } = await line();
    const end = await client();
    end.write(upgradeRequest('/ws', fields));
    const upstream = await asked(service);
    expect(upstream.text).not.toMatch(/extensions/i);
    await upstream.accept();
    await end.has('\r\n\r\n');
    expect(end.text).toMatch(/^HTTP\/1\.1 101 /);
    expect(end.text).not.toMatch(/extensions/i);
  },
);

/** Nobody there looks into the frames: it is between client and service. */
test.each(OFFERS)(
  '35: a client that offers %s on the bypass: offer and answer go on as they came',
  async (_what, fields) => {
    const { service, client } = await line({ bypassed: () => true });
    for (const accepted of ['', fields]) {
      const end = await client();
      end.write(upgradeRequest('/ws', fields));
      const upstream = await asked(service);
      expect(extensionsIn(upstream.text)).toEqual(extensionsIn(fields));
      await upstream.accept(Buffer.alloc(0), accepted);
      await end.has('\r\n\r\n');
      expect(end.text).toMatch(/^HTTP\/1\.1 101 /);
      expect(extensionsIn(end.text)).toEqual(extensionsIn(accepted));
    }
  },
);

describe.each(WAYS)('35: subprotocols on %s', (_way, options) => {
  test.each([
    ['an odd one', ['a b', '']],
    ['several lines', ['one, two', 'three']],
    ['the same twice', ['one, one']],
    ['a token', ['jwt-auth, jwt.eyJhbGciOiJub25lIn0.e30.']],
  ])('that a client offers (%s) go on as they came', async (_what, values) => {
    const { service, client } = await line(options);
    const end = await client();
    end.write(
      upgradeRequest('/ws', values.map(value => `Sec-WebSocket-Protocol: ${value}\r\n`).join('')),
    );
    const upstream = await asked(service);
    expect(
      [...upstream.text.matchAll(/^sec-websocket-protocol: (.*)\r$/gim)].map(m => m[1]),
    ).toEqual(values);
  });

  test.each([
    ['one of those offered', 'two', true],
    ['the first', 'one', true],
    ['none', null, true],
    ['one that was not offered', 'three', false],
    ['one in another case', 'TWO', false],
    ['two at once', 'one, two', false],
  ])('of which a service accepts %s', async (_what, protocol, good) => {
    const { service, client } = await line(options);
    const end = await client();
    end.write(upgradeRequest('/ws', 'Sec-WebSocket-Protocol: one, two\r\n'));
    const upstream = await asked(service);
    upstream.write(
      `${SWITCH}${protocol === null ? '' : `Sec-WebSocket-Protocol: ${protocol}\r\n`}\r\n`,
    );
    await end.has('\r\n\r\n');
    expect(end.text).toMatch(good ? /^HTTP\/1\.1 101 / : /^HTTP\/1\.1 502 .*"upstream-invalid"/s);
    const told = /^sec-websocket-protocol: (.*)\r$/im.exec(end.text)?.[1] ?? null;
    expect(told).toBe(good ? protocol : null);
  });
});

test('35: an extension that was not offered to the service is a 502 on a route, whatever the client offered', async () => {
  const { service, client } = await line();
  const end = await client();
  end.write(upgradeRequest('/ws', 'Sec-WebSocket-Extensions: permessage-deflate\r\n'));
  (await asked(service)).write(`${SWITCH}Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n`);
  await end.has('"code":"upstream-invalid"');
});

describe.each(WAYS)('34: a service that says 101 on %s', (_way, options) => {
  test.each([
    ['without an accept', SWITCH.replace(/Sec-WebSocket-Accept.*\r\n/, '')],
    ['with two accepts', `${SWITCH}Sec-WebSocket-Accept: ${acceptFor(KEY)}\r\n`],
    ['without Upgrade', SWITCH.replace(/Upgrade: websocket\r\n/, '')],
    ['with another Upgrade', SWITCH.replace('websocket', 'h2c')],
    ['without Connection', SWITCH.replace(/Connection: Upgrade\r\n/, '')],
    ['with an extension that nobody offered', `${SWITCH}Sec-WebSocket-Extensions: x\r\n`],
  ])('%s is a 502, and is let go', async (_what, head) => {
    const { service, client } = await line(options);
    const end = await client();
    end.write(upgradeRequest());
    const upstream = await asked(service);
    upstream.write(`${head}\r\n`);
    await end.has('"code":"upstream-invalid"');
    await until('the service is let go', () => upstream.ended || upstream.closed);
  });
});

describe.each(WAYS)('34: a client that asks on %s', (_way, options) => {
  test.each([
    ['without a key', /Sec-WebSocket-Key.*\r\n/, '', 400],
    ['with a short key', /(Sec-WebSocket-Key: ).*\r\n/, '$1YWJj\r\n', 400],
    ['with two keys', /(Sec-WebSocket-Key.*\r\n)/, '$1$1', 400],
    ['without a version', /Sec-WebSocket-Version.*\r\n/, '', 426],
    ['with two versions', /(Sec-WebSocket-Version.*\r\n)/, '$1Sec-WebSocket-Version: 8\r\n', 426],
    ['with a body', /(Host.*\r\n)/, '$1Content-Length: 4\r\n', 400],
    ['by POST', /^GET/, 'POST', 400],
    ['in HTTP/1.0', /HTTP\/1.1/, 'HTTP/1.0', 400],
    ['(13) with two Hosts', /(Host.*\r\n)/, '$1$1', 400],
    ['(13) with an empty Host', /Host.*\r\n/, 'Host:\r\n', 400],
    ['(13) without a Host', /Host.*\r\n/, '', 400],
    ['(33) with a fragment', /^GET (\S+)/, 'GET $1#f', 400],
  ])('%s is refused, and reaches no service', async (_what, pattern, by, status) => {
    const { service, client } = await line(options);
    const end = await client();
    end.write(upgradeRequest().replace(pattern, by));
    await until('the client is closed', () => end.ended);
    expect(end.text).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `));
    expect(service.connections).toHaveLength(0);
  });
});

test('39: frames that claim more than can be followed are passed on, in both directions', async () => {
  const { service, client, front } = await line();
  const end = await client();
  end.write(upgradeRequest());
  const upstream = await service.next();
  await upstream.accept();
  await end.has('\r\n\r\n');
  end.received = Buffer.alloc(0);
  const up = Buffer.concat([
    clientFrame(2, { payload: 'up', claims: 2n ** 63n + 5n }),
    Buffer.alloc(100_000, 1),
  ]);
  const down = Buffer.concat([
    frame(2, { payload: 'down', claims: 2n ** 64n - 1n }),
    Buffer.alloc(100_000, 2),
  ]);
  end.write(up);
  upstream.write(down);
  await until('all has gone up', () => upstream.received.length >= up.length);
  await until('all has come down', () => end.received.length >= down.length);
  expect(upstream.received.equals(up) && end.received.equals(down)).toBe(true);
  // No frame of ours could be put in any more: a shutdown cuts it off.
  const drained = front.traffic.drain(50);
  await until('the client is cut off', () => end.ended || end.closed);
  expect(end.received.equals(down)).toBe(true);
  end.socket.destroy();
  await drained;
});
