// The part of the operator's API that is about rolling back, releasing and proofs.
import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import { CutoverError } from '../errors.ts';
import { anyOperatorOf, operatorOf } from './audit-routes.ts';
import type { Rollbacks } from './rollbacks.ts';

/** Half a megabyte of answer. */
const MOST_PROOFS = 500;

const why = z.string().trim().min(1, 'say why, for whoever asks later').max(500);
const route = z.string().min(1).max(60).optional();
const epoch = z.int().min(0).optional();
const RollbackBody = z.strictObject({
  route,
  reason: why,
  sever: z.boolean().optional(),
  acceptStale: z.boolean().optional(),
  epoch,
});
const ReleaseBody = z.strictObject({ route, reason: why, epoch });
const NoQuery = z.strictObject({});
const ProofsQuery = z.strictObject({
  limit: z.coerce.number().int().min(1).max(MOST_PROOFS).default(20),
});
const ProofParams = z.object({
  id: z.string().regex(/^\d{1,15}(\.\d{1,6})?$/, 'must be a number, such as 12 or 12.2'),
});

export function rollbackRoutes(api: FastifyInstance, rollbacks: Rollbacks): void {
  const { latch, proofs } = rollbacks;
  api.post('/rollback', async request => {
    const asked = RollbackBody.parse(request.body);
    return rollbacks.rollback({ ...asked, by: anyOperatorOf(request) });
  });
  api.post('/release', async request => {
    const asked = ReleaseBody.parse(request.body);
    return rollbacks.release({ ...asked, by: operatorOf(request) });
  });
  api.get('/latch', async request => {
    NoQuery.parse(request.query);
    return latchView(latch);
  });
  api.get('/proofs', async request => {
    const { limit } = ProofsQuery.parse(request.query);
    return { unkept: proofs.unkept, ...(await proofs.last(limit)) };
  });
  api.get('/proofs/:id', async request => {
    NoQuery.parse(request.query);
    const { id } = ProofParams.parse(request.params);
    const found = await proofs.find(id);
    if (found !== null) return found;
    throw new CutoverError('not-found', `there is no proof with the number ${id}`, { field: 'id' });
  });
}

export interface LatchView {
  readonly epoch: number;
  readonly held: Rollbacks['latch']['held'];
  /** False: the disk refused what holds, so that a restart ends it. */
  readonly kept: boolean;
  /** Lines of the file that can not be read. */
  readonly damaged: number;
}

export function latchView({ epoch, held, kept, damaged }: Rollbacks['latch']): LatchView {
  return { epoch, held, kept, damaged };
}
