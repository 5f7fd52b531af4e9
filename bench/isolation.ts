// Whether isolation tells the truth: leaks of every kind among the events of the reference services, and
// what looks like a leak and is none. Every leak must be told by its rule, at its user and place; and nothing
// besides.
import { setTimeout as pause } from 'node:timers/promises';
import pino from 'pino';
import { broadcasterRules } from '../src/broadcast/compare-rules.ts';
import { HOLD_MS } from '../src/judge/contamination-watch.ts';
import { WINDOW_MS } from '../src/judge/docket.ts';
import { Judge } from '../src/judge/judge.ts';
import type { AnswerSample } from '../src/ports.ts';
import { SIDES, type Subject } from '../src/rules/decide.ts';
import type { Contamination, IsolationRule } from '../src/rules/isolation/incident.ts';
import { DEFAULT_ISOLATION } from '../src/rules/isolation/rules.ts';
import { type Books, imbalance, unjudgedOf } from '../src/rules/pairing/books.ts';
import { FrameTracker, OPCODE, wholeFrame } from '../src/wire/frames.ts';
import { rounded, type Target } from './comparison.ts';
import { quantile } from './figures.ts';
import {
  type Answered,
  INNOCENTS,
  IsolationPlan,
  LEAKS,
  type Planned,
  type Sent,
} from './isolation-plan.ts';
import { type Busy, isQuiet, watched } from './rounds.ts';

export const ISOLATION_SIZES = { events: 200_000, users: 200 };

/** Of all that is planned: one in so many is a leak, and one in as many is tempting. */
const EVERY = 12;
/** So many events at a time, and so often: 4,000 a second of both services, while the judge keeps up. */
const BURST = 20;
const BURST_MS = 5;
const MOST_AHEAD = 1_000;
/** Legacy's, where it is late: twice what it is waited for where nothing speaks for it, less than all of its time. */
const LATE_MS = 2 * HOLD_MS;
/** Legs that are young to the judge prove nothing. */
const SETTLE_MS = 1_500;
/** Notes to each user before anything is planted: both services have spoken to him, and notes are one user's. */
const NOTES_EACH = 2;
/** The window is 5 s. */
const CLOSING_MS = 60_000;
const MOST_TOLD = 20;
/** At which a rollback is to begin after the last byte, or where a rule waits for legacy, after its window. */
const AT_ONCE_MS = 100;
/** A window ends by the clock of the judge, which is told whole ms. */
const LEAST_WINDOW_MS = WINDOW_MS - 1;

export interface IsolationResult {
  readonly events: number;
  readonly leaks: number;
  readonly found: number;
  readonly byRule: Readonly<Partial<Record<IsolationRule, { leaks: number; found: number }>>>;
  readonly falseAccusations: number;
  /** What looks like a leak and is none; the rest is ordinary runs. */
  readonly innocents: number;
  /** What both services sent: told apart. */
  readonly onBoth: number;
  /** Share of the candidate's events. */
  readonly unjudged: number;
  /** From the last byte of an event with a foreign address or marker, from one service alone, to its being told, ms. */
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly slowestMs: number;
  /** From the end of its window to another's thread or content being told, in an event that has no pair, ms. */
  readonly afterWindow: {
    readonly p50Ms: number;
    readonly p99Ms: number;
    readonly slowestMs: number;
  };
  readonly missed: readonly string[];
  readonly accused: readonly string[];
  readonly noise: Busy;
  /** `told` false: the machine was too noisy to tell. */
  readonly targets: readonly (Target & { readonly told: boolean })[];
}

/** Between which times it was handed over, epoch ms. */
interface Handed extends Planned {
  readonly from: number;
  readonly to: number;
}

