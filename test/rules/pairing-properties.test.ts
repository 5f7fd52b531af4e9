import fc from 'fast-check';
import { expect, test } from 'vitest';
import { compileRules } from '../../src/rules/compare/compile.ts';
import { IdClasses } from '../../src/rules/compare/ids.ts';
import { DEFAULT_RULES } from '../../src/rules/compare/rules.ts';
import { SIDES, type Side } from '../../src/rules/decide.ts';
import { addBooks, emptyBooks, imbalance } from '../../src/rules/pairing/books.ts';
import { Pairing } from '../../src/rules/pairing/pairing.ts';
import { type Finding, UNJUDGED, type UnjudgedReason } from '../../src/rules/verdict.ts';
import { lineOf } from './compare-case.ts';

const RULES = compileRules(DEFAULT_RULES);
const WINDOW_MS = 5_000;

function pairing(onFinding: (finding: Finding) => void, maxPending = 1_000): Pairing {
  return new Pairing({
    ...{ route: 'events', session: 's', rules: RULES, subject: [], ids: new IdClasses() },
    ...{ windowMs: WINDOW_MS, maxPending, onFinding },
  });
}

/** What a parser hands over, so without -0 and with what JSON makes of everything else. */
const json = fc.jsonValue({ maxDepth: 3 }).map(value => JSON.parse(JSON.stringify(value)));
const type = fc.constantFrom('a', 'b', 'heartbeat');
const run = fc.constantFrom('r1', 'r2');

interface Arrival {
  readonly side: Side;
  readonly at: number;
  readonly value: unknown;
}

/**
 * Well behind the opening of both legs, at 0: what is alone at a session's beginning, no later than a service is
 * behind, may be what the other one sent before it knew the user.
 */
const BEGIN_MS = 8_000;

/** Each side gets its events in their order, each of them late by as much as `delays` says. */
function arrivals(streams: Readonly<Record<Side, readonly unknown[]>>, delays: readonly number[]) {
  const all: Arrival[] = [];
  for (const [nth, side] of SIDES.entries()) {
    let at = 0;
    for (const [index, value] of streams[side].entries()) {
      const delay = delays[(2 * index + nth) % delays.length] ?? 0;
      at = Math.max(at, BEGIN_MS + 10 * index + delay);
      all.push({ side, at, value });
    }
  }
  return all.sort((a, b) => a.at - b.at);
}

/** Plays both streams with a sweep every 100 ms, until two windows after the last event. */
function play(all: readonly Arrival[]): { lines: string[]; pairing: Pairing } {
  const lines: string[] = [];
  const one = pairing(finding => lines.push(lineOf(finding)));
  for (const side of SIDES) one.legOpened(side, 0);
  const end = (all.at(-1)?.at ?? 0) + 2 * WINDOW_MS;
  let next = 0;
  for (let sweep = 100; sweep <= end; sweep += 100) {
    for (let event = all[next]; event !== undefined && event.at <= sweep; event = all[next]) {
      next++;
      one.event(event.side, event.value, event.at, null, JSON.stringify(event.value));
    }
    one.sweep(sweep);
  }
  expect(one.pending).toBe(0);
  return { lines, pairing: one };
}

const delays = fc.array(fc.integer({ min: 0, max: 2_400 }), { minLength: 1, maxLength: 20 });

test('any stream against itself, with any delays that keep its order, is matches alone', () => {
  const event = fc.oneof(
    fc.record({ type, run_id: run, seq: fc.integer({ min: 0, max: 3 }), data: json }),
    fc.record({ type, data: fc.record({ run_id: run, x: json }) }),
    fc.record({ type, thread_id: run, payload: json }),
    fc.record({ type }),
    json,
  );
  fc.assert(
    fc.property(fc.array(event, { maxLength: 25 }), delays, (stream, late) => {
      const streams = { legacy: stream, candidate: structuredClone(stream) };
      const { pairing: one } = play(arrivals(streams, late));
      expect(one.books.legacy.match).toBe(stream.length);
      expect(one.books.candidate.match).toBe(stream.length);
    }),
    { numRuns: 300 },
  );
});

type Keyed = { type: string; run_id: string; seq: number; data: { x: unknown } };
const keyedStream = fc
  .array(fc.record({ type, run_id: run, x: json }), { minLength: 1, maxLength: 15 })
  .map(list => list.map(({ x, ...rest }, index): Keyed => ({ ...rest, seq: index, data: { x } })));

