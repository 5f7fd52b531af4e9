// Whatever comes in whatever order: each event once, in order within its run, or counted. The lane is
// played by a model of a dozen lines; which leg speaks and what is delivered is the code under test.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { SIDES, type Side } from '../../src/rules/decide.ts';
import {
  type HandoverAction,
  type HandoverInput,
  steady,
  step,
} from '../../src/rules/handover/handover.ts';
import { longEvent, reconcile, type TailEvent } from '../../src/rules/handover/reconcile.ts';

const RUNS = ['r1', 'r2'] as const;
type Run = (typeof RUNS)[number];
const other = (side: Side): Side => (side === 'legacy' ? 'candidate' : 'legacy');
const eventOf = (run: Run, n: number): TailEvent => ({
  ...{ key: `${run} ${n}`, lane: run, isGreeting: false, isReplay: false },
});

type Happening =
  /** The service of that side sends the next event of a run, or the first half of it, or the rest. */
  | { readonly what: 'whole' | 'half'; readonly side: Side; readonly run: Run }
  /** Both at once: the rest of what is half sent, and a whole one, in one read. */
  | { readonly what: 'read'; readonly side: Side; readonly run: Run }
  | { readonly what: 'switch'; readonly to: Side }
  | { readonly what: 'reconcile' | 'late' | 'second-lost' | 'second-opened' | 'client-gone' }
  | { readonly what: 'primary-lost'; readonly code: number };

const isOver = ({ phase }: { phase: string }) => phase === 'ended' || phase === 'leaving';

/** One session, its two services, and its client. */
class Model {
  state = steady('legacy', 'candidate');
  readonly client: string[] = [];
  readonly actions: HandoverAction['kind'][] = [];
  unknown = 0;
  missing = 0;
  readonly #next: Record<Side, Record<Run, number>> = {
    legacy: { r1: 0, r2: 0 },
    candidate: { r1: 0, r2: 0 },
  };
  readonly #sent: Record<Side, TailEvent[]> = { legacy: [], candidate: [] };
  readonly #half: Record<Side, TailEvent | null> = { legacy: null, candidate: null };
  readonly #given: Record<Side, number> = { legacy: 0, candidate: 0 };
  #kept: TailEvent[] = [];
  readonly #owed = new Map<string, number>();
  readonly #lost = new Set<Side>();

  happen(happening: Happening): void {
    switch (happening.what) {
      case 'whole':
      case 'half':
      case 'read':
        return this.#send(happening.side, happening.run, happening.what);
      case 'switch':
        return this.#tell({
          ...{ kind: 'switch', to: happening.to },
          atBoundary: this.#half[this.state.primary] === null,
        });
      case 'reconcile':
        return this.#reconcile();
      case 'primary-lost': {
        const atBoundary = this.#half[this.state.primary] === null;
        const input = { kind: 'primary-lost', failover: true, clientClosed: false } as const;
        this.#lost.add(this.state.primary);
        return this.#tell({ ...input, atBoundary, code: happening.code });
      }
      case 'second-lost':
        if (this.state.second !== null) this.#lost.add(this.state.second);
        return this.#tell({ kind: 'second-lost' });
      case 'second-opened':
        if (this.state.second !== null || this.state.phase !== 'steady') return;
        if (this.#lost.has(other(this.state.primary))) return;
        return this.#tell({ kind: 'second-opened', side: other(this.state.primary) });
      default:
        return this.#tell({ kind: happening.what });
    }
  }

  /** Both services send all that the other one has, and what is under way is brought to its end. */
  settle(): void {
    this.#reconcileAll();
    for (const side of SIDES) {
      if (this.#half[side] !== null) this.#complete(side);
      for (const run of RUNS) {
        const most = Math.max(...SIDES.map(each => this.#next[each][run]));
        while (!this.#lost.has(side) && this.#next[side][run] < most) {
          this.#send(side, run, 'whole');
        }
      }
    }
    this.#reconcileAll();
  }

  /** A change of mind in the middle of it is another one. */
  #reconcileAll(): void {
    for (let times = 0; times < 3; times += 1) this.#reconcile();
  }

  /** How many of a run were begun by anybody. */
  sentOf(run: Run): number {
    return Math.max(...SIDES.map(side => this.#next[side][run]));
  }

  #send(side: Side, run: Run, how: 'whole' | 'half' | 'read'): void {
    if (this.#lost.has(side)) return;
    const isHalf = this.#half[side] !== null;
    if (isHalf) this.#complete(side);
    if (isHalf && how === 'whole') return;
    if (how === 'read' && this.#lost.has(side)) return;
    this.#half[side] = eventOf(run, this.#next[side][run]);
    this.#next[side][run] += 1;
    if (how !== 'half') this.#complete(side);
  }

  #complete(side: Side): void {
    const event = this.#half[side];
    if (event === null) return;
    this.#half[side] = null;
    this.#sent[side].push(event);
    const { phase, primary } = this.state;
    if (side !== primary || isOver({ phase })) return;
    if (phase === 'held') return void this.#kept.push(event);
    this.#deliver(event);
    if (phase === 'cutting') this.#tell({ kind: 'boundary' });
  }

  #deliver({ key }: TailEvent): void {
    const left = this.#owed.get(key ?? '') ?? 0;
    if (left === 0) this.client.push(key ?? '');
    else if (left === 1) this.#owed.delete(key ?? '');
    else this.#owed.set(key ?? '', left - 1);
  }

  #reconcile(): void {
    const { phase, primary, second } = this.state;
    if (phase !== 'held' || second === null) return;
    const result = reconcile({
      delivered: this.#sent[primary].slice(0, this.#given[primary]),
      sent: this.#sent[second].map((event, i) => ({
        ...event,
        hadAlready: i < this.#given[second],
      })),
      overrun: false,
      isAhead: false,
    });
    this.unknown += result.unknown;
    this.missing += result.missing;
    const sent = this.#sent[second];
    this.#tell({ kind: 'reconciled' });
    if (this.state.primary !== second) return;
    this.#kept = [];
    this.#owed.clear();
    for (const index of result.deliver) this.client.push(sent[index]?.key ?? '');
    for (const key of result.suppress) this.#owed.set(key, (this.#owed.get(key) ?? 0) + 1);
    // A change of mind in the meantime.
    const { wanted } = this.state;
    if (wanted !== null) this.happen({ what: 'switch', to: wanted });
  }

  #tell(input: HandoverInput): void {
    const before = this.state;
    const { state, actions } = step(before, input);
    this.state = state;
    for (const { kind } of actions) {
      this.actions.push(kind);
      if (kind === 'reconcile') this.#given[state.primary] = this.#sent[state.primary].length;
      if (kind !== 'resume') continue;
      for (const event of this.#kept) this.#deliver(event);
      this.#kept = [];
    }
  }
}

