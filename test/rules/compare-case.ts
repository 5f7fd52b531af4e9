// Conformance cases of comparing, as data: `test/fixtures/compare/*.json`, one JSON object a file.
//
//   events   named events; a stream may use their names
//   cases    name        a sentence: what happened, and what must be found
//            rules       "default", "broadcaster" (what cutover.yaml carries), or fields of CompareRules
//                        that replace the default's; left out: "broadcaster"
//            legacy,     the two streams, each a list of steps in order:
//            candidate   { at, event, with?, shared?, contaminated?, exact? }  an event, by name or as it is;
//                                            `contaminated` says what was found in it;
//                                            `shared`: others may be given it as well;
//                                            `with` replaces fields of its root, null removes them;
//                                            `exact`: hand in the JSON text as well, this one
//                        { at, text }        a message that is no JSON object or array
//                        { at, leg: "open" | "close" | "leave" | "complete" }  without any: both open at 0.
//                                            "close": its service ends it; "leave": its client does, or the
//                                            proxy; "complete": it was to end there, with its run
//                        { at, gap: reason, leftOut? }   copies were lost
//                        { at, unjudged: reason }        an event that can not be read
//                        { at, unheard: true }           the client said what this side was to hear, and did not
//                        { at, said: text }              the client said it, and nobody before; in either list
//                        { at, lacksWrite: true }        the other side was given a write that this one was not
//                        { at, late: ms, about? }    this side answers a write to both that it took so long for;
//                                            `about` names its user, without it nobody knows
//            subject     names of the user; ["user_1"]
//            windowMs    5000;  maxPending 1000
//            until       what is expected must be all that was found by then, nothing waiting; left
//                        out: the session ends two windows after the last step
//            endsAt      the session ends at that time instead
//            expect      one line for each finding, in any order:
//                        verdict[(because)] type [side, if it is on one alone] [kind:path …]
//            within      of some of those lines: by when they must have been found
//
// Times are milliseconds. In one millisecond legacy's steps come first.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { broadcasterRules } from '../../src/broadcast/compare-rules.ts';
import { type CompiledRules, compileRules } from '../../src/rules/compare/compile.ts';
import { IdClasses } from '../../src/rules/compare/ids.ts';
import { type CompareRules, DEFAULT_RULES } from '../../src/rules/compare/rules.ts';
import { SIDES, type Side } from '../../src/rules/decide.ts';
import { type Books, imbalance } from '../../src/rules/pairing/books.ts';
import { toldOf, WriteTimes } from '../../src/rules/pairing/late-writes.ts';
import { LeftOutWrites } from '../../src/rules/pairing/left-out-writes.ts';
import { Pairing } from '../../src/rules/pairing/pairing.ts';
import type { Finding, UnjudgedReason } from '../../src/rules/verdict.ts';
import { wordsOf } from '../../src/rules/words.ts';

const FOLDER = join(import.meta.dirname, '../fixtures/compare');
const SWEEP_MS = 100;
const LEG_ENDS = { close: 'by-service', leave: 'left', complete: 'complete' } as const;

type Json = Readonly<Record<string, unknown>>;

export interface Step {
  readonly at: number;
  readonly event?: string | Json | readonly unknown[];
  readonly with?: Json;
  readonly shared?: true;
  readonly contaminated?: string;
  readonly exact?: string;
  readonly text?: string;
  readonly leg?: 'open' | 'close' | 'leave' | 'complete';
  readonly gap?: UnjudgedReason;
  readonly leftOut?: number;
  readonly unjudged?: UnjudgedReason;
  readonly unheard?: true;
  readonly said?: string;
  readonly lacksWrite?: true;
  readonly late?: number;
  readonly about?: string;
}

export interface CompareCase {
  readonly name: string;
  readonly rules?: 'default' | 'broadcaster' | Partial<CompareRules>;
  readonly legacy: readonly Step[];
  readonly candidate: readonly Step[];
  readonly subject?: readonly string[];
  readonly windowMs?: number;
  readonly maxPending?: number;
  readonly until?: number;
  readonly endsAt?: number;
  readonly expect: readonly string[];
  readonly within?: Readonly<Record<string, number>>;
}

interface CaseFile {
  readonly events?: Readonly<Record<string, Json>>;
  readonly cases: readonly CompareCase[];
}

export interface Outcome {
  /** Sorted lines. */
  readonly found: readonly string[];
  /** When each was found first. */
  readonly times: ReadonlyMap<string, number>;
  readonly findings: readonly Finding[];
  readonly books: Books;
  readonly pending: number;
}

/** Every case with the file it stands in and that file's named events. */
export function readCases(): {
  file: string;
  events: Readonly<Record<string, Json>>;
  one: CompareCase;
}[] {
  return readdirSync(FOLDER)
    .filter(file => file.endsWith('.json'))
    .flatMap(file => {
      const { events = {}, cases } = JSON.parse(
        readFileSync(join(FOLDER, file), 'utf8'),
      ) as CaseFile;
      return cases.map(one => ({ file, events, one }));
    });
}

