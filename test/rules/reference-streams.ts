// What the two reference services say to a few users, with the delays of a network and, if wanted, with
// planted faults, and what a pairing makes of it. Everything follows from the seed.
import { agentRun } from '../../src/broadcast/agent-run.ts';
import { broadcasterRules } from '../../src/broadcast/compare-rules.ts';
import { legacyEnvelopes, ssotEnvelopes } from '../../src/broadcast/envelopes.ts';
import type { BroadcastEvent } from '../../src/broadcast/event.ts';
import { eventKeyOf } from '../../src/broadcast/event-key.ts';
import { alter, type FaultKind } from '../../src/broadcast/fault.ts';
import { createUserExecutionContext } from '../../src/broadcast/user-context.ts';
import { compileRules } from '../../src/rules/compare/compile.ts';
import { IdClasses } from '../../src/rules/compare/ids.ts';
import type { Side } from '../../src/rules/decide.ts';
import { addBooks, type Books, emptyBooks, imbalance } from '../../src/rules/pairing/books.ts';
import { Pairing } from '../../src/rules/pairing/pairing.ts';
import type { Finding, Verdict } from '../../src/rules/verdict.ts';

export const PLANTED = [
  'drop',
  'duplicate',
  'reorder',
  'wrong-type',
  'rewrite-provenance',
  'routing-field',
  'nested-routing-field',
  'misroute',
] as const satisfies readonly FaultKind[];
export type PlantedKind = (typeof PLANTED)[number];

const WINDOW_MS = 5_000;
const SWEEP_MS = 100;
/** Midnight of some day; stamps are taken from the same clock as arrivals. */
const EPOCH_MS = 1_757_894_400_000;

export interface StreamOptions {
  readonly seed: number;
  readonly users: number;
  /** Each of five events. */
  readonly runsPerUser: number;
  /** Of each copy on its way, keeping the order of its socket. */
  readonly jitterMs: number;
  /** Share of events that are hit, at most one in a run. */
  readonly faultRate: number;
}

interface Sent {
  /** When its service sends it. */
  readonly at: number;
  readonly event: BroadcastEvent;
}

interface Fault {
  readonly kind: PlantedKind;
  readonly user: number;
  readonly key: string;
  /** Of a misroute: who got it. */
  readonly other: number;
}

export interface Score {
  readonly events: number;
  readonly planted: number;
  /** Faults that were found and named rightly. */
  readonly found: number;
  readonly missed: readonly string[];
  /** Verdicts that no fault explains. */
  readonly falseAlarms: readonly string[];
  readonly unjudged: number;
  readonly books: Books;
}

/** What each planted fault must be found as, at the user whom it hit. */
const MUST_BE: Readonly<Record<PlantedKind, Verdict>> = {
  drop: 'missing',
  duplicate: 'duplicate',
  reorder: 'out-of-order',
  'wrong-type': 'mismatch',
  'rewrite-provenance': 'mismatch',
  'routing-field': 'mismatch',
  'nested-routing-field': 'mismatch',
  misroute: 'missing',
};
const ALARMS: ReadonlySet<Verdict> = new Set([
  'mismatch',
  'missing',
  'extra',
  'duplicate',
  'out-of-order',
  'contaminated',
]);

export function playReference(options: StreamOptions): Score {
  const random = generator(options.seed);
  const streams = Array.from({ length: options.users }, (_, user) =>
    streamsOf(user, options, random),
  );
  const faults = plant(streams, options, random);
  const books = emptyBooks();
  const findings: { readonly user: number; readonly finding: Finding }[] = [];
  let unjudged = 0;
  for (const [user, stream] of streams.entries()) {
    const own = pairUp(user, stream, options.jitterMs, random, finding => {
      if (finding.verdict === 'unjudged') unjudged += finding.sides.length;
      else if (ALARMS.has(finding.verdict)) findings.push({ user, finding });
    });
    addBooks(books, own);
  }
  return { ...score(faults, findings), unjudged, books, events: books.legacy.seen };
}

