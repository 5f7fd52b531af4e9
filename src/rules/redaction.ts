// Takes what is personal or secret out of a finding, and leaves in its place what keeps two values
// comparable: class, type, length and keyed hash. Two values are equal after it exactly if they were
// before, so that what is kept can be judged again.
import type { KeyedHash } from './keyed-hash.ts';
import { KnownValues, LEAST_DIGITS } from './known-values.ts';
import { isCountable, namedRedaction, type Redaction } from './personal-names.ts';
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
/** Of fields that are remembered. */
const MOST_NAMES = 2_000;
/** Of a text: what was put in place of something, as a whole, or a word. */
const WORD = /<\w+ [0-9a-f]{16}>|[\p{L}\p{N}]+/gu;
/** Deeper values are left out: nobody sends such a chain on purpose. */
const MOST_DEPTH = 64;

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
  readonly hash: KeyedHash;
}

/** What is known of a place in an event from the way there. */
export interface Place extends PointerPlace {
  readonly redaction: Redaction | null;
  /** A number in the field may be a count (`tokens: 512`, `users: 3`). */
  readonly isCountable: boolean;
}

export class Redactor {
  readonly #hash: KeyedHash;
  readonly #tree: PointerTree;
  readonly #start: Place;
  /** What names of fields say, looked at once. */
  readonly #names = new Map<string, Redaction | null>();

  constructor({ paths, envelopes, hash }: RedactionRules) {
    this.#hash = hash;
    this.#tree = new PointerTree(paths, envelopes);
    const redaction = this.#tree.start.isNamed ? 'configured' : null;
    this.#start = { ...this.#tree.start, redaction, isCountable: false };
  }

  /** What is sensitive in these events by its place, to be recognised wherever else it turns up. */
  learn(...events: readonly unknown[]): KnownValues {
    const known = new KnownValues();
    for (const event of events) this.#learn(event, this.#start, known);
    return known;
  }

  /** A copy made of JSON values alone. `undefined`, where there was nothing to be read, stays. */
  event(event: unknown, known: KnownValues): unknown {
    return this.#value(event, this.#start, known);
  }

  finding(finding: Finding, known: KnownValues): Finding {
    const { legacy, candidate, differences, eventType, key, unit, session } = finding;
    return {
      ...finding,
      eventType: this.type(eventType, known),
      key: key === null ? null : this.text(key, known),
      unit: this.text(unit, known),
      session: this.text(session, known),
      legacy: this.event(legacy, known),
      candidate: this.event(candidate, known),
      differences: differences.map(each => this.#difference(each, known, [legacy, candidate])),
    };
  }

  /** A name, which stays a text: its sensitive parts are replaced, and it is shortened. */
  text(text: string, known: KnownValues): string {
    const whole = known.redactionOf(text);
    if (whole !== null) return `<${whole} ${this.#hash(text)}>`;
    return this.#sketch(text, known, MOST_NAME).sketch;
  }

  /** Of an event: a name, in which a service puts others (`inbox:bob`). No word of it is too short to be one. */
  type(eventType: string, known: KnownValues): string {
    return this.text(eventType, known).replaceAll(WORD, word => {
      const redaction = known.redactionOf(word);
      return redaction === null ? word : `<${redaction} ${this.#hash(word)}>`;
    });
  }

  /** `events`: in which it leads to an index or a key, which the pointer alone does not tell. */
  pointer(
    pointer: string,
    known: KnownValues,
    events: readonly unknown[] = [],
  ): { readonly path: string; readonly place: Place } {
    let place = this.#start;
    let values = events;
    const segments = segmentsOf(pointer).map(segment => {
      place = this.#step(place, segment);
      const isIndex = values.some(Array.isArray);
      values = values.flatMap(value => inside(value, segment));
      if (place.isAny) return ANY_SEGMENT;
      // A user may be called 0, and no index is about him.
      return isIndex ? segment : this.#key(segment, place, known);
    });
    return { path: pointerOf(segments), place };
  }

  #difference(difference: Difference, known: KnownValues, events: readonly unknown[]): Difference {
    const { path, place } = this.pointer(difference.path, known, events);
    if (difference.kind === 'length') return { ...difference, path };
    const redacted = { ...difference, path };
    // The place may be told in another form than the event's own: what was learned there counts too.
    if ('legacy' in redacted) redacted.legacy = this.#value(redacted.legacy, place, known);
    if ('candidate' in redacted) redacted.candidate = this.#value(redacted.candidate, place, known);
    return redacted;
  }