const side = fc.constantFrom(...SIDES);
const run = fc.constantFrom(...RUNS);
const sending = fc.record({
  what: fc.constantFrom('whole', 'whole', 'half', 'read'),
  ...{ side, run },
}) as fc.Arbitrary<Happening>;
const switching = fc.record({ what: fc.constant('switch' as const), to: side });
const reconciling = fc.constant<Happening>({ what: 'reconcile' });
const losing = fc.oneof(
  fc.constantFrom<Happening>({ what: 'second-lost' }, { what: 'second-opened' }, { what: 'late' }),
  fc
    .constantFrom(1000, 1006, 1008, 1011, 4001)
    .map(code => ({ what: 'primary-lost' as const, code })),
  fc.constant<Happening>({ what: 'client-gone' }),
);
const peaceful = fc.array(
  fc.oneof(
    { arbitrary: sending, weight: 8 },
    { arbitrary: switching, weight: 2 },
    { arbitrary: reconciling, weight: 2 },
  ),
  { maxLength: 120 },
);
const rough = fc.array(
  fc.oneof(
    { arbitrary: sending, weight: 8 },
    { arbitrary: switching, weight: 3 },
    { arbitrary: reconciling, weight: 3 },
    { arbitrary: losing, weight: 1 },
  ),
  { maxLength: 120 },
);

const numbersOf = (model: Model, of: Run): number[] =>
  model.client.filter(key => key.startsWith(`${of} `)).map(key => Number(key.slice(of.length + 1)));

describe('a session that changes hands', () => {
  test('gives its client each event once, in order within a run, however often and wherever it is cut', () => {
    fc.assert(
      fc.property(peaceful, happenings => {
        const model = new Model();
        for (const happening of happenings) model.happen(happening);
        model.settle();
        for (const of of RUNS) {
          const all = Array.from({ length: model.sentOf(of) }, (_, n) => n);
          expect(numbersOf(model, of)).toEqual(all);
        }
        expect([model.missing, model.unknown]).toEqual([0, 0]);
        expect(model.state.phase).toBe('steady');
      }),
      { numRuns: 2_000 },
    );
  });

  test('whatever dies in whatever moment, nothing comes twice or out of order, and the end is one end', () => {
    fc.assert(
      fc.property(rough, happenings => {
        const model = new Model();
        for (const happening of happenings) model.happen(happening);
        model.settle();
        for (const of of RUNS) {
          const numbers = numbersOf(model, of);
          expect(numbers).toEqual([...new Set(numbers)].sort((a, b) => a - b));
        }
        const ends = model.actions.filter(
          kind => kind === 'end' || kind === 'pass-end' || kind === 'leave',
        );
        expect(ends.length).toBeLessThanOrEqual(1);
        // Held is no place to stay: there is always somebody to speak.
        expect(['steady', 'cutting', 'leaving', 'ended']).toContain(model.state.phase);
      }),
      { numRuns: 2_000 },
    );
  });

  test('stays where it is when that is wanted again in the middle of it, unless that leg is lost', () => {
    fc.assert(
      fc.property(rough, happenings => {
        const model = new Model();
        for (const happening of happenings) {
          model.happen(happening);
          const { phase, primary, primaryLost } = model.state;
          if ((phase !== 'cutting' && phase !== 'held') || primaryLost) continue;
          const back = step(model.state, { kind: 'switch', to: primary, atBoundary: true });
          expect(back.state).toMatchObject({ phase: 'steady', primary, wanted: null });
          expect(back.actions).toEqual([{ kind: 'resume' }]);
        }
      }),
      { numRuns: 500 },
    );
  });
});

// The fault: a lane was taken for one in which the client stands where the new primary stood, though the old one
// had gone on in it for longer than is known, and what came twice then was not counted.
test('where the client is ahead of a leg that it has had before, nothing that this one goes on with is certain', () => {
  const sent = [{ ...eventOf('r1', 1), hadAlready: true }];
  const tails = { delivered: [eventOf('r1', 9)], sent, overrun: true };
  expect([...reconcile({ ...tails, isAhead: true }).certain]).toEqual([]);
  expect([...reconcile({ ...tails, isAhead: false }).certain]).toEqual(['r1']);
});

test('long messages are known again by their content, and never taken for an older hole', () => {
  const [a, b] = [longEvent('a'), longEvent('b')];
  const sent = [a, b, eventOf('r1', 1)].map(event => ({ ...event, hadAlready: false }));
  const delivered = [b, longEvent('c'), eventOf('r1', 1)];
  expect(reconcile({ delivered, sent, overrun: false, isAhead: false })).toMatchObject({
    ...{ deliver: [0], unknown: 1, missing: 0, suppress: [] },
  });
});
