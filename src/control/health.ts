// Whether this process should get new connections, for whoever balances load, and why not.
import { SIDES } from '../rules/decide.ts';
import type { FlagProblem } from '../rules/flag-problem.ts';
import type { Books } from '../rules/pairing/books.ts';
import type { FetchOutcome } from './flags/unleash-fetch.ts';
import type { ProxyView } from './proxy-view.ts';

const REASONS = {
  starting: 'The listener is not open yet.',
  draining: 'The proxy is shutting down; open sessions are being ended.',
} as const;

const WARNINGS = {
  'flags-unknown': 'No flags have been read, so legacy serves everybody.',
  'flags-unconfirmed':
    'The flag server has not answered since the start; flags of an earlier run are in force.',
  'flags-unauthorized':
    'The flag server refuses the token; the flags that were known before stay in force.',
  'flags-unreachable':
    'The flag server can not be asked; the flags that were known before stay in force.',
  'flags-refused': 'The newest flags are not valid; those before them stay in force.',
  'bypass-engaged':
    'An operator sends everything straight to legacy: nothing new is flagged or compared.',
  latched: 'A rollback holds routes on legacy, whatever flags say, until it is released.',
  'latch-unkept':
    'The state folder refused a rollback that holds: a restart would end it. It is tried again.',
  'audit-unkept':
    'What is changed can not be put on record, so that only going to legacy is possible.',
  'state-awaited': 'Another process still holds the state folder; this one takes over.',
  'evidence-unkept':
    'What the comparison finds can not be written: it is counted, and its examples are dropped.',
  'identity-mismatch':
    'On a route, addresses in legacy’s own events do not fit the names of its users: they prove nothing there, and no longer roll back. Name the claim in identity.aliases, or other fields in isolation.routing.',
  'names-others':
    'On a route, more than one in a thousand of legacy’s own addresses names another user than the one it is sent to. What both services send so accuses neither; if some users go by other names in events, name the claim in identity.aliases.',
  'writes-left-out':
    'Of a route, more than one event in a thousand could not be judged, since one service was not given writes that may have caused it: what is missing there is not told. See the splits of writes.',
  'reload-refused': 'The configuration on disk is not valid; the one before it stays in force.',
} as const;

/** Share of events that may lack a verdict for want of a write; beyond, the books look better than they are. */
const MOST_LEFT_OUT = 0.001;

/** Ends of a fetch that say nothing about flags. */
const UNREACHABLE: ReadonlySet<FetchOutcome | undefined> = new Set<FetchOutcome>([
  'unreachable',
  'timeout',
  'status',
  'redirect',
]);

export interface Remark<Code extends string> {
  readonly code: Code;
  readonly message: string;
}

export interface Readiness {
  readonly ready: boolean;
  /** Why not; empty when ready. */
  readonly reasons: readonly Remark<keyof typeof REASONS>[];
  /** What does not keep clients from being served well, and still wants a look. */
  readonly warnings: readonly Remark<keyof typeof WARNINGS>[];
}

type Asked = Pick<ProxyView, 'traffic' | 'flags' | 'state' | 'lastReload' | 'evidence'> & {
  readonly bypass: Pick<ProxyView['bypass'], 'engaged'>;
  readonly rollbacks: { readonly latch: Pick<ProxyView['rollbacks']['latch'], 'held' | 'kept'> };
  readonly audit: Pick<ProxyView['audit'], 'trouble'>;
  readonly judge: Pick<ProxyView['judge'], 'isolationBooks' | 'books'>;
};

/**
 * Ready means: a new connection is served. Without flags everybody is on legacy, as before the
 * migration, so that is a warning: taking all replicas out of rotation would be an outage.
 */
export function readiness(proxy: Asked): Readiness {
  const traffic = proxy.traffic();
  const reasons: Remark<keyof typeof REASONS>[] = [];
  if (traffic === null) reasons.push({ code: 'starting', message: REASONS.starting });
  if (traffic?.draining) reasons.push({ code: 'draining', message: REASONS.draining });
  const warnings = [...warningCodes(proxy)].map(code => ({ code, message: WARNINGS[code] }));
  return { ready: reasons.length === 0, reasons, warnings };
}

function* warningCodes(proxy: Asked): Generator<keyof typeof WARNINGS> {
  if (proxy.flags.loadedAt === null) yield 'flags-unknown';
  else if (proxy.flags.remote?.confirmedAt === null) yield 'flags-unconfirmed';
  const outcome = proxy.flags.remote?.lastFetch?.outcome;
  if (outcome === 'unauthorized') yield 'flags-unauthorized';
  else if (UNREACHABLE.has(outcome)) yield 'flags-unreachable';
  else if (proxy.flags.loadedAt !== null && proxy.flags.problems().some(isRefusal)) {
    yield 'flags-refused';
  }
  if (proxy.bypass.engaged !== null) yield 'bypass-engaged';
  const { latch } = proxy.rollbacks;
  if (latch.held.length > 0) yield 'latched';
  if (!latch.kept) yield 'latch-unkept';
  // Until it has taken over, somebody else's changes are put on record there.
  if (proxy.audit.trouble !== null && proxy.state() === 'held') yield 'audit-unkept';
  if (proxy.state() === 'awaited') yield 'state-awaited';
  if (proxy.evidence.state.trouble !== null) yield 'evidence-unkept';
  const isolation = [...proxy.judge.isolationBooks().values()];
  if (isolation.some(({ identityMismatch }) => identityMismatch)) yield 'identity-mismatch';
  const isOften = isolation.some(of => of.oftenForeign && !of.identityMismatch);
  if (isOften) yield 'names-others';
  if ([...proxy.judge.books().values()].some(lacksWrites)) yield 'writes-left-out';
  if (proxy.lastReload()?.ok === false) yield 'reload-refused';
}

function lacksWrites(books: Books): boolean {
  return SIDES.some(side => {
    const { seen, unjudged } = books[side];
    return unjudged['write-left-out'] > MOST_LEFT_OUT * seen;
  });
}

/** What keeps a set from being taken concerns files or the format; lint what a valid flag means. */
function isRefusal({ level, flag, rule }: FlagProblem): boolean {
  return level === 'error' && (flag === null || rule === 'duplicate' || rule === 'schema');
}