export async function benchIsolation(options: {
  readonly json: boolean;
  readonly events: number;
  readonly users: number;
  readonly seed?: number;
}): Promise<IsolationResult> {
  const { json, events, users, seed = 1 } = options;
  const plan = new IsolationPlan(users, mulberry32(seed));
  const told: { readonly found: Contamination; readonly ms: number }[] = [];
  const judge = new Judge({
    rules: {
      events: {
        compare: broadcasterRules(),
        noise: null,
        isolation: {
          ...DEFAULT_ISOLATION,
          provenance: { message_receipt: ['recipient_id'] },
        },
      },
    },
    ...{ evidence: null, markers: plan.markers, logger: pino({ level: 'error' }) },
    onContamination: found =>
      told.push({ found, ms: performance.timeOrigin + performance.now() - found.at }),
  });
  const { tap } = judge;
  const subjects = plan.users.map((id, i) => ({ id, aliases: [plan.aliasOf(i)] }));
  const facts = { route: 'events', format: 'websocket' } as const;
  const sessions = subjects.map((subject, i) => {
    const socket = tap.stream({ ...facts, id: `s${i}`, subject });
    const stream = tap.stream({ ...facts, id: `e${i}`, format: 'sse', subject });
    const trackers = { legacy: new FrameTracker(), candidate: new FrameTracker() };
    for (const side of SIDES) {
      socket.legOpened(side, trackers[side]);
      stream.legOpened(side);
    }
    return { socket, stream, trackers };
  });
  const unsampled = plan.unsampled.map((id, i) => {
    const subject = { id, aliases: [] };
    const tracker = new FrameTracker();
    const ear = tap.overhear({ ...facts, id: `u${i}`, subject });
    ear?.legOpened('legacy', tracker);
    return { ear, tracker, subject };
  });
  let handed = 0;
  let paused = 0;
  let asked = 0;
  const planned: Handed[] = [];
  const late: { readonly sent: readonly Sent[]; readonly dueAt: number }[] = [];
  const hand = (sent: readonly Sent[]): void => {
    for (const { side, user, text, on } of sent) {
      const { socket, stream, trackers } = sessions[user] as (typeof sessions)[number];
      const { ear, tracker, subject } = unsampled[user] as (typeof unsampled)[number];
      const frame = () => wholeFrame(OPCODE.text, Buffer.from(text));
      if (on === 'unsampled') ear?.follow('legacy', frame(), tracker);
      else if (on === 'unsampled-answer') tap.overhearAnswer(asking(subject), answerOf(text));
      else {
        if (on === 'stream') stream.bytes(side, Buffer.from(`data: ${text}\n\n`));
        else socket.follow(side, frame(), trackers[side]);
        handed += 1;
      }
    }
  };
  const asking = (subject: Subject) => {
    asked += 1;
    const about = { route: 'events', id: `r${asked}`, method: 'GET', primary: 'legacy' } as const;
    return { ...about, subject };
  };
  const answer = ({ user, legacy, candidate }: Answered): void => {
    const subject = subjects[user] as (typeof subjects)[number];
    const [one, other] = [legacy, candidate].map(body => answerOf(JSON.stringify(body)));
    const answers = { legacy: one as AnswerSample, candidate: other as AnswerSample };
    tap.exchange({ ...asking(subject), isWrite: false, ...answers });
    handed += 2;
  };
  const send = async (each: Planned): Promise<void> => {
    const { said } = each;
    if (said !== undefined) sessions[said.user]?.socket.said(Buffer.from(said.text));
    const from = epochMs();
    hand(each.sent);
    if (each.answered !== undefined) answer(each.answered);
    planned.push({ ...each, from: Math.floor(from), to: Math.ceil(epochMs()) });
    if (each.late !== undefined) late.push({ sent: each.late, dueAt: performance.now() + LATE_MS });
    while ((late[0]?.dueAt ?? Number.POSITIVE_INFINITY) <= performance.now()) {
      hand(late.shift()?.sent ?? []);
    }
    if (handed - paused >= BURST) {
      paused = handed;
      await pause(BURST_MS);
    }
    while (handed - seenBy(judge) > MOST_AHEAD) await pause(1);
  };
  try {
    await pause(SETTLE_MS);
    const { result: books, busy } = await watched([process.pid], async () => {
      for (let note = 0; note < NOTES_EACH * users; note += 1) await send(plan.note(note % users));
      for (let nth = 0; handed < 2 * events; nth += 1) {
        if (nth % EVERY === 0) await send(plan.leak(at(LEAKS, nth / EVERY)));
        else if (nth % EVERY === 5) await send(plan.innocent(at(INNOCENTS, (nth - 5) / EVERY)));
        else await send(nth % 3 === 0 ? plan.note() : plan.run());
      }
      await pause(LATE_MS);
      for (const { sent } of late.splice(0)) hand(sent);
      return closed(judge, handed);
    });
    return resultOf({ planned, told, books, busy, users: plan.users, json });
  } finally {
    await judge.close();
  }
}

