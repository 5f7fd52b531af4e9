// The latch: what a rollback leaves behind, so that legacy serves until an operator releases it. Operators
// and guardrails of several processes may speak at once, and a line may come twice or late: the last word
// on each scope counts, by epoch, in whatever order it is heard.

/** All routes. */
export const EVERYTHING = '*';

/** `severed`: nothing goes to the candidate at all. */
export const LATCH_STATES = ['latched', 'severed', 'released'] as const;
export type LatchState = (typeof LATCH_STATES)[number];
export type Held = Exclude<LatchState, 'released'>;

export interface LatchEntry {
  /** Counts up with every change, over all scopes. */
  readonly epoch: number;
  /** `*`, or the name of a route. */
  readonly scope: string;
  readonly state: LatchState;
  readonly reason: string;
  readonly by: string;
  /** ISO 8601; for people alone, since clocks jump. */
  readonly at: string;
}

/** Never changed; `withEntry` makes a new one. */
export interface LatchBook {
  /** The highest that was ever heard. */
  readonly epoch: number;
  /** The last word on each scope, released ones included. */
  readonly last: ReadonlyMap<string, LatchEntry>;
}

export const NO_LATCH: LatchBook = { epoch: 0, last: new Map() };

/** Hears an entry. What is older than the last word on its scope changes nothing. */
export function withEntry(book: LatchBook, entry: LatchEntry): LatchBook {
  const before = book.last.get(entry.scope);
  if (before !== undefined && !isNewer(entry, before)) return book;
  return {
    epoch: Math.max(book.epoch, entry.epoch),
    last: new Map(book.last).set(entry.scope, entry),
  };
}

/** Without an entry that turned out to be wrong; as it was, if that is not the last word on its scope. */
export function withoutEntry(book: LatchBook, entry: LatchEntry | null): LatchBook {
  if (entry === null || book.last.get(entry.scope) !== entry) return book;
  const last = new Map(book.last);
  last.delete(entry.scope);
  return { ...book, last };
}

/** Of two processes that took the same number, the one that goes to legacy is right. */
function isNewer(entry: LatchEntry, before: LatchEntry): boolean {
  if (entry.epoch !== before.epoch) return entry.epoch > before.epoch;
  return weight(entry.state) > weight(before.state);
}

function weight(state: LatchState): number {
  return { released: 0, latched: 1, severed: 2 }[state];
}

/** What holds, in the order in which it was said. */
export function heldEntries({ last }: LatchBook): (LatchEntry & { readonly state: Held })[] {
  const held = [...last.values()].filter(isHeld);
  return held.sort((a, b) => a.epoch - b.epoch);
}

/** What holds a scope by its own word; a route may be held by `*` besides. */
export function heldOf({ last }: LatchBook, scope: string): (LatchEntry & { state: Held }) | null {
  const entry = last.get(scope);
  return entry !== undefined && isHeld(entry) ? entry : null;
}

/** A scope is held by its own word, and as much as that state asks: `severed` is more than `latched`. */
export function isHeldAs(book: LatchBook, scope: string, state: Held): boolean {
  const held = heldOf(book, scope);
  return held !== null && (held.state === state || held.state === 'severed');
}

/** Whether, and how, a route is held on legacy, by its own word or that on everything. */
export function latchOn(book: LatchBook, route: string): Held | null {
  const [own, all] = [heldOf(book, route), heldOf(book, EVERYTHING)];
  if (own?.state === 'severed' || all?.state === 'severed') return 'severed';
  return own?.state ?? all?.state ?? null;
}

function isHeld(entry: LatchEntry): entry is LatchEntry & { state: Held } {
  return entry.state !== 'released';
}

/**
 * The book of a file's lines. A line that is no entry may have been a rollback: it counts as one of
 * everything, said at that place, until somebody releases it. `damaged` counts such lines.
 */
export function bookOf(
  lines: readonly string[],
  found: { readonly reason: string; readonly at: string },
): { readonly book: LatchBook; readonly damaged: number } {
  let book = NO_LATCH;
  let damaged = 0;
  for (const line of lines) {
    if (line === '') continue;
    const entry = entryOf(line);
    if (entry === null) damaged += 1;
    book = withEntry(book, entry ?? distrust(book, found));
  }
  return { book, damaged };
}

/** Everything is held, because what is written can not be trusted. */
export function distrust(
  { epoch }: LatchBook,
  { reason, at }: { readonly reason: string; readonly at: string },
): LatchEntry {
  return { epoch, scope: EVERYTHING, state: 'latched', reason, by: 'cutover', at };
}

function entryOf(line: string): LatchEntry | null {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    // Torn: somebody was writing it when the power went.
    return null;
  }
  if (typeof value !== 'object' || value === null) return null;
  const { epoch, scope, state, reason, by, at } = value as Partial<LatchEntry>;
  const isWhole =
    Number.isSafeInteger(epoch) &&
    [scope, reason, by, at].every(text => typeof text === 'string') &&
    LATCH_STATES.includes(state as LatchState);
  return isWhole ? (value as LatchEntry) : null;
}
