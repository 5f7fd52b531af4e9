// The part of the operator's API that is about legacy's own noise.
import type { FastifyInstance } from 'fastify';
import type { Logger } from 'pino';
import { z } from 'zod';
import { CutoverError } from '../errors.ts';
import { operatorOf } from './audit-routes.ts';
import type { ProxyView } from './proxy-view.ts';
import { routesOf } from './stage-change.ts';

/** A day: whatever comes at night as well has come. */
const MOST_MS = 24 * 3_600_000;

const route = z.string().min(1).max(60);
const NoiseQuery = z.strictObject({ route });
const NoiseBody = z.strictObject({
  route,
  forMs: z.int().min(1).max(MOST_MS),
  share: z.number().gt(0).max(1),
});

export function noiseRoutes(api: FastifyInstance, proxy: ProxyView, logger: Logger): void {
  const { noise, audit } = proxy;
  api.get('/noise', async request => {
    const asked = NoiseQuery.parse(request.query);
    routesOf(proxy, asked.route);
    const view = await noise.view(asked.route);
    if (view !== null) return view;
    throw new CutoverError('not-found', `the noise of route ${asked.route} was not measured`, {
      field: 'route',
    });
  });
  api.post('/noise', async request => {
    const asked = NoiseBody.parse(request.body);
    const [found] = routesOf(proxy, asked.route);
    if (found === undefined) throw new CutoverError('no-such-route', undefined, { field: 'route' });
    const act = { by: operatorOf(request), action: 'noise', reason: null, details: { ...asked } };
    const hasTwin = proxy.loaded().config.upstreams.legacyTwin !== undefined;
    await audit.doing(act, async () => noise.start(found, { ...asked, hasTwin }));
    logger.info(asked, 'an operator has the noise of legacy measured');
    return noise.view(asked.route);
  });
}
