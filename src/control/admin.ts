// The operator's way in: health and metrics for machines, /api/v1 for whoever holds the token. The
// command line, scripts and the console know nothing else of a running proxy.
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import fastify, { type FastifyInstance } from 'fastify';
import type { Logger } from 'pino';
import { z } from 'zod';
import { CutoverError, listenFailure } from '../errors.ts';
import { SIDES } from '../rules/decide.ts';
import { STAGES } from '../rules/stage.ts';
import { createHostCheck, createTokenCheck } from './admin-access.ts';
import { refuseBytes, SECURITY_HEADERS, sendError, sendFailure } from './admin-errors.ts';
import { auditRoutes, operatorOf } from './audit-routes.ts';
import { booksRoutes } from './books-routes.ts';
import { bypassRoutes } from './bypass-routes.ts';
import { evidenceApi } from './evidence/api.ts';
import { explain } from './explanation.ts';
import { listFlags } from './flag-list.ts';
import { readiness } from './health.ts';
import { isolationRoutes } from './isolation-routes.ts';
import type { Metrics } from './metrics.ts';
import { noiseRoutes } from './noise-routes.ts';
import { listPins, type PinnedFlag, pinUser, unpinUser } from './pins.ts';
import type { ProxyView } from './proxy-view.ts';
import { rollbackRoutes } from './rollback-routes.ts';
import { changeStage, routesOf } from './stage-change.ts';
import { stageView } from './stage-view.ts';
import { statusOf } from './status.ts';
import { writeRoutes } from './write-routes.ts';

const BODY_BYTES = 64 * 1024;
/** An operator's request is small; one that takes longer is stuck or a slow drip. */
const REQUEST_MS = 10_000;
/** Idle connections of scrapers; short, because they hold up an exit. */
const KEEP_ALIVE_MS = 5_000;

/** 30 days. */
const MOST_PINNED_S = 30 * 86_400;

/** Calls of machines that have a token of their own. */
const HOOKS = '/hooks';

const routeName = z.string().min(1).max(60);
/** For the audit trail. */
const why = z.string().trim().min(1).max(500).optional();
const StageBody = z.strictObject({
  route: routeName.optional(),
  stage: z.enum([...STAGES, 'killed']).optional(),
  percent: z.number().optional(),
  unkill: z.boolean().optional(),
  acceptStale: z.boolean().optional(),
  from: z.string().min(1).max(60).optional(),
  dryRun: z.boolean().optional(),
  reason: why,
});
const ExplainQuery = z.strictObject({
  // As long as a name may be that identity takes from a token; nobody named: an anonymous client.
  user: z.string().min(1).max(256).optional(),
  route: routeName,
});
/** As identity takes names: longer ones and those with control characters are no users'. */
const user = z
  .string()
  .min(1)
  .max(256)
  .regex(/^\P{Cc}*$/u, 'must hold no control character');
const PinBody = z.strictObject({
  user,
  side: z.enum(SIDES),
  // A tester who needs longer is a share, or a strategy that somebody writes and answers for.
  forS: z.int().min(1).max(MOST_PINNED_S),
  route: routeName.optional(),
  reason: why,
});
const UnpinBody = z.strictObject({ user, route: routeName.optional(), reason: why });
const RouteQuery = z.strictObject({ route: routeName.optional() });
const NoQuery = z.strictObject({});

export interface AdminOptions {
  readonly proxy: ProxyView;
  readonly metrics: Metrics;
  /** The bearer token that /api/v1 asks for. */
  readonly token: string;
  readonly logger: Logger;
}

export interface Admin {
  readonly server: Server;
  /** Routes are in place; for requests without a listener. */
  ready(): Promise<void>;
  /**
   * Listens at the configured admin address. Throws `CutoverError('conflict')` if it can not be had;
   * it may be asked again then.
   */
  listen(): Promise<{ readonly port: number }>;
  close(): Promise<void>;
}

export function createAdmin(options: AdminOptions): Admin {
  const { proxy, logger } = options;
  const app = createApp(options);
  return {
    server: app.server,
    async ready() {
      await app.ready();
    },
    async listen() {
      const { host, port } = proxy.loaded().config.admin;
      try {
        await app.listen({ host, port });
      } catch (error) {
        throw listenFailure(error, { field: 'admin', host, port });
      }
      // With a host given, fastify listens on one TCP address.
      const { port: bound } = app.server.address() as AddressInfo;
      logger.info({ host, port: bound }, 'admin API listens');
      return { port: bound };
    },
    async close() {
      await app.close();
    },
  };
}

function createApp({ proxy, metrics, token, logger }: AdminOptions): FastifyInstance {
  const app = fastify({
    // Its log holds URLs, and those hold users.
    logger: false,
    bodyLimit: BODY_BYTES,
    requestTimeout: REQUEST_MS,
    keepAliveTimeout: KEEP_ALIVE_MS,
    forceCloseConnections: true,
    clientErrorHandler: refuseBytes,
    frameworkErrors: (error, _request, reply) => void sendFailure(reply, error, logger),
  });
  app.register(async hooks => flagHook(hooks, proxy), { prefix: HOOKS });
  // A page may send text/plain to another origin without asking first; nobody here needs it.
  app.removeContentTypeParser('text/plain');
  const isOurs = createHostCheck(proxy.loaded().config.admin.host);
  app.addHook('onRequest', async (request, reply) => {
    reply.headers(SECURITY_HEADERS);
    // A server elsewhere calls the hook by whatever name it knows us by; it has to show a token.
    if (request.routeOptions.url?.startsWith(HOOKS) || isOurs(request.headers.host)) return;
    const message = 'The Host header names neither an IP address, localhost, nor admin.host.';
    return sendError(reply, 'bad-request', { message });
  });
  app.setNotFoundHandler((_request, reply) => sendError(reply, 'not-found'));
  app.setErrorHandler((error, _request, reply) => sendFailure(reply, error, logger));

  app.get('/livez', async () => ({ alive: true }));
  app.get('/readyz', async (_request, reply) => {
    const answer = readiness(proxy);
    return reply.code(answer.ready ? 200 : 503).send(answer);
  });
  app.get('/metrics', async (_request, reply) =>
    reply.type(metrics.contentType).send(await metrics.text()),
  );
  app.register(async api => operatorApi(api, { proxy, metrics, token, logger }), {
    prefix: '/api/v1',
  });
  return app;
}