function score(
  faults: readonly Fault[],
  findings: readonly { readonly user: number; readonly finding: Finding }[],
): Pick<Score, 'planted' | 'found' | 'missed' | 'falseAlarms'> {
  const expected = new Map<string, string>();
  for (const { kind, user, key, other } of faults) {
    expected.set(`${user} ${MUST_BE[kind]} ${key}`, kind);
    if (kind === 'misroute') expected.set(`${other} extra ${key}`, `${kind} (to)`);
  }
  const falseAlarms: string[] = [];
  const all = expected.size;
  for (const { user, finding } of findings) {
    const line = `${user} ${finding.verdict} ${finding.key}`;
    const kind = expected.get(line);
    const paths = finding.differences.map(difference => `${difference.kind}:${difference.path}`);
    const fits = kind === 'wrong-type' ? paths.join() === 'value:/type' : true;
    if (kind === undefined || !fits || !expected.delete(line)) {
      falseAlarms.push(`${line} ${paths.join(' ')}`);
    }
  }
  const missed = [...expected].map(([line, kind]) => `${kind}: ${line}`);
  return { planted: all, found: all - expected.size, missed, falseAlarms };
}

interface UserStreams {
  readonly legacy: Sent[];
  candidate: Sent[];
}

/** A greeting, and runs one after another, some of them two at a time; acks, pongs, posted events. */
function streamsOf(user: number, options: StreamOptions, random: () => number): UserStreams {
  const name = `user_${user}`;
  const said: {
    readonly at: number;
    readonly ours: BroadcastEvent;
    readonly theirs: BroadcastEvent;
  }[] = [];
  const say = (at: number, ours: BroadcastEvent, theirs: BroadcastEvent) =>
    said.push({ at, ours, theirs });
  const reply = (type: 'ack' | 'pong' | 'connection_established', at: number, body: object) =>
    say(
      at,
      legacyEnvelopes.reply(type, { ...body, ...made(type, `l${user}-${at}`) }, EPOCH_MS + at),
      ssotEnvelopes.reply(type, { ...body, ...made(type, `c${user}-${at}`) }, EPOCH_MS + at + 1),
    );
  reply('connection_established', 20 + random(), { user_id: name });
  let at = 50;
  for (let run = 0; run < options.runsPerUser; run++) {
    const message = { type: 'chat', message: `Spend of region ${run}?`, message_id: `m${run}` };
    const context = createUserExecutionContext(name, message);
    reply('ack', at, { in_reply_to: message.message_id });
    if (random() < 0.1) reply('pong', at + 1, { in_reply_to: null });
    const together = random() < 0.3;
    let step = at + 2;
    for (const each of agentRun(context)) {
      say(
        step,
        legacyEnvelopes.step(context, each, EPOCH_MS + step),
        ssotEnvelopes.step(context, each, EPOCH_MS + step + 1),
      );
      step += 1 + random() * 40;
    }
    if (random() < 0.3) {
      const posted = { type: 'status', seq: run, data: { note: 'nested', text: `of ${name}` } };
      const stamp = EPOCH_MS + step + 1;
      say(
        step + 1,
        { ...posted, timestamp: legacyEnvelopes.timestamp(stamp) },
        { ...posted, timestamp: ssotEnvelopes.timestamp(stamp + 1) },
      );
    }
    at = together ? at + 10 + random() * 20 : step + 2 + random() * 200;
  }
  said.sort((a, b) => a.at - b.at);
  // What one source says comes in its order on both sides; several sources interleave as they like.
  const latest = new Map<unknown, number>();
  const candidate = said.map(({ at: sentAt, ours, theirs }) => {
    const source = ours.run_id ?? (ours.type === 'status' ? 'backend' : 'replies');
    const later = Math.max(sentAt + random() * 3, latest.get(source) ?? 0);
    latest.set(source, later);
    return { at: later, event: theirs };
  });
  return {
    legacy: said.map(({ at: sentAt, ours }) => ({ at: sentAt, event: ours })),
    candidate: candidate.sort((a, b) => a.at - b.at),
  };
}

function made(type: string, id: string): object {
  if (type === 'ack') return { message_id: `msg_${id}` };
  return type === 'connection_established' ? { connection_id: `conn_${id}` } : {};
}

