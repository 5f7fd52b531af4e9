// Who is asking? Credentials as the real services take them; never kept, logged or sent back other
// than in the subprotocol that the client itself offered.
import type { IncomingMessage } from 'node:http';
import { createLocalJWKSet, type JSONWebKeySet, type JWTPayload, jwtVerify } from 'jose';
import type { Tickets } from './tickets.ts';

const TOKEN_PROTOCOL = /^jwt\.(.+)$/;
const TOKEN_PARAMETERS = ['token', 'jwt', 'auth_token', 'access_token'] as const;

/** What tokens are verified with: an HS256 secret, or a key set (RFC 7517). */
export type Keys = { readonly secret: string } | { readonly jwks: JSONWebKeySet };
/** The user named by a token; `undefined` when it is not valid. */
export type TokenVerifier = (token: string) => Promise<string | undefined>;

export function tokenVerifier(keys: Keys): TokenVerifier {
  const verify = claimsReader(keys);
  return async token => {
    try {
      const { sub } = await verify(token);
      // A key set's owner may sign anything; only a name that is a string is a user.
      return typeof sub === 'string' && sub !== '' ? sub : undefined;
    } catch {
      // Whatever is wrong with a token, the answer is the same: nobody.
      return undefined;
    }
  };
}

/**
 * The subprotocol to accept: the token-bearing one, verbatim, since browsers drop a connection
 * whose answer is not one of their offers; else a plain `jwt-auth`; else none.
 */
export function acceptedSubprotocol(offered: Iterable<string>): string | false {
  const all = [...offered];
  return (
    all.find(each => TOKEN_PROTOCOL.test(each)) ?? all.find(each => each === 'jwt-auth') ?? false
  );
}

/** User of a WebSocket handshake. The first credential present counts, even if it is invalid. */
export async function userOfHandshake(
  request: IncomingMessage,
  query: URLSearchParams,
  verify: TokenVerifier,
  tickets: Tickets,
): Promise<string | undefined> {
  const token = subprotocolToken(request) ?? bearerToken(request) ?? queryToken(query);
  if (token !== undefined) return verify(token);
  const ticket = query.get('ticket');
  return ticket === null ? undefined : tickets.redeem(ticket);
}

/** User of a plain HTTP request: bearer, else query. */
export async function userOfRequest(
  request: IncomingMessage,
  query: URLSearchParams,
  verify: TokenVerifier,
): Promise<string | undefined> {
  const token = bearerToken(request) ?? queryToken(query);
  return token === undefined ? undefined : verify(token);
}

function claimsReader(keys: Keys): (token: string) => Promise<JWTPayload> {
  if ('secret' in keys) {
    const secret = new TextEncoder().encode(keys.secret);
    return async token => (await jwtVerify(token, secret, { algorithms: ['HS256'] })).payload;
  }
  const set = createLocalJWKSet(keys.jwks);
  return async token => (await jwtVerify(token, set)).payload;
}

function subprotocolToken(request: IncomingMessage): string | undefined {
  const offered = request.headers['sec-websocket-protocol']?.split(',') ?? [];
  for (const each of offered) {
    const carried = TOKEN_PROTOCOL.exec(each.trim())?.[1];
    if (carried === undefined) continue;
    // A JWT has two dots and base64url has none, so the two forms can not be mistaken.
    return carried.includes('.') ? carried : Buffer.from(carried, 'base64url').toString();
  }
  return undefined;
}

function bearerToken(request: IncomingMessage): string | undefined {
  return /^Bearer +(\S+)$/i.exec(request.headers.authorization ?? '')?.[1];
}

function queryToken(query: URLSearchParams): string | undefined {
  for (const name of TOKEN_PARAMETERS) {
    const token = query.get(name);
    if (token !== null) return token;
  }
  return undefined;
}
