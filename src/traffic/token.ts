// Reads a JWT: verified by a secret or a key set, or, where the services do that, only decoded.
import {
  createLocalJWKSet,
  decodeJwt,
  errors,
  type JSONWebKeySet,
  type JWTPayload,
  type JWTVerifyOptions,
  jwtVerify,
} from 'jose';
import type { IdentityConfig } from '../config/schema.ts';
import { CutoverError } from '../errors.ts';

/** Clocks of token makers and ours drift apart by this much at most. */
export const CLOCK_TOLERANCE_S = 5;

/**
 * Pinned, whatever a token's header asks for: a key set holds public keys, and with an HS algorithm
 * allowed beside them anybody could sign with the public key as the secret (RFC 8725 2.1, 3.1).
 */
const SECRET_ALGORITHMS = ['HS256'];
const KEY_SET_ALGORITHMS = [
  ...['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512'],
  ...['ES256', 'ES384', 'ES512', 'EdDSA', 'Ed25519'],
];

/** `signature`: also a key that is not in the set, or an algorithm that is not allowed. */
export type InvalidToken =
  | 'malformed'
  | 'signature'
  | 'expired'
  | 'not-yet-valid'
  | 'issuer'
  | 'audience'
  /** The check itself failed; not the token's fault, as far as one knows. */
  | 'unverifiable';

/** Never rejects. `nowMs` is epoch milliseconds. */
export type Verifier = (token: string, nowMs: number) => Promise<JWTPayload | InvalidToken>;

/** The verifier that the configuration asks for; null: tokens are only decoded. */
export function createVerifier(
  verify: IdentityConfig['verify'],
  keys: { readonly identitySecret?: Uint8Array; readonly jwks?: JSONWebKeySet },
): Verifier | null {
  if (verify === 'unverified') return null;
  const check = 'secretFile' in verify ? bySecret(keys.identitySecret) : byKeySet(keys.jwks);
  const { issuer, audience } = verify;
  const expected = { ...(issuer && { issuer }), ...(audience && { audience }) };
  return async (token, nowMs) => {
    try {
      const currentDate = new Date(nowMs);
      return await check(token, { ...expected, clockTolerance: CLOCK_TOLERANCE_S, currentDate });
    } catch (cause) {
      return reasonOf(cause);
    }
  };
}

/** The claims as they stand there. Times count all the same. */
export function readUnverified(token: string, nowMs: number): JWTPayload | InvalidToken {
  let payload: JWTPayload;
  try {
    payload = decodeJwt(token);
  } catch (cause) {
    return reasonOf(cause);
  }
  const { exp, nbf } = payload;
  for (const time of [exp, nbf]) {
    if (time !== undefined && typeof time !== 'number') return 'malformed';
  }
  if (exp !== undefined && !isCurrent(exp * 1_000, nowMs)) return 'expired';
  if (nbf !== undefined && (nbf - CLOCK_TOLERANCE_S) * 1_000 > nowMs) return 'not-yet-valid';
  return payload;
}

/** True until the tolerance after the expiry (epoch milliseconds; null: none) is over. */
export function isCurrent(expiresAt: number | null, nowMs: number): boolean {
  return expiresAt === null || nowMs < expiresAt + CLOCK_TOLERANCE_S * 1_000;
}

type Check = (token: string, options: JWTVerifyOptions) => Promise<JWTPayload>;

function bySecret(secret: Uint8Array | undefined): Check {
  if (secret === undefined) throw new CutoverError('internal', 'identity: the secret was not read');
  return async (token, options) =>
    (await jwtVerify(token, secret, { ...options, algorithms: SECRET_ALGORITHMS })).payload;
}

function byKeySet(jwks: JSONWebKeySet | undefined): Check {
  if (jwks === undefined) throw new CutoverError('internal', 'identity: the key set was not read');
  const keySet = createLocalJWKSet(jwks);
  return async (token, options) => {
    const pinned = { ...options, algorithms: KEY_SET_ALGORITHMS };
    try {
      return (await jwtVerify(token, keySet, pinned)).payload;
    } catch (cause) {
      if (!(cause instanceof errors.JWKSMultipleMatchingKeys)) throw cause;
      // A token without `kid`, while a key is being replaced: one of the keys has to fit.
      for await (const key of cause) {
        try {
          return (await jwtVerify(token, key, pinned)).payload;
        } catch (next) {
          if (!(next instanceof errors.JWSSignatureVerificationFailed)) throw next;
        }
      }
      throw new errors.JWSSignatureVerificationFailed();
    }
  };
}

/** The library's messages may quote claims; only the kind of failure leaves here. */
function reasonOf(cause: unknown): InvalidToken {
  if (cause instanceof errors.JWTExpired) return 'expired';
  if (cause instanceof errors.JWTClaimValidationFailed) {
    if (cause.claim === 'iss') return 'issuer';
    if (cause.claim === 'aud') return 'audience';
    return cause.claim === 'nbf' && cause.reason === 'check_failed' ? 'not-yet-valid' : 'malformed';
  }
  if (cause instanceof errors.JWTInvalid || cause instanceof errors.JWSInvalid) return 'malformed';
  // What is left of the library's own: a wrong signature, no such key, an algorithm not allowed.
  return cause instanceof errors.JOSEError ? 'signature' : 'unverifiable';
}
