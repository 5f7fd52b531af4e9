// Takes what is personal or secret out of a finding, and leaves in its place what keeps two values
// comparable: class, type, length and keyed hash. Two values are equal after it exactly if they were
// before, so that what is kept can be judged again.
import type { EvidenceBatch } from './evidence-batch.ts';
import type { KeyedHash } from './keyed-hash.ts';
import { namedRedaction, type Redaction } from './personal-names.ts';
import {
  ANY_SEGMENT,
  type PointerPlace,
  PointerTree,
  pointerOf,
  segmentsOf,
} from './pointer-tree.ts';
import { sensitiveSpans } from './secret-shapes.ts';
import type { Difference, Finding } from './verdict.ts';

/** Characters of a text that are kept; longer ones are compared by their hash. */
const MOST_TEXT = 2_048;
/** Shown of a longer text, or of one with something sensitive in it. */
const MOST_SKETCH = 512;
/** Nothing sensitive that begins before the last so many of what was searched is cut in two. */
const OVERLAP = 320;
/** Names of fields and events. */
const MOST_NAME = 200;
/** Deeper values are left out: nobody sends such a chain on purpose. */
const MOST_DEPTH = 64;
/** A shorter number is too frequent to say anything. */
const LEAST_DIGITS = 4;
/** Sensitive values that are remembered of one pair of events. */
const MOST_KNOWN = 256;

/** What stands for a value that was taken out. Its `$r` is a key that no event can have (`escaped`). */
export interface RedactedLeaf {
  readonly $r: Redaction;
  /** JSON type of the value, or `binary`. */
  readonly t: string;
  /** Characters of a text or number, members of an object or array, bytes. */
  readonly n: number;
  /** Keyed hash; absent where the value was not looked at, which makes it comparable to nothing. */
  readonly h?: string;
  /** The text with its sensitive parts replaced, where the rest may be shown. */
  readonly s?: string;
}

export interface RedactionRules {
  /** JSON pointers; what a `*` in one of them stands for is taken for data too, not for a name. */
  readonly paths: readonly string[];
  /** Members of an event that the pointers are read through. */
  readonly envelopes: readonly string[];
  /** Further names of fields that hold user ids. */
  readonly userFields: readonly string[];
  readonly hash: KeyedHash;
}

/** What is known of a place in an event from the way there. */
interface Place extends PointerPlace {
  readonly redaction: Redaction | null;
  /** The field is a plural: a number in it is a count (`tokens: 512`). */
  readonly isPlural: boolean;
}

export class Redactor {
  readonly #hash: KeyedHash;
  readonly #userFields: ReadonlySet<string>;
  readonly #tree: PointerTree;
  readonly #start: Place;

  constructor({ paths, envelopes, userFields, hash }: RedactionRules) {
    this.#hash = hash;
    this.#userFields = new Set(userFields);
    this.#tree = new PointerTree(paths, envelopes);
    const redaction = this.#tree.start.isNamed ? 'configured' : null;
    this.#start = { ...this.#tree.start, redaction, isPlural: false };
  }

