// What isolation makes of one event, rule by rule, and why: without anything else that was ever sent.
import type { CompiledRules } from '../compare/compile.ts';
import { isRecord, type JsonRecord, own, valueAt } from '../compare/record.ts';
import { typeOf } from '../event-key.ts';
import { identifiersIn } from './identifier-places.ts';
import type { IsolationRule } from './incident.ts';
import { inspect, type MessageForm, type Said, UNINSPECTABLE } from './inspect.ts';
import type { Recipient } from './recipient.ts';
import { type Isolation, pointerTo } from './rules.ts';
import { scan } from './scan.ts';

const WHY: Readonly<Record<Said, string>> = {
  own: 'names the user',
  among: 'names the user among others: his, and the others are left out in mode sanitize',
  foreign: 'names somebody else: contaminated',
  nobody: 'names nobody',
  provenance: 'is provenance by declaration: it says whose it is, not whom it is for',
  content: 'is content by declaration: what users write is no address',
};

const LEDGER =
  'contaminated if legacy gave this identifier to another user alone, and did not send this event to this one';

/** Why an identifier says nothing of whose it is. */
const QUOTES = {
  reply: 'its type answers a client: it quotes what was asked for',
  failure: 'its type reports a failure: it quotes what was asked for',
  unproven:
    'proves nothing: each service makes up its own there, it is content, too long, or a number below 2^32 at a place that the route does not name',
} as const;

export interface ExplainedRule {
  readonly rule: IsolationRule;
  /** JSON pointer; empty where it is the event as a whole. */
  readonly path: string;
  /** By this event alone; `open` depends on what legacy sends to whom. */
  readonly says: 'contaminated' | 'clean' | 'open';
  readonly why: string;
}

export interface Explanation {
  readonly eventType: string;
  /** Does the lane have to parse it, or do its bytes say that no address is in it? */
  readonly scan: 'clean' | 'parse';
  readonly says: 'contaminated' | 'clean' | 'uninspectable';
  readonly rules: readonly ExplainedRule[];
}

/** `value` is the parsed payload, undefined where it is no JSON. */
export function explainEvent(
  isolation: Isolation,
  rules: CompiledRules,
  recipient: Recipient,
  payload: Buffer,
  value: unknown,
  form: MessageForm = {},
): Explanation {
  const eventType = typeOf(value);
  const scanned = scan(isolation, recipient, payload);
  const inspection = inspect(isolation, recipient, payload, form);
  const found: ExplainedRule[] = [];
  const add = (rule: IsolationRule, path: string, says: ExplainedRule['says'], why: string) =>
    found.push({ rule, path, says, why });
  if (inspection.kind === 'inspected') {
    for (const { path, says } of inspection.fields) {
      add('routing', path, says === 'foreign' ? 'contaminated' : 'clean', WHY[says]);
    }
    if (inspection.fields.length === 0) {
      const names = isolation.rules.routing.join(', ');
      add('routing', '', 'clean', `none of ${names} at its root or in its envelopes`);
    }
  } else if (scanned === 'parse') {
    const what = `${UNINSPECTABLE[inspection.because]}; the route lets it ${isolation.rules.uninspectable}`;
    add('routing', '', 'open', what);
  }
  const events = isRecord(value) ? [value] : Array.isArray(value) ? value.filter(isRecord) : [];
  if (events.length > 0) {
    for (const [path, why] of ledgerPlaces(isolation, events, rules)) {
      add('ledger', path, why === null ? 'open' : 'clean', why ?? LEDGER);
    }
    for (const type of new Set(events.map(typeOf))) {
      add('fingerprint', '', ...contentOf(isolation, rules, type, Array.isArray(value)));
    }
  }
  add('marker', '', 'clean', 'markers are planted by comparison runs alone');
  const isForeign = found.some(({ says }) => says === 'contaminated');
  const isUnread = inspection.kind === 'uninspectable' && scanned === 'parse';
  const says = isForeign ? 'contaminated' : isUnread ? 'uninspectable' : 'clean';
  return { eventType, scan: scanned, says, rules: found };
}

/** By place: why an identifier there says nothing of whose it is; null where it does, in one of the events. */
function ledgerPlaces(
  isolation: Isolation,
  events: readonly JsonRecord[],
  rules: CompiledRules,
): Map<string, string | null> {
  const places = new Map<string, string | null>();
  for (const event of events) {
    const plan = rules.planOf(typeOf(event));
    const quotes = plan.isReply ? QUOTES.reply : plan.isFailure ? QUOTES.failure : null;
    for (const steps of isolation.identifiers) {
      const inner = plan.envelopes.map(({ name }) => own(event, name));
      const stands = [event, ...inner].some(from => valueAt(from, steps) !== undefined);
      const path = pointerTo(steps);
      if (stands && places.get(path) !== null) places.set(path, quotes ?? QUOTES.unproven);
    }
    if (quotes !== null) continue;
    identifiersIn(event, plan, isolation, (_name, { steps }) => places.set(pointerTo(steps), null));
  }
  return places;
}

function contentOf(
  { everyone }: Isolation,
  rules: CompiledRules,
  type: string,
  isMember: boolean,
): [ExplainedRule['says'], string] {
  if (isMember && type === '') return ['clean', 'rows of a list without a type are nobody’s'];
  const { isReply, isFailure } = rules.planOf(type);
  if (everyone.has(type)) return ['clean', 'its type is for everybody, by declaration'];
  if (isReply) return ['clean', 'its type answers a client, and says nothing of whose it is'];
  if (isFailure) return ['clean', 'its type reports a failure, and says nothing of whose it is'];
  return [
    'open',
    'contaminated if legacy sent this content to another user alone, contents of its type are one user’s each, and legacy did not send it to this one',
  ];
}
