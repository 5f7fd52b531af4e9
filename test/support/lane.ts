// A raw service, the proxy's traffic side before it, and raw clients: what tests of hostile traffic
// are made of. A test file says `afterEach(closeAll)`.
import { type ProxyOptions, proxy, type TestProxy } from './proxy.ts';
import { type RawEnd, type RawServer, rawClient, rawServer } from './raw.ts';

const open: { close(): unknown }[] = [];

/** Closes everything that was opened here, the last first. */
export async function closeAll(): Promise<void> {
  for (const thing of open.splice(0).reverse()) await thing.close();
}

/** Has `thing` closed at the end of the test. */
export function closing<T extends { close(): unknown }>(thing: T): T {
  open.push(thing);
  return thing;
}

/** A service that the test plays, the proxy before it (legacy unless told otherwise), and a client. */
export async function withService(
  options: Partial<ProxyOptions> = {},
): Promise<{ service: RawServer; front: TestProxy; client: RawEnd }> {
  const service = closing(await rawServer());
  const front = closing(await proxy({ legacy: service.port, ...options }));
  return { service, front, client: await connected(front) };
}

export async function connected(front: TestProxy): Promise<RawEnd> {
  const client = await rawClient(front.port);
  closing({ close: () => client.socket.destroy() });
  return client;
}

export const get = (path: string, fields = '') =>
  `GET ${path} HTTP/1.1\r\nHost: h\r\n${fields}\r\n`;

/** An answer with a length. */
export const answer = (body = 'ok', fields = '', status = '200 OK') =>
  `HTTP/1.1 ${status}\r\nContent-Length: ${body.length}\r\n${fields}\r\n${body}`;

/** The connection to the service for the next request, once its head is there. */
export async function asked(service: RawServer): Promise<RawEnd> {
  const upstream = await service.next();
  await upstream.has('\r\n\r\n');
  return upstream;
}

/** Lines of what came, in lower case. */
export const lines = (end: RawEnd) => end.text.split('\r\n').map(line => line.toLowerCase());

/** Waits until `end` has nobody at its other side any more. */
export const isLetGo = (end: RawEnd) => end.ended || end.closed;
