// One text for all ways to write the same JSON value, and a quick number that stands for one.
import type { TypePlan } from './compile.ts';
import { type Place, stepFrom } from './place.ts';
import { isRecord } from './record.ts';

/** As deep as values are compared; what lies deeper counts as the same. */
const MOST_DEPTH = 64;
/** A fingerprint looks at so many values, and so many characters of a text: it must cost little. */
const MOST_VALUES = 2_000;
const MOST_CHARACTERS = 256;
/** A small integer in V8: kept in maps without an allocation. */
const FINGERPRINT_BITS = 0x3fffffff;

/** JSON with sorted keys. */
export function canonical(value: unknown, depth = 0): string {
  if (typeof value !== 'object' || value === null) return JSON.stringify(value) ?? 'null';
  if (depth >= MOST_DEPTH) return '"…"';
  if (Array.isArray(value)) return `[${value.map(item => canonical(item, depth + 1)).join(',')}]`;
  if (!isRecord(value)) return 'null';
  const fields = Object.keys(value)
    .sort()
    .map(key => `${JSON.stringify(key)}:${canonical(value[key], depth + 1)}`);
  return `{${fields.join(',')}}`;
}

/**
 * A number below 2^30 that is the same for events that the rules call the same, whichever side sent
 * them; fields that may differ are left out. Others have the same one by chance only.
 */
export function fingerprint(plan: TypePlan, value: unknown): number {
  textHash = byThirtyOne;
  return hashOfEvent(plan, value);
}

/**
 * 60 bits in two halves, for whoever looks among the events of everybody: among 100,000 of them another
 * one has the same by chance with odds of one in ten million million.
 */
export function contentPrint(
  plan: TypePlan,
  value: unknown,
): { readonly high: number; readonly low: number } {
  const high = fingerprint(plan, value);
  textHash = fnv;
  return { high, low: hashOfEvent(plan, value) || 1 };
}

/** Of the call under way. */
let textHash: (text: string) => number = byThirtyOne;

function hashOfEvent(plan: TypePlan, value: unknown): number {
  left = MOST_VALUES;
  if (!isRecord(value)) return mixed(hashOf(value, null, 0));
  let sum = 0;
  for (const key of Object.keys(value)) {
    if (left < 0) break;
    const envelope = plan.envelopes.find(({ name }) => name === key);
    const inner = value[key];
    sum +=
      envelope !== undefined && isRecord(inner)
        ? fieldsHash(inner, envelope.fields, 1)
        : fieldHash(key, inner, plan.root, 0);
  }
  return mixed(sum);
}

/** Values that a fingerprint may still look at; of the call under way. */
let left = 0;

function fieldsHash(record: Readonly<Record<string, unknown>>, place: Place | null, depth: number) {
  let sum = 0;
  // A sum, since the order of keys says nothing.
  for (const key of Object.keys(record)) {
    if (left < 0) break;
    sum += fieldHash(key, record[key], place, depth);
  }
  return sum;
}

function fieldHash(key: string, value: unknown, place: Place | null, depth: number): number {
  const at = stepFrom(place, key);
  if (at !== null && at.allowed !== null) return 0;
  return mixed(Math.imul(textHash(key), 31) + hashOf(value, at, depth));
}

function hashOf(value: unknown, place: Place | null, depth: number): number {
  if (--left < 0 || depth > MOST_DEPTH) return 0;
  if (typeof value === 'string') return textHash(value);
  if (typeof value === 'number')
    return Math.imul(value, 0x01000193) ^ Math.trunc((value % 1) * 1e9);
  if (typeof value !== 'object' || value === null)
    return value === true ? 3 : value === false ? 5 : 7;
  if (!Array.isArray(value)) {
    return isRecord(value) ? mixed(fieldsHash(value, place, depth + 1)) + 11 : 13;
  }
  let hash = value.length;
  for (const [index, item] of value.entries()) {
    if (left < 0) break;
    hash = Math.imul(hash, 31) + hashOf(item, stepFrom(place, String(index)), depth + 1);
  }
  return mixed(hash) + 17;
}

function byThirtyOne(text: string): number {
  let hash = text.length;
  const end = Math.min(text.length, MOST_CHARACTERS);
  for (let at = 0; at < end; at++) hash = (Math.imul(hash, 31) + text.charCodeAt(at)) | 0;
  return hash;
}

/** FNV-1a: texts that are the same to the other one are not to it. */
function fnv(text: string): number {
  let hash = 0x811c9dc5 ^ text.length;
  const end = Math.min(text.length, MOST_CHARACTERS);
  for (let at = 0; at < end; at++) hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193);
  return hash;
}

/** Spreads what differs in few bits over all of them. */
function mixed(number: number): number {
  let hash = number | 0;
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) & FINGERPRINT_BITS;
}
