// Finds the credential of a request, without judging it.
import type { IdentityConfig } from '../config/schema.ts';
import { fieldValues, listMembers } from '../wire/headers.ts';

/**
 * Longer tokens are not looked at: the request head is bounded at about this size, and every byte
 * of a token is hashed on the client's path.
 */
export const MAX_CREDENTIAL_CHARS = 16_384;

const BASE64URL = /^[A-Za-z0-9_-]+={0,2}$/;

export interface IdentityFacts {
  /** Flat list of names and values, as they came. */
  readonly rawHeaders: readonly string[];
  /** Raw request target. */
  readonly target: string;
  /** Remote address. */
  readonly peer: string;
}

/**
 * `token`: meant as a JWT. `ticket`: from a single-use parameter, a JWT or something opaque. `name`:
 * the user's own name, said by a trusted proxy.
 */
export type Credential =
  | { readonly kind: 'absent' }
  | { readonly kind: 'token' | 'ticket' | 'name'; readonly text: string }
  | { readonly kind: 'unusable'; readonly why: 'malformed' | 'too-long' };

type Source = IdentityConfig['sources'][number];

const ABSENT: Credential = { kind: 'absent' };
const MALFORMED: Credential = { kind: 'unusable', why: 'malformed' };

/**
 * The credential at the first source where there is one, even if it turns out unusable: a service
 * behind would look there too, and must not see another user than the proxy. What is there twice is
 * malformed, since two readers could each take another one. An empty text is no credential.
 */
export function findCredential(
  sources: readonly Source[],
  facts: IdentityFacts,
  isTrusted: (peer: string) => boolean,
): Credential {
  for (const source of sources) {
    const credential = at(source, facts, isTrusted);
    if (credential.kind === 'absent') continue;
    const tooLong = 'text' in credential && credential.text.length > MAX_CREDENTIAL_CHARS;
    return tooLong ? { kind: 'unusable', why: 'too-long' } : credential;
  }
  return ABSENT;
}

/** True if a parameter that is good for one connection only is in the target, used or not. */
export function spendsTicket(sources: readonly Source[], target: string): boolean {
  return sources.some(
    source =>
      source.from === 'query' &&
      source.singleUse &&
      source.names.some(name => parameters(target).has(name)),
  );
}

/** Values of all query parameters that can hold a credential. `query` with its `?`, or empty. */
export function queryCredentials(sources: readonly Source[], query: string): string[] {
  if (query === '') return [];
  const given = parameters(query);
  return sources.flatMap(source =>
    source.from === 'query' ? source.names.flatMap(name => given.getAll(name)) : [],
  );
}

function at(
  source: Source,
  facts: IdentityFacts,
  isTrusted: (peer: string) => boolean,
): Credential {
  switch (source.from) {
    case 'subprotocol':
      return ofOffers(listMembers(facts.rawHeaders, 'sec-websocket-protocol'), source.prefix);
    case 'bearer':
      return ofAuthorization(fieldValues(facts.rawHeaders, 'authorization'));
    case 'query': {
      const given = parameters(facts.target);
      const name = source.names.find(candidate =>
        given.getAll(candidate).some(text => text !== ''),
      );
      const kind = source.singleUse ? 'ticket' : 'token';
      return name === undefined ? ABSENT : only(given.getAll(name), kind);
    }
    case 'cookie':
      return only(cookies(fieldValues(facts.rawHeaders, 'cookie'), source.name));
    case 'header': {
      // Anybody else's claim is no claim: it is as if the field were not there.
      if (!isTrusted(facts.peer)) return ABSENT;
      const found = only(fieldValues(facts.rawHeaders, source.name.toLowerCase()));
      return 'text' in found ? ofUtf8(found.text) : found;
    }
  }
}

function only(values: readonly string[], kind: 'token' | 'ticket' = 'token'): Credential {
  const [text = '', ...more] = values;
  if (more.length > 0) return MALFORMED;
  return text === '' ? ABSENT : { kind, text };
}

/** The first offer with the prefix; behind it a JWT (which has dots), or base64url of one. */
function ofOffers(offers: readonly string[], prefix: string): Credential {
  const rest = offers.find(offer => offer.startsWith(prefix))?.slice(prefix.length);
  if (rest === undefined) return ABSENT;
  if (rest.includes('.')) return { kind: 'token', text: rest };
  if (!BASE64URL.test(rest)) return MALFORMED;
  return { kind: 'token', text: Buffer.from(rest, 'base64url').toString('latin1') };
}

/** RFC 9110 11.4: the scheme is matched without letter case; other schemes are not for us. */
function ofAuthorization(values: readonly string[]): Credential {
  if (values.length > 1) return MALFORMED;
  const [, scheme = '', rest = ''] = /^([^ ]+)(?: +(.*))?$/.exec(values[0]?.trim() ?? '') ?? [];
  if (scheme.toLowerCase() !== 'bearer') return ABSENT;
  return only([rest.trim()]);
}

/** The query, read as a form: bad escapes stay what they are, nothing throws. */
function parameters(target: string): URLSearchParams {
  const mark = target.indexOf('?');
  return new URLSearchParams(mark < 0 ? '' : target.slice(mark + 1));
}

/** RFC 6265 4.2.1, with the quotes around a value taken off (4.1.1). */
function cookies(values: readonly string[], name: string): string[] {
  return values
    .flatMap(value => value.split(';'))
    .flatMap(pair => {
      const equals = pair.indexOf('=');
      if (equals < 0 || pair.slice(0, equals).trim() !== name) return [];
      const text = pair.slice(equals + 1).trim();
      return [/^".*"$/.test(text) ? text.slice(1, -1) : text];
    });
}

/** Node hands out header bytes one a character; the same name in a token is UTF-8. */
function ofUtf8(latin1: string): Credential {
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(Buffer.from(latin1, 'latin1'));
    return { kind: 'name', text };
  } catch {
    // Bytes that are no UTF-8: the verdict says so.
    return MALFORMED;
  }
}
