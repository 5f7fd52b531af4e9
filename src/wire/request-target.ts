// The request target (RFC 9112 3.2), kept as the bytes that came: what the decision is taken on is
// what the service gets.

/** Visible ASCII but `#`: a fragment never belongs on the wire, and `\` or `|` are the service's business. */
const TARGET = /^[\x21\x22\x24-\x7e]+$/;
const ABSOLUTE = /^https?:\/\/([^/?#]*)(.*)$/i;

/** `uri-host [":" port]` (RFC 9110 7.2), without the comma, by which two Hosts are made into one. */
const HOST =
  /^(?:\[[0-9A-Fa-f:.]+\]|(?:[A-Za-z0-9._~!$&'()*+;=-]|%[0-9A-Fa-f]{2})+)(?::[0-9]{0,5})?$/;

export interface RequestTarget {
  /** Path as it came, never decoded or resolved. */
  readonly path: string;
  /** With its `?`, or empty. */
  readonly query: string;
}

/**
 * Splits a request target in origin form or absolute form; null for anything else, and for an
 * absolute form that names another host than `host` (one could be routed by, the other served).
 */
export function parseRequestTarget(raw: string, host: string): RequestTarget | null {
  if (!TARGET.test(raw)) return null;
  let target = raw;
  if (!raw.startsWith('/')) {
    const [, authority, rest] = ABSOLUTE.exec(raw) ?? [];
    if (
      authority === undefined ||
      rest === undefined ||
      authority.toLowerCase() !== host.toLowerCase()
    )
      return null;
    target = rest.startsWith('/') ? rest : `/${rest}`;
  }
  const mark = target.indexOf('?');
  return mark === -1
    ? { path: target, query: '' }
    : { path: target.slice(0, mark), query: target.slice(mark) };
}

/** True if `text` can stand in a Host field. */
export function isHost(text: string): boolean {
  return HOST.test(text);
}

/** True if `path` is `prefix` or lies below it. A prefix matches whole segments, never parts. */
export function isBelow(path: string, prefix: string): boolean {
  if (!path.startsWith(prefix)) return false;
  return prefix.endsWith('/') || path.length === prefix.length || path[prefix.length] === '/';
}

/** Path for an upstream: the first rule whose prefix fits is applied, then the base path put before. */
export function rewritePath(
  path: string,
  rules: readonly { readonly prefix: string; readonly to: string }[],
  basePath: string,
): string {
  const rule = rules.find(({ prefix }) => isBelow(path, prefix));
  const rewritten = rule === undefined ? path : joinPaths(rule.to, path.slice(rule.prefix.length));
  return joinPaths(basePath, rewritten);
}

function joinPaths(before: string, after: string): string {
  if (after === '') return before === '' ? '/' : before;
  const trimmed = before.endsWith('/') ? before.slice(0, -1) : before;
  return after.startsWith('/') ? trimmed + after : `${trimmed}/${after}`;
}
