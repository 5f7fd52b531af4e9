// What became of a write that went to both services: the two outcomes are laid side by side for the
// ledger, once both are known.
import { randomUUID } from 'node:crypto';
import type { NotSent, SplitCause, WriteLedger, WriteOutcome, WriteSplit } from '../ports.ts';
import type { Side } from '../rules/decide.ts';
import { fieldValues } from '../wire/headers.ts';
import type { RequestFacts } from './upstream.ts';

/** A client's own key may be as long as a header; records hold its beginning. */
const MOST_KEY_CHARS = 255;

/** Takes the outcome of one service. Its first word counts. */
export type Noted = (outcome: WriteOutcome) => void;

export interface PairOptions {
  readonly route: string;
  readonly sides: Readonly<Record<'primary' | 'second', Side>>;
  /** Asked only if the outcomes part. */
  readonly facts: () => Pick<WriteSplit, 'key' | 'digest' | 'bytes'>;
  /** Told of each side once its outcome is known; see `Tap.write`. */
  readonly answered: (side: Side) => void;
  /** Told of a side that its copy was not sent; see `Tap.writeLeftOut`. */
  readonly leftOut: (side: Side) => () => void;
}

/** Waits for both outcomes, then says whether they part. */
export function pairOutcomes(
  ledger: WriteLedger,
  { route, sides, facts, answered, leftOut }: PairOptions,
): Readonly<Record<'primary' | 'second', Noted>> {
  let first: WriteOutcome | undefined;
  let other: WriteOutcome | undefined;
  let told = false;
  let leftOutOver = (): void => undefined;
  const tell = (): void => {
    if (told || first === undefined || other === undefined) return;
    told = true;
    const cause = splitCause(first, other);
    if (cause === null) return ledger.agreed(route);
    const { key, digest, bytes } = facts();
    ledger.split({
      ...{ route, cause, digest, bytes },
      key: key === null ? null : key.slice(0, MOST_KEY_CHARS),
      primary: { side: sides.primary, outcome: first },
      second: { side: sides.second, outcome: other },
    });
  };
  return {
    primary: outcome => {
      if (first === undefined) answered(sides.primary);
      if (first === undefined) leftOutOver();
      first ??= outcome;
      tell();
    },
    second: outcome => {
      if (other === undefined) answered(sides.second);
      if (other === undefined && isNotSent(outcome)) {
        leftOutOver = leftOut(sides.second);
        if (first !== undefined) leftOutOver();
      }
      other ??= outcome;
      tell();
    },
  };
}

/** Below 400 a service has taken it (RFC 9110 15). A failure on the way counts as not taken. */
export function took(outcome: WriteOutcome): boolean {
  return typeof outcome === 'number' && outcome < 400;
}

function isNotSent(outcome: WriteOutcome): outcome is NotSent {
  return outcome === 'overload' || outcome === 'severed';
}

/** The client's own key, if it sent one, so that a repeat of his is known as one. */
export function idempotencyKey({ headers }: Pick<RequestFacts, 'headers'>): string {
  const [value = '', ...more] = fieldValues(headers, 'idempotency-key');
  return value !== '' && more.length === 0 ? value : randomUUID();
}

/** Why two outcomes part; null if both services took the write, or neither. */
function splitCause(primary: WriteOutcome, second: WriteOutcome): SplitCause | null {
  if (took(primary) === took(second)) return null;
  if (isNotSent(second)) return second;
  return took(primary) ? 'second-refused' : 'primary-refused';
}
