import { expect, test } from 'vitest';
import {
  acceptFor,
  asksForWebSocket,
  checkClientHandshake,
  checkServerHandshake,
} from '../../src/wire/handshake.ts';

/** The example of RFC 6455 1.3. */
const KEY = 'dGhlIHNhbXBsZSBub25jZQ==';
const ACCEPT = 's3pPLMBiTxaQ9kYGzzhZRbK+xOo=';
const asked = ['Upgrade', 'WebSocket', 'Connection', 'keep-alive, Upgrade'];
const client = [...asked, 'Sec-WebSocket-Version', '13', 'Sec-WebSocket-Key', KEY];

test("the RFC's own example fits", () => {
  expect(acceptFor(KEY)).toBe(ACCEPT);
  expect(asksForWebSocket(client)).toBe(true);
  expect(checkClientHandshake('GET', '1.1', client)).toBeNull();
  expect(checkServerHandshake([...asked, 'Sec-WebSocket-Accept', ACCEPT], KEY, [])).toBeNull();
});

test.each([
  ['another method', 'POST', '1.1', client, 'bad-upgrade'],
  ['HTTP/1.0', 'GET', '1.0', client, 'bad-upgrade'],
  ['no key', 'GET', '1.1', [...asked, 'Sec-WebSocket-Version', '13'], 'bad-upgrade'],
  [
    'a key of another length',
    'GET',
    '1.1',
    [...asked, 'Sec-WebSocket-Version', '13', 'Sec-WebSocket-Key', 'YWJj'],
    'bad-upgrade',
  ],
  ['two keys', 'GET', '1.1', [...client, 'Sec-WebSocket-Key', KEY], 'bad-upgrade'],
  ['a body', 'GET', '1.1', [...client, 'Content-Length', '5'], 'bad-upgrade'],
  ['a chunked body', 'GET', '1.1', [...client, 'Transfer-Encoding', 'chunked'], 'bad-upgrade'],
  [
    'version 8',
    'GET',
    '1.1',
    [...asked, 'Sec-WebSocket-Version', '8', 'Sec-WebSocket-Key', KEY],
    'upgrade-version',
  ],
] as const)('a client with %s is turned away', (_what, method, version, headers, code) => {
  expect(checkClientHandshake(method, version, headers)).toBe(code);
});

test.each([
  ['no accept', asked],
  ['a wrong accept', [...asked, 'Sec-WebSocket-Accept', 'x']],
  ['no upgrade', ['Sec-WebSocket-Accept', ACCEPT]],
  [
    'an extension',
    [...asked, 'Sec-WebSocket-Accept', ACCEPT, 'Sec-WebSocket-Extensions', 'permessage-deflate'],
  ],
  [
    // A blank to Unicode, and to nobody who speaks HTTP.
    'a no-break space for an extension',
    [...asked, 'Sec-WebSocket-Accept', ACCEPT, 'Sec-WebSocket-Extensions', '\xa0'],
  ],
  [
    'a subprotocol of its own',
    [...asked, 'Sec-WebSocket-Accept', ACCEPT, 'Sec-WebSocket-Protocol', 'mine'],
  ],
])('a service with %s is not believed', (_what, headers) => {
  expect(checkServerHandshake(headers, KEY, ['yours'])).toEqual(expect.any(String));
});
