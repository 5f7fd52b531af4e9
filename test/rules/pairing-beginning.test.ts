// Whoever connects anew in the middle of runs: both services send to whoever is there when they send, one of his legs
// is open sooner than the other, and how far apart the services are is another matter with each run. A run that legacy
// was through with before its leg was there, or nearly so, was told extra where another one had been paired before.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { UnansweredWrites } from '../../src/judge/unanswered-writes.ts';
import { compileRules } from '../../src/rules/compare/compile.ts';
import { IdClasses } from '../../src/rules/compare/ids.ts';
import { DEFAULT_RULES } from '../../src/rules/compare/rules.ts';
import { SIDES, type Side } from '../../src/rules/decide.ts';
import { keyOf } from '../../src/rules/event-key.ts';
import { TOGETHER_MS } from '../../src/rules/pairing/beginning.ts';
import { imbalance } from '../../src/rules/pairing/books.ts';
import { WriteTimes } from '../../src/rules/pairing/late-writes.ts';
import { Pairing } from '../../src/rules/pairing/pairing.ts';
import { wordsOf } from '../../src/rules/words.ts';
import { lineOf } from './compare-case.ts';

const RULES = compileRules({
  ...DEFAULT_RULES,
  allow: [{ path: '/timestamp', as: 'time', withinMs: 10_000 }],
});
const WINDOW_MS = 5_000;
const CONNECT_MS = 10_000;
const STEPS = 5;
/** Of the services' clocks; nobody connects at a whole second, which says too little. */
const EPOCH_MS = 1_757_894_400_123;

interface Run {
  readonly beginsAt: number;
  /** Between two of its steps. */
  readonly everyMs: number;
  readonly slow: Side;
  readonly lateMs: number;
}

interface Connection {
  readonly late: Side;
  readonly apartMs: number;
  /** Of each copy on its way, keeping the order of its leg; by turns. */
  readonly waysMs: readonly number[];
}

function connections(mostApartMs: number): fc.Arbitrary<Connection> {
  const waysMs = fc.array(fc.nat(300), { minLength: 1, maxLength: 10 });
  return fc.record({ late: fc.constantFrom<Side>(...SIDES), apartMs: fc.nat(mostApartMs), waysMs });
}

/** Three at a time and one after another, from well before he connects until well behind. */
function runs(mostLateMs: number): fc.Arbitrary<Run[]> {
  const one = fc.record({
    ...{ slow: fc.constantFrom<Side>(...SIDES), lateMs: fc.nat(mostLateMs) },
    ...{ everyMs: fc.integer({ min: 1, max: 60 }), pauseMs: fc.nat(200) },
  });
  return fc.array(one, { minLength: 90, maxLength: 90 }).map(list => {
    const begins = [0, 0, 0].map(() => CONNECT_MS - 4_000);
    return list.map(({ pauseMs, ...run }, nth) => {
      const beginsAt = begins[nth % 3] ?? 0;
      begins[nth % 3] = beginsAt + STEPS * run.everyMs + pauseMs + 200;
      return { ...run, beginsAt };
    });
  });
}

interface Sent {
  readonly at: Readonly<Record<Side, number>>;
  readonly said: { readonly type: string; readonly run_id: string; readonly seq: number };
}

const step = (nth: number, seq: number) => ({
  type: seq === 0 ? 'start' : 'step',
  ...{ run_id: `r${nth}`, seq },
});

function sentOf(all: readonly Run[]): Sent[] {
  return all.flatMap(({ beginsAt, everyMs, slow, lateMs }, nth) =>
    Array.from({ length: STEPS }, (_, seq) => {
      const at = beginsAt + everyMs * seq;
      const late = (side: Side) => at + (slow === side ? lateMs : 0);
      return { at: { legacy: late('legacy'), candidate: late('candidate') }, said: step(nth, seq) };
    }),
  );
}

/** What each leg hears; the candidate sends what `drops` names (`run:step`) to nobody. */
function heard(all: readonly Sent[], connection: Connection, drops: ReadonlySet<string>) {
  return SIDES.map(side => {
    const opensAt = CONNECT_MS + (side === connection.late ? connection.apartMs : 0);
    const sent = all
      .map(({ at, said }) => ({ at: at[side], said }))
      .filter(({ at }) => at >= opensAt)
      .filter(({ said }) => side === 'legacy' || !drops.has(`${said.run_id}:${said.seq}`))
      .sort((a, b) => a.at - b.at);
    let arrivesAt = opensAt;
    const events = [{ at: opensAt, said: { type: 'hello' } }, ...sent].map(({ at, said }, no) => {
      arrivesAt = Math.max(arrivesAt, at + (connection.waysMs[no % connection.waysMs.length] ?? 0));
      const timestamp = new Date(EPOCH_MS + at).toISOString();
      return { side, at: arrivesAt, value: { ...said, timestamp } };
    });
    return { side, opensAt, events };
  });
}

