// Who a request is from: the credential it carries, verified, and the user whom it names.
import type { JSONWebKeySet, JWTPayload } from 'jose';
import type { IdentityConfig } from '../config/schema.ts';
import type { Subject } from '../rules/decide.ts';
import { findCredential, type IdentityFacts, spendsTicket } from './credential.ts';
import { peerList } from './peers.ts';
import { createVerifier, type InvalidToken, isCurrent, readUnverified } from './token.ts';

export type { IdentityFacts } from './credential.ts';

/** A name is a key in flags, ledgers and evidence; nobody's is longer. */
const MAX_NAME_CHARS = 256;
const CONTROL = /\p{Cc}/u;

/**
 * Why a credential names nobody. `opaque`: a single-use ticket that is no JWT, so only the service
 * can say whose it is. `claim-missing`: also a claim that can not be a name.
 */
export type InvalidReason = InvalidToken | 'too-long' | 'opaque' | 'claim-missing';

export type Identified =
  | {
      readonly kind: 'user';
      readonly subject: Subject;
      /** Epoch milliseconds of the credential's `exp`; null if it has none. */
      readonly expiresAt: number | null;
      /** The request carries a ticket that must not be sent a second time. */
      readonly singleUse: boolean;
      /** The token whose signature was checked here; null if none was. */
      readonly proof: string | null;
    }
  /** No credential at any source. */
  | { readonly kind: 'anonymous' }
  | { readonly kind: 'invalid'; readonly why: InvalidReason; readonly singleUse: boolean };

/**
 * What one client connection has proved: the last credential that was verified on it. Requests with
 * exactly these bytes need no second verification until it expires.
 */
export interface IdentityCache {
  proved: { readonly by: Identifier; readonly token: string; readonly claims: Claims } | null;
}

export interface IdentityKeys {
  readonly identitySecret?: Uint8Array;
  readonly jwks?: JSONWebKeySet;
}

export interface Identifier {
  /** Never throws, never rejects. At once if nothing has to be verified. */
  identify(facts: IdentityFacts, cache?: IdentityCache): Identified | Promise<Identified>;
  /** Tokens whose signature was checked so far. */
  readonly verifications: number;
}

interface Claims {
  readonly subject: Subject;
  readonly expiresAt: number | null;
}

export function createIdentityCache(): IdentityCache {
  return { proved: null };
}

/**
 * An identifier for one configuration. `now` gives epoch milliseconds. Throws
 * `CutoverError('internal')` if the key that `config.verify` needs is not among `keys`.
 */
export function createIdentifier(
  config: IdentityConfig,
  keys: IdentityKeys,
  trustedProxies: readonly string[],
  now: () => number = Date.now,
): Identifier {
  const isTrusted = peerList(trustedProxies);
  const verifier = createVerifier(config.verify, keys);
  let verifications = 0;

  const identifier: Identifier = {
    get verifications() {
      return verifications;
    },
    identify(facts, cache) {
      const credential = findCredential(config.sources, facts, isTrusted);
      if (credential.kind === 'absent') return { kind: 'anonymous' };
      const singleUse = spendsTicket(config.sources, facts.target);
      const invalid = (why: InvalidReason): Identified => ({ kind: 'invalid', why, singleUse });
      if (credential.kind === 'unusable') return invalid(credential.why);
      const { text } = credential;
      if (credential.kind === 'name') {
        if (!isName(text)) return invalid('malformed');
        const subject = { id: text, aliases: [] };
        return { kind: 'user', subject, expiresAt: null, singleUse, proof: null };
      }
      if (credential.kind === 'ticket' && text.split('.').length !== 3) return invalid('opaque');

      const proof = verifier === null ? null : text;
      const proved = cache?.proved;
      if (
        proved?.by === identifier &&
        proved.token === text &&
        isCurrent(proved.claims.expiresAt, now())
      ) {
        return { kind: 'user', ...proved.claims, singleUse, proof };
      }
      const conclude = (result: JWTPayload | InvalidToken): Identified => {
        if (typeof result === 'string') return invalid(result);
        const claims = claimsOf(result, config);
        if (claims === null) return invalid('claim-missing');
        if (cache) cache.proved = { by: identifier, token: text, claims };
        return { kind: 'user', ...claims, singleUse, proof };
      };
      if (verifier === null) return conclude(readUnverified(text, now()));
      verifications++;
      return verifier(text, now()).then(conclude);
    },
  };
  return identifier;
}

function claimsOf(payload: JWTPayload, config: IdentityConfig): Claims | null {
  const id = nameIn(payload, config.claim);
  if (id === null) return null;
  const aliases = new Set(config.aliases.flatMap(claim => nameIn(payload, claim) ?? []));
  aliases.delete(id);
  const expiresAt = payload.exp === undefined ? null : payload.exp * 1_000;
  return { subject: Object.freeze({ id, aliases: [...aliases] }), expiresAt };
}

/** The claim as a name; null if it is absent or can not be one. */
function nameIn(payload: JWTPayload, claim: string): string | null {
  if (!Object.hasOwn(payload, claim)) return null;
  const value = payload[claim];
  // Beyond 2^53 several ids of the token's maker arrive here as one and the same number.
  const isId = typeof value === 'number' && Math.abs(value) <= Number.MAX_SAFE_INTEGER;
  const name = isId ? String(value) : value;
  return typeof name === 'string' && isName(name) ? name : null;
}

/** Control characters would let a name forge lines in logs and headers further on. */
function isName(text: string): boolean {
  return text !== '' && text.length <= MAX_NAME_CHARS && !CONTROL.test(text);
}