/** What Unleash calls when flags change, so that nobody waits for the next look at it. */
function flagHook(hooks: FastifyInstance, { flags, loaded }: ProxyView): void {
  // Its events say what changed, at any length; all of it is asked for anew.
  hooks.removeAllContentTypeParsers();
  hooks.addContentTypeParser('*', (_request, body, done) => {
    body.resume();
    done(null);
  });
  hooks.post('/unleash', async (request, reply) => {
    const { remote } = flags;
    // Asked each time: SIGHUP may have brought another one.
    const token = loaded().secrets.unleash?.hook;
    if (remote === null || token === undefined) return sendError(reply, 'not-found');
    if (!createTokenCheck(token)(request.headers.authorization)) {
      return sendError(reply.header('www-authenticate', 'Bearer'), 'unauthorized');
    }
    const before = flags.revision;
    const { error } = await remote.refetch();
    if (error !== null) {
      return sendError(reply, 'upstream-unreachable', { message: `Unleash: ${error}` });
    }
    return { revision: flags.revision, changed: flags.revision !== before };
  });
}

function operatorApi(api: FastifyInstance, { proxy, metrics, token, logger }: AdminOptions): void {
  const { flags, audit } = proxy;
  const mayEnter = createTokenCheck(token);
  api.addHook('onRequest', async (request, reply) => {
    if (mayEnter(request.headers.authorization)) return;
    return sendError(reply.header('www-authenticate', 'Bearer'), 'unauthorized');
  });
  // Its own, so that the hook above asks for the token before telling what exists.
  api.setNotFoundHandler((_request, reply) => sendError(reply, 'not-found'));

  api.get('/status', async request => {
    NoQuery.parse(request.query);
    return statusOf(proxy, metrics, Date.now());
  });
  api.get('/flags', async request => {
    NoQuery.parse(request.query);
    return {
      revision: flags.revision,
      flags: listFlags(flags.features(), proxy.loaded().config.routes),
    };
  });
  api.get('/flags/lint', async request => {
    NoQuery.parse(request.query);
    return { revision: flags.revision, problems: flags.problems() };
  });
  api.get('/explain', async request => {
    const { user = null, route } = ExplainQuery.parse(request.query);
    const [found] = routesOf(proxy, route);
    if (found === undefined) throw new CutoverError('no-such-route', undefined, { field: 'route' });
    return explain(proxy, found, user);
  });
  booksRoutes(api, proxy);
  evidenceApi(api, proxy);
  api.get('/stage', async request => {
    const { route } = RouteQuery.parse(request.query);
    return {
      revision: flags.revision,
      routes: routesOf(proxy, route).map(found => ({
        route: found.name,
        stage: stageView(flags.stage(found)),
      })),
    };
  });
  api.post('/stage', async request => {
    const { reason = null, ...asked } = StageBody.parse(request.body);
    const was = routesOf(proxy, asked.route).map(route => [
      route.name,
      stageView(flags.stage(route)).text,
    ]);
    const act = {
      ...{ by: operatorOf(request), action: 'stage', reason },
      details: { ...asked, was: Object.fromEntries(was) },
    };
    const change = () => changeStage(proxy, asked);
    const changes = await (asked.dryRun ? change() : audit.doing(act, change));
    for (const { route, before, after, files, revision, dryRun } of changes) {
      if (dryRun) continue;
      const stages = { before: before.text, after: after.text };
      logger.info({ route, ...stages, files, revision }, 'an operator set the stage');
    }
    return { routes: changes };
  });
  api.get('/pin', async request => {
    const { route } = RouteQuery.parse(request.query);
    return { revision: flags.revision, flags: listPins(proxy, route) };
  });
  api.post('/pin', async request => {
    const { reason = null, ...asked } = PinBody.parse(request.body);
    const pinned = await audit.doing(
      { by: operatorOf(request), action: 'pin', reason, details: anonymous(asked) },
      () => pinUser(proxy, asked),
    );
    const { side, until } = pinned;
    logger.info({ side, until, flags: changed(pinned.flags) }, 'an operator pinned a user');
    return pinned;
  });
  api.post('/unpin', async request => {
    const { reason = null, ...asked } = UnpinBody.parse(request.body);
    const unpinned = await audit.doing(
      { by: operatorOf(request), action: 'unpin', reason, details: anonymous(asked) },
      () => unpinUser(proxy, asked),
    );
    logger.info({ flags: changed(unpinned.flags) }, 'an operator unpinned a user');
    return unpinned;
  });
  bypassRoutes(api, proxy, logger);
  writeRoutes(api, proxy);
  noiseRoutes(api, proxy, logger);
  isolationRoutes(api, proxy);
  auditRoutes(api, audit);
  rollbackRoutes(api, proxy.rollbacks);
}

/** The flag itself says who it is; the trail is read by more people, and kept for longer. */
function anonymous({ user: _, ...asked }: { readonly user: string }): Record<string, unknown> {
  return asked;
}

function changed(flags: readonly PinnedFlag[]): string[] {
  return flags.filter(({ files }) => files.length > 0).map(({ flag }) => flag);
}