interface Besides {
  /** Writes, by which some of it was caused. */
  readonly posts?: readonly Posted[];
  /** Runs that the client names, which nobody has before. Left out: all is known to be his alone. */
  readonly named?: readonly { readonly run: string; readonly at: number }[];
}

/** What was found but matches and what is unjudged: verdict and key. */
function play(
  all: readonly Sent[],
  connection: Connection,
  drops: ReadonlySet<string>,
  { posts = [], named }: Besides = {},
): string[] {
  const alarms: string[] = [];
  const unanswered = new UnansweredWrites(WINDOW_MS);
  const writes = new WriteTimes(WINDOW_MS);
  const pairing = new Pairing({
    ...{ route: 'events', session: 's', rules: RULES, subject: ['ann'], ids: new IdClasses() },
    ...{ writes, isHis: () => named === undefined },
    ...{ windowMs: WINDOW_MS, maxPending: 10_000 },
    onFinding: finding => {
      const line = lineOf(finding);
      if (!/^(match|unjudged)/.test(line)) alarms.push(`${finding.verdict} ${finding.key}`);
    },
  });
  const legs = heard(all, connection, drops);
  const open = new Map<object, (side: Side, at: number) => void>();
  const acts = [
    ...legs.map(({ side, opensAt }) => ({
      at: opensAt,
      do: () => pairing.legOpened(side, opensAt),
    })),
    ...legs.flatMap(({ events }) =>
      events.map(({ side, at, value }) => ({ at, do: () => pairing.event(side, value, at) })),
    ),
    ...(named ?? []).map(({ run, at }) => ({ at, do: () => pairing.named(wordsOf(run), at) })),
    ...posts.flatMap(({ begunAt, about, at }) => {
      const begin = {
        at: begunAt,
        do: () => void open.set(begin, unanswered.begin(begunAt, about)),
      };
      const ends = SIDES.map(side => ({
        at: at[side],
        do: () => open.get(begin)?.(side, at[side]),
      }));
      return [begin, ...ends];
    }),
  ].sort((a, b) => a.at - b.at);
  let next = 0;
  for (let sweep = 0; sweep <= 60_000; sweep += 100) {
    for (let act = acts[next]; act !== undefined && act.at <= sweep; act = acts[next]) {
      next++;
      act.do();
    }
    const { due, late } = unanswered.look(sweep);
    writes.note(sweep, late);
    pairing.sweep(sweep, due);
  }
  expect(pairing.pending).toBe(0);
  expect(imbalance(pairing.books)).toBeNull();
  return alarms.sort();
}

/** A step of the first run that begins so long after both legs were open. */
function dropAfter(all: readonly Run[], { apartMs }: Connection, afterMs: number, seq: number) {
  const nth = all.findIndex(({ beginsAt }) => beginsAt > CONNECT_MS + apartMs + afterMs);
  const said = step(nth, seq);
  const { key } = keyOf(RULES.planOf(said.type), said);
  return { drops: new Set([`r${nth}:${seq}`]), found: [`missing ${key}`] };
}

test.each([300, 1_000, 3_000])(
  'whoever connects anew, services up to %d ms apart with each run and legs up to 2 s, has no false alarm',
  mostLateMs => {
    fc.assert(
      fc.property(runs(mostLateMs), connections(2_000), (all, connection) => {
        expect(play(sentOf(all), connection, new Set())).toEqual([]);
      }),
      { numRuns: 60, seed: 7 },
    );
  },
);

test('... and a step that the candidate drops is missing, once its run was under way at both', () => {
  const seq = fc.integer({ min: 1, max: STEPS - 1 });
  fc.assert(
    fc.property(runs(3_000), connections(TOGETHER_MS), seq, (all, connection, dropped) => {
      const { drops, found } = dropAfter(all, connection, 0, dropped);
      expect(play(sentOf(all), connection, drops)).toEqual(found);
    }),
    { numRuns: 60, seed: 7 },
  );
});

test('... so is the first of a run, soon after he connected where the services are close together', () => {
  fc.assert(
    fc.property(runs(20), connections(100), (all, connection) => {
      const { drops, found } = dropAfter(all, connection, 100, 0);
      expect(play(sentOf(all), connection, drops)).toEqual(found);
    }),
    { numRuns: 60, seed: 7 },
  );
});

