// Who is let in, and as whom: what the identity rules make of a request.
import type { Subject } from '../rules/decide.ts';
import type { TrafficContext } from './context.ts';
import type { IdentityCache } from './identity.ts';
import type { RequestFacts } from './upstream.ts';

export type Admission =
  | {
      readonly ok: true;
      readonly subject: Subject | null;
      /** The token that was verified; null if none was. */
      readonly proof: string | null;
      /** The request carries a credential that is good for one service only. */
      readonly singleUse: boolean;
      /** Epoch milliseconds; null: it never expires, or nobody knows when. */
      readonly expiresAt: number | null;
    }
  | { readonly ok: false };

/**
 * The subject of a request; null for anybody who names himself not, or not credibly, where the
 * configuration lets the service decide. `rawTarget` is the request target as it came.
 */
export async function admit(
  context: TrafficContext,
  request: RequestFacts,
  rawTarget: string,
  cache?: IdentityCache,
): Promise<Admission> {
  const facts = { rawHeaders: request.headers, target: rawTarget, peer: request.hop.peer };
  const who = await context.identifier.identify(facts, cache);
  const singleUse = who.kind !== 'anonymous' && who.singleUse;
  if (who.kind === 'user') {
    const { subject, proof, expiresAt } = who;
    return { ok: true, subject, proof, singleUse, expiresAt };
  }
  const rule = who.kind === 'anonymous' ? context.identity.absent : context.identity.invalid;
  if (rule !== 'pass') return { ok: false };
  return { ok: true, subject: null, proof: null, singleUse, expiresAt: null };
}
