// The part of the operator's API that is about writes.
import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import type { ProxyView } from './proxy-view.ts';
import { routesOf } from './stage-change.ts';
import { writesView } from './write-view.ts';

/** Half a megabyte of answer. */
const MOST_SPLITS = 1_000;

const NoQuery = z.strictObject({});
const SplitsQuery = z.strictObject({
  route: z.string().min(1).max(60).optional(),
  limit: z.coerce.number().int().min(1).max(MOST_SPLITS).default(20),
});

export function writeRoutes(api: FastifyInstance, proxy: ProxyView): void {
  api.get('/writes', async request => {
    NoQuery.parse(request.query);
    return writesView(proxy);
  });
  api.get('/writes/splits', async request => {
    const { route, limit } = SplitsQuery.parse(request.query);
    if (route !== undefined) routesOf(proxy, route);
    return proxy.writes.last(limit, route);
  });
}
