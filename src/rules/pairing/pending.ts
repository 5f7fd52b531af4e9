// An event on its way to a verdict, and those of one side that wait for their pair.
import { fingerprint } from '../compare/canonical.ts';
import type { TypePlan } from '../compare/compile.ts';
import type { Side } from '../decide.ts';
import type { EventKey } from '../event-key.ts';
import type { Lane } from './lane.ts';

/**
 * What an event takes beside its message, by the same measure: 941 bytes of memory with a lane of its own, where a
 * message takes up to twenty times its length.
 */
const BESIDE_BYTES = 64;

/** What one field of an event says. */
export interface Field {
  /** Canonical. */
  readonly text: string;
  /** It names a user. */
  readonly isUser: boolean;
  /** It says when the event was sent. */
  readonly isStamp: boolean;
}

export interface Pending {
  readonly side: Side;
  readonly value: unknown;
  /** The message's text, if whoever hands it in has it and as long as it may be needed: see `isExact`. */
  text: string | null;
  /** It has no number that a double can not hold, so that its text is not needed. False: not known. */
  isExact: boolean;
  /** Of the message, and what it takes beside that. */
  readonly bytes: number;
  readonly type: string;
  readonly plan: TypePlan;
  /** By what its pair is found: the event key, or where it has none what it says (else empty). */
  readonly named: EventKey | null;
  readonly content: string;
  /** For a quick look at that: see `EventKey`. */
  readonly lead: unknown;
  readonly rest: string | null;
  /** Its key names it, rather than a digest of its content. */
  readonly isPointed: boolean;
  /** So does a number or id that no other event of its lane has, not only what several may share. */
  readonly isNamed: boolean;
  readonly unit: string;
  readonly unitLevel: number | undefined;
  /** Null for a replay, which has no place in any order. */
  readonly lane: Lane | null;
  /** Place in its lane, and among all of its side; from 0. */
  readonly place: number;
  readonly no: number;
  /** When it arrived, epoch ms. */
  readonly at: number;
  readonly isReplay: boolean;
  /** What was found in it that is another user's: the same text for the same in both services. Null: nothing. */
  foreign: string | null;
  /** Of its content as far as the rules hold two services to it, once somebody asked; and in full. */
  print: number | null;
  exact: number | null;
  /** What its fields say, by their names, once somebody asked: see `fieldsOf` of likeness. */
  fields: ReadonlyMap<string, Field> | null;

  /** Neighbours by arrival, and the next that has the same `lead`. Kept by `Waiting`. */
  older: Pending | null;
  newer: Pending | null;
  beside: Pending | null;
  isWaiting: boolean;
}

/** As which an event whose message has so many bytes counts, while it waits. */
export function bytesOf(messageBytes: number): number {
  return messageBytes + BESIDE_BYTES;
}

/** Of its content as far as the rules hold two services to it. */
export function printOf(event: Pending): number {
  event.print ??= fingerprint(event.plan, event.value);
  return event.print;
}

/** By what its pair is found. */
function matchOf({ named, content }: Pending): string {
  return named === null ? content : named.key;
}

/** Are both found by the same? Of the same `lead`. */
function isMatch(a: Pending, b: Pending): boolean {
  if (a.rest === null || b.rest === null) return matchOf(a) === matchOf(b);
  return a.rest === b.rest && a.type === b.type;
}

/** Two of one side that may stand for each other: neither has a name of its own, and they say the same. */
export function areTwins(a: Pending, b: Pending): boolean {
  return !a.isNamed && !b.isNamed && matchOf(a) === matchOf(b) && printOf(a) === printOf(b);
}

/** What waits in all sessions together. */
export interface WaitingRoom {
  bytes: number;
  readonly mostBytes: number;
}

/** So few are looked through one by one: mostly one waits, or none, and a map takes longer. */
const MOST_LISTED = 8;

/** One side's events without a pair, by arrival and by what their pair is found by. */
export class Waiting {
  size = 0;
  bytes = 0;
  #oldest: Pending | null = null;
  #newest: Pending | null = null;
  /** The oldest by `lead`; null from when nothing waits until many do. */
  #first: Map<unknown, Pending> | null = null;

  get oldest(): Pending | null {
    return this.#oldest;
  }

  get newest(): Pending | null {
    return this.#newest;
  }

  /** The oldest that is found by the same as `event`; `nextAlike` leads on to later ones. */
  find(event: Pending): Pending | null {
    const first = this.#firstOf(event.lead);
    return first === null || isMatch(first, event) ? first : nextAlike(first, event);
  }

  *allOf(event: Pending): Iterable<Pending> {
    for (let other = this.find(event); other !== null; other = nextAlike(other)) yield other;
  }

  add(event: Pending): void {
    let last = this.#firstOf(event.lead);
    event.isWaiting = true;
    event.older = this.#newest;
    if (this.#newest === null) this.#oldest = event;
    else this.#newest.newer = event;
    this.#newest = event;
    this.size++;
    this.bytes += event.bytes;
    if (last === null) this.#first?.set(event.lead, event);
    else {
      while (last.beside !== null) last = last.beside;
      last.beside = event;
    }
    if (this.#first === null && this.size > MOST_LISTED) this.#first = this.#listed();
  }

  /** Harmless for an event that does not wait. */
  remove(event: Pending): void {
    if (!event.isWaiting) return;
    this.#unchain(event);
    event.isWaiting = false;
    const { older, newer } = event;
    if (older === null) this.#oldest = newer;
    else older.newer = newer;
    if (newer === null) this.#newest = older;
    else newer.older = older;
    event.older = null;
    event.newer = null;
    this.size--;
    this.bytes -= event.bytes;
    if (this.size === 0) this.#first = null;
  }

  /** Forgets all of it. */
  clear(): void {
    this.#oldest = null;
    this.#newest = null;
    this.#first = null;
    this.size = 0;
    this.bytes = 0;
  }

  #firstOf(lead: unknown): Pending | null {
    if (this.#first !== null) return this.#first.get(lead) ?? null;
    let event = this.#oldest;
    while (event !== null && event.lead !== lead) event = event.newer;
    return event;
  }

  #listed(): Map<unknown, Pending> {
    const first = new Map<unknown, Pending>();
    for (let event = this.#oldest; event !== null; event = event.newer) {
      if (!first.has(event.lead)) first.set(event.lead, event);
    }
    return first;
  }

  /** While it still stands among them. */
  #unchain(event: Pending): void {
    const { lead, beside } = event;
    let before = this.#firstOf(lead);
    if (before !== event) {
      while (before !== null && before.beside !== event) before = before.beside;
      if (before !== null) before.beside = beside;
    } else if (beside === null) this.#first?.delete(lead);
    else this.#first?.set(lead, beside);
    event.beside = null;
  }
}

/** The next behind one that waits which is found by the same as that, or as `like`. */
export function nextAlike(waiting: Pending, like = waiting): Pending | null {
  let next = waiting.beside;
  while (next !== null && !isMatch(next, like)) next = next.beside;
  return next;
}
