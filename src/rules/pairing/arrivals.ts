// What is known of an event as soon as it arrives: its key, its lane, its place in both.
import { canonical } from '../compare/canonical.ts';
import type { CompiledRules, Envelope, TypePlan } from '../compare/compile.ts';
import { isRecord, type JsonRecord, read, worn } from '../compare/record.ts';
import { isInexact } from '../compare/walk.ts';
import { ofSide, type Side } from '../decide.ts';
import { type EventKey, keyOf, typeOf } from '../event-key.ts';
import { withExactIntegers } from './exact.ts';
import { Lane } from './lane.ts';
import { bytesOf, type Pending } from './pending.ts';

/** Lanes of one session within two windows: 400 new runs a second. */
const MOST_LANES = 4_096;
/** A run may pause for a model's answer: as long as only one side has it, it is not forgotten when it began. */
const PAUSE_MS = 60_000;
/** Longer names of lanes are no ids. */
const MOST_NAME = 256;

export class Arrivals {
  readonly #rules: CompiledRules;
  readonly #name: string;
  #session: Lane;
  #replies: Lane;
  #timers: Lane;
  /** By pointer, then by the value that stands there. */
  readonly #lanes: Map<unknown, Lane>[];
  #laneCount = 0;
  /** Of the event before, and the value that named it: the next one is mostly of the same run. */
  #last: { readonly level: number; readonly name: unknown; readonly lane: Lane } | null = null;
  readonly #next: Record<Side, number> = { legacy: 0, candidate: 0 };

  constructor(rules: CompiledRules, session: string) {
    this.#rules = rules;
    this.#name = session;
    this.#session = new Lane(session);
    this.#replies = new Lane(session);
    this.#timers = new Lane(session);
    this.#lanes = rules.rules.lanes.map(() => new Map());
  }

  take(
    side: Side,
    value: unknown,
    at: number,
    foreign: string | null,
    text: string | null,
    bytes: number,
  ): Pending {
    const type = typeOf(value);
    const plan = this.#rules.planOf(type);
    let named: EventKey | null = null;
    let isReplay = false;
    let lane = this.#session;
    if (isRecord(value)) {
      const envelopes = worn(value, plan.envelopes);
      named = namedBy(plan, value, text, envelopes);
      isReplay = plan.replay !== null && read(value, plan.replay, envelopes) === true;
      lane = this.#laneOf(plan, value, text, at, envelopes);
    }
    lane.lastAt = at;
    const place = ofSide(lane.places, side);
    const no = ofSide(this.#next, side);
    if (side === 'legacy') {
      this.#next.legacy += 1;
      if (!isReplay) lane.places.legacy += 1;
    } else {
      this.#next.candidate += 1;
      if (!isReplay) lane.places.candidate += 1;
    }
    const content = named !== null ? '' : typeof value === 'string' ? value : canonical(value);
    return {
      side,
      value,
      text,
      isExact: false,
      bytes: bytesOf(bytes),
      type,
      plan,
      named,
      content,
      lead: named === null ? content : named.lead,
      rest: named === null ? null : named.rest,
      isPointed: named?.isPointed ?? false,
      isNamed: named?.isNamed ?? false,
      unit: lane.unit,
      unitLevel: lane.level ?? undefined,
      lane: isReplay ? null : lane,
      place: isReplay ? 0 : place,
      no,
      at,
      isReplay,
      foreign,
      print: null,
      exact: null,
      fields: null,
      older: null,
      newer: null,
      beside: null,
      isWaiting: false,
    };
  }

  /** Number of the latest event of a side; -1 before the first. */
  lastNo(side: Side): number {
    return this.#next[side] - 1;
  }

  /** Forgets all lanes, and what waits in them. */
  forget(): void {
    this.#session = new Lane(this.#name);
    this.#replies = new Lane(this.#name);
    this.#timers = new Lane(this.#name);
    for (const lanes of this.#lanes) lanes.clear();
    this.#laneCount = 0;
    this.#last = null;
  }

  /** Forgets lanes in which nothing happened since then and nothing waits. */
  sweep(before: number): void {
    if (this.#laneCount === 0) return;
    for (const lanes of this.#lanes) {
      for (const [name, lane] of lanes) {
        const lastAt = lane.isOfBoth ? lane.lastAt : lane.lastAt + PAUSE_MS;
        if (lastAt > before || !lane.isIdle) continue;
        lanes.delete(name);
        this.#laneCount--;
        this.#last = null;
      }
    }
  }

  #laneOf(
    plan: TypePlan,
    event: JsonRecord,
    text: string | null,
    at: number,
    envelopes: readonly Envelope[],
  ): Lane {
    if (plan.isTimer) return this.#timers;
    if (plan.isReply) return this.#replies;
    for (const { level, pointer } of plan.lanes) {
      let name = read(event, pointer, envelopes);
      if (isInexact(name)) name = read(exactOf(event, text), pointer, envelopes);
      if (typeof name !== 'string' && typeof name !== 'number' && typeof name !== 'bigint')
        continue;
      if (typeof name === 'string' && name.length > MOST_NAME) continue;
      const last = this.#last;
      if (last !== null && last.name === name && last.level === level) return last.lane;
      return this.#laneNamed(level, name, at);
    }
    return this.#session;
  }

  #laneNamed(level: number, name: string | number | bigint, at: number): Lane {
    const lanes = this.#lanes[level];
    let lane = lanes?.get(name);
    if (lane === undefined) {
      lane = new Lane(String(name), level, at);
      // Beyond, each event has a lane to itself: no order is kept.
      if (this.#laneCount >= MOST_LANES) return lane;
      lanes?.set(name, lane);
      this.#laneCount++;
    }
    this.#last = { level, name, lane };
    return lane;
  }
}

/** Runs that are numbered beyond 2^53 look alike where they are not read to the last digit. */
function namedBy(
  plan: TypePlan,
  event: JsonRecord,
  text: string | null,
  envelopes: readonly Envelope[],
): EventKey {
  const named = keyOf(plan, event, envelopes);
  return named.isRounded ? keyOf(plan, exactOf(event, text), envelopes) : named;
}

/** The event with its integers to the last digit, if its text is there. */
function exactOf(event: JsonRecord, text: string | null): JsonRecord {
  const exact = text === null ? undefined : withExactIntegers(text);
  return isRecord(exact) ? exact : event;
}
