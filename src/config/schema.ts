// The shape of the configuration, with every default and limit and its reason. The descriptions are
// what editors show: `cutover config schema` prints them.
import { z } from 'zod';
import { isProxyField } from '../wire/forwarding.ts';
import { isHopByHop } from '../wire/headers.ts';
import { CompareSchema, pointer } from './compare-schema.ts';
import { GuardrailsSchema } from './guardrails-schema.ts';
import { IsolationSchema } from './isolation-schema.ts';

const milliseconds = (least = 1) =>
  z
    .int()
    .min(least)
    .max(24 * 3_600_000);
const host = z.string().min(1).max(253);
const port = z.int().min(0).max(65_535);
const file = z.string().min(1);
/** Paths are compared and rewritten as the raw bytes of the request target, never decoded. */
const rawPath = z.string().regex(/^\/[^\s?#]*$/, 'must start with / and hold no space, ? or #');
const headerName = z
  .string()
  .regex(/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/, 'must be an HTTP header name (RFC 9110 5.1)');
/** Two of them would contradict each other, or the message. */
const isTaken = (name: string) =>
  isHopByHop(name) ||
  isProxyField(name) ||
  ['host', 'content-length', 'expect', 'trailer', 'via'].includes(name) ||
  name.startsWith('sec-websocket-');
const addedHeaderName = headerName.refine(
  name => !isTaken(name.toLowerCase()),
  'is set by the proxy itself, as the request needs it; for Host there is hostHeader',
);
/** What HTTP carries as one byte a character (RFC 9110 5.5); anything else would arrive as another. */
const headerValue = z
  .string()
  .regex(/^[\t\x20-\x7e\xa0-\xff]*$/, 'must hold no control character and none beyond Latin-1');
const cidr = z.union(
  [z.cidrv4(), z.cidrv6(), z.ipv4(), z.ipv6()],
  'must be an IP address or a range such as 10.0.0.0/8',
);

const Tls = z
  .strictObject({
    certFile: file.describe('Certificate chain, PEM.'),
    keyFile: file.describe('Private key of the certificate, PEM, without a passphrase.'),
  })
  .describe('Serve TLS; read again on SIGHUP.');

const serviceUrl = z
  .url({ protocol: /^https?$/, error: 'must be an http: or https: URL' })
  .refine(text => {
    const url = URL.parse(text);
    return url === null || `${url.username}${url.password}${url.search}${url.hash}` === '';
  }, 'must hold no credentials, query or fragment');
/** Goes into a header or a path of the flag server. */
const printable = z
  .string()
  .regex(/^[\x21-\x7e]{1,100}$/, 'must be 1 to 100 printable ASCII characters without spaces');

const Upstream = z.strictObject({
  url: serviceUrl.describe(
    'Base URL, http: or https:; its path is put before that of every request.',
  ),
  rewrite: z
    .array(z.strictObject({ prefix: rawPath, to: rawPath }))
    .default([])
    .describe('Path rewriting: the first rule whose prefix matches the raw path wins.'),
  hostHeader: z
    .enum(['preserve', 'upstream'])
    .default('preserve')
    .describe("preserve: the client's Host goes on (what an Origin check compares with)."),
  headers: z
    .record(addedHeaderName, headerValue)
    .default({})
    .describe('Headers set on every request to this service.'),
  caFile: file
    .optional()
    .describe('Certificates of a private authority, PEM. Verification can not be switched off.'),
  // 3 s: a SYN sent again once, still within a client's patience.
  connectTimeoutMs: milliseconds().default(3_000).describe('Until TCP (and TLS) stand.'),
  // 10 s: what most clients wait for a handshake.
  handshakeTimeoutMs: milliseconds()
    .default(10_000)
    .describe("WebSocket: from the request's last byte to the answer's head."),
  // Plain requests may have real work to do before the head.
  responseTimeoutMs: milliseconds()
    .default(60_000)
    .describe("HTTP: from the request's last byte to the answer's head."),
});

const flag = z.string().min(1).optional();

const Route = z.strictObject({
  name: z
    .string()
    .regex(
      /^[a-z][a-z0-9-]{0,39}$/,
      'must start with a lower case letter and hold only lower case letters, digits and -, at most 40',
    )
    .describe('Names the route in flags, metrics and commands.'),
  path: z
    .string()
    .regex(
      /^\/(?:[^\s?#*]*|(?:[^\s?#*]*\/)?\*)$/,
      'must start with /; a * may stand after the last /',
    )
    .describe('Exact (/ws), or everything below (/api/*, includes /api). First match wins.'),
  protocol: z
    .enum(['websocket', 'http', 'sse'])
    .describe('sse: HTTP whose answers are streams of events.'),
  writes: z
    .enum(['primary', 'both'])
    .default('primary')
    .describe('Where requests that change state go. Not both if the services share a database.'),
  subject: z
    .strictObject({
      bodyPointer: pointer.describe(
        'Where a JSON body of at most 1 MiB names the user; a request without a body is about whoever sends it.',
      ),
    })
    .optional()
    .describe('Whom a request is about, where that is not who sends it. Not for websocket.'),
  mirror: z
    .union(
      [z.enum(['none', 'all']), z.strictObject({ types: z.array(z.string().min(1)).min(1) })],
      'must be none, all, or types: [type, ...]',
    )
    .default('none')
    .describe(
      "Which of a client's messages the second leg gets as well, by their type. For websocket.",
    ),
  preamble: z
    .array(z.string().min(1))
    .default([])
    .describe('Types of client messages that set a session up; every leg gets them, first.'),
  greeting: z
    .array(z.string().min(1))
    .default([])
    .describe('Types of messages that a service sends every new socket; a client gets one set.'),
  onSwitch: z
    .enum(['in-place', 'reconnect', 'drain'])
    .default('in-place')
    .describe(
      'What happens to open WebSockets when their side changes: they move and stay open, are told to reconnect (1012, paced), or stay until they leave, at most `limits.leaveMs`. Event streams can not move: they end behind an event, paced, or with `drain` after that time.',
    ),
  failover: z
    .boolean()
    .default(true)
    .describe('An open WebSocket whose service fails goes on with its second leg.'),
  shadowMark: z
    .boolean()
    .default(false)
    .describe('Tell the service which WebSockets are shadows, in x-cutover-role.'),
  affinity: z
    .enum(['connection', 'credential'])
    .default('connection')
    .describe(
      "HTTP: which requests share connections to a service: a client connection's with one credential, or all of one verified user's with it (behind a balancer that mixes users).",
    ),
  isolation: IsolationSchema.prefault({}),
  compare: CompareSchema.prefault({}),
  noise: file
    .optional()
    .describe('Profile of what differs in legacy itself, as `cutover noise measure` writes it.'),
  redact: z
    .array(pointer)
    .default([])
    .describe(
      'What else of an event evidence must not hold; credentials, e-mail addresses and user ids it never does. A step * stands for any index or key.',
    ),
  flags: z
    .strictObject({ serve: flag, shadow: flag, kill: flag, isolation: flag })
    .default({})
    .describe("Names of this route's flags; by default <route>.serve and so on."),
});

const IdentitySource = z.discriminatedUnion('from', [
  z
    .strictObject({ from: z.literal('subprotocol'), prefix: z.string().min(1).default('jwt.') })
    .describe('Sec-WebSocket-Protocol: jwt.<token>; the token as it is, or base64url of it.'),
  z.strictObject({ from: z.literal('bearer') }).describe('Authorization: Bearer <token>.'),
  z
    .strictObject({
      from: z.literal('query'),
      names: z.array(z.string().min(1)).min(1).default(['token']),
      singleUse: z
        .boolean()
        .default(false)
        .describe('Never sent a second time: no second leg is opened with it.'),
    })
    .describe('Parameters of the query; the first name that is there counts.'),
  z.strictObject({ from: z.literal('cookie'), name: z.string().min(1) }).describe('A cookie.'),
  z
    .strictObject({ from: z.literal('header'), name: headerName })
    .describe("The user's name itself, believed from listen.trustedProxies alone."),
]);

const issuer = z.string().min(1).optional().describe('The iss claim that is required.');
const audience = z.string().min(1).optional().describe('The aud claim that is required.');
const Verify = z.union(
  [
    z.literal('unverified'),
    z.strictObject({ secretFile: file.describe('HS256 secret.'), issuer, audience }),
    z.strictObject({ jwksFile: file.describe('Public keys, JSON (RFC 7517).'), issuer, audience }),
  ],
  'must be the word unverified, or hold secretFile or jwksFile (one of them; issuer and audience are optional)',
);

const Identity = z.strictObject({
  sources: z
    .array(IdentitySource)
    .default([])
    .describe('Asked in this order; the first that is present counts, even if it is invalid.'),
  claim: z.string().min(1).default('sub').describe('Claim that names the user.'),
  aliases: z
    .array(z.string().min(1))
    .default([])
    .describe('Further claims that name the same user.'),
  verify: Verify.default('unverified').describe(
    'HS256 by a secret, or RS/PS/ES/EdDSA by a key set; unverified only reads the claims.',
  ),
  invalid: z
    .enum(['pass', 'reject'])
    .default('pass')
    .describe('pass: the service decides, the client counts as anonymous. reject: 401 at once.'),
  absent: z.enum(['pass', 'reject']).default('pass').describe('The same without a credential.'),
});

const FileFlags = z.strictObject({
  // Optional and then defaulted: so a section without `provider` still tells which of the two it is.
  provider: z.literal('file').optional().default('file'),
  dir: z.string().min(1).default('flags').describe('Folder of flag files.'),
});

const UnleashFlags = z.strictObject({
  provider: z.literal('unleash'),
  url: serviceUrl.describe("The Unleash server's base URL, without /api."),
  tokenFile: file.describe('Client (backend) token; it also says which environment counts.'),
  appName: printable.default('cutover').describe('By which the server lists this proxy.'),
  environment: printable
    .optional()
    .describe("What constraints on the environment compare with; the flags are the token's."),
  project: printable.optional().describe('Ask for the flags of this project alone.'),
  // 1 s: a toggle is felt within two, and a server has one cheap request (mostly 304) per proxy and
  // second. Faster is what hooks are for.
  pollMs: milliseconds(1_000).default(1_000).describe('Between two looks at the server.'),
  // A sleeping server takes a second to answer; whoever asks for less only sees failures.
  timeoutMs: milliseconds(1_000)
    .default(5_000)
    .describe('The whole answer must be there by then, its last byte included.'),
  // 5,000 flags are about 5 MB; as for flag files.
  maxBytes: z
    .int()
    .min(1_024)
    .max(256 * 1024 * 1024)
    .default(16 * 1024 * 1024)
    .describe('A longer answer is refused (counted uncompressed).'),
  backupDir: z
    .string()
    .min(1)
    .optional()
    .describe('Where the last good flags are kept for a start without the server (stateDir).'),
  hookTokenFile: file
    .optional()
    .describe('Token for POST /hooks/unleash on the admin port, which fetches at once.'),
  admin: z
    .strictObject({
      tokenFile: file.describe('Token that may change flags.'),
      environment: printable.default('development'),
      project: printable.default('default'),
    })
    .optional()
    .describe('With it `cutover stage` changes the flags in Unleash; else it says what to set.'),
});

const Evidence = z.strictObject({
  // 20,000 of some 2 kB: ten examples of 2,000 kinds, in 40 MB.
  maxRows: z
    .int()
    .min(100)
    .max(1_000_000)
    .default(20_000)
    .describe('Kept pairs of events; the most frequent kinds give way first.'),
  // The first show how a kind began, the last ones whether it is still so.
  examples: z
    .int()
    .min(2)
    .max(10_000)
    .default(10)
    .describe('Kept pairs of a kind of divergence: half of them the first, half the last.'),
  // Five times what that many small events take, for large ones.
  maxMb: z.int().min(4).max(65_536).default(200).describe('Size of the file, in MiB.'),
  // A canary of two weeks. Evidence is about users: no longer than it is looked at.
  maxAgeDays: z
    .int()
    .min(1)
    .max(3_650)
    .default(14)
    .describe('Kinds not seen for so long are dropped, and examples and counts of that age.'),
});

const Limits = z.strictObject({
  // 10,000: some 300 MB at two legs each; what a rollback is measured with.
  maxSessions: z.int().min(1).max(1_000_000).default(10_000).describe('Open client WebSockets.'),
  // 16 KiB is Node's own limit, and what most services take.
  maxHeaderBytes: z.int().min(1_024).max(1_048_576).default(16_384).describe('Request head.'),
  headersTimeoutMs: milliseconds(100)
    .default(10_000)
    .describe("A client's request head must be complete by then; a slow drip gets 408."),
  // Longer than nginx and the usual balancers keep a connection to what is behind them, 60 s; as long as nginx
  // keeps one to a client. Whoever lets go first must not be the one that is asked.
  keepAliveMs: milliseconds(100)
    .default(75_000)
    .describe(
      'An HTTP connection of a client is kept so long after its last answer; to be longer than a balancer in front keeps it.',
    ),
  earlyBytes: z
    .int()
    .min(0)
    .max(1_048_576)
    .default(65_536)
    .describe('Bytes a client may send before its upgrade is answered; more is refused with 413.'),
  boundaryMs: milliseconds()
    .default(50)
    .describe('The next message boundary must come by then when a message is to be put in.'),
  stallMs: milliseconds(100)
    .default(120_000)
    .describe(
      'A peer that takes no byte for so long while bytes are waiting is gone, and so is a client that sends none of a body that it owes.',
    ),
  closeMs: milliseconds(100)
    .default(10_000)
    .describe(
      'After one end has closed, the other has so long to follow, once it has what came before.',
    ),
  // 500: as many a second as a restart sends 10,000 clients back within drainMs. A service that stands a
  // restart stands a rollback.
  movesPerS: z
    .int()
    .min(1)
    .max(100_000)
    .default(500)
    .describe(
      'Open WebSockets that need another leg of a service, or are told to reconnect, a second. Those that have a second leg all change sides at once.',
    ),
  // 100: a handshake of 200 ms keeps that pace.
  dialsAtOnce: z
    .int()
    .min(1)
    .max(100_000)
    .default(100)
    .describe('Of those, dials of one service under way.'),
  // An hour: as long as a page is usually open. Whoever is told then has had the time to leave.
  leaveMs: milliseconds(100)
    .default(3_600_000)
    .describe(
      'WebSockets and event streams of a route that drains (`onSwitch`) have so long to leave after their side has changed; then they are told to reconnect, paced.',
    ),
  drainMs: milliseconds(100)
    .default(20_000)
    .describe('From SIGTERM to exit. Closes are spread over it.'),
});

export const ConfigSchema = z.strictObject({
  listen: z
    .strictObject({
      host: host.default('0.0.0.0'),
      port: port.default(8080),
      tls: Tls.optional(),
      trustedProxies: z
        .array(cidr)
        .default([])
        .describe('Peers whose Forwarded, X-Forwarded-* and identity headers are believed.'),
      showSide: z
        .boolean()
        .default(false)
        .describe('Tell clients who served them, in x-cutover-side.'),
    })
    .describe('Where clients connect.'),
  admin: z
    .strictObject({ host: host.default('127.0.0.1'), port: port.default(8081) })
    .prefault({})
    .describe('Where the operator connects.'),
  stateDir: z
    .string()
    .min(1)
    .default('state')
    .describe('Lock, admin token, latch, audit trail, proofs of rollbacks, evidence.'),
  upstreams: z
    .strictObject({
      legacy: Upstream,
      candidate: Upstream,
      legacyTwin: Upstream.optional().describe(
        'Another instance of legacy that clients tell nothing: `cutover noise measure` holds its streams against those of legacy.',
      ),
    })
    .describe('The service that is to be replaced, and the one that is to replace it.'),
  routes: z.array(Route).min(1).describe('What is migrated; every other path goes to legacy.'),
  identity: Identity.prefault({}).describe('How a request names its user.'),
  flags: z
    .discriminatedUnion('provider', [FileFlags, UnleashFlags])
    .prefault({})
    .describe('Where the feature flags are: in files, or on an Unleash server.'),
  evidence: Evidence.prefault({}).describe(
    'What is kept of what the comparison found, redacted, in the state folder.',
  ),
  guardrails: GuardrailsSchema.prefault({}).describe(
    'What rolls a route back, or keeps its stage where it is, by itself.',
  ),
  limits: Limits.prefault({}),
  log: z
    .strictObject({ level: z.enum(['debug', 'info', 'warn', 'error', 'silent']).default('info') })
    .prefault({}),
});

export type Config = z.output<typeof ConfigSchema>;
export type UpstreamConfig = Config['upstreams']['legacy'];
export type RouteConfig = Config['routes'][number];
export type IdentityConfig = Config['identity'];
export type FlagsConfig = Config['flags'];
export type UnleashConfig = Extract<FlagsConfig, { provider: 'unleash' }>;
export type EvidenceConfig = Config['evidence'];
export type LimitsConfig = Config['limits'];
export type FlagRole = 'serve' | 'shadow' | 'kill' | 'isolation';

/** Name of a route's flag: the configured one, else `<route>.<role>`. */
export function flagName(route: RouteConfig, role: FlagRole): string {
  return route.flags[role] ?? `${route.name}.${role}`;
}