function resultOf({
  planned,
  told,
  books,
  busy,
  users,
  json,
}: {
  readonly planned: readonly Handed[];
  readonly told: readonly { readonly found: Contamination; readonly ms: number }[];
  readonly books: Books;
  readonly busy: Busy;
  readonly users: readonly string[];
  readonly json: boolean;
}): IsolationResult {
  const alone = told.filter(({ found }) => !found.onBoth);
  // By rule, side, user and place: when it came, of those that have not been told.
  const due = new Map<string, { from: number; to: number; kind: string }[]>();
  const byRule: Partial<Record<IsolationRule, { leaks: number; found: number }>> = {};
  const leaks = planned.flatMap(({ leak, ...of }) => (leak === null ? [] : [{ ...leak, ...of }]));
  for (const { rule, user, path, ...when } of leaks) {
    const key = `${rule} candidate ${users[user]} ${path}`;
    due.set(key, [...(due.get(key) ?? []), when]);
    const counts = byRule[rule] ?? { leaks: 0, found: 0 };
    counts.leaks += 1;
    byRule[rule] = counts;
  }
  const accused: string[] = [];
  for (const { found } of alone) {
    const key = `${found.rule} ${found.side} ${found.user} ${found.path}`;
    const left = due.get(key) ?? [];
    const nth = left.findIndex(({ from, to }) => from <= found.at && found.at <= to);
    if (nth === -1) accused.push(`${key} in ${found.eventType}`);
    else {
      left.splice(nth, 1);
      const counts = byRule[found.rule];
      if (counts !== undefined) counts.found += 1;
    }
  }
  const missed = [...due].flatMap(([key, left]) => left.map(({ kind }) => `${key}: ${kind}`));
  const found = alone.length - accused.length;
  const atOnce = alone.filter(({ found }) => found.rule === 'routing' || found.rule === 'marker');
  const { p50Ms, p99Ms, slowestMs } = spreadOf(atOnce.map(({ ms }) => ms));
  const waited = alone.filter(({ found, ms }) => isOfWindow(found) && ms >= LEAST_WINDOW_MS);
  const afterWindow = spreadOf(waited.map(({ ms }) => Math.max(0, ms - WINDOW_MS)));
  const wrong = imbalance(books);
  if (wrong !== null) throw new Error(wrong);
  const unjudged = unjudgedOf(books.candidate) / books.candidate.seen;
  const isTold = isQuiet({ busy });
  const targets = [
    { what: 'leaks that were not told by their rule', value: leaks.length - found, most: 0 },
    { what: 'accusations of what is none', value: accused.length, most: 0 },
    { what: 'share of events unjudged', value: unjudged, most: 0.001 },
    {
      what: 'ms until a foreign address or marker is told, p99',
      ...{ value: p99Ms, most: AT_ONCE_MS, told: isTold },
    },
    {
      what: "ms after its window until another's thread or content is told, p99",
      ...{ value: afterWindow.p99Ms, most: AT_ONCE_MS, told: isTold },
    },
  ].map(each => ({ told: true, ...each, met: each.value <= each.most }));
  if (!json) {
    for (const [rule, counts] of Object.entries(byRule)) {
      console.log(`${rule}: ${counts.found} of ${counts.leaks} found`);
    }
    for (const text of missed) console.log(`missed: ${text}`);
    for (const text of accused.slice(0, MOST_TOLD)) console.log(`accused: ${text}`);
    for (const { what, value, most, met, told: isKnown } of targets) {
      const untold = isKnown ? '' : ' (too noisy to tell)';
      console.log(`${met ? 'met   ' : 'MISSED'}  ${what}: ${value} of at most ${most}${untold}`);
    }
  }
  return {
    ...{ events: books.candidate.seen, leaks: leaks.length, found, byRule },
    falseAccusations: accused.length,
    innocents: planned.filter(({ kind, leak }) => leak === null && kind !== 'run').length,
    onBoth: told.length - alone.length,
    ...{ unjudged, p50Ms, p99Ms, slowestMs, afterWindow },
    noise: { total: rounded(busy.total), foreign: rounded(busy.foreign) },
    targets,
    missed: missed.slice(0, MOST_TOLD),
    accused: accused.slice(0, MOST_TOLD),
  };
}

function isOfWindow({ rule }: Contamination): boolean {
  return rule === 'ledger' || rule === 'fingerprint';
}

function spreadOf(times: readonly number[]) {
  const [p50Ms = 0, p99Ms = 0, slowestMs = 0] = [0.5, 0.99, 1].map(q =>
    Math.round(quantile(times, q)),
  );
  return { p50Ms, p99Ms, slowestMs };
}

function epochMs(): number {
  return performance.timeOrigin + performance.now();
}

function answerOf(text: string): AnswerSample {
  return {
    ...{ status: 200, headers: ['content-type', 'application/json'], body: Buffer.from(text) },
    ...{ marker: null, end: 'complete', code: null, ms: 1 },
  };
}

function seenBy(judge: Judge): number {
  const books = judge.books().get('events');
  return books === undefined ? 0 : books.legacy.seen + books.candidate.seen;
}

/** The books once nothing waits. */
async function closed(judge: Judge, handed: number): Promise<Books> {
  for (const end = performance.now() + CLOSING_MS; performance.now() < end; ) {
    const books = judge.books().get('events');
    const pending = (books?.legacy.pending ?? 1) + (books?.candidate.pending ?? 1);
    if (books !== undefined && pending === 0 && seenBy(judge) === handed) return books;
    await pause(100);
  }
  throw new Error('events wait for their verdict');
}

function at<T>(list: readonly T[], index: number): T {
  return list[Math.floor(index) % list.length] as T;
}

/** A small generator with a seed (public domain, Tommy Ettinger): the same plan for the same seed. */
function mulberry32(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
