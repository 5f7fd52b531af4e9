import { expect, test } from 'vitest';
import { forwardingFields, isProxyField, traceFields } from '../../src/wire/forwarding.ts';
import { endToEnd, listMembers } from '../../src/wire/headers.ts';

test('fields of the connection, and those that it nominates, stay behind; the rest keeps order and spelling', () => {
  const headers = [
    'Host',
    'h',
    'Connection',
    'keep-alive, X-Secret',
    'x-secret',
    '1',
    'Keep-Alive',
    '5',
    'TE',
    'trailers',
    'Set-Cookie',
    'a',
    'set-cookie',
    'b',
  ];
  expect(endToEnd(headers)).toEqual(['Host', 'h', 'Set-Cookie', 'a', 'set-cookie', 'b']);
});

test('what a service could take for a field of the connection, since _ is - to it, stays behind', () => {
  const headers = ['Transfer_Encoding', 'chunked', 'content_length', '3', 'X_Y', 'z'];
  expect(endToEnd(headers)).toEqual(['X_Y', 'z']);
});

test('nobody can nominate away what a message means, or what opens a WebSocket', () => {
  const headers = ['Connection', 'host, content-length', 'Host', 'h', 'Content-Length', '3'];
  expect(endToEnd(headers)).toEqual(['Host', 'h', 'Content-Length', '3']);
  const opening = ['Connection', 'Upgrade, ORIGIN, Sec-WebSocket-Key, x', 'Origin', 'o', 'X', '1'];
  expect(endToEnd([...opening, 'Sec-WebSocket-Key', 'k'])).toEqual([
    ...['Origin', 'o', 'Sec-WebSocket-Key', 'k'],
  ]);
});

test('a stranger claims nothing about where a request came from; a trusted proxy is added to', () => {
  const headers = ['X-Forwarded-For', '10.9.8.7', 'X-Forwarded-Proto', 'https'];
  const hop = { peer: '192.0.2.1', proto: 'http', host: 'h', version: '1.1' } as const;
  expect(forwardingFields(headers, { ...hop, trusted: false })).toEqual([
    'X-Forwarded-For',
    '192.0.2.1',
    'X-Forwarded-Proto',
    'http',
    'X-Forwarded-Host',
    'h',
  ]);
  expect(forwardingFields(headers, { ...hop, trusted: true })).toEqual([
    'X-Forwarded-For',
    '10.9.8.7, 192.0.2.1',
    'X-Forwarded-Proto',
    'https',
    'X-Forwarded-Host',
    'h',
  ]);
});

test('a client of HTTP/1.0 that named no host is not said to have named one', () => {
  const hop = {
    peer: '192.0.2.1',
    proto: 'http',
    host: '',
    version: '1.0',
    trusted: false,
  } as const;
  expect(forwardingFields([], hop)).not.toContain('X-Forwarded-Host');
});

test('fields that only a proxy may set are known with underscores too', () => {
  expect(
    ['forwarded', 'x_forwarded_for', 'x-real-ip', 'x-cutover-session', 'x_cutover_role'].every(
      isProxyField,
    ),
  ).toBe(true);
  expect(['host', 'authorization', 'x-forward', 'cookie'].some(isProxyField)).toBe(false);
});

test('ids of a request go on if they are usable, and are replaced if not', () => {
  const fresh = { requestId: 'new', traceparent: '00-new' };
  const trace = `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`;
  expect(traceFields(['X-Request-ID', 'abc-1', 'traceparent', trace], fresh)).toEqual({
    requestId: 'abc-1',
    traceparent: trace,
  });
  expect(
    traceFields(
      ['X-Request-ID', 'a\tb', 'traceparent', `00-${'0'.repeat(32)}-${'b'.repeat(16)}-01`],
      fresh,
    ),
  ).toEqual(fresh);
  expect(traceFields(['X-Request-ID', 'a', 'x-request-id', 'b'], fresh).requestId).toBe('new');
});

test('blanks around the members of a list are spaces and tabs, and no others that Unicode has', () => {
  const headers = ['Upgrade', ' \tWebSocket\t ,\xa0h2c, ,\u2003x', 'upgrade', 'y\xa0'];
  expect(listMembers(headers, 'upgrade')).toEqual(['WebSocket', '\xa0h2c', '\u2003x', 'y\xa0']);
});
