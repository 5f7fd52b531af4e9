import { expect, test } from 'vitest';
import { isHost, parseRequestTarget, rewritePath } from '../../src/wire/request-target.ts';

test('path and query are the bytes that came, undecoded and unresolved', () => {
  for (const path of ['/ws', '//evil/x', '/a/../b', '/%2e%2e/%2F', '/a;b=c', '/a\\b', '/"']) {
    expect(parseRequestTarget(`${path}?q=/?x`, 'h')).toEqual({ path, query: '?q=/?x' });
  }
});

test('an absolute form counts only for the host that the request names', () => {
  expect(parseRequestTarget('http://h:1/a?b', 'H:1')).toEqual({ path: '/a', query: '?b' });
  expect(parseRequestTarget('http://h?b', 'h')).toEqual({ path: '/', query: '?b' });
  expect(parseRequestTarget('http://other/a', 'h')).toBeNull();
});

test.each(['', '*', 'h:443', 'a/b', '/a#b', '/a b', '/a\0', '/ä', 'ftp://h/a'])(
  '%j is refused',
  raw => {
    expect(parseRequestTarget(raw, 'h')).toBeNull();
  },
);

test('a rewrite replaces whole leading segments, and the base path comes first', () => {
  const rules = [
    { prefix: '/ws', to: '/api/v1/websocket' },
    { prefix: '/', to: '/root' },
  ];
  expect(rewritePath('/ws', rules, '')).toBe('/api/v1/websocket');
  expect(rewritePath('/ws/a', rules, '/base/')).toBe('/base/api/v1/websocket/a');
  expect(rewritePath('/wsx', rules, '')).toBe('/root/wsx');
  expect(rewritePath('/ws', [], '')).toBe('/ws');
  expect(rewritePath('/ws', [{ prefix: '/ws', to: '/' }], '')).toBe('/');
});

test.each(['h', 'a.test:8080', '[::1]:1', '127.0.0.1', 'a_b', 'x%20y', 'h:'])(
  '%j is a host',
  text => {
    expect(isHost(text)).toBe(true);
  },
);

test.each([
  '',
  'a,b',
  'a b',
  'a/b',
  'u@a',
  'a:b',
  'a:1:2',
  '[::1',
  '::1',
  '\xe4',
  'a\n',
  '%zz',
  ' a',
])('%j is no host', text => {
  expect(isHost(text)).toBe(false);
});
