// Users of one route whose events are watched, without the judge's thread and on a clock that is moved.
import { expect } from 'vitest';
import { broadcasterRules } from '../../src/broadcast/compare-rules.ts';
import type { Batch } from '../../src/judge/batch.ts';
import { ContaminationWatch } from '../../src/judge/contamination-watch.ts';
import { Docket, WINDOW_MS } from '../../src/judge/docket.ts';
import { BatchTap } from '../../src/judge/tap.ts';
import { UnansweredWrites } from '../../src/judge/unanswered-writes.ts';
import type { AnswerSample } from '../../src/ports.ts';
import type { Allowance } from '../../src/rules/compare/rules.ts';
import { SIDES, type Side } from '../../src/rules/decide.ts';
import type { Contamination } from '../../src/rules/isolation/incident.ts';
import type { Marker } from '../../src/rules/isolation/marker.ts';
import { DEFAULT_ISOLATION, type IsolationRules } from '../../src/rules/isolation/rules.ts';
import { SECRET_BYTES } from '../../src/rules/isolation/secret-hash.ts';
import { imbalance } from '../../src/rules/pairing/books.ts';
import type { Finding } from '../../src/rules/verdict.ts';
import { FrameTracker, wholeFrame } from '../../src/wire/frames.ts';

export const TICK_MS = 10;

const primary: Side = 'candidate';

