// One text for all ways to write the same JSON value, and a quick number that stands for one.
import type { Envelope, TypePlan } from './compile.ts';
import { type Allowed, type Place, stepFrom } from './place.ts';
import { isRecord } from './record.ts';

/** As deep as values are compared; what lies deeper counts as the same. */
const MOST_DEPTH = 64;
/** A fingerprint looks at so many values, and so many characters of a text: it must cost little. */
const MOST_VALUES = 2_000;
const MOST_CHARACTERS = 256;
/** An exact print looks at as many values as are compared, see `walk.ts`. */
const MOST_EXACT_VALUES = 100_000;
/** Longer texts are looked at faster by the engine itself. */
const MOST_NAME = 64;
/** In between, printable ASCII has two characters that are not written as they are. */
const [SPACE, TILDE, QUOTE, BACKSLASH] = [0x20, 0x7e, 0x22, 0x5c] as const;
/** A small integer in V8: kept in maps without an allocation. */
const FINGERPRINT_BITS = 0x3fffffff;

/** JSON with sorted keys. */
export function canonical(value: unknown, depth = 0): string {
  if (typeof value === 'string') return quoted(value);
  if (typeof value === 'bigint') return String(value);
  if (typeof value !== 'object' || value === null) return JSON.stringify(value) ?? 'null';
  if (depth >= MOST_DEPTH) return '"…"';
  if (Array.isArray(value)) return `[${value.map(item => canonical(item, depth + 1)).join(',')}]`;
  if (!isRecord(value)) return 'null';
  const fields = Object.keys(value)
    .sort()
    .map(key => `${JSON.stringify(key)}:${canonical(value[key], depth + 1)}`);
  return `{${fields.join(',')}}`;
}

/** As `JSON.stringify` writes it, which takes several times as long for the short names that keys are made of. */
export function quoted(text: string): string {
  if (text.length > MOST_NAME) return JSON.stringify(text);
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code < SPACE || code > TILDE || code === QUOTE || code === BACKSLASH) {
      return JSON.stringify(text);
    }
  }
  return `"${text}"`;
}

/**
 * A number below 2^30 that is the same for events that the rules call the same, whichever side sent
 * them; fields that may differ are left out. Others have the same one by chance only.
 */
export function fingerprint(plan: TypePlan, value: unknown): number {
  begin(false, MOST_CHARACTERS, MOST_VALUES);
  return hashOfEvent(plan, value);
}

/**
 * The same for one service's events that say the same in full: all of every text, and what a rule lets differ
 * between two services, but for what is made anew with each sending (stamps, generated ids) or never looked
 * at. Null: too large or too deep for it, or it has integers beyond 2^53, whose digits only the text knows.
 */
export function exactPrint(plan: TypePlan, value: unknown): number | null {
  begin(true, Number.POSITIVE_INFINITY, MOST_EXACT_VALUES);
  hashOfEvent(plan, value);
  return left < 0 || isPartial || isInexact ? null : exact;
}

export interface ContentPrint {
  readonly high: number;
  readonly low: number;
  /** As `exactPrint`, of the same walk. */
  readonly exact: number | null;
}

/**
 * As `fingerprint`, of all that an event says: 60 bits in two halves, for whoever looks among the events of everybody.
 * Among 100,000 of them another one has the same by chance with odds of one in ten million million. Null: too large or
 * too deep for it.
 */
export function contentPrint(plan: TypePlan, value: unknown): ContentPrint | null {
  begin(true, Number.POSITIVE_INFINITY, MOST_EXACT_VALUES);
  const high = hashOfEvent(plan, value);
  if (left < 0 || isPartial) return null;
  return { high, low: low || 1, exact: isInexact ? null : exact };
}

/** Of the call under way: is an exact print asked for as well, how much of a text and how many values are looked at. */
let isExactAsked = false;
let longest = MOST_CHARACTERS;
let left = 0;
/** What was met: something too deep; a number that may be another one. */
let isPartial = false;
let isInexact = false;
/**
 * Of what was hashed last: the other half, and the exact print. Several hashes of one walk, since reading the texts
 * is most of it.
 */
let low = 0;
let exact = 0;

function begin(asksExact: boolean, mostCharacters: number, mostValues: number): void {
  isExactAsked = asksExact;
  longest = mostCharacters;
  left = mostValues;
  isPartial = false;
  isInexact = false;
}

