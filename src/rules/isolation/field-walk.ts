// Walks through an event as it is written, for the fields at its root and in its envelopes. On bytes,
// not on a parsed value: of a key that comes twice both count, numbers keep their digits, and what
// stands where is known to whoever has to rewrite it. Everything else is skipped, however deep.
import type { Isolation } from './rules.ts';

/** An envelope in another one (the body of an HTTP answer holds one), and no further. */
const MOST_ENVELOPES = 2;

const [QUOTE, BACKSLASH, COMMA, COLON] = [0x22, 0x5c, 0x2c, 0x3a];
const [OPEN_OBJECT, CLOSE_OBJECT, OPEN_ARRAY, CLOSE_ARRAY] = [0x7b, 0x7d, 0x5b, 0x5d];
const [SPACE, TAB, LF, CR] = [0x20, 0x09, 0x0a, 0x0d];
/** NaN and Infinity are no JSON, but some encoders write them and some readers take them. */
const SCALAR = /^(?:-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null|NaN|-?Infinity)$/;
/** Longest scalar that is checked; a longer number is nobody's id. */
const MOST_SCALAR = 400;

export interface WalkedField {
  readonly name: string;
  /** Names of the envelopes that it stands in. */
  readonly outer: readonly string[];
  /** Of its value, in the bytes. */
  readonly start: number;
  readonly end: number;
}

/** An object at the top, or in an array at the top: a batch is as many events. */
export interface WalkedEvent {
  /** What every `type` at its root says; usually one. */
  readonly types: readonly string[];
  /** Fields that were asked for, in order, each as often as it comes. */
  readonly fields: readonly WalkedField[];
}

/** Thrown at the first byte that fits into no JSON. */
class NotJson extends Error {}

/**
 * The events in `bytes`: one JSON object or array, or several one after another. Null where it is
 * neither. Not more lenient than a reader could be who takes NaN and control characters in strings.
 */
export function walkEvents(isolation: Isolation, bytes: Buffer): readonly WalkedEvent[] | null {
  try {
    return new FieldWalk(isolation, bytes).events();
  } catch (error) {
    if (error instanceof NotJson) return null;
    throw error;
  }
}

class FieldWalk {
  readonly #isolation: Isolation;
  readonly #bytes: Buffer;
  readonly #events: WalkedEvent[] = [];
  #at = 0;

  constructor(isolation: Isolation, bytes: Buffer) {
    this.#isolation = isolation;
    this.#bytes = bytes;
  }

  events(): readonly WalkedEvent[] {
    const bytes = this.#bytes;
    if (bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf) this.#at = 3;
    do {
      const first = this.#next();
      if (first === OPEN_OBJECT) this.#event();
      else if (first === OPEN_ARRAY) this.#array();
      else throw new NotJson();
    } while (this.#next() !== undefined);
    return this.#events;
  }

  /** The next byte that is no blank. */
  #next(): number | undefined {
    const bytes = this.#bytes;
    let byte = bytes[this.#at];
    while (byte === SPACE || byte === LF || byte === CR || byte === TAB) {
      this.#at += 1;
      byte = bytes[this.#at];
    }
    return byte;
  }

  #take(byte: number): void {
    if (this.#next() !== byte) throw new NotJson();
    this.#at += 1;
  }

  #array(): void {
    this.#at += 1;
    if (this.#next() === CLOSE_ARRAY) {
      this.#at += 1;
      return;
    }
    for (;;) {
      if (this.#next() === OPEN_OBJECT) this.#event();
      else this.#skip();
      if (this.#next() === CLOSE_ARRAY) break;
      this.#take(COMMA);
    }
    this.#at += 1;
  }

  #event(): void {
    const types: string[] = [];
    const fields: WalkedField[] = [];
    this.#events.push({ types, fields });
    this.#object([], fields, types);
  }

  #object(outer: readonly string[], fields: WalkedField[], types: string[]): void {
    const isolation = this.#isolation;
    this.#at += 1;
    if (this.#next() === CLOSE_OBJECT) {
      this.#at += 1;
      return;
    }
    for (;;) {
      const name = this.#key();
      this.#take(COLON);
      const byte = this.#next();
      const start = this.#at;
      const isEnvelope =
        byte === OPEN_OBJECT && outer.length < MOST_ENVELOPES && isolation.envelopes.has(name);
      if (isEnvelope && !isolation.isContent(outer, name)) {
        this.#object([...outer, name], fields, types);
      } else {
        this.#skip();
        if (isolation.isRouting(name)) fields.push({ name, outer, start, end: this.#at });
        else if (name === 'type' && outer.length === 0 && byte === QUOTE) {
          types.push(this.#decoded(start, this.#at));
        }
      }
      if (this.#next() === CLOSE_OBJECT) break;
      this.#take(COMMA);
    }
    this.#at += 1;
  }

  #key(): string {
    if (this.#next() !== QUOTE) throw new NotJson();
    const start = this.#at;
    const isPlain = this.#string();
    return isPlain
      ? this.#bytes.toString(this.#isolation.nameCoding, start + 1, this.#at - 1)
      : this.#decoded(start, this.#at);
  }

  #decoded(start: number, end: number): string {
    try {
      return String(JSON.parse(this.#bytes.toString('utf8', start, end)));
    } catch {
      // Not an escape that JSON knows.
      throw new NotJson();
    }
  }

  /** Past a string; false: there is an escape in it. */
  #string(): boolean {
    const bytes = this.#bytes;
    let isPlain = true;
    for (let at = this.#at + 1; at < bytes.length; at += 1) {
      const byte = bytes[at];
      if (byte === BACKSLASH) {
        isPlain = false;
        at += 1;
      } else if (byte === QUOTE) {
        this.#at = at + 1;
        return isPlain;
      }
    }
    throw new NotJson();
  }

  /** Past a value, without a stack: what is nested a million times costs a million steps and no more. */
  #skip(): void {
    const bytes = this.#bytes;
    let depth = 0;
    do {
      const byte = this.#next();
      if (byte === QUOTE) this.#string();
      else if (byte === OPEN_OBJECT || byte === OPEN_ARRAY) {
        depth += 1;
        this.#at += 1;
      } else if (depth > 0 && (byte === CLOSE_OBJECT || byte === CLOSE_ARRAY)) {
        depth -= 1;
        this.#at += 1;
      } else if (depth > 0 && (byte === COMMA || byte === COLON)) this.#at += 1;
      else {
        const start = this.#at;
        while (isScalarByte(bytes[this.#at])) this.#at += 1;
        const text = bytes.toString('latin1', start, Math.min(this.#at, start + MOST_SCALAR));
        if (!SCALAR.test(text) && this.#at - start < MOST_SCALAR) throw new NotJson();
      }
    } while (depth > 0);
  }
}

/** Letters, digits, and what else numbers are made of. */
function isScalarByte(byte: number | undefined): boolean {
  if (byte === undefined) return false;
  return (
    (byte >= 0x30 && byte <= 0x39) ||
    (byte >= 0x61 && byte <= 0x7a) ||
    (byte >= 0x41 && byte <= 0x5a) ||
    byte === 0x2d ||
    byte === 0x2b ||
    byte === 0x2e
  );
}
