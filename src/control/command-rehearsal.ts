// Asks for a few rollbacks of nobody, by the operator's API, before anybody is served: what a command runs through is
// code that a process may never have run before, and its first time would hold up everybody for some 7 ms
// (`bench/README.md`; the sessions' part is `traffic/rehearsal.ts`). API, latch, trail and proofs are made for it, and
// have neither a folder nor traffic: nothing is written, moved, counted or logged, and nothing stays but the code.
import { once } from 'node:events';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import fastify from 'fastify';
import pino, { type Logger } from 'pino';
import { ConfigSchema } from '../config/schema.ts';
import { Audit } from './audit.ts';
import { Latch } from './latch.ts';
import { Proofs } from './proofs.ts';
import { rollbackRoutes } from './rollback-routes.ts';
import { Rollbacks } from './rollbacks.ts';
import { Staleness } from './staleness.ts';

/** Each of a route that is not held yet. */
const COMMANDS = 12;
/** It is given up then: it is worth a moment of starting, and no more. */
const MOST_MS = 3_000;
const HOST = '127.0.0.1';
/** Not there, and on no disk, which might hang. */
const NO_FOLDER = '/proc/cutover-rehearsal';

/** Resolves once it is over; without loopback there is none, and it never rejects. */
export async function rehearseCommand(logger: Logger, mostMs = MOST_MS): Promise<void> {
  const api = fastify({ logger: false, forceCloseConnections: true });
  try {
    const giveUp = AbortSignal.timeout(mostMs);
    const rollbacks = await rollbacksOfNobody();
    rollbackRoutes(api, rollbacks);
    await api.listen({ host: HOST, port: 0 });
    const { port } = api.server.address() as AddressInfo;
    for (let nth = 0; nth < COMMANDS; nth += 1) await command(port, nameOf(nth), giveUp);
  } catch (error) {
    // Nothing else is different then.
    const reason = error instanceof Error ? error.message : String(error);
    logger.info({ reason }, 'no command was rehearsed, so the first rollback takes longer');
  } finally {
    await api.close();
  }
}

async function rollbacksOfNobody(): Promise<Rollbacks> {
  const config = ConfigSchema.parse({
    listen: {},
    upstreams: { legacy: { url: 'http://legacy' }, candidate: { url: 'http://candidate' } },
    routes: Array.from({ length: COMMANDS }, (_, nth) => ({
      ...{ name: nameOf(nth), path: `/${nth}`, protocol: 'websocket' },
    })),
    identity: { sources: [{ from: 'header', name: 'X-User' }], verify: 'unverified' },
  });
  const loaded = { config, file: '', secrets: { ca: {} }, noise: {} };
  const logger = pino({}, { write: () => undefined });
  const stage = { name: 'live', serve: 1000, shadow: 1000, kill: false } as const;
  return new Rollbacks({
    latch: await Latch.open(NO_FOLDER),
    audit: new Audit(logger),
    proofs: new Proofs(logger),
    staleness: new Staleness(logger),
    flags: { stage: () => stage, onChange: () => () => undefined },
    loaded: () => loaded,
    traffic: () => null,
    logger,
  });
}

function nameOf(nth: number): string {
  return `rehearsal-${nth}`;
}

async function command(port: number, route: string, signal: AbortSignal): Promise<void> {
  const body = JSON.stringify({ route, reason: 'a rehearsal' });
  const request = http.request({
    ...{ host: HOST, port, path: '/rollback', method: 'POST', agent: false, signal },
    headers: { 'content-type': 'application/json', 'content-length': body.length },
  });
  const [response] = (await once(request.end(body), 'response')) as [http.IncomingMessage];
  await once(response.resume(), 'end');
  if (response.statusCode !== 200) throw new Error(`it was answered with ${response.statusCode}`);
}
