// Two services' answers to one HTTP request: one pair, one verdict.
import type { Side } from '../decide.ts';
import { withExactIntegers } from '../pairing/exact.ts';
import type { Difference, Finding, Verdict } from '../verdict.ts';
import { type Comparison, compareAt, isSame, type Stopped } from './compare.ts';
import type { CompiledRules } from './compile.ts';
import type { Acquaintance } from './excuse.ts';
import { type AnswerRules, READ_ANSWERS, WRITE_ANSWERS } from './rules.ts';

export interface Answer {
  /** 0: there was none. */
  readonly status: number;
  /** By lower case name; of a name that came several times all values. */
  readonly headers: Readonly<Record<string, string | readonly string[]>>;
  /** Parsed JSON where it is an object or array, else text; null: none. Not kept: undefined. */
  readonly body: unknown;
  /** Why a body is undefined that is not too large. */
  readonly unread?: Stopped;
  /** Its body begins with a byte order mark: browsers skip it, and many another reader refuses it. */
  readonly isMarked?: true;
  /** It broke off before its end. */
  readonly isCut: boolean;
  /** From the request to the answer's last byte, ms; recorded, not compared. */
  readonly latencyMs: number;
}

export interface AnswerPair extends Acquaintance {
  readonly route: string;
  /** Of the request; stands for the session and unit. */
  readonly id: string;
  readonly method: string;
  /** A write that went to both. */
  readonly isWrite: boolean;
  /** It may be answered with less than all; not given: nobody knows that it may not. */
  readonly asksForLess?: boolean;
  readonly legacy: Answer;
  readonly candidate: Answer;
  /** A body as it came, asked for where integers beyond 2^53 look equal; null, or not given: not kept. */
  readonly textOf?: (side: Side) => string | null;
  /** Epoch ms. */
  readonly at: number;
}

/** As `Comparison.hasAdded`. */
export type JudgedAnswers = Finding & { readonly hasAdded: boolean };

/** Compares by the route's `answers`, else by what suits reads and writes. Learns generated ids. */
export function judgeAnswers(rules: CompiledRules, pair: AnswerPair): JudgedAnswers {
  const { route, id, method, isWrite, asksForLess = true, legacy, candidate, at } = pair;
  const eventType = answerType(method, legacy.status);
  const how = answerRules(rules, isWrite);
  const isSameByTag = tagOf(legacy) !== null && tagOf(legacy) === tagOf(candidate);
  const mayBeApart = !isWrite && asksForLess;
  const areApart = mayBeApart && (isLessOf(legacy, candidate) || isLessOf(candidate, legacy));
  const isOneUnknown = areApart && !isSameByTag;
  // Whichever of the two it was to be, what breaks off is less than that.
  const head = areApart
    ? cutDifferences(legacy, candidate)
    : headDifferences(how, legacy, candidate);
  const body = isOneUnknown
    ? UNLOOKED
    : how.body && !areApart
      ? compareBodies(rules, eventType, pair)
      : null;
  const differences = [...head, ...(body?.differences ?? [])];
  let verdict: Verdict = 'match';
  if (differences.length > 0) verdict = 'mismatch';
  else if (body !== null && body.stopped !== null) verdict = 'unjudged';
  else if (hasFailed(legacy) && hasFailed(candidate)) verdict = 'failed-alike';
  else if (body !== null && body.excused.length > 0) verdict = 'noise';
  // Of two that differ nobody knows which of their elements belong together; the next two that do not tell.
  if (body !== null && verdict !== 'unjudged' && verdict !== 'mismatch') {
    for (const each of body.learned) pair.ids.learn(each.idClass, each.legacy, each.candidate);
  }
  return {
    verdict,
    because: verdict === 'unjudged' ? (body?.stopped ?? null) : null,
    route,
    eventType,
    key: null,
    unit: id,
    session: id,
    legacy,
    candidate,
    sides: ['legacy', 'candidate'],
    differences: verdict === 'noise' ? (body?.excused ?? []) : differences,
    at,
    hasAdded: body?.hasAdded ?? false,
  };
}

/** Are two answers to be the same in their bodies? */
export function comparesBodies(rules: CompiledRules, isWrite: boolean): boolean {
  return answerRules(rules, isWrite).body;
}

function answerRules({ rules }: CompiledRules, isWrite: boolean): AnswerRules {
  return rules.answers ?? (isWrite ? WRITE_ANSWERS : READ_ANSWERS);
}

/** What can not be held against each other. */
const UNLOOKED: Comparison = {
  ...{ differences: [], excused: [], learned: [] },
  ...{ stopped: 'not-comparable', inexact: false, isAlike: false, hasAdded: false },
};