/** What is done to the candidate's stream, and the lines that it must be found as. */
const CHANGES: Readonly<
  Record<
    string,
    (stream: Keyed[], at: number) => { readonly found: string[]; readonly lost: number[] }
  >
> = {
  drop: (stream, at) => {
    const [gone] = stream.splice(at, 1);
    return { found: [`missing ${gone?.type}`], lost: [at] };
  },
  duplicate: (stream, at) => {
    const event = stream[at] as Keyed;
    stream.splice(at, 0, event);
    return { found: [`duplicate ${event.type} candidate`], lost: [] };
  },
  extra: (stream, at) => {
    const { type: own, run_id } = stream[at] as Keyed;
    stream.splice(at, 0, { type: own, run_id, seq: 1_000, data: { x: 'more' } });
    return { found: [`extra ${own}`], lost: [] };
  },
  'another value': (stream, at) => {
    const event = stream[at] as Keyed;
    stream[at] = { ...event, data: { x: { unlike: event.data.x } } };
    const kind = isPlainObject(event.data.x) ? null : 'type';
    return {
      found:
        kind === null ? [`mismatch ${event.type}`] : [`mismatch ${event.type} ${kind}:/data/x`],
      lost: [at],
    };
  },
  'another type': (stream, at) => {
    const event = stream[at] as Keyed;
    stream[at] = { ...event, type: 'unheard_of' };
    return { found: [`mismatch ${event.type} value:/type`], lost: [at] };
  },
  swap: (stream, at) => {
    const event = stream[at] as Keyed;
    const next = stream.findIndex((each, index) => index > at && each.run_id === event.run_id);
    if (next === -1) return { found: [], lost: [] };
    stream[at] = stream[next] as Keyed;
    stream[next] = event;
    // What lies between is of the other run, whose order this does not touch.
    return { found: [`out-of-order ${event.type}`], lost: [at] };
  },
};

test.each(Object.entries(CHANGES))(
  'one planted change, %s, is that one verdict, and all else matches',
  (_name, change) => {
    fc.assert(
      fc.property(keyedStream, fc.nat(), delays, (stream, where, late) => {
        const candidate = structuredClone(stream);
        const { found, lost } = change(candidate, where % stream.length);
        const { lines } = play(arrivals({ legacy: stream, candidate }, late));
        const others = lines.filter(line => !line.startsWith('match '));
        if (found[0]?.startsWith('mismatch') && !found[0].includes(':')) {
          expect(others.map(line => line.split(' ').slice(0, 2).join(' '))).toEqual(found);
        } else expect(others).toEqual(found);
        const matched = stream
          .filter((_, index) => !lost.includes(index))
          .map(each => `match ${each.type}`);
        expect(lines.filter(line => line.startsWith('match ')).sort()).toEqual(matched.sort());
      }),
      { numRuns: 150 },
    );
  },
);

