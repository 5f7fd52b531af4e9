// The part of the operator's API that is about other users' data.
import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import { withEvidence } from './incident-evidence.ts';
import { isolationView } from './isolation-view.ts';
import type { ProxyView } from './proxy-view.ts';
import { routesOf } from './stage-change.ts';

/** Half a megabyte of answer. */
export const MOST_INCIDENTS = 1_000;

const IsolationQuery = z.strictObject({ route: z.string().min(1).max(60).optional() });
const IncidentsQuery = z.strictObject({
  limit: z.coerce.number().int().min(1).max(MOST_INCIDENTS).default(20),
});

export function isolationRoutes(api: FastifyInstance, proxy: ProxyView): void {
  api.get('/isolation', async request => {
    const { route } = IsolationQuery.parse(request.query);
    const routes = routesOf(proxy, route);
    return { routes: routes.map(each => ({ route: each.name, ...isolationView(proxy, each) })) };
  });
  api.get('/incidents', async request => {
    const { limit } = IncidentsQuery.parse(request.query);
    const { unkept } = proxy.incidents;
    return {
      unkept,
      incidents: await withEvidence(await proxy.incidents.last(limit), proxy.evidence),
    };
  });
}
