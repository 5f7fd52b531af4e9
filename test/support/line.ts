// A bare service, the proxy in front of it and bare clients, gone when the test is over.
import { openedByTest } from './opened.ts';
import { type ProxyOptions, proxy, type TestProxy } from './proxy.ts';
import { type RawEnd, type RawServer, rawClient, rawServer } from './raw.ts';

const open = openedByTest();

export interface Line {
  readonly service: RawServer;
  readonly front: TestProxy;
  /** A new client connection. */
  client(): Promise<RawEnd>;
}

export async function line(options: Partial<ProxyOptions> = {}): Promise<Line> {
  const service = await rawServer();
  open.push(service);
  const front = await proxy({ legacy: service.port, ...options });
  open.push(front);
  return { service, front, client: () => clientOf(front.port) };
}

/** A bare client of whatever listens on `port`; from this address, if there is one. */
export async function clientOf(port: number, address?: string): Promise<RawEnd> {
  const end = await rawClient(port, address);
  open.push({ close: () => end.socket.destroy() });
  return end;
}

/** The next connection that the service gets, once it has a whole head. */
export async function asked(service: RawServer): Promise<RawEnd> {
  const upstream = await service.next();
  await upstream.has('\r\n\r\n');
  return upstream;
}

/** An answer with this body. */
export function ok(body = 'ok'): string {
  return `HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
}

/**
 * The two lanes that a request can take, each with a path that leads into it: one that a route names,
 * and one that none does.
 */
export const LANES = [
  ['the HTTP lane', '/api/x'],
  ['the bypass', '/x'],
] as const;
