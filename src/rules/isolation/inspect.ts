// Whom the routing fields of a message name, one by one. The one definition: the lanes act on it, the
// judge reports by it, and `cutover isolation explain` shows it.
import { isUtf8 } from 'node:buffer';
import { type WalkedField, walkEvents } from './field-walk.ts';
import type { Recipient } from './recipient.ts';
import { type Isolation, pointerTo } from './rules.ts';
import { scan } from './scan.ts';

/** Longer messages are not looked into, nor compared: as much as the services advertise. */
export const MOST_INSPECTED_BYTES = 1_048_576;

/** What a routing field says. */
export type Said = 'own' | 'among' | 'foreign' | 'nobody' | 'provenance' | 'content';

export interface RoutingField {
  /** JSON pointer; its steps are names from the configuration, never data. */
  readonly path: string;
  readonly says: Said;
  /** Type of the event that it stands in; empty where it has none. */
  readonly eventType: string;
  /** Of its value in the message, in bytes. */
  readonly start: number;
  readonly end: number;
}

export const UNINSPECTABLE = {
  binary: 'binary data that is no JSON',
  'not-utf8': 'text in UTF-16 or another coding that is not read',
  'not-json': 'a routing field is named in it, and it is no JSON',
  'too-large': 'longer than is looked into',
  coded: 'a content coding that can not be undone within bounds',
} as const;
export type UninspectableBecause = keyof typeof UNINSPECTABLE;

export type Inspection =
  | { readonly kind: 'inspected'; readonly fields: readonly RoutingField[] }
  | { readonly kind: 'uninspectable'; readonly because: UninspectableBecause };

export interface MessageForm {
  /** A binary WebSocket message, or an answer of another kind than text or JSON. */
  readonly isBinary?: boolean;
  /** What the transport names the event's type, where the event itself does not (an event stream's `event`). */
  readonly type?: string;
  /** The message itself, where it is ASCII alone and whoever hands it in has read it already. */
  readonly ascii?: string | null;
}

/**
 * The message's routing fields. Without `isBinary` it is text: fields of what is no JSON (and names
 * one) can not be told. Costs some microseconds for a small event; `scan` first.
 */
export function inspect(
  isolation: Isolation,
  recipient: Recipient,
  payload: Buffer,
  { isBinary = false, type }: MessageForm = {},
): Inspection {
  if (payload.length > MOST_INSPECTED_BYTES) return uninspectable('too-large');
  // What is not UTF-8 is looked into all the same: most readers put U+FFFD in place of a bad byte.
  const events = walkEvents(isolation, payload);
  if (events === null) return uninspectable(isBinary ? 'binary' : 'not-json');
  const fields: RoutingField[] = [];
  for (const event of events) {
    const types = event.types.length > 0 || type === undefined ? event.types : [type];
    for (const field of event.fields) {
      const says = saidBy(isolation, recipient, payload, field, types);
      if (says === null) return uninspectable('not-json');
      const { outer, name, start, end } = field;
      const path = pointerTo([...outer, name]);
      fields.push({ path, says, eventType: types.at(-1) ?? '', start, end });
    }
  }
  return { kind: 'inspected', fields };
}

/** What a lane asks of every message. */
export type Examined =
  | { readonly kind: 'clean' }
  /** It is his, though others are named in a list beside him; `fields` are those lists. */
  | { readonly kind: 'among'; readonly fields: readonly RoutingField[] }
  /** Somebody else's; `fields` as for `among`, and those that name others alone. */
  | { readonly kind: 'foreign'; readonly fields: readonly RoutingField[] }
  | { readonly kind: 'uninspectable'; readonly because: UninspectableBecause };

const CLEAN: Examined = Object.freeze({ kind: 'clean' });

/** `scan`, and `inspect` where that is not enough. */
export function examine(
  isolation: Isolation,
  recipient: Recipient,
  payload: Buffer,
  form: MessageForm = {},
): Examined {
  // Binary data may say the same in ways that are not JSON's; what is JSON all the same is looked at.
  if (form.isBinary !== true && scan(isolation, recipient, payload) === 'clean') return CLEAN;
  const inspection = inspect(isolation, recipient, payload, form);
  if (inspection.kind === 'uninspectable') return inspection;
  const fields = inspection.fields.filter(({ says }) => says === 'foreign' || says === 'among');
  if (fields.length === 0) return CLEAN;
  return { kind: fields.some(({ says }) => says === 'foreign') ? 'foreign' : 'among', fields };
}

/** What stands there; bytes that are no UTF-8 are taken for Latin-1, as whoever writes them does most often. */
export function textAt(payload: Buffer, start: number, end: number): string {
  const bytes = payload.subarray(start, end);
  return bytes.toString(isUtf8(bytes) ? 'utf8' : 'latin1');
}

/** UTF-16 or 32, which begins with a mark or has zeros where JSON has none. */
export function isWide(payload: Buffer): boolean {
  const [first, second] = payload;
  const isMarked = (first === 0xff && second === 0xfe) || (first === 0xfe && second === 0xff);
  return isMarked || payload.subarray(0, 4).includes(0);
}

function saidBy(
  isolation: Isolation,
  recipient: Recipient,
  payload: Buffer,
  { name, outer, start, end }: WalkedField,
  types: readonly string[],
): Said | null {
  if (isolation.isContent(outer, name)) return 'content';
  if (isolation.isProvenance(name, types)) return 'provenance';
  return recipient.named(isolation, textAt(payload, start, end));
}

function uninspectable(because: UninspectableBecause): Inspection {
  return { kind: 'uninspectable', because };
}
