// The shape of the configuration, with every default and limit and its reason.
import { z } from 'zod';

const milliseconds = (least = 1) =>
  z
    .int()
    .min(least)
    .max(24 * 3_600_000);
const host = z.string().min(1).max(253);
const port = z.int().min(0).max(65_535);
/** Paths are compared and rewritten as the raw bytes of the request target, never decoded. */
const rawPath = z.string().regex(/^\/[^\s?#]*$/, 'must start with / and hold no space, ? or #');
const headerName = z
  .string()
  .regex(/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/, 'must be an HTTP header name (RFC 9110 5.1)');
// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what it refuses.
const headerValue = z
  .string()
  .regex(/^[^\x00-\x08\x0a-\x1f\x7f]*$/, 'must hold no control character');
const cidr = z.union([z.cidrv4(), z.cidrv6(), z.ipv4(), z.ipv6()]);

const Tls = z.strictObject({
  certFile: z.string().min(1),
  keyFile: z.string().min(1),
});

const Upstream = z.strictObject({
  /** Base URL, `http:` or `https:`; its path is put before every request's. */
  url: z.url({ protocol: /^https?$/ }).refine(text => {
    const url = new URL(text);
    return url.username === '' && url.password === '' && url.search === '' && url.hash === '';
  }, 'must hold no credentials, query or fragment'),
  /** First rule whose prefix matches the raw path wins. */
  rewrite: z.array(z.strictObject({ prefix: rawPath, to: rawPath })).default([]),
  /** `preserve`: the client's Host goes on (what an Origin check compares with). */
  hostHeader: z.enum(['preserve', 'upstream']).default('preserve'),
  headers: z.record(headerName, headerValue).default({}),
  /** Certificates of a private authority. Verification itself can not be switched off. */
  caFile: z.string().min(1).optional(),
  /** Until TCP (and TLS) stand. 3 s: a SYN sent again once, still within a client's patience. */
  connectTimeoutMs: milliseconds().default(3_000),
  /** From the request's last byte to the answer's head. 10 s: what most clients wait for a handshake. */
  handshakeTimeoutMs: milliseconds().default(10_000),
  /** The same for plain HTTP requests, whose work may take longer. */
  responseTimeoutMs: milliseconds().default(60_000),
});

const Route = z.strictObject({
  name: z
    .string()
    .regex(/^[a-z][a-z0-9-]{0,39}$/, 'must be lower case letters, digits and -, at most 40'),
  /** Exact (`/ws`), or everything below (`/api/*`, which includes `/api`). First match wins. */
  path: z
    .string()
    .regex(/^\/[^\s?#*]*\*?$/, 'must start with /; a * may stand at the end, after a /'),
  protocol: z.enum(['websocket', 'http']),
  writes: z.enum(['primary', 'both']).default('primary'),
  isolation: z.enum(['observe', 'sanitize', 'block']).optional(),
  /** Names of this route's flags; by default `<route>.serve` and so on. */
  flags: z
    .strictObject({
      serve: z.string().min(1).optional(),
      shadow: z.string().min(1).optional(),
      kill: z.string().min(1).optional(),
      isolation: z.string().min(1).optional(),
    })
    .default({}),
});

const IdentitySource = z.discriminatedUnion('from', [
  /** `Sec-WebSocket-Protocol: jwt-auth, jwt.<token>`: the token as it is, or base64url of it. */
  z.strictObject({ from: z.literal('subprotocol'), prefix: z.string().min(1).default('jwt.') }),
  z.strictObject({ from: z.literal('bearer') }),
  z.strictObject({
    from: z.literal('query'),
    names: z.array(z.string().min(1)).min(1).default(['token']),
    /** Never sent a second time: no second leg is opened with it. */
    singleUse: z.boolean().default(false),
  }),
  z.strictObject({ from: z.literal('cookie'), name: z.string().min(1) }),
  /** The user's name itself, believed from `listen.trustedProxies` alone. */
  z.strictObject({ from: z.literal('header'), name: headerName }),
]);

const Verify = z.union([
  z.literal('unverified'),
  z.strictObject({
    secretFile: z.string().min(1),
    issuer: z.string().optional(),
    audience: z.string().optional(),
  }),
  z.strictObject({
    jwksFile: z.string().min(1),
    issuer: z.string().optional(),
    audience: z.string().optional(),
  }),
]);

const Identity = z.strictObject({
  /** Asked in this order; the first that is present counts, even if it turns out invalid. */
  sources: z.array(IdentitySource).default([]),
  /** Claim that names the user. */
  claim: z.string().min(1).default('sub'),
  /** Further claims that name the same user. */
  aliases: z.array(z.string().min(1)).default([]),
  /** HS256 by a secret, or RS/ES/PS/EdDSA by a key set; `unverified` only reads the claims. */
  verify: Verify.default('unverified'),
  /** `pass`: the service decides, the client counts as anonymous. `reject`: 401 before anything. */
  invalid: z.enum(['pass', 'reject']).default('pass'),
  absent: z.enum(['pass', 'reject']).default('pass'),
});

const Limits = z.strictObject({
  /** Open client WebSockets. 10,000: some 300 MB at two legs each; what a rollback is measured with. */
  maxSessions: z.int().min(1).max(1_000_000).default(10_000),
  /** Request head. 16 KiB is Node's own limit, and what most services take. */
  maxHeaderBytes: z.int().min(1_024).max(1_048_576).default(16_384),
  /** A client's request head must be complete by then; a slow drip gets 408. */
  headersTimeoutMs: milliseconds(100).default(10_000),
  /** Bytes that a client may send before its upgrade is answered; then it is not read on. */
  earlyBytes: z.int().min(0).max(1_048_576).default(65_536),
  /** The next message boundary must come by then when a message of ours is to be put in. */
  boundaryMs: milliseconds().default(50),
  /** A peer that takes no byte for so long while bytes are waiting is gone. */
  stallMs: milliseconds(100).default(120_000),
  /** After one end has closed, the other has so long to follow. */
  closeMs: milliseconds(100).default(10_000),
  /** From SIGTERM to exit. Closes are spread over it. */
  drainMs: milliseconds(100).default(20_000),
});

export const ConfigSchema = z.strictObject({
  listen: z.strictObject({
    host: host.default('0.0.0.0'),
    port: port.default(8080),
    tls: Tls.optional(),
    /** Peers whose `X-Forwarded-*`, `x-request-id` and identity headers are believed. */
    trustedProxies: z.array(cidr).default([]),
  }),
  admin: z.strictObject({ host: host.default('127.0.0.1'), port: port.default(8081) }).prefault({}),
  /** Lock, admin token, later latch, audit and evidence. */
  stateDir: z.string().min(1).default('state'),
  upstreams: z.strictObject({ legacy: Upstream, candidate: Upstream }),
  routes: z.array(Route).min(1),
  identity: Identity.prefault({}),
  flags: z
    .strictObject({
      provider: z.literal('file').default('file'),
      dir: z.string().min(1).default('flags'),
    })
    .prefault({}),
  limits: Limits.prefault({}),
  log: z
    .strictObject({ level: z.enum(['debug', 'info', 'warn', 'error', 'silent']).default('info') })
    .prefault({}),
});

export type Config = z.output<typeof ConfigSchema>;
export type UpstreamConfig = Config['upstreams']['legacy'];
export type RouteConfig = Config['routes'][number];
export type IdentityConfig = Config['identity'];
export type LimitsConfig = Config['limits'];
export type FlagRole = 'serve' | 'shadow' | 'kill' | 'isolation';

/** Name of a route's flag: the configured one, else `<route>.<role>`. */
export function flagName(route: RouteConfig, role: FlagRole): string {
  return route.flags[role] ?? `${route.name}.${role}`;
}
