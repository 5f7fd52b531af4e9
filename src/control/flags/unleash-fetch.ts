// Reads all flags from an Unleash server, or says in one word and one sentence why not. Our own
// request in place of the Unleash client's: that one stops for good at 401 or 403, waits minutes
// between tries, reads bodies of any length, and hands on whatever it got (an empty list, a flag
// that breaks evaluation). Wrapping it would leave none of it; evaluation stays the client's.
import type { FlagProblem } from '../../rules/flag-problem.ts';
import { VERSION } from '../version.ts';
import { type FlagDocument, parseFlagFile, SERVER_ANSWER } from './flag-file.ts';
import { type Answer, RequestFault, request } from './unleash-request.ts';

/** How a look at the server can end; a closed list, because metrics are labelled with it. */
export const FETCH_OUTCOMES = [
  'changed',
  'unchanged',
  'unauthorized',
  'unreachable',
  'timeout',
  'status',
  'redirect',
  'too-large',
  'invalid',
  'emptied',
] as const;
export type FetchOutcome = (typeof FETCH_OUTCOMES)[number];

export interface FetchPlace {
  /** Base URL of the server, without /api. */
  readonly url: string;
  readonly token: string;
  readonly appName: string;
  readonly project?: string | undefined;
  readonly pollMs: number;
  readonly timeoutMs: number;
  readonly maxBytes: number;
}

/** Names this process to the server. */
export interface FetchIdentity {
  readonly instanceId: string;
  readonly connectionId: string;
}

export type Fetched =
  | { readonly outcome: 'unchanged' }
  | {
      readonly outcome: 'changed';
      readonly document: FlagDocument;
      /** The body as it came: a flag file. */
      readonly text: string;
      readonly etag: string | null;
    }
  | FetchRefusal;

export interface FetchRefusal {
  readonly outcome: Exclude<FetchOutcome, 'changed' | 'unchanged'>;
  /** At least one. */
  readonly problems: readonly FlagProblem[];
}

/**
 * Asks once; `etag` is that of the set in force. Never throws. A set with one bad flag is refused as
 * a whole: half a set is a set that nobody wrote.
 */
export async function fetchFlags(
  place: FetchPlace,
  identity: FetchIdentity,
  etag: string | null,
  signal?: AbortSignal,
): Promise<Fetched> {
  let answer: Answer;
  try {
    answer = await request(addressOf(place), {
      headers: {
        accept: 'application/json',
        authorization: place.token,
        'unleash-appname': place.appName,
        'unleash-instanceid': identity.instanceId,
        'unleash-connection-id': identity.connectionId,
        'unleash-sdk': `cutover:${VERSION}`,
        'unleash-interval': String(place.pollMs),
        ...(etag === null ? {} : { 'if-none-match': etag }),
      },
      timeoutMs: place.timeoutMs,
      maxBytes: place.maxBytes,
      ...(signal === undefined ? {} : { signal }),
    });
  } catch (error) {
    return failed(error);
  }
  return judge(answer, etag);
}

function failed(error: unknown): FetchRefusal {
  if (!(error instanceof RequestFault)) throw error;
  const { outcome, message } = error;
  if (outcome === 'encoding') return refusal('invalid', message, 'look at what answers there');
  const fix =
    outcome === 'too-large'
      ? 'raise flags.maxBytes, or ask for one project with flags.project'
      : 'see that the Unleash server runs and can be reached from here';
  return refusal(outcome, message, fix);
}

async function judge({ status, etag, text }: Answer, known: string | null): Promise<Fetched> {
  if (status === 304 && known !== null) return { outcome: 'unchanged' };
  if (status === 401 || status === 403) {
    const message = `the server refuses the token (${status}); it is asked again all the time`;
    const fix = 'put a valid client token into flags.tokenFile and send SIGHUP';
    return refusal('unauthorized', message, fix);
  }
  if (status >= 300 && status < 400 && status !== 304) {
    const message = `the server redirects (${status}), and the token is for its own address alone`;
    return refusal('redirect', message, "set flags.url to the server's own address");
  }
  if (status !== 200) {
    return refusal('status', `the server answers with ${status}`, "look at the server's log");
  }
  return read(text, etag);
}

async function read(text: string, etag: string | null): Promise<Fetched> {
  try {
    const parsed = await parseFlagFile(text, undefined, SERVER_ANSWER);
    if ('problems' in parsed) {
      return { outcome: 'invalid', problems: withNames(parsed.problems, text) };
    }
    const twice = duplicateOf(parsed.document);
    if (twice === undefined) return { outcome: 'changed', document: parsed.document, text, etag };
    return refusal('invalid', `the flag ${twice} is there twice`, 'look at what answers there');
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    const message = 'the answer is nested too deep to be looked through';
    return refusal('invalid', message, 'look at what answers there');
  }
}

function addressOf({ url, project }: FetchPlace): string {
  const query = project === undefined ? '' : `?${new URLSearchParams({ project })}`;
  return `${url.replace(/\/+$/, '')}/api/client/features${query}`;
}

export function refusal(
  outcome: FetchRefusal['outcome'],
  message: string,
  fix: string,
): FetchRefusal {
  const problem: FlagProblem = {
    level: 'error',
    flag: null,
    path: '',
    rule: outcome,
    message,
    fix,
  };
  return { outcome, problems: [problem] };
}

/** Tells which flag a place in the answer belongs to. */
function withNames(problems: readonly FlagProblem[], text: string): readonly FlagProblem[] {
  if (!problems.some(({ path }) => path.startsWith('/features/'))) return problems;
  const { features }: { features: readonly unknown[] } = JSON.parse(text);
  return problems.map(problem => {
    const [, index, path = ''] = /^\/features\/(\d+)(\/.*)?$/.exec(problem.path) ?? [];
    const feature = features[Number(index)];
    if (typeof feature !== 'object' || feature === null || !('name' in feature)) return problem;
    return { ...problem, flag: String(feature.name).slice(0, 100), path };
  });
}

function duplicateOf({ features }: FlagDocument): string | undefined {
  const seen = new Set<string>();
  for (const { name } of features) {
    if (seen.has(name)) return name;
    seen.add(name);
  }
  return undefined;
}