  /** The whole batch, with nothing sensitive in it and made of JSON values alone. */
  batch(batch: EvidenceBatch): EvidenceBatch {
    const known = batch.groups.map(() => new Known());
    const examples = batch.examples.map(example => {
      const { legacy, candidate } = example.finding;
      const about = new Known();
      this.#learn(legacy, this.#start, about);
      this.#learn(candidate, this.#start, about);
      for (const index of example.groups) known[index]?.add(about);
      return { ...example, finding: this.#finding(example.finding, about) };
    });
    const groups = batch.groups.map((group, index) => {
      const about = known[index] ?? new Known();
      const eventType = this.#text(group.eventType, about);
      return { ...group, eventType, path: this.#pointer(group.path, about).path };
    });
    const units = batch.units.map(count => {
      const { eventType } = count;
      return eventType === null
        ? count
        : { ...count, eventType: this.#text(eventType, new Known()) };
    });
    return { ...batch, groups, examples, units };
  }

  /** A value by itself, such as one side's event. */
  value(value: unknown): unknown {
    const about = new Known();
    this.#learn(value, this.#start, about);
    return this.#value(value, this.#start, about);
  }

  #finding(finding: Finding, about: Known): Finding {
    const { legacy, candidate, differences, eventType, key, unit, session } = finding;
    return {
      ...finding,
      eventType: this.#text(eventType, about),
      key: key === null ? null : this.#text(key, about),
      unit: this.#text(unit, about),
      session: this.#text(session, about),
      legacy: this.#value(legacy, this.#start, about),
      candidate: this.#value(candidate, this.#start, about),
      differences: differences.map(difference => this.#difference(difference, about)),
    };
  }

  #difference(difference: Difference, about: Known): Difference {
    const { path, place } = this.#pointer(difference.path, about);
    if (difference.kind === 'length') return { ...difference, path };
    const redacted = { ...difference, path };
    // The place may be told in another form than the event's own: what was learned there counts too.
    if ('legacy' in redacted) redacted.legacy = this.#value(redacted.legacy, place, about);
    if ('candidate' in redacted) redacted.candidate = this.#value(redacted.candidate, place, about);
    return redacted;
  }

  /** Collects what is sensitive by its place, to be recognised wherever else it turns up. */
  #learn(value: unknown, place: Place, about: Known): void {
    if (typeof value !== 'object' || value === null) {
      if (place.redaction !== null) about.note(value, place.redaction);
    } else if (place.depth < MOST_DEPTH && !(value instanceof Uint8Array)) {
      // Entries of an array are its indexes.
      for (const [name, inner] of Object.entries(value)) {
        this.#learn(inner, this.#step(place, name), about);
      }
    }
  }

  #step(from: Place, name: string): Place {
    const step = this.#tree.step(from, name);
    const named = from.redaction ?? (step.isNamed ? 'configured' : null);
    if (named !== null) return { ...step, redaction: named, isPlural: from.isPlural };
    const redaction = this.#userFields.has(name) ? 'user' : namedRedaction(name);
    return { ...step, redaction, isPlural: name.endsWith('s') };
  }