function plant(streams: UserStreams[], options: StreamOptions, random: () => number): Fault[] {
  const faults: Fault[] = [];
  const misrouted: { readonly user: number; readonly sent: Sent }[] = [];
  for (const [user, stream] of streams.entries()) {
    const hit = new Set<unknown>();
    const out: Sent[] = [];
    let held: { readonly sent: Sent; readonly run: unknown } | null = null;
    for (const sent of stream.candidate) {
      const { event } = sent;
      const run = event.run_id;
      if (held !== null && held.run === run) {
        out.push(sent, { at: sent.at, event: held.sent.event });
        held = null;
        continue;
      }
      const kind = PLANTED[Math.floor(random() * PLANTED.length)] ?? 'drop';
      const isHit = run !== undefined && !hit.has(run) && random() < options.faultRate;
      const cannot = kind === 'reorder' && (event.type === 'agent_completed' || held !== null);
      const other = (user + 1 + Math.floor(random() * (streams.length - 1))) % streams.length;
      if (!isHit || cannot) {
        out.push(sent);
        continue;
      }
      const done = () => {
        hit.add(run);
        faults.push({ kind, user, key: eventKeyOf(event), other });
      };
      if (kind === 'drop') done();
      else if (kind === 'duplicate') {
        done();
        out.push(sent, sent);
      } else if (kind === 'reorder') {
        done();
        held = { sent, run };
      } else if (kind === 'misroute') {
        done();
        misrouted.push({ user: other, sent });
      } else {
        const altered = alter(kind, event, `user_${user}`, `user_${other}`);
        if (altered === undefined) out.push(sent);
        else {
          done();
          out.push({ at: sent.at, event: altered.event as BroadcastEvent });
        }
      }
    }
    if (held !== null) out.push(held.sent);
    stream.candidate = out;
  }
  for (const { user, sent } of misrouted) {
    const stream = streams[user];
    if (stream === undefined) continue;
    const index = stream.candidate.findIndex(({ at }) => at > sent.at);
    stream.candidate.splice(index === -1 ? stream.candidate.length : index, 0, sent);
  }
  return faults;
}

/** Pairs one user's streams, which arrive late and in order, and waits until all is settled. */
function pairUp(
  user: number,
  streams: UserStreams,
  jitterMs: number,
  random: () => number,
  onFinding: (finding: Finding) => void,
): Books {
  const pairing = new Pairing({
    route: 'events',
    session: `s${user}`,
    rules: RULES,
    subject: [`user_${user}`],
    ids: new IdClasses(),
    windowMs: WINDOW_MS,
    maxPending: 2_000,
    onFinding,
  });
  pairing.legOpened('legacy', EPOCH_MS);
  pairing.legOpened('candidate', EPOCH_MS + random() * 20);
  const arrivals = [
    ...delayed('legacy', streams.legacy, jitterMs, random),
    ...delayed('candidate', streams.candidate, jitterMs, random),
  ].sort((a, b) => a.at - b.at);
  const last = (arrivals.at(-1)?.at ?? EPOCH_MS) + 2 * WINDOW_MS;
  let next = 0;
  for (let sweep = EPOCH_MS + SWEEP_MS; sweep <= last; sweep += SWEEP_MS) {
    for (; ; next++) {
      const arrival = arrivals[next];
      if (arrival === undefined || arrival.at > sweep) break;
      pairing.event(arrival.side, JSON.parse(arrival.text), arrival.at, null, arrival.text);
    }
    pairing.sweep(sweep);
  }
  if (pairing.pending !== 0) throw new Error(`${pairing.pending} events still wait`);
  pairing.end(last);
  const wrong = imbalance(pairing.books);
  if (wrong !== null) throw new Error(wrong);
  return pairing.books;
}

const RULES = compileRules(broadcasterRules());

function delayed(side: Side, sent: readonly Sent[], jitterMs: number, random: () => number) {
  let at = 0;
  return sent.map(each => {
    at = Math.max(at, EPOCH_MS + each.at + random() * jitterMs);
    return { side, at, text: JSON.stringify(each.event) };
  });
}

/** mulberry32: small, and the same on every machine. */
function generator(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
