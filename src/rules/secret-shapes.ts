// Where a text holds something personal or secret, told by its shape. Every pattern is linear: what it
// repeats can not begin in the middle of itself, or is bounded.
import type { Redaction } from './personal-names.ts';

export interface Span {
  readonly start: number;
  readonly end: number;
  readonly redaction: Redaction;
}

/** Up to the next quote that is not escaped, or up to what ends a bare value. */
const VALUE = String.raw`(?:\\*"(?:\\.|[^"\\])*"?|\\*'(?:\\.|[^'\\])*'?|[^\s"',;&}\])]+)`;
/** Each with what a text must hold for the pattern to be worth a search; most texts hold none of it. */
const CREDENTIALS: readonly { readonly sign: RegExp; readonly pattern: RegExp }[] = [
  // JSON Web Tokens, whole or cut off.
  { sign: /eyJ/, pattern: /\beyJ[\w-]{8,}(?:\.[\w-]*){0,4}/g },
  { sign: /bearer/i, pattern: /\bbearer\s+[\w.~+/=-]{6,}/gi },
  // A scheme of its own only if what follows is no word.
  {
    sign: /[Bb]asic/,
    pattern: /\b[Bb]asic\s+(?=[A-Za-z0-9+/]*(?:\d|[a-z][A-Z]|=))[A-Za-z0-9+/]{6,}={0,2}/g,
  },
  {
    sign: /PRIVATE KEY/,
    pattern:
      /-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]{0,30}PRIVATE KEY-----|$)/g,
  },
  // Keys that name their issuer: OpenAI, Stripe, GitHub, GitLab, Slack, AWS, Google.
  {
    sign: /[\w-]{15}/,
    pattern:
      /\b(?:[srp]k[-_][\w-]{16,}|gh[pousr]_\w{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}|xox[abeprs]-[\w-]{10,}|AKIA[0-9A-Z]{12,}|AIza[\w-]{30,})/g,
  },
  // Name and password in a URL.
  { sign: /:\/\//, pattern: /(?<=:\/\/)[^\s/?#@]{1,200}(?=@)/g },
  {
    sign: /[:=]/,
    pattern: new RegExp(
      String.raw`(?:password|passwd|pwd|passphrase|secret|token|jwt|api[-_]?key|access[-_]?key|private[-_]?key|ticket|session[-_]?id)\\*["']?\s{0,3}[:=]\s{0,3}${VALUE}`,
      'gi',
    ),
  },
  // Words that are frequent elsewhere: in the query of a URL, or in front of a value alone.
  {
    sign: /[?&;](?:code|sig|signature|key|sid|auth)=/i,
    pattern: /(?<=[?&;](?:code|sig|signature|key|sid|auth)=)[^\s"'<>&;#]+/gi,
  },
  {
    sign: /[:=]/,
    pattern: new RegExp(
      String.raw`\b(?:pass|passcode|pin|otp|signature|(?:verification|security|access)[-_ ]?code)\\*["']?\s{0,3}[:=]\s{0,3}${VALUE}`,
      'gi',
    ),
  },
  // Header fields have spaces and commas in their values.
  { sign: /[:=]/, pattern: /(?:authorization|cookie)\\*["']?\s{0,3}[:=]\s{0,3}[^\r\n]+/gi },
  { sign: /[0-9A-Fa-f]{32}/, pattern: /(?<![0-9A-Fa-f])[0-9A-Fa-f]{32,}/g },
];
/** Letters of both cases and digits; a long word or a path of lower case is none. */
const BASE64 = /[\w+/-]{40,}={0,2}/g;
const LEAST_BASE64 = 40;
const EMAIL =
  /[\p{L}\p{N}.!#$%&'*+/=?^_`{|}~-]{1,64}(?:@|%40)[\p{L}\p{N}-]+(?:\.[\p{L}\p{N}-]+)+/gu;
/** So long, a value is recognised within a longer word too. */
const UNLIKELY_BY_CHANCE = 8;

/**
 * Everything of the kind in `text`, in order, none overlapping. `known`: values to be recognised, none empty,
 * because they were sensitive by their place nearby.
 */
export function sensitiveSpans(
  text: string,
  known: Iterable<readonly [string, Redaction]>,
): readonly Span[] {
  const found: Span[] = [];
  const note = (start: number, length: number, redaction: Redaction) =>
    found.push({ start, end: start + length, redaction });
  for (const { sign, pattern } of CREDENTIALS) {
    if (!sign.test(text)) continue;
    for (const match of text.matchAll(pattern)) note(match.index, match[0].length, 'credential');
  }
  for (const match of text.length < LEAST_BASE64 ? [] : text.matchAll(BASE64)) {
    const [run] = match;
    if (/[a-z]/.test(run) && /[A-Z]/.test(run) && /\d/.test(run)) {
      note(match.index, run.length, 'credential');
    }
  }
  if (text.includes('@') || text.includes('%40')) {
    for (const match of text.matchAll(EMAIL)) note(match.index, match[0].length, 'email');
  }
  for (const [value, redaction] of known) {
    const { length } = value;
    for (let at = text.indexOf(value); at >= 0; at = text.indexOf(value, at + length)) {
      if (length >= UNLIKELY_BY_CHANCE || isWhole(text, at, length)) note(at, length, redaction);
    }
  }
  return found.length > 1 ? merged(found) : found;
}

/** Not part of a longer word or number. */
function isWhole(text: string, start: number, length: number): boolean {
  const around = `${text[start - 1] ?? ' '}${text[start + length] ?? ' '}`;
  return !/[\p{L}\p{N}]/u.test(around);
}

function merged(spans: readonly Span[]): readonly Span[] {
  const result: { start: number; end: number; redaction: Redaction }[] = [];
  for (const span of spans.toSorted((a, b) => a.start - b.start || b.end - a.end)) {
    const last = result.at(-1);
    if (last !== undefined && span.start < last.end) last.end = Math.max(last.end, span.end);
    else result.push({ ...span });
  }
  return result;
}