  #value(value: unknown, place: Place, about: Known): unknown {
    if (typeof value === 'string') return this.#string(value, place, about);
    if (typeof value === 'number' || typeof value === 'bigint') {
      return this.#number(value, place, about);
    }
    if (typeof value === 'boolean') {
      // Told apart by nothing but its hash, which is little; whoever wants it gets no more.
      return place.redaction === 'configured' ? this.#leaf('configured', 'boolean', value) : value;
    }
    if (typeof value !== 'object' || value === null) return value;
    if (value instanceof Uint8Array) {
      const hash = this.#hash(Buffer.from(value).toString('latin1'));
      return { $r: 'binary', t: 'binary', n: value.length, h: hash } satisfies RedactedLeaf;
    }
    const t = Array.isArray(value) ? 'array' : 'object';
    if (place.depth >= MOST_DEPTH) {
      return { $r: 'deep', t, n: Object.keys(value).length } satisfies RedactedLeaf;
    }
    if (Array.isArray(value)) {
      return value.map((item, i) => this.#value(item, this.#step(place, String(i)), about));
    }
    // Without a prototype: a key may be `__proto__`.
    const copy: Record<string, unknown> = Object.create(null);
    for (const [name, inner] of Object.entries(value)) {
      const step = this.#step(place, name);
      copy[this.#key(name, step, about)] = this.#value(inner, step, about);
    }
    return copy;
  }

  #string(text: string, place: Place, about: Known): unknown {
    if (text === '') return text;
    const whole = place.redaction ?? about.redactionOf(text);
    if (whole !== null) return this.#leaf(whole, 'string', text);
    const { sketch, first } = this.#sketch(text, about);
    if (first !== null) return { ...this.#leaf(first, 'string', text), s: sketch };
    return text.length > MOST_TEXT ? { ...this.#leaf('long', 'string', text), s: sketch } : text;
  }

  #number(value: number | bigint, place: Place, about: Known): unknown {
    const text = String(value);
    const counts = place.redaction === 'credential' && place.isPlural;
    const whole = counts ? null : (place.redaction ?? about.redactionOf(text));
    if (whole !== null) return this.#leaf(whole, 'number', text);
    // What JSON has no number for: beyond 2^53, or beyond all bounds.
    if (typeof value === 'number' && Number.isFinite(value)) return value;
    return { ...this.#leaf('long', 'number', text), s: text.slice(0, MOST_SKETCH) };
  }

  #leaf($r: Redaction, t: string, value: string | boolean): RedactedLeaf {
    const text = String(value);
    // The length of a boolean tells which one it is.
    return { $r, t, n: t === 'boolean' ? 1 : text.length, h: this.#hash(text) };
  }

  /** The text with its sensitive parts replaced, shortened, and what the first of them is. */
  #sketch(text: string, about: Known, most = MOST_SKETCH) {
    const source = text.slice(0, MOST_TEXT);
    const end = source.length < text.length ? MOST_TEXT - OVERLAP : source.length;
    const spans = sensitiveSpans(source, about).filter(({ start }) => start < end);
    let sketch = '';
    let at = 0;
    for (const span of spans) {
      const pseudonym = this.#hash(source.slice(span.start, span.end));
      sketch += `${source.slice(at, span.start)}<${span.redaction} ${pseudonym}>`;
      at = span.end;
    }
    sketch += source.slice(at, Math.max(at, end));
    const cut = sketch.length > most || end < text.length;
    return {
      sketch: cut ? `${sketch.slice(0, most)}…` : sketch,
      first: spans[0]?.redaction ?? null,
    };
  }

  /** Something that is a name and stays a text. */
  #text(text: string, about: Known): string {
    const whole = about.redactionOf(text);
    if (whole !== null) return `<${whole} ${this.#hash(text)}>`;
    return this.#sketch(text, about, MOST_NAME).sketch;
  }

  #key(name: string, place: Place, about: Known): string {
    const redaction =
      (place.isAny ? 'configured' : null) ??
      about.redactionOf(name) ??
      sensitiveSpans(name.slice(0, MOST_TEXT), about)[0]?.redaction ??
      (name.length > MOST_NAME ? 'long' : null);
    return redaction === null ? escaped(name) : `$r:${redaction}:${this.#hash(name)}`;
  }

  #pointer(pointer: string, about: Known): { path: string; place: Place } {
    let place = this.#start;
    const segments = segmentsOf(pointer).map(segment => {
      place = this.#step(place, segment);
      // An index or a key: a pointer does not tell which.
      return place.isAny ? ANY_SEGMENT : this.#key(segment, place, about);
    });
    return { path: pointerOf(segments), place };
  }
}

/** Sensitive values of one pair of events. */
class Known {
  readonly #redactions = new Map<string, Redaction>();

  [Symbol.iterator](): Iterator<readonly [string, Redaction]> {
    return this.#redactions.entries();
  }

  note(value: unknown, redaction: Redaction): void {
    const isNumber = typeof value === 'number' || typeof value === 'bigint';
    if (typeof value !== 'string' && !isNumber) return;
    const text = String(value);
    if (text === '' || (isNumber && text.length < LEAST_DIGITS)) return;
    if (this.#redactions.size < MOST_KNOWN) this.#redactions.set(text, redaction);
  }

  add(other: Known): void {
    for (const [text, redaction] of other.#redactions) this.#redactions.set(text, redaction);
  }

  redactionOf(text: string): Redaction | null {
    return this.#redactions.get(text) ?? null;
  }
}

/** Keys that begin like ours get one more `$`, so that no event can forge a redacted value. */
function escaped(name: string): string {
  return /^\$+r/.test(name) ? `$${name}` : name;
}