function hashOfEvent(plan: TypePlan, value: unknown): number {
  let high = 0;
  if (isRecord(value)) {
    let lowSum = 0;
    let exactSum = 0;
    for (const key in value) {
      if (left < 0) break;
      const inner = value[key];
      high +=
        isEnvelope(plan.envelopes, key) && isRecord(inner)
          ? fieldsHash(inner, plan.prints.inner, 1)
          : fieldHash(key, inner, plan.prints.root, 0);
      lowSum += low;
      exactSum += exact;
    }
    low = lowSum;
    exact = exactSum;
  } else high = hashOf(value, plan.root, 0);
  low = mixed(low);
  exact = mixed(exact);
  return mixed(high);
}

/** Without a closure, which every field of every event would pay for. */
function isEnvelope(envelopes: readonly Envelope[], name: string): boolean {
  for (const envelope of envelopes) if (envelope.name === name) return true;
  return false;
}

function fieldsHash(record: Readonly<Record<string, unknown>>, place: Place | null, depth: number) {
  // Sums, since the order of keys says nothing.
  let high = 0;
  let lowSum = 0;
  let exactSum = 0;
  for (const key in record) {
    if (left < 0) break;
    high += fieldHash(key, record[key], place, depth);
    lowSum += low;
    exactSum += exact;
  }
  low = lowSum;
  exact = exactSum;
  return high;
}

function fieldHash(key: string, value: unknown, place: Place | null, depth: number): number {
  const at = stepFrom(place, key);
  const allowed = at === null ? null : at.allowed;
  if (allowed !== null && !isExactly(allowed, value)) return nothing();
  const name = textHash(key);
  const lowName = low;
  const its = hashOf(value, at, depth);
  exact = mixed(Math.imul(name, 31) + exact);
  if (allowed !== null) return onlyExact();
  low = mixed(Math.imul(lowName, 31) + low);
  return mixed(Math.imul(name, 31) + its);
}

function nothing(): number {
  exact = 0;
  low = 0;
  return 0;
}

/** What may differ between two services is in no print but the exact one. */
function onlyExact(): number {
  low = 0;
  return 0;
}

/** Is it, though a rule lets it differ, a part of the exact print, and is that asked for? */
function isExactly(allowed: Allowed, value: unknown): boolean {
  return isExactAsked && !isMadeAnew(allowed, value);
}

/** Differs between two sendings of one event, or says nothing. */
export function isMadeAnew(allowed: Allowed, value: unknown): boolean {
  const { timeWithinMs, idClass, anything, replay, nullOrAbsent } = allowed;
  return (
    timeWithinMs >= 0 || idClass !== null || anything || replay || (nullOrAbsent && value === null)
  );
}

function hashOf(value: unknown, place: Place | null, depth: number): number {
  if (depth > MOST_DEPTH) isPartial = true;
  if (--left < 0 || depth > MOST_DEPTH) return nothing();
  if (typeof value === 'string') return textHash(value);
  if (typeof value === 'number') return numberHash(value);
  // Not as a text of the same digits.
  if (typeof value === 'bigint') return textHash(`${value}n`);
  if (typeof value !== 'object' || value === null) {
    low = value === true ? 3 : value === false ? 5 : 7;
    exact = low;
    return low;
  }
  if (!Array.isArray(value)) {
    low = 13;
    exact = 13;
    if (!isRecord(value)) return low;
    const fields = mixed(fieldsHash(value, place, depth + 1));
    low = mixed(low) + 11;
    exact = mixed(exact) + 11;
    return fields + 11;
  }
  let high = value.length;
  let lowHash = value.length;
  let exactHash = value.length;
  const isAnyOrder = place?.allowed?.anyOrder === true;
  for (const [index, item] of value.entries()) {
    if (left < 0) break;
    const at = place === null ? null : stepFrom(place, String(index));
    const allowed = at === null ? null : at.allowed;
    const isIn = allowed === null || isExactly(allowed, item);
    let its = isIn ? hashOf(item, at, depth + 1) : nothing();
    if (isIn && allowed !== null) its = onlyExact();
    high = isAnyOrder ? high + mixed(its) : Math.imul(high, 31) + its;
    lowHash = isAnyOrder ? lowHash + mixed(low) : Math.imul(lowHash, 31) + low;
    exactHash = isAnyOrder ? exactHash + mixed(exact) : Math.imul(exactHash, 31) + exact;
  }
  low = mixed(lowHash) + 17;
  exact = mixed(exactHash) + 17;
  return mixed(high) + 17;
}

