// What isolation makes of one event, rule by rule, and why: without anything else that was ever sent.
import { isUtf8 } from 'node:buffer';
import type { CompiledRules } from '../compare/compile.ts';
import { isRecord, type JsonRecord, own, valueAt } from '../compare/record.ts';
import { typeOf } from '../event-key.ts';
import { identifiersIn } from './identifier-places.ts';
import type { IsolationRule } from './incident.ts';
import {
  examine,
  type Inspection,
  inspect,
  isWide,
  type Said,
  UNINSPECTABLE,
  type UninspectableBecause,
} from './inspect.ts';
import { hasOwnText, LEAST_CHARACTERS } from './own-text.ts';
import type { Recipient } from './recipient.ts';
import { type Isolation, pointerTo } from './rules.ts';
import { hasRoutingField, scan } from './scan.ts';

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
  refusal: 'an answer of 400 and beyond quotes what was asked for',
  unproven:
    'proves nothing: each service makes up its own there, it is content, too long, or a number below 2^32 at a place that the route does not name',
} as const;

/** What no text has: a message of a WebSocket with one of them in it is a binary one. */
const CONTROL = /[^\P{Cc}\t\r\n]/u;
/** As JSON's objects and arrays begin; `\xef\xbb\xbf` is a byte order mark, read as Latin-1. */
const JSON_BEGINS = /^(?:\xef\xbb\xbf)?[ \t\r\n]*[{[]/;

/** How the event is sent. */
export interface SentAs {
  readonly protocol: 'websocket' | 'http' | 'sse';
  /**
   * What an event stream's `event` says, or, of an answer of HTTP, its method and status: `GET 2xx`. Not given: nothing
   * names its type but itself.
   */
  readonly type?: string | undefined;
}

/** As `answerType` has it. */
const ANSWER = /^[A-Z]+ ([1-5])xx$/;
/** Classes of statuses from there on are refusals and failures. */
const LEAST_REFUSAL = 4;
/** What a stream's event is called that no line gives a name to. */
const UNNAMED = 'message';

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

/**
 * `value` is the parsed payload, undefined where it is no JSON. Clean is what lane and judge can look into, by all
 * rules, and where none says otherwise.
 */
export function explainEvent(
  isolation: Isolation,
  rules: CompiledRules,
  recipient: Recipient,
  payload: Buffer,
  value: unknown,
  sent: SentAs = { protocol: 'websocket' },
): Explanation {
  const { protocol, type, statusClass } = transportOf(sent);
  const isBinary = protocol === 'websocket' && !isText(payload);
  const form = { isBinary, ...(type === undefined ? {} : { type }) };
  const scanned = scan(isolation, recipient, payload);
  const inspection = inspect(isolation, recipient, payload, form);
  const said = protocol === 'sse' && type !== undefined ? named(value, type, payload) : value;
  const unread = unreadBecause(inspection, isBinary, said);
  const eventType = (unread === null ? typeOf(said) : '') || (type ?? '');
  const isRefusal = statusClass >= LEAST_REFUSAL;
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
  } else {
    const what = whyUninspectable(isolation, payload, inspection.because);
    const { because } = inspection;
    const lane = laneOf(isolation, recipient, payload, { protocol, isBinary, because });
    add('routing', '', 'open', `${what}; ${lane}`);
  }
  if (unread === null) {
    const events = (Array.isArray(said) ? said : [said]).filter(isRecord);
    const places = ledgerPlaces(isolation, events, rules, isRefusal);
    for (const [path, why] of places) {
      add('ledger', path, why === null ? 'open' : 'clean', why ?? LEDGER);
    }
    if (places.size === 0) add('ledger', '', 'clean', noIdentifier(isolation));
    for (const [type, ofType] of Map.groupBy(events, typeOf)) {
      const is = { isMember: Array.isArray(said), isRefusal };
      add('fingerprint', '', ...contentOf(isolation, rules, type, ofType, is));
    }
    if (events.length === 0) add('fingerprint', '', 'clean', 'no event is in it');
  } else {
    for (const rule of ['ledger', 'fingerprint'] as const) add(rule, '', 'open', unread);
  }
  add('marker', '', 'clean', 'markers are planted by comparison runs alone');
  const isForeign = found.some(({ says }) => says === 'contaminated');
  const isUnread = inspection.kind === 'uninspectable' || unread !== null;
  const says = isForeign ? 'contaminated' : isUnread ? 'uninspectable' : 'clean';
  return { eventType, scan: scanned, says, rules: found };
}

/** An answer, or an event of a stream, where a type is given that only these have. */
function transportOf({ protocol, type = '' }: SentAs): SentAs & { readonly statusClass: number } {
  if (type === '') return { protocol, statusClass: 0 };
  const [, statusClass] = ANSWER.exec(type) ?? [];
  if (statusClass !== undefined)
    return { protocol: 'http', type, statusClass: Number(statusClass) };
  return { protocol: 'sse', type: type === UNNAMED ? undefined : type, statusClass: 0 };
}

/** The event of a stream as the judge reads it: with the stream's word for its type, where it has none of its own. */
function named(value: unknown, type: string, payload: Buffer): JsonRecord {
  if (isRecord(value)) return Object.hasOwn(value, 'type') ? value : { ...value, type };
  return { type, data: Array.isArray(value) ? value : payload.toString() };
}

function isText(payload: Buffer): boolean {
  return isUtf8(payload) && !CONTROL.test(payload.toString());
}

/** Why the judge has no value that could say whose it is; null: it has one. */
function unreadBecause(inspection: Inspection, isBinary: boolean, value: unknown): string | null {
  if (inspection.kind === 'uninspectable' && inspection.because === 'too-large')
    return 'not read: longer than is looked into';
  if (isBinary) return 'not read: binary data';
  return isRecord(value) || Array.isArray(value) ? null : 'not read: no JSON object or array';
}

function whyUninspectable(
  isolation: Isolation,
  payload: Buffer,
  because: UninspectableBecause,
): string {
  if (because !== 'not-json') return UNINSPECTABLE[because];
  if (isWide(payload)) return UNINSPECTABLE['not-utf8'];
  return hasRoutingField(isolation, payload)
    ? UNINSPECTABLE[because]
    : 'no JSON, and no field is named in it that says whom it is for';
}

/** What a lane that guards does about it. */
function laneOf(
  isolation: Isolation,
  recipient: Recipient,
  payload: Buffer,
  {
    protocol,
    isBinary,
    because,
  }: SentAs & { readonly isBinary: boolean; readonly because: UninspectableBecause },
): string {
  // An answer that does not begin as JSON is a page, whatever stands in it.
  const isPage = isWide(payload) || !JSON_BEGINS.test(payload.toString('latin1'));
  const isRead = because !== 'too-large' && !(protocol === 'http' && isPage);
  if (isRead && examine(isolation, recipient, payload, { isBinary }).kind === 'clean')
    return 'passes as text: its bytes show no foreign address';
  return isolation.rules.uninspectable === 'block'
    ? 'withheld where the route is guarded (uninspectable: block)'
    : 'passes (uninspectable: pass)';
}

function noIdentifier({ identifiers }: Isolation): string {
  if (identifiers.length === 0) return 'the route names no identifiers';
  return `none of ${identifiers.map(pointerTo).join(', ')} at its root or in its envelopes`;
}

/** By place: why an identifier there says nothing of whose it is; null where it does, in one of the events. */
function ledgerPlaces(
  isolation: Isolation,
  events: readonly JsonRecord[],
  rules: CompiledRules,
  isRefusal: boolean,
): Map<string, string | null> {
  const places = new Map<string, string | null>();
  for (const event of events) {
    const plan = rules.planOf(typeOf(event));
    const reply = plan.isReply ? QUOTES.reply : plan.isFailure ? QUOTES.failure : null;
    const quotes = isRefusal ? QUOTES.refusal : reply;
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
  events: readonly JsonRecord[],
  { isMember, isRefusal }: { readonly isMember: boolean; readonly isRefusal: boolean },
): [ExplainedRule['says'], string] {
  if (isRefusal) return ['clean', 'an answer of 400 and beyond says nothing of whose it is'];
  if (isMember && type === '') return ['clean', 'rows of a list without a type are nobody’s'];
  const plan = rules.planOf(type);
  const { isReply, isFailure } = plan;
  if (everyone.has(type)) return ['clean', 'its type is for everybody, by declaration'];
  if (isReply) return ['clean', 'its type answers a client, and says nothing of whose it is'];
  if (isFailure) return ['clean', 'its type reports a failure, and says nothing of whose it is'];
  if (!events.some(event => hasOwnText(event, plan))) {
    const what = `no text of ${LEAST_CHARACTERS} characters`;
    return [
      'clean',
      `${what} is at its root or in its envelopes, and shorter ones are nobody’s own`,
    ];
  }
  return [
    'open',
    'contaminated if legacy sent this content to another user alone, contents of its type are one user’s each, and legacy did not send it to this one',
  ];
}