export function rulesOf(rules: CompareCase['rules']): CompiledRules {
  if (rules === undefined || rules === 'broadcaster') return compileRules(broadcasterRules());
  return compileRules(rules === 'default' ? DEFAULT_RULES : { ...DEFAULT_RULES, ...rules });
}

/** Plays a case. `sweepMs` between two sweeps. Throws where the books do not add up after any step. */
export function play(one: CompareCase, events: Readonly<Record<string, Json>> = {}): Outcome {
  const findings: Finding[] = [];
  const times = new Map<string, number>();
  let now = 0;
  const windowMs = one.windowMs ?? 5_000;
  const leftOut = new LeftOutWrites(windowMs);
  const writes = new WriteTimes(windowMs);
  const shared = new Set<unknown>();
  const pairing = new Pairing({
    route: 'events',
    session: 's',
    rules: rulesOf(one.rules),
    subject: one.subject ?? ['user_1'],
    ids: new IdClasses(),
    windowMs,
    ...{ leftOut, writes },
    isHis: ({ value }) => !shared.has(value),
    maxPending: one.maxPending ?? 1_000,
    onFinding: finding => {
      findings.push(finding);
      const line = lineOf(finding);
      if (!times.has(line)) times.set(line, now);
    },
  });
  const balance = () => {
    const wrong = imbalance(pairing.books);
    if (wrong !== null) throw new Error(`at ${now} ms: ${wrong}`);
  };
  const steps = stepsOf(one);
  const last = steps.at(-1)?.step.at ?? 0;
  const end = one.until ?? one.endsAt ?? last + 2 * windowMs;
  let next = 0;
  for (let sweep = SWEEP_MS; ; sweep += SWEEP_MS) {
    for (
      let entry = steps[next];
      entry !== undefined && entry.step.at < sweep;
      entry = steps[next]
    ) {
      next++;
      if (entry.step.at > end) break;
      now = entry.step.at;
      const { lacksWrite, late, about = null } = entry.step;
      if (lacksWrite) leftOut.over(entry.side, now);
      else if (late !== undefined) {
        const write = { begunAt: now - late, answeredAt: now, tookMs: late };
        const none = { legacy: toldOf(new Map()), candidate: toldOf(new Map()) };
        writes.note(now, { ...none, [entry.side]: toldOf(new Map([[about, write]])) });
      } else take(pairing, entry.side, entry.step, events, shared);
      balance();
    }
    if (sweep > end) break;
    now = sweep;
    pairing.sweep(sweep);
    balance();
  }
  const { pending } = pairing;
  if (one.until === undefined) {
    now = end;
    pairing.end(end);
    balance();
  }
  return {
    found: findings.map(lineOf).sort(),
    times,
    findings,
    books: pairing.books,
    pending: one.until === undefined ? pairing.pending : pending,
  };
}

function stepsOf(one: CompareCase): { side: Side; step: Step }[] {
  const all = SIDES.flatMap(side => {
    const steps = one[side];
    const opened = steps.some(({ leg }) => leg !== undefined)
      ? steps
      : [{ at: 0, leg: 'open' } as const, ...steps];
    return opened.map(step => ({ side, step }));
  });
  // Stable: within a side in their order, and legacy's first.
  return all.toSorted((a, b) => a.step.at - b.step.at);
}

function take(
  pairing: Pairing,
  side: Side,
  step: Step,
  events: Readonly<Record<string, Json>>,
  shared: Set<unknown>,
): void {
  const { at } = step;
  if (step.leg === 'open') pairing.legOpened(side, at);
  else if (step.leg !== undefined) pairing.legClosed(side, at, LEG_ENDS[step.leg]);
  else if (step.gap !== undefined) pairing.gap(side, at, step.gap, step.leftOut ?? 0);
  else if (step.unjudged !== undefined) pairing.unjudged(side, step.unjudged, at);
  else if (step.unheard) pairing.saidAlone(at, side);
  else if (step.said !== undefined) pairing.named(wordsOf(step.said), at);
  else if (step.text !== undefined) pairing.event(side, step.text, at);
  else {
    const value = step.exact === undefined ? eventOf(step, events) : JSON.parse(step.exact);
    if (step.shared) shared.add(value);
    pairing.event(side, value, at, step.contaminated ?? null, step.exact ?? null);
  }
}

function eventOf({ event, with: changes }: Step, events: Readonly<Record<string, Json>>): unknown {
  const whole = typeof event === 'string' ? events[event] : event;
  if (whole === undefined) throw new Error(`there is no event "${String(event)}"`);
  if (changes === undefined) return whole;
  const changed = Object.entries({ ...whole, ...changes });
  return Object.fromEntries(changed.filter(([key]) => changes[key] !== null));
}

export function lineOf({ verdict, because, eventType, sides, differences }: Finding): string {
  return [
    because === null ? verdict : `${verdict}(${because})`,
    eventType,
    // Missing is always legacy's, extra the candidate's.
    ...(sides.length === 1 && verdict !== 'missing' && verdict !== 'extra' ? sides : []),
    ...differences.map(({ kind, path }) => `${kind}:${path}`),
  ]
    .filter(word => word !== '')
    .join(' ');
}
