import { expect, test } from 'vitest';
import { matchRoute } from '../../src/rules/routes.ts';

const routes = [
  { name: 'events', path: '/ws', protocol: 'websocket' },
  { name: 'admin', path: '/api/admin/*', protocol: 'http' },
  { name: 'api', path: '/api/*', protocol: 'http' },
  { name: 'rest', path: '/*', protocol: 'http' },
] as const;

test.each([
  ['/ws', 'websocket', 'events'],
  ['/wsx', 'websocket', undefined],
  ['/ws/', 'websocket', undefined],
  ['/x/ws', 'websocket', undefined],
  ['/api', 'http', 'api'],
  ['/api/', 'http', 'api'],
  ['/apix', 'http', 'rest'],
  ['/api/admin/users', 'http', 'admin'],
  ['//api', 'http', 'rest'],
  ['/%61pi', 'http', 'rest'],
  ['/ws', 'http', 'rest'],
] as const)('%s by %s belongs to %s', (path, protocol, name) => {
  expect(matchRoute(routes, path, protocol)?.name).toBe(name);
});
