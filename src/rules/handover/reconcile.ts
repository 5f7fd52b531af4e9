// What of the new primary's messages the client still has to get, when a session changes hands: each
// event once, in order, or counted as unknown.

/** A message of a leg, as far as it matters whether the client has it. */
export interface TailEvent {
  /** Event key; null where none can be formed. See `longEvent`. */
  readonly key: string | null;
  /** Correlation lane: order counts within it. Null where that is not known. */
  readonly lane: string | null;
  /** Said to every new socket by itself (`greeting`): the client had one. */
  readonly isGreeting: boolean;
  /** Sent again for somebody who was not there. The client was. */
  readonly isReplay: boolean;
}

export interface Reconciled {
  /** Indices into `sent`, in order: the client gets these now. */
  readonly deliver: readonly number[];
  /** Keys that the client has and the new primary is still going to send: each is withheld once. */
  readonly suppress: readonly string[];
  /** Of those delivered, how many nobody can say that the client did not have them, or had all before them. */
  readonly unknown: number;
  /** Events that the old primary left out and the new one sent before their last common one: never late. */
  readonly missing: number;
  /** Messages without a key, or long, that the client has and the new primary may still send: nobody will know them. */
  readonly unnamed: number;
  /** Lanes in which the client stands where the new primary stood: what that sends next is next. */
  readonly certain: ReadonlySet<string>;
  /** Lanes of which the client has had something in the time that counts; null where not all of that is known. */
  readonly had: ReadonlySet<string> | null;
}

/**
 * A message that is too long to be read. Both services may well have sent the same content; what is still to
 * come is not looked at, and what is another one may be the same in other words.
 */
export function longEvent(digest: string): TailEvent {
  return { key: `long:${digest}`, lane: null, isGreeting: false, isReplay: false };
}

/** A message of the new primary's. */
export interface SentEvent extends TailEvent {
  /** The client got it from this very leg, when that was the primary before. */
  readonly hadAlready: boolean;
}

export interface Tails {
  /** What the old primary sent the client, oldest first. */
  readonly delivered: readonly TailEvent[];
  /** What the new primary has sent so far, oldest first. */
  readonly sent: readonly SentEvent[];
  /** More was delivered or sent, in the time that counts, than is known of. */
  readonly overrun: boolean;
  /** ... of the old primary's: the client may be ahead of what it has had of the new one. */
  readonly isAhead: boolean;
}

/** Pure. A multiset per lane: an event that came twice is owed once less. */
export function reconcile({ delivered, sent, overrun, isAhead }: Tails): Reconciled {
  const owed = new Map<string, number>();
  for (const { key, isGreeting } of delivered) {
    if (key !== null && !isGreeting) owed.set(key, (owed.get(key) ?? 0) + 1);
  }
  const longKeys = new Set(delivered.filter(({ lane }) => lane === null).map(({ key }) => key));
  const had = new Set(delivered.flatMap(({ lane }) => (lane === null ? [] : [lane])));
  const lastMatch = new Map<string, number>();
  const certain = new Set<string>();
  const open: number[] = [];
  for (const [index, event] of sent.entries()) {
    if (event.isGreeting || event.isReplay) continue;
    const { key, lane } = event;
    const left = key === null ? 0 : (owed.get(key) ?? 0);
    if (key !== null && left > 0) {
      owed.set(key, left - 1);
      if (lane !== null) lastMatch.set(lane, index);
      if (lane !== null) certain.add(lane);
    } else if (event.hadAlready) {
      if (key !== null && lane !== null && !isAhead) certain.add(lane);
    } else {
      open.push(index);
    }
  }
  const isInDoubt = (event: SentEvent) => isUnnamed(event) || overrun;
  const isNext = (index: number) => {
    const { lane } = sent[index] as SentEvent;
    return lane === null || index > (lastMatch.get(lane) ?? -1);
  };
  const deliver = open.filter(isNext);
  return {
    deliver,
    suppress: [...owed].flatMap(([key, left]) =>
      longKeys.has(key) ? [] : Array<string>(left).fill(key),
    ),
    unknown: deliver.filter(index => isInDoubt(sent[index] as SentEvent)).length,
    missing: open.length - deliver.length,
    unnamed: Math.max(0, unnamedOf(delivered) - unnamedOf(sent)),
    certain,
    had: isAhead || longKeys.size > 0 ? null : had,
  };
}

function unnamedOf(events: readonly TailEvent[]): number {
  return events.filter(event => isUnnamed(event) && !event.isGreeting).length;
}

/** It will not be known when it comes. */
function isUnnamed({ key, lane }: TailEvent): boolean {
  return key === null || lane === null;
}