interface Post {
  /** From the answer to the one before; and how long each side takes for it. */
  readonly pauseMs: number;
  readonly tookMs: Readonly<Record<Side, number>>;
}

interface Posted extends Sent {
  readonly begunAt: number;
  readonly about: string;
}

/** Mostly at once, now and then much later: a machine under load, a collection of garbage. */
function postsTaking(mostMs: number): fc.Arbitrary<Post[]> {
  const took = fc.oneof(
    { weight: 8, arbitrary: fc.nat(4) },
    { weight: 1, arbitrary: fc.nat(mostMs) },
  );
  const one = fc.record({
    pauseMs: fc.integer({ min: 1, max: 60 }),
    tookMs: fc.record({ legacy: took, candidate: took }),
  });
  return fc.array(one, { minLength: 300, maxLength: 300 });
}

/** One after another, as legacy answers; copies reach the candidate in that order. Each is sent as it is answered. */
function posted(all: readonly Post[], about: string): Posted[] {
  let answeredAt = CONNECT_MS - 4_000;
  let copyAt = 0;
  const posts = all.map(({ pauseMs, tookMs }, nth) => {
    const begunAt = answeredAt + pauseMs;
    answeredAt = begunAt + tookMs.legacy;
    copyAt = Math.max(copyAt, begunAt + tookMs.candidate);
    const said = step(Math.floor(nth / STEPS), nth % STEPS);
    return { begunAt, about, at: { legacy: answeredAt, candidate: copyAt }, said };
  });
  return posts.filter(({ begunAt }) => begunAt < CONNECT_MS + 15_000);
}

// The fault: of a run that both had a first pair that was hardly late made extra what the candidate took late before it.
test.each([100, 900, 2_500])(
  'of runs that are posted step by step, of which some take up to %d ms, nothing is a false alarm',
  mostMs => {
    fc.assert(
      fc.property(postsTaking(mostMs), connections(500), (posts, connection) => {
        const all = posted(posts, 'ann');
        expect(play(all, connection, new Set(), { posts: all })).toEqual([]);
      }),
      { numRuns: 60, seed: 7 },
    );
  },
);

// The fault: where other users' writes took long, what the candidate dropped was put down to them.
test('... and what the candidate drops of one that was begun once he was there is missing, whatever others do', () => {
  const others = postsTaking(2_500);
  fc.assert(
    fc.property(postsTaking(4), others, connections(100), fc.nat(STEPS - 1), (...of) => {
      const [posts, othersPosts, connection, seq] = of;
      const all = posted(posts, 'ann');
      const there = CONNECT_MS + connection.apartMs + 500;
      const dropped = all.find(({ begunAt, said }) => begunAt > there && said.seq === seq);
      const { run_id, seq: no } = dropped?.said ?? step(0, 0);
      const lost = step(Number(run_id.slice(1)), no);
      const { key } = keyOf(RULES.planOf(lost.type), lost);
      const drops = new Set([`${run_id}:${no}`]);
      const writes = [...all, ...posted(othersPosts, 'bob')];
      expect(play(all, connection, drops, { posts: writes })).toEqual([`missing ${key}`]);
    }),
    { numRuns: 60, seed: 7 },
  );
});

/** The client names each run as it begins it, and those that he finds under way. */
function namedBy(all: readonly Run[], { apartMs }: Connection) {
  const there = CONNECT_MS + apartMs;
  return all.map(({ beginsAt }, nth) => ({
    run: `r${nth}`,
    at: beginsAt > there ? beginsAt - 1 : there + 1,
  }));
}

test('... nor where he names the runs that go on, and those that he begins, and others write', () => {
  const others = postsTaking(2_500);
  fc.assert(
    fc.property(runs(3_000), connections(2_000), others, (all, connection, othersPosts) => {
      const besides = { posts: posted(othersPosts, 'bob'), named: namedBy(all, connection) };
      expect(play(sentOf(all), connection, new Set(), besides)).toEqual([]);
    }),
    { numRuns: 60, seed: 7 },
  );
});

// The fault: what the candidate dropped of a run that its client had begun there was put down to writes of others, and to
// how far apart the services were with other runs, whenever that was.
test('the first of a run that its client begins there is missing, however far apart services are and whatever others write', () => {
  const others = postsTaking(2_500);
  fc.assert(
    fc.property(runs(3_000), connections(TOGETHER_MS), others, (all, connection, othersPosts) => {
      const besides = { posts: posted(othersPosts, 'bob'), named: namedBy(all, connection) };
      const { drops, found } = dropAfter(all, connection, 1, 0);
      expect(play(sentOf(all), connection, drops, besides)).toEqual(found);
    }),
    { numRuns: 60, seed: 7 },
  );
});
