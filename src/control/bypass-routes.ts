// The part of the operator's API that is about the bypass.
import type { FastifyInstance } from 'fastify';
import type { Logger } from 'pino';
import { z } from 'zod';
import { operatorOf } from './audit-routes.ts';
import { bypassView, changeBypass } from './bypass-change.ts';
import type { ProxyView } from './proxy-view.ts';

const NoQuery = z.strictObject({});
const BypassBody = z.strictObject({
  state: z.enum(['on', 'off']),
  reason: z.string().trim().min(1, 'say why, for whoever asks later').max(500),
  closeOpen: z.boolean().optional(),
});

export function bypassRoutes(api: FastifyInstance, proxy: ProxyView, logger: Logger): void {
  api.get('/bypass', async request => {
    NoQuery.parse(request.query);
    return bypassView(proxy);
  });
  api.post('/bypass', async request => {
    const asked = BypassBody.parse(request.body);
    const { state, reason, closeOpen } = asked;
    const act = {
      by: operatorOf(request),
      action: `bypass-${state}`,
      reason,
      details: { closeOpen },
    };
    const change =
      state === 'off'
        ? await proxy.audit.doing(act, () => changeBypass(proxy, asked))
        : await changeBypass(proxy, asked);
    // To legacy first; a disk that refuses the record does not hold it up.
    if (state === 'on') await proxy.audit.note(act);
    const { changed, kept, ending } = change;
    logger.warn(
      { reason: asked.reason, changed, kept, ending },
      asked.state === 'on' ? 'an operator engaged the bypass' : 'an operator ended the bypass',
    );
    return change;
  });
}
