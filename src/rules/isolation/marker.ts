// Strings that a comparison run plants, each for one user, and how they are found at another.

/**
 * A string that was planted in what one user sends, and that nobody else may be sent. ASCII letters and digits
 * alone; all that are known at a time are as long and begin alike.
 */
export interface Marker {
  readonly text: string;
  readonly user: string;
}

/**
 * An ASCII character as JSON may write it, in a text within a text as well: `\u0063`, `\\u0063`. From the first
 * backslash of a run alone, or a run of them would be gone through from each of its own.
 */
const ESCAPED = /(?<!\\)\\+u00([2-7][0-9a-f])/gi;
const ASCII_ESCAPE = Buffer.from('\\u00');
/** An escape is so long, at most. */
const LONGEST_ESCAPE = 8;

export class Markers {
  readonly #users: ReadonlyMap<string, string>;
  readonly #start: Buffer;
  readonly #length: number;

  constructor(markers: readonly Marker[]) {
    const texts = markers.map(({ text }) => text);
    this.#users = new Map(markers.map(({ text, user }) => [text, user]));
    this.#start = Buffer.from(commonStart(texts));
    this.#length = texts[0]?.length ?? 0;
  }

  /** The first user whose marker is in these bytes and who is none of `own`; null if there is none. */
  foreignIn(bytes: Buffer, own: readonly string[]): string | null {
    if (this.#users.size === 0) return null;
    return this.#find(bytes, own) ?? this.#findEscaped(bytes, own);
  }

  /** For what comes in pieces; null where nothing was planted. */
  search(own: readonly string[]): MarkerSearch | null {
    if (this.#users.size === 0) return null;
    return new MarkerSearch(this, own, LONGEST_ESCAPE * this.#length - 1);
  }

  #findEscaped(bytes: Buffer, own: readonly string[]): string | null {
    if (!bytes.includes(ASCII_ESCAPE)) return null;
    const plain = bytes
      .toString('latin1')
      .replace(ESCAPED, (_, code: string) => String.fromCharCode(Number.parseInt(code, 16)));
    return this.#find(Buffer.from(plain, 'latin1'), own);
  }

  #find(bytes: Buffer, own: readonly string[]): string | null {
    const start = this.#start;
    for (let at = bytes.indexOf(start); at !== -1; at = bytes.indexOf(start, at + 1)) {
      const user = this.#users.get(bytes.toString('latin1', at, at + this.#length));
      if (user !== undefined && !own.includes(user)) return user;
    }
    return null;
  }
}

/** Looks through bytes that come in pieces, wherever they are cut. */
export class MarkerSearch {
  readonly #markers: Markers;
  readonly #own: readonly string[];
  readonly #carried: number;
  #tail = Buffer.alloc(0);
  /** Of whom a marker was found first since it began, or since `begin`; null: nobody's. */
  found: string | null = null;

  constructor(markers: Markers, own: readonly string[], carried: number) {
    this.#markers = markers;
    this.#own = own;
    this.#carried = carried;
  }

  push(bytes: Buffer): void {
    const all = Buffer.concat([this.#tail, bytes]);
    this.found ??= this.#markers.foreignIn(all, this.#own);
    this.#tail = Buffer.from(all.subarray(-this.#carried));
  }

  /** What comes now has nothing to do with what came. */
  begin(): void {
    this.#tail = Buffer.alloc(0);
    this.found = null;
  }
}

function commonStart(texts: readonly string[]): string {
  const [first = '', ...others] = texts;
  let length = first.length;
  for (const text of others) {
    while (!text.startsWith(first.slice(0, length))) length -= 1;
  }
  return first.slice(0, length);
}