/** A number's 64 bits; there is one nought. */
const NUMBER = new Float64Array(1);
const NUMBER_WORDS = new Uint32Array(NUMBER.buffer);

function numberHash(value: number): number {
  if (Number.isInteger(value) ? !Number.isSafeInteger(value) : !Number.isFinite(value)) {
    isInexact = true;
  }
  NUMBER[0] = value + 0;
  const first = NUMBER_WORDS[0] as number;
  const second = NUMBER_WORDS[1] as number;
  low = mixed(Math.imul(first, 0x9e3779b1) ^ second);
  exact = mixed(Math.imul(second, 0x01000193) ^ first);
  return exact;
}

/**
 * Texts of that length are written down as UTF-8 first, which the engine does at once: 400 characters take 0.25 µs so,
 * and 0.85 one by one (bench/README.md).
 */
const [LEAST_WRITTEN, MOST_WRITTEN] = [64, 8_192];
const ENCODER = new TextEncoder();
/** Four words are read at a time. */
const BLOCK_BYTES = 16;
const WRITTEN = new Uint8Array(3 * MOST_WRITTEN + BLOCK_BYTES);
const WORDS = new Uint32Array(WRITTEN.buffer);

function textHash(text: string): number {
  const { length } = text;
  const isWritten = length >= LEAST_WRITTEN && length <= MOST_WRITTEN && length <= longest;
  // In UTF-8 all lone surrogates look alike.
  return isWritten && text.isWellFormed() ? bytesHash(text) : charactersHash(text);
}

/** xxHash32's rounds. */
function bytesHash(text: string): number {
  const { written } = ENCODER.encodeInto(text, WRITTEN);
  const blocks = Math.ceil(written / BLOCK_BYTES);
  for (let at = written; at < blocks * BLOCK_BYTES; at++) WRITTEN[at] = 0;
  let a = text.length;
  let b = 0x85ebca77 | 0;
  let c = 0;
  let d = 0x9e3779b1 | 0;
  for (let at = 0; at < 4 * blocks; at += 4) {
    a = round(a, WORDS[at] as number);
    b = round(b, WORDS[at + 1] as number);
    c = round(c, WORDS[at + 2] as number);
    d = round(d, WORDS[at + 3] as number);
  }
  return folded(a, b, c, d);
}

function round(lane: number, word: number): number {
  const sum = lane + Math.imul(word, 0x85ebca77);
  return Math.imul((sum << 13) | (sum >>> 19), 0x9e3779b1);
}

/**
 * FNV-1a of every fourth character, four times: one after the other each would wait for the one before. Both halves
 * are made of all four, which are 128 bits.
 */
function charactersHash(text: string): number {
  const { length } = text;
  const end = Math.min(length, longest);
  let a = 0x811c9dc5 ^ length;
  let b = 0x01000193;
  let c = 0x9e3779b9 | 0;
  let d = 0x85ebca6b | 0;
  let at = 0;
  for (; at + 3 < end; at += 4) {
    a = Math.imul(a ^ text.charCodeAt(at), 0x01000193);
    b = Math.imul(b ^ text.charCodeAt(at + 1), 0x01000193);
    c = Math.imul(c ^ text.charCodeAt(at + 2), 0x01000193);
    d = Math.imul(d ^ text.charCodeAt(at + 3), 0x01000193);
  }
  for (; at < end; at++) a = Math.imul(a ^ text.charCodeAt(at), 0x01000193);
  return folded(a, b, c, d);
}

function folded(a: number, b: number, c: number, d: number): number {
  low = mixed(mixed(mixed(d + Math.imul(c, 37)) + b) + Math.imul(a, 37));
  exact = Math.imul(Math.imul(Math.imul(a, 31) + b, 31) + c, 31) + d;
  return exact;
}

/** Spreads what differs in few bits over all of them. */
function mixed(number: number): number {
  let hash = number | 0;
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) & FINGERPRINT_BITS;
}
