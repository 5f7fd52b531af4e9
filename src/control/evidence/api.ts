// `/api/v1/evidence`: what was found, by kind, with examples; how often, and how well that is known.
import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import { CutoverError } from '../../errors.ts';
import { EVERYTHING } from '../../rules/latch.ts';
import { VERDICTS, type Verdict } from '../../rules/verdict.ts';
import { operatorOf } from '../audit-routes.ts';
import { withIncidents, withPlaces } from '../incident-evidence.ts';
import { MOST_INCIDENTS } from '../isolation-routes.ts';
import type { ProxyView } from '../proxy-view.ts';
import { routesOf } from '../stage-change.ts';

/** A page is read in a few milliseconds, in which nothing is written. */
const MOST_GROUPS = 500;
/** Each of them may be 100 kB. */
const MOST_FINDINGS = 100;
/** What a migration is usually decided by. */
export const DEFAULT_THRESHOLD = 0.001;

const whole = (most: number) =>
  z.coerce.number('must be a whole number').pipe(z.int('must be a whole number').min(0).max(most));
const name = z.string().min(1).max(200);
const filter = {
  route: name.optional(),
  type: name.optional(),
  verdict: z.enum(Object.keys(VERDICTS) as Verdict[]).optional(),
  path: z
    .string()
    .startsWith('/', 'must be a JSON pointer, such as /data/message')
    .max(1_000)
    .optional(),
};
const ListQuery = z.strictObject({
  ...filter,
  limit: whole(MOST_GROUPS).default(100),
  offset: whole(1_000_000).default(0),
});
const ExportQuery = z.strictObject({
  ...filter,
  limit: whole(MOST_FINDINGS).default(MOST_FINDINGS),
  after: whole(Number.MAX_SAFE_INTEGER).default(0),
});
const SummaryQuery = z.strictObject({
  route: name.optional(),
  threshold: z.coerce
    .number('must be a share, such as 0.001')
    .pipe(z.number().gt(0).lt(1))
    .default(DEFAULT_THRESHOLD),
  since: z.iso
    .datetime({ offset: true, error: 'must be a time, such as 2025-09-15T16:00:00Z' })
    .optional(),
});
const RestartBody = z.strictObject({
  route: name.optional(),
  reason: z.string().trim().min(1, 'say why, for whoever asks later').max(500),
});
const GroupParams = z.object({ id: whole(Number.MAX_SAFE_INTEGER) });

export function evidenceApi(
  api: FastifyInstance,
  proxy: Pick<ProxyView, 'audit' | 'evidence' | 'incidents' | 'loaded'>,
): void {
  const { audit, evidence, incidents } = proxy;
  /** Refuses what is neither a route nor was one: nothing found of that would look like nothing wrong. */
  const expectRoute = async (route: string | undefined) => {
    if (route === undefined) return;
    if (proxy.loaded().config.routes.some(({ name }) => name === route)) return;
    const everything = { route, threshold: DEFAULT_THRESHOLD, since: null };
    const { total } = await evidence.ask('groups', { route, limit: 0, offset: 0 });
    const { rates } = await evidence.ask('summary', everything);
    if (total + rates.length === 0) routesOf(proxy, route);
  };
  api.get('/evidence', async request => {
    const query = ListQuery.parse(request.query);
    await expectRoute(query.route);
    const page = await evidence.ask('groups', query);
    if (page.groups.every(({ verdict }) => verdict !== 'contaminated')) return page;
    return { ...page, groups: withPlaces(page.groups, await incidents.last(MOST_INCIDENTS)) };
  });
  api.get('/evidence/findings', async request => {
    const query = ExportQuery.parse(request.query);
    await expectRoute(query.route);
    return evidence.ask('findings', query);
  });
  api.get('/evidence/summary', async request => {
    const { route, threshold, since } = SummaryQuery.parse(request.query);
    await expectRoute(route);
    const from = since === undefined ? null : Date.parse(since);
    return evidence.ask('summary', { route, threshold, since: from });
  });
  api.post('/evidence/restart', async request => {
    const { route, reason } = RestartBody.parse(request.body);
    routesOf(proxy, route);
    const details = { scope: route ?? EVERYTHING };
    const act = { by: operatorOf(request), action: 'evidence-restart', reason, details };
    return audit.doing(act, () => evidence.ask('restart', { route }));
  });
  api.get('/evidence/:id', async request => {
    const { id } = GroupParams.parse(request.params);
    const found = await evidence.ask('group', id);
    if (found !== null) return withIncidents(found, await incidents.last(MOST_INCIDENTS));
    throw new CutoverError('not-found', `there is no evidence with the number ${id}`, {
      field: 'id',
    });
  });
}