function isPlainObject(value: unknown): boolean {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

test('however a run is shuffled, as few of its events as possible are out of order', () => {
  const permutation = fc.integer({ min: 2, max: 8 }).chain(length =>
    fc.shuffledSubarray(
      Array.from({ length }, (_, index) => index),
      { minLength: length },
    ),
  );
  fc.assert(
    fc.property(permutation, delays, (order, late) => {
      const event = (seq: number) => ({ type: 'x', run_id: 'r', seq });
      const legacy = order.toSorted((a, b) => a - b).map(event);
      const { pairing: one } = play(arrivals({ legacy, candidate: order.map(event) }, late));
      const { books } = one;
      expect(books.legacy.match + books.legacy['out-of-order']).toBe(order.length);
      expect(books.legacy['out-of-order']).toBe(order.length - longestRising(order));
    }),
    { numRuns: 500 },
  );
});

function longestRising(order: readonly number[]): number {
  const length = order.map(() => 1);
  for (const [index, value] of order.entries()) {
    for (let earlier = 0; earlier < index; earlier++) {
      if ((order[earlier] ?? 0) < value) {
        length[index] = Math.max(length[index] ?? 1, (length[earlier] ?? 0) + 1);
      }
    }
  }
  return Math.max(...length);
}

/** One run or thread: what it says, and by how much each side is late with each of it. */
interface Talk {
  readonly says: readonly object[];
  readonly late: Readonly<Record<Side, readonly number[]>>;
}

/** Up to three seconds in all, in one or two stalls. */
const stalls = fc
  .record({ before: fc.nat(1_500), more: fc.nat(1_500), from: fc.nat(8) })
  .map(({ before, more, from }) =>
    Array.from({ length: 8 }, (_, no) => (no < from ? before : before + more)),
  );
const few = fc.constantFrom(0, 1, 2);
/** As agents speak: much of it has no number, and is said again. */
const spoken = fc.oneof(
  fc.record({ type: fc.constant('token'), text: fc.constantFrom('the', 'a', 'cat') }),
  fc.record({
    ...{ type: fc.constant('tool_executing'), tool_name: fc.constantFrom('a', 'b') },
    parameters: fc.record({ q: few }),
  }),
  fc.record({ type: fc.constant('progress'), data: fc.record({ percent: few }) }),
  fc.record({ type: fc.constant('agent_thinking'), reasoning: few }),
  fc.record({ type: fc.constant('agent_started'), status: fc.constant('s') }),
);
const talks = fc
  .array(
    fc.record({
      isRun: fc.boolean(),
      says: fc.array(spoken, { minLength: 2, maxLength: 8 }),
      late: fc.record({ legacy: stalls, candidate: stalls }),
    }),
    { minLength: 2, maxLength: 5 },
  )
  .map(list =>
    list.map(({ isRun, says, late }, nth): Talk => {
      const lane = isRun ? { run_id: `r${nth}` } : { thread_id: `t${nth}` };
      const numbered = (event: { type: string }, no: number) =>
        event.type === 'agent_thinking' ? { step_number: no } : {};
      return {
        says: says.map((event, no) => ({ ...event, ...lane, ...numbered(event, no) })),
        late,
      };
    }),
  );

/** Talks begin together, and say something every 40 ms; each side mixes them as it has them. */
function spokenArrivals(said: Readonly<Record<Side, readonly Talk[]>>): Arrival[] {
  const anchor = SIDES.map(own => ({
    side: own,
    at: BEGIN_MS - 500,
    value: { type: 'anchor', seq: 0 },
  }));
  const all = SIDES.flatMap(own =>
    said[own].flatMap(({ says, late }) =>
      says.map((value, no) => {
        return { side: own, at: BEGIN_MS + 40 * no + (late[own][no] ?? 3_000), value };
      }),
    ),
  );
  return [...anchor, ...all].sort((a, b) => a.at - b.at);
}

test('runs side by side, each service late with others of them, are matches alone', () => {
  fc.assert(
    fc.property(talks, said => {
      const { lines } = play(spokenArrivals({ legacy: said, candidate: said }));
      expect(lines.filter(line => !line.startsWith('match '))).toEqual([]);
    }),
    { numRuns: 600 },
  );
});

type Spoken = { readonly type: string } & Readonly<Record<string, unknown>>;

/** What is done to one talk of the candidate's, and what it must be found as. */
const SPOKEN_CHANGES: Readonly<
  Record<string, (says: Spoken[], at: number, lane: object) => string>
> = {
  drop: (says, at) => `missing ${says.splice(at, 1)[0]?.type}`,
  duplicate: (says, at) => {
    const event = says[at] as Spoken;
    says.splice(at, 0, event);
    return `duplicate ${event.type} candidate`;
  },
  extra: (says, at, lane) => {
    says.splice(at, 0, { type: 'note', ...lane, words: 'more' });
    return 'extra note';
  },
  'another sender': (says, at) => {
    const event = says[at] as Spoken;
    says[at] = { ...event, sender_id: 'other' };
    return `mismatch ${event.type} extra:/sender_id`;
  },
  'another type': (says, at) => {
    const event = says[at] as Spoken;
    says[at] = { ...event, type: 'unheard_of' };
    return `mismatch ${event.type} value:/type`;
  },
  swap: (says, at) => {
    const [event, next] = [says[at] as Spoken, says[at + 1] as Spoken];
    says.splice(at, 2, next, event);
    return `out-of-order ${event.type}`;
  },
};

test.each(Object.entries(SPOKEN_CHANGES))(
  'one planted change of what has no number, %s, is that one verdict, and all else matches',
  (name, change) => {
    // What is changed finds its pair by its place, so only where both come in about the same time.
    const share = name.startsWith('another') ? 0.2 : 1;
    fc.assert(
      fc.property(talks, fc.nat(), fc.nat(), (said, which, where) => {
        const late = (ms: readonly number[]) => ms.map(each => each * share);
        const legacy = said.map(talk => ({
          ...talk,
          late: { legacy: late(talk.late.legacy), candidate: late(talk.late.candidate) },
        }));
        const hit = which % said.length;
        const says = [...(legacy[hit] as Talk).says] as Spoken[];
        const at = where % (says.length - (name === 'swap' ? 1 : 0));
        // Of several that are alike nothing says which one it was.
        const isOne = (event: Spoken | undefined) =>
          says.filter(each => JSON.stringify(each) === JSON.stringify(event)).length === 1;
        fc.pre(isOne(says[at]) && (name !== 'swap' || isOne(says[at + 1])));
        const { run_id, thread_id } = says[at] as Spoken;
        const found = change(says, at, run_id === undefined ? { thread_id } : { run_id });
        const candidate = legacy.map((talk, nth) => (nth === hit ? { ...talk, says } : talk));
        const { lines } = play(spokenArrivals({ legacy, candidate }));
        expect(lines.filter(line => !line.startsWith('match '))).toEqual([found]);
      }),
      { numRuns: 150 },
    );
  },
);

const side = fc.constantFrom<Side>(...SIDES);
const because = fc.constantFrom<UnjudgedReason>(...(Object.keys(UNJUDGED) as UnjudgedReason[]));
const anyEvent = fc.record({
  type,
  run_id: fc.option(run, { nil: undefined }),
  seq: fc.option(fc.integer({ min: 0, max: 4 }), { nil: undefined }),
  x: fc.integer({ min: 0, max: 1 }),
  recovered: fc.constantFrom(undefined, true),
});
const bad = fc.constantFrom(null, 'what is another user’s', 'something else');
const move = fc.oneof(
  {
    weight: 12,
    arbitrary: fc.record({ do: fc.constant('event'), side, value: anyEvent, bad }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('text'), side, value: fc.string() }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('unjudged'), side, because }) },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant('gap'), side, because, leftOut: fc.nat(3) }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constantFrom('open', 'by-service', 'left'), side }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('sweep'), after: fc.nat(3_000) }) },
);

