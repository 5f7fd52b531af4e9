// An Unleash server as a script: each test says how it answers, also in ways that the real one can
// not be brought to.
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { FeatureLike } from '../../src/rules/flag-shape.ts';
import { freePort } from './free-port.ts';

export type Script = (request: IncomingMessage, response: ServerResponse) => void;

export interface UnleashStub {
  readonly url: string;
  /** Requests so far, newest last. */
  readonly requests: IncomingMessage[];
  /** Requests that are being answered at this moment, and the most there ever were. */
  readonly atOnce: { now: number; most: number };
  /** How it answers from now on. */
  answer(script: Script): void;
  /** Answers with these flags, and with 304 to whoever has them. */
  serve(...features: readonly FeatureLike[]): void;
  /** Nobody listens there any more; `up` listens again, at the same address. */
  down(): Promise<void>;
  up(): Promise<void>;
}

export async function unleashStub(): Promise<UnleashStub> {
  const requests: IncomingMessage[] = [];
  const atOnce = { now: 0, most: 0 };
  let script: Script = (_request, response) => response.writeHead(503).end();
  const server = createServer((request, response) => {
    requests.push(request);
    atOnce.now += 1;
    atOnce.most = Math.max(atOnce.most, atOnce.now);
    response.on('close', () => {
      atOnce.now -= 1;
    });
    // A client that hangs up is what many tests are about.
    response.on('error', () => undefined);
    script(request, response);
  });
  const port = await freePort();
  server.listen(port, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${port}`,
    requests,
    atOnce,
    answer: next => {
      script = next;
    },
    serve: (...features) => {
      script = json({ version: 2, features });
    },
    down: async () => {
      const closed = new Promise(resolve => server.close(resolve));
      server.closeAllConnections();
      await closed;
    },
    up: async () => {
      server.listen(port, '127.0.0.1');
      await once(server, 'listening');
    },
  };
}

let etags = 0;

/** A whole answer with an ETag of its own. */
export function json(body: unknown): Script {
  const etag = `"${++etags}"`;
  const text = typeof body === 'string' ? body : JSON.stringify(body);
  return (request, response) => {
    if (request.headers['if-none-match'] === etag) response.writeHead(304, { etag }).end();
    else response.writeHead(200, { etag, 'content-type': 'application/json' }).end(text);
  };
}

export function status(code: number, headers: Record<string, string> = {}): Script {
  return (_request, response) => response.writeHead(code, headers).end();
}