  /** Collects what is sensitive by its place, to be recognised wherever else it turns up. */
  #learn(value: unknown, place: Place, known: KnownValues): void {
    if (typeof value !== 'object' || value === null) {
      if (place.redaction !== null) known.note(value, place.redaction);
    } else if (place.depth < MOST_DEPTH && !(value instanceof Uint8Array)) {
      // Entries of an array are its indexes.
      for (const [name, inner] of Object.entries(value)) {
        this.#learn(inner, this.#step(place, name), known);
      }
    }
  }

  #step(from: Place, name: string): Place {
    const step = this.#tree.step(from, name);
    const named = from.redaction ?? (step.isNamed ? 'configured' : null);
    if (named !== null) return { ...step, redaction: named, isCountable: from.isCountable };
    const redaction = this.#named(name);
    return { ...step, redaction, isCountable: redaction !== null && isCountable(name) };
  }

  #named(name: string): Redaction | null {
    const known = this.#names.get(name);
    if (known !== undefined) return known;
    const redaction = namedRedaction(name);
    // Names of fields are few; what a client makes up must not fill the memory.
    if (this.#names.size < MOST_NAMES) this.#names.set(name, redaction);
    return redaction;
  }

  #value(value: unknown, place: Place, known: KnownValues): unknown {
    if (typeof value === 'string') return this.#string(value, place, known);
    if (typeof value === 'number' || typeof value === 'bigint') {
      return this.#number(value, place, known);
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
      return value.map((item, i) => this.#value(item, this.#step(place, String(i)), known));
    }
    // Without a prototype: a key may be `__proto__`.
    const copy: Record<string, unknown> = Object.create(null);
    for (const [name, inner] of Object.entries(value)) {
      const step = this.#step(place, name);
      copy[this.#key(name, step, known)] = this.#value(inner, step, known);
    }
    return copy;
  }

  #string(text: string, place: Place, known: KnownValues): unknown {
    if (text === '') return text;
    const whole = place.redaction ?? known.redactionOf(text);
    if (whole !== null) return this.#leaf(whole, 'string', text);
    const { sketch, first } = this.#sketch(text, known);
    if (first !== null) return { ...this.#leaf(first, 'string', text), s: sketch };
    return text.length > MOST_TEXT ? { ...this.#leaf('long', 'string', text), s: sketch } : text;
  }

  #number(value: number | bigint, place: Place, known: KnownValues): unknown {
    const text = String(value);
    const isCount = place.redaction === 'credential' || text.length < LEAST_DIGITS;
    const counts = place.isCountable && isCount;
    const whole = counts ? null : (place.redaction ?? known.redactionOf(text));
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
  #sketch(text: string, known: KnownValues, most = MOST_SKETCH) {
    const source = text.slice(0, MOST_TEXT);
    const end = source.length < text.length ? MOST_TEXT - OVERLAP : source.length;
    const spans = sensitiveSpans(source, known.inTexts()).filter(({ start }) => start < end);
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

  #key(name: string, place: Place, known: KnownValues): string {
    const redaction =
      (place.isAny ? 'configured' : null) ??
      known.redactionOf(name) ??
      sensitiveSpans(name.slice(0, MOST_TEXT), known.inTexts())[0]?.redaction ??
      (name.length > MOST_NAME ? 'long' : null);
    return redaction === null ? escaped(name) : `$r:${redaction}:${this.#hash(name)}`;
  }
}

/** What stands there in it; nothing if that is nowhere. */
function inside(value: unknown, segment: string): readonly unknown[] {
  if (typeof value !== 'object' || value === null || !Object.hasOwn(value, segment)) return [];
  return [Reflect.get(value, segment)];
}

/** Keys that begin like ours get one more `$`, so that no event can forge a redacted value. */
function escaped(name: string): string {
  return /^\$+r/.test(name) ? `$${name}` : name;
}