/**
 * A client asks with the validator of whoever serves it, which says nothing to the other service: of one that has
 * sent nothing (RFC 9110 15.4.5), or a part where the other one sent all (`If-Range`, 13.1.5; and nobody has to know
 * `Range`, 14.2), nobody knows whether it would have been the same, unless both call it by one tag.
 */
function isLessOf(one: Answer, other: Answer): boolean {
  return (one.status === 304 || one.status === 206) && other.status === 200;
}

/** What a service calls the content of its answer, weak or strong (RFC 9110 8.8.3); null: it does not. */
export function tagOf(answer: Answer): string | null {
  return headerOf(answer, 'etag')?.replace(/^W\//, '') ?? null;
}

function headDifferences(how: AnswerRules, legacy: Answer, candidate: Answer): Difference[] {
  const found: Difference[] = [];
  const value = (path: string, left: unknown, right: unknown) => {
    if (left !== right) found.push({ kind: 'value', path, legacy: left, candidate: right });
  };
  const isSameStatus =
    how.status === 'exact'
      ? legacy.status === candidate.status
      : classOf(legacy.status) === classOf(candidate.status);
  if (!isSameStatus) value('/status', legacy.status, candidate.status);
  found.push(...cutDifferences(legacy, candidate));
  const areRead = legacy.body !== undefined && candidate.body !== undefined;
  if (how.body && areRead)
    value('/isMarked', legacy.isMarked ?? false, candidate.isMarked ?? false);
  for (const name of how.headers) {
    const path = `/headers/${name.replaceAll('~', '~0').replaceAll('/', '~1')}`;
    const [left, right] = [headerOf(legacy, name), headerOf(candidate, name)];
    if (left === undefined && right !== undefined) {
      found.push({ kind: 'extra', path, candidate: right });
    } else if (left !== undefined && right === undefined) {
      found.push({ kind: 'missing', path, legacy: left });
    } else value(path, left, right);
  }
  return found;
}

function cutDifferences({ isCut: legacy }: Answer, { isCut: candidate }: Answer): Difference[] {
  return legacy === candidate ? [] : [{ kind: 'value', path: '/isCut', legacy, candidate }];
}

/** Several values of one name are one list (RFC 9110 5.2). */
function headerOf({ headers }: Answer, name: string): string | undefined {
  if (!Object.hasOwn(headers, name)) return undefined;
  const value = headers[name];
  return value === undefined || typeof value === 'string' ? value : value.join(', ');
}

function compareBodies(
  rules: CompiledRules,
  eventType: string,
  { legacy, candidate, ids, subject, textOf }: AnswerPair,
): Comparison {
  const known = { ids, subject };
  const plan = rules.planOf(eventType);
  const compared = compareAt('/body', plan, legacy.body, candidate.body, known);
  const isKept = legacy.body !== undefined && candidate.body !== undefined;
  if (!isKept) {
    const stopped = legacy.unread ?? candidate.unread ?? 'too-large';
    return { ...compared, differences: [], stopped };
  }
  // Other than with events it is certain that these two are to be the same.
  if (isJson(legacy.body) !== isJson(candidate.body)) {
    const apart = {
      kind: 'type' as const,
      ...{ path: '/body', legacy: legacy.body, candidate: candidate.body },
    };
    return { ...compared, differences: [apart], stopped: null };
  }
  if (!compared.inexact) return compared;
  const exact = (side: Side): unknown => {
    const text = textOf?.(side) ?? null;
    return text === null ? undefined : withExactIntegers(text);
  };
  const [left, right] = [exact('legacy'), exact('candidate')];
  if (left !== undefined && right !== undefined) {
    return compareAt('/body', plan, left, right, known);
  }
  return isSame(compared) ? { ...compared, stopped: 'not-comparable', isAlike: false } : compared;
}

/** What stands for the type of an answer, which is an event without one: `GET 2xx`. */
export function answerType(method: string, status: number): string {
  return `${method} ${classOf(status)}`;
}

/** `2xx`; `none` where there was no answer. */
function classOf(status: number): string {
  return status === 0 ? 'none' : `${Math.floor(status / 100)}xx`;
}

/** What is asked of nobody in particular, or of all too often, is not answered, by one service or both. */
const UNANSWERED: ReadonlySet<number> = new Set([0, 401, 408, 429]);

export function hasFailed({ status, isCut }: Pick<Answer, 'status' | 'isCut'>): boolean {
  return UNANSWERED.has(status) || status >= 500 || isCut;
}

const isJson = (body: unknown): boolean => typeof body === 'object' && body !== null;