test('the books add up after every step of any session, and nothing is left when it ends', () => {
  const steps = fc.array(fc.tuple(fc.nat(400), move), { maxLength: 60 });
  fc.assert(
    fc.property(steps, fc.integer({ min: 1, max: 20 }), (moves, maxPending) => {
      const booked = emptyBooks();
      const one = pairing(({ sides, verdict, because: why }) => {
        for (const each of sides) {
          booked[each].seen++;
          if (verdict !== 'unjudged') booked[each][verdict]++;
          else if (why !== null) booked[each].unjudged[why]++;
        }
      }, maxPending);
      let now = 0;
      for (const [later, step] of moves) {
        now += later;
        if ('value' in step && 'bad' in step) one.event(step.side, step.value, now, step.bad);
        else if ('value' in step) one.event(step.side, step.value, now);
        else if ('leftOut' in step) one.gap(step.side, now, step.because, step.leftOut);
        else if ('because' in step) one.unjudged(step.side, step.because, now);
        else if ('after' in step) {
          now += step.after;
          one.sweep(now);
        } else if (step.do === 'open') one.legOpened(step.side, now);
        else one.legClosed(step.side, now, step.do);
        expect(imbalance(one.books)).toBeNull();
      }
      one.end(now);
      expect(imbalance(one.books)).toBeNull();
      expect(one.pending).toBe(0);
      // Every event has been told of, once.
      expect(one.books).toEqual(booked);
      const twice = structuredClone(one.books);
      addBooks(twice, one.books);
      expect(imbalance(twice)).toBeNull();
    }),
    { numRuns: 400 },
  );
});

/** How one side's part in a session is disturbed, from the `from`th event on, for `length` of them. */
const disturbance = fc.record({
  kind: fc.constantFrom('none', 'copies lost', 'comes late', 'goes away', 'stays away'),
  side,
  from: fc.nat(40),
  length: fc.integer({ min: 1, max: 15 }),
});

/** Numbered, of a key that all of the run share, said again and again, and neither. */
const said = fc.oneof(
  { weight: 1, arbitrary: fc.constant((no: number) => ({ type: 'step', run_id: 'r1', seq: no })) },
  {
    weight: 4,
    arbitrary: fc
      .record({ type: fc.constant('token'), run_id: run, text: fc.constantFrom('the', 'a', '?') })
      .map(token => (no: number) => ({ ...token, text: token.text.replace('?', `word ${no}`) })),
  },
  { weight: 1, arbitrary: fc.constant(() => ({ type: 'heartbeat' })) },
  {
    weight: 1,
    arbitrary: fc.constant((no: number) => ({ type: 'note', words: `of ${no}`, a: 1 })),
  },
);