export function judged(
  isolation: Partial<IsolationRules> = {},
  markers: readonly Marker[] = [],
  allow: readonly Allowance[] = [],
) {
  const rules = broadcasterRules();
  let now = 1_000_000;
  const told: {
    what: string;
    owner: string | null;
    eventType: string;
    names: readonly string[];
    ms: number;
  }[] = [];
  const doubts = new Set<string>();
  const findings: Finding[] = [];
  let contained: unknown[] | null = null;
  const batches: Batch[] = [];
  const writes = new UnansweredWrites(WINDOW_MS);
  const tap = new BatchTap({ send: batch => void batches.push(batch), now: () => now, writes });
  const watch = new ContaminationWatch({
    ...{
      secret: new Uint8Array(SECRET_BYTES).fill(7),
      markers,
      windowMs: WINDOW_MS,
      now: () => now,
    },
    onContamination: ({ inDoubt, ...found }: Contamination) => {
      const key = `${found.session} ${found.side} ${found.at} ${found.path}`;
      if (inDoubt) doubts.add(key);
      // Whoever takes back what he has told says so, and once.
      else if (found.wasInDoubt) expect(doubts.delete(key)).toBe(true);
      if (inDoubt) return;
      const { rule, side, path, user, onBoth, owner, eventType, names = [], at } = found;
      const words = [rule, side, user, path, onBoth ? 'on-both' : ''];
      told.push({
        what: words.filter(word => word !== '').join(' '),
        owner,
        eventType,
        names,
        ms: now - at,
      });
    },
    onHeld: () => undefined,
  });
  const docket = new Docket({
    rules: {
      events: {
        compare: { ...rules, allow: [...rules.allow, ...allow] },
        noise: null,
        isolation: { ...DEFAULT_ISOLATION, ...isolation },
      },
    },
    watch,
    onFinding: finding => findings.push(finding),
    onFailure: error => {
      if (contained === null) throw error;
      contained.push(error);
    },
  });
  const flush = () => {
    tap.flush();
    for (const batch of batches.splice(0)) {
      docket.take(batch);
      watch.settle();
      tap.returned(batch.bytes, 0, { marks: [], settled: [] });
    }
  };
  return {
    told,
    findings,
    watch,
    whats: () => told.map(({ what }) => what),
    verdicts: () =>
      findings.filter(({ verdict }) => verdict !== 'match').map(({ verdict }) => verdict),
    /** What the judge itself fails at while something is done. */
    failing(act: () => void): readonly unknown[] {
      const failures: unknown[] = [];
      contained = failures;
      act();
      contained = null;
      return failures;
    },
    /**
     * A user with a socket on each side, which have been followed for `sinceMs`, and legacy's open for `olderMs` more.
     */
    join(
      id: string,
      aliases: readonly string[] = [],
      format: 'websocket' | 'sse' = 'websocket',
      sinceMs = 2_000,
      olderMs = 0,
    ) {
      const subject = { id, aliases };
      const stream = tap.stream({ route: 'events', id: `s-${id}`, format, subject });
      const trackers = { legacy: new FrameTracker(), candidate: new FrameTracker() };
      stream.legOpened('legacy', trackers.legacy, olderMs);
      stream.legOpened('candidate', trackers.candidate);
      now += sinceMs;
      const say = (side: Side, ...events: readonly (object | string)[]) => {
        for (const event of events) {
          const text = typeof event === 'string' ? event : JSON.stringify(event);
          stream.follow(side, wholeFrame(1, Buffer.from(text)), trackers[side]);
        }
        flush();
      };
      return {
        say,
        both: (...events: readonly (object | string)[]) =>
          void SIDES.map(side => say(side, ...events)),
        /** Null: something that nobody can read. */
        tells: (text: string | null) => {
          stream.said(text === null ? null : Buffer.from(text));
          flush();
        },
        raw: (side: Side, text: string) => {
          stream.bytes(side, Buffer.from(text));
          flush();
        },
        ...{ stream, trackers },
      };
    },
    /** A user of whom nothing is compared, and what legacy sends him. */
    overhear(id: string, format: 'websocket' | 'sse' = 'websocket') {
      const facts = { route: 'events', id: `s-${id}`, format, subject: { id, aliases: [] } };
      const stream = tap.overhear(facts);
      const tracker = new FrameTracker();
      stream?.legOpened('legacy', tracker);
      const frame = (event: object) => wholeFrame(1, Buffer.from(JSON.stringify(event)));
      return {
        gets: (...events: readonly object[]) => {
          for (const event of events) stream?.follow('legacy', frame(event), tracker);
          flush();
        },
        /** As it lies on the wire. */
        raw: (bytes: Buffer) => {
          if (format === 'sse') stream?.bytes('legacy', bytes);
          else stream?.follow('legacy', bytes, tracker);
          flush();
        },
        /** Null: something that nobody can read. */
        tells: (text: string | null) => {
          stream?.said(text === null ? null : Buffer.from(text));
          flush();
        },
        leaves: () => {
          stream?.close();
          flush();
        },
        ...{ stream, tracker },
      };
    },
    /** What legacy answers one of whom nothing is compared. */
    overheardAnswer(id: string, sample: AnswerSample) {
      const subject = { id, aliases: [] };
      const about = { route: 'events', id: `r-${id}`, method: 'GET', primary: 'legacy' } as const;
      expect(tap.overhearAnswer({ ...about, subject }, sample)).toBe(true);
      flush();
    },
    tap,
    /** The judge has more in hand than is left for those who are not compared, until it is told to go on. */
    busy(): () => void {
      const busy = tap.stream({ route: 'busy', id: 'b', format: 'sse', subject: null });
      busy.legOpened('legacy');
      for (let n = 0; n < 5; n += 1) {
        busy.bytes('legacy', Buffer.from('y'));
        tap.flush();
      }
      return flush;
    },
    /** What comes before the judge is given the next batch is left out. */
    overload() {
      const busy = tap.stream({ route: 'busy', id: 'b', format: 'sse', subject: null });
      busy.legOpened('legacy');
      const before = tap.bytesLeftOut;
      while (tap.bytesLeftOut === before) busy.bytes('legacy', Buffer.alloc(100_000, 'y'));
    },
    /** That side was not given a write. */
    leaveOut(side: Side) {
      tap.writeLeftOut(side)();
      flush();
    },
    /** A write goes to both, about that user; to be told of each that has answered. */
    beginWrite: (about: string | null = null) =>
      tap.write(about === null ? null : { id: about, aliases: [] }),
    /** Somebody whom nobody knows says more than is heard. */
    floods() {
      for (let n = 0; n < 40; n += 1) tap.said(null, Buffer.alloc(65_536, 'a'));
      flush();
    },
    /** A request of a user's, and what both services answer. */
    ask(
      id: string,
      legacy: AnswerSample,
      candidate: AnswerSample,
      said = '/',
      shown: Side = primary,
      isBesideWrite = false,
    ) {
      const subject = { id, aliases: [] };
      tap.said(subject, Buffer.from(said));
      const about = { route: 'events', id: `r-${id}`, method: 'GET' };
      const request = { ...about, subject, primary: shown };
      tap.exchange({ ...request, isWrite: false, isBesideWrite, legacy, candidate });
      flush();
    },
    /** The same of a write that goes to both. */
    post(id: string, legacy: AnswerSample, candidate: AnswerSample) {
      const about = { route: 'events', id: `w-${id}`, method: 'POST', primary } as const;
      const subject = { id, aliases: [] };
      tap.exchange({ ...about, subject, isWrite: true, legacy, candidate });
      flush();
    },
    /** One of its answers, before the other one is there. */
    answered(id: string, side: Side, sample: AnswerSample) {
      const subject = { id, aliases: [] };
      const request = { ...{ route: 'events', id: `r-${id}`, method: 'GET' }, subject, primary };
      expect(tap.answered(request, side, sample)).toBe(true);
      flush();
    },
    /** Time in which nothing is looked at: hours of it. */
    skip(ms: number) {
      now += ms;
    },
    pass(ms: number) {
      for (const end = now + ms; now < end; ) {
        now += TICK_MS;
        flush();
        watch.settle();
        docket.sweep(now, writes.look(now));
      }
      const books = docket.books().get('events');
      if (books !== undefined) expect(imbalance(books)).toBeNull();
      return books;
    },
  };
}
