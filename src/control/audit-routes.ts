// The part of the operator's API that is about the audit trail, and how every other part puts on record
// what it changes.
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { z } from 'zod';
import { CutoverError } from '../errors.ts';
import type { Audit } from './audit.ts';

/** A quarter of a megabyte of answer. */
const MOST_ENTRIES = 1_000;
/** Whoever calls may say who he is; the token alone lets him in. */
const BY_FIELD = 'x-cutover-by';
const NAME = /^[\x21-\x7e]{1,64}$/;

const AuditQuery = z.strictObject({
  limit: z.coerce.number().int().min(1).max(MOST_ENTRIES).default(20),
});
/** What a command does by itself, and puts on record here before: closed, so that nobody invents entries. */
const RecordBody = z.strictObject({
  action: z.literal('flags-push'),
  reason: z.string().trim().min(1).max(500).optional(),
  details: z.strictObject({
    url: z.string().max(2_000),
    project: z.string().max(200),
    environment: z.string().max(200),
    flags: z.array(z.string().max(200)).max(200),
  }),
});
const NoQuery = z.strictObject({});

export function auditRoutes(api: FastifyInstance, audit: Audit): void {
  api.get('/audit', async request => {
    const { limit } = AuditQuery.parse(request.query);
    return { trouble: audit.trouble, unkept: audit.unkept, entries: await audit.last(limit) };
  });
  api.post('/audit', async request => {
    const { action, reason = null, details } = RecordBody.parse(request.body);
    return audit.record({ by: operatorOf(request), action, reason, details });
  });
  api.get('/audit/verify', async request => {
    NoQuery.parse(request.query);
    return audit.verify();
  });
}

/** As it stands in the trail: `operator`, or `operator alice`. Throws `CutoverError('invalid-argument')`. */
export function operatorOf(request: FastifyRequest): string {
  const name = request.headers[BY_FIELD];
  if (name === undefined) return 'operator';
  if (typeof name === 'string' && NAME.test(name)) return `operator ${name}`;
  const message = `${BY_FIELD} must be 1 to 64 printable ASCII characters without spaces`;
  throw new CutoverError('invalid-argument', message, { field: BY_FIELD });
}

/** The same of what must not be refused for the sake of a name: one that is none is left out. */
export function anyOperatorOf(request: FastifyRequest): string {
  const name = request.headers[BY_FIELD];
  return typeof name === 'string' && NAME.test(name) ? `operator ${name}` : 'operator';
}