interface Action {
  readonly at: number;
  readonly do: (one: Pairing, at: number) => void;
}

/** What a side's leg tells of `stream`, whose events are sent `everyMs`, each of them late by its lag. */
function legOf(
  own: Side,
  stream: readonly unknown[],
  everyMs: number,
  lags: readonly number[],
  { kind, from, length }: { kind: string; from: number; length: number },
): Action[] {
  const actions: Action[] = [];
  let at = 0;
  const act = (act: Action['do']) => void actions.push({ at, do: act });
  const open = () => act((one, now) => one.legOpened(own, now));
  if (kind !== 'comes late') open();
  for (const [no, value] of stream.entries()) {
    const sent = 2_000 + everyMs * no;
    const isFirst = no === from;
    const isIn = no >= from && no < from + length;
    const isLast = no === Math.min(from + length, stream.length) - 1;
    if (kind === 'comes late' && no < from) continue;
    if (kind === 'comes late' && isFirst) {
      at = sent - 1;
      open();
    }
    at = Math.max(at, sent + (lags[no % lags.length] ?? 0));
    if (kind === 'copies lost' && isIn) {
      if (isLast) act((one, now) => one.gap(own, now, 'overload', length));
      continue;
    }
    if (kind === 'goes away' && isIn) {
      if (isFirst) act((one, now) => one.legClosed(own, now, 'by-service'));
      if (isLast) {
        at++;
        open();
      }
      continue;
    }
    if (kind === 'stays away' && no >= from) {
      if (isFirst) act((one, now) => one.legClosed(own, now, 'by-service'));
      continue;
    }
    act((one, now) => one.event(own, value, now));
  }
  return actions;
}

test('whatever is lost of two streams that are the same, all verdicts are match or unjudged', () => {
  const lags = fc.array(fc.integer({ min: 0, max: 500 }), { minLength: 1, maxLength: 10 });
  fc.assert(
    fc.property(
      fc.array(said, { minLength: 2, maxLength: 40 }),
      ...[lags, lags, fc.constantFrom(10, 100, 700), disturbance, fc.boolean()],
      (makers, legacyLags, candidateLags, everyMs, disturbed, endsAtOnce) => {
        const stream = makers.map((make, no) => make(no));
        const from = 1 + (disturbed.from % (stream.length - 1));
        // A loss is told of within a window: at latest with the next copy that is sent on.
        const length = Math.min(disturbed.length, Math.floor((WINDOW_MS - 1_500) / everyMs));
        const lines: string[] = [];
        const one = pairing(finding => lines.push(lineOf(finding)));
        const actions = SIDES.flatMap(own => {
          const kind = disturbed.side === own ? disturbed.kind : 'none';
          const its = own === 'legacy' ? legacyLags : candidateLags;
          return legOf(own, stream, everyMs, its, { kind, from, length });
        }).sort((a, b) => a.at - b.at);
        const last = actions.at(-1)?.at ?? 0;
        let next = 0;
        for (let sweep = 100; sweep <= last + (endsAtOnce ? 100 : 2 * WINDOW_MS); sweep += 100) {
          for (
            let each = actions[next];
            each !== undefined && each.at < sweep;
            each = actions[next]
          ) {
            next++;
            each.do(one, each.at);
          }
          one.sweep(sweep);
        }
        one.end(last + 2 * WINDOW_MS);
        expect(one.pending).toBe(0);
        expect(imbalance(one.books)).toBeNull();
        expect(lines.filter(line => !/^(match|unjudged)/.test(line))).toEqual([]);
      },
    ),
    { numRuns: 400 },
  );
});

test('whoever connects in the middle of runs has no false alarm, however late one of the services is', () => {
  const speech = fc.array(fc.tuple(run, fc.boolean()), { minLength: 40, maxLength: 60 });
  const late = fc.record({ side, ms: fc.integer({ min: 0, max: 3_000 }), apart: fc.nat(50) });
  const everyMs = fc.constantFrom(100, 250, 400);
  fc.assert(
    fc.property(
      speech,
      late,
      everyMs,
      fc.boolean(),
      (words, { side: slow, ms, apart }, gapMs, greets) => {
        const connectMs = 20_000;
        const opened = { legacy: connectMs, candidate: connectMs + apart };
        const all: Action[] = SIDES.flatMap(own => {
          const lag = own === slow ? ms : 0;
          const said = words.map(([run_id, isStep], no) => ({
            // Half of them before, as told by who is on time, and the rest for at least three seconds behind.
            at: connectMs + gapMs * (no - 20) + lag,
            value: isStep
              ? { type: 'step', run_id, seq: no }
              : { type: 'token', run_id, text: `w${no}` },
          }));
          // What a service sends while the user is not there, nobody hears.
          const heard = said.filter(({ at }) => at >= opened[own]);
          const hello = greets ? [{ at: opened[own], value: { type: 'hello' } }] : [];
          return [
            { at: opened[own], do: (one: Pairing, at: number) => one.legOpened(own, at) },
            ...[...hello, ...heard].map(({ at, value }) => ({
              at,
              do: (one: Pairing, now: number) => one.event(own, value, now),
            })),
          ];
        }).sort((a, b) => a.at - b.at);
        const lines: string[] = [];
        const one = pairing(finding => lines.push(lineOf(finding)));
        let next = 0;
        for (let sweep = connectMs; sweep <= connectMs + 40_000; sweep += 100) {
          for (let each = all[next]; each !== undefined && each.at < sweep; each = all[next]) {
            next++;
            each.do(one, each.at);
          }
          one.sweep(sweep);
        }
        expect(one.pending).toBe(0);
        expect(lines.filter(line => !/^(match|unjudged)/.test(line))).toEqual([]);
        // Nothing that both had is lost by that.
        expect(
          one.books.legacy.unjudged['no-second'] + one.books.candidate.unjudged['no-second'],
        ).toBeLessThanOrEqual(Math.ceil(ms / gapMs) + 1);
      },
    ),
    { numRuns: 300, seed: 5 },
  );
});

test('a candidate that restarts while its client talks on has no false alarm, whatever he begins meanwhile', () => {
  const steps = fc.array(fc.constantFrom('r1', 'r2', 'alone'), { minLength: 30, maxLength: 80 });
  const away = fc.record({
    from: fc.integer({ min: 5, max: 15 }),
    ms: fc.integer({ min: 1_000, max: 9_000 }),
  });
  fc.assert(
    fc.property(
      steps,
      away,
      fc.nat(3_000),
      fc.boolean(),
      (runs, { from, ms }, lateMs, isAskedFirst) => {
        const goneAt = 1_000 * from;
        const backAt = goneAt + ms;
        // What the client says just before is lost with the leg; what he says meanwhile reaches nobody there.
        const saidAt = isAskedFirst ? goneAt : goneAt + ms / 2;
        const all: Action[] = [
          { at: 0, do: (one, at) => one.legOpened('legacy', at) },
          { at: 1, do: (one, at) => one.legOpened('candidate', at) },
          { at: goneAt, do: (one, at) => one.legClosed('candidate', at, 'by-service') },
          { at: saidAt, do: (one, at) => one.saidAlone(at, 'candidate') },
          { at: backAt, do: (one, at) => one.legOpened('candidate', at) },
        ];
        for (const [no, run_id] of runs.entries()) {
          const at = 500 + 500 * no;
          const value = { type: 'step', run_id, seq: no };
          if (run_id === 'alone' && at <= saidAt) continue;
          all.push({ at, do: (one, now) => one.event('legacy', value, now) });
          const itsAt = at + lateMs;
          if (run_id === 'alone' || (itsAt >= goneAt && itsAt < backAt)) continue;
          all.push({ at: itsAt, do: (one, now) => one.event('candidate', value, now) });
        }
        all.sort((a, b) => a.at - b.at);
        const lines: string[] = [];
        const one = pairing(finding => lines.push(lineOf(finding)));
        // A run that begins much later is another matter: it is not what he said by then.
        const first = runs.findIndex((name, no) => name === 'alone' && 500 + 500 * no > saidAt);
        fc.pre(first === -1 || 500 + 500 * first <= saidAt + WINDOW_MS);
        let next = 0;
        for (let sweep = 100; sweep <= 60_000; sweep += 100) {
          for (let each = all[next]; each !== undefined && each.at < sweep; each = all[next]) {
            next++;
            each.do(one, each.at);
          }
          one.sweep(sweep);
        }
        expect(one.pending).toBe(0);
        expect(lines.filter(line => !/^(match|unjudged)/.test(line))).toEqual([]);
      },
    ),
    { numRuns: 300, seed: 5 },
  );
});
