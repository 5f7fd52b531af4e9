// What clients have said of late, word by word: what a service says after them proves nothing at once. Hashes
// alone, and of one client only what he said last: after more than that nothing proves anything at once, and what
// is another's is another's all the same.

/** What a client says may come back so much later, and up to twice that: an agent's run takes that long. */
const REMEMBERED_MS = 30_000;
/** Of all clients in that time, some 20 bytes each; twice as many at most. */
const MOST_WORDS = 250_000;
/** Of one of them: a chat's worth. */
const MOST_OF_ONE = 1_000;
/** Whose words are kept as his own; those of more are everybody's alone. */
const MOST_USERS = 20_000;
/** A small integer in V8: kept in sets without an allocation. */
const HASH_BITS = 0x3fffffff;

/** What was said in one stretch of time. */
interface Stretch {
  readonly words: Set<number>;
  /** More was said than is kept, or something that was not heard. */
  isMuch: boolean;
  readonly users: Map<number, Speaker>;
  /** Of all users together. */
  count: number;
}

interface Speaker {
  /** In the order in which he said them first. */
  readonly words: Set<number>;
  /** He has said more than that. */
  isMuch: boolean;
  /** He has said something that can not be read: binary data, or too much at a time. */
  isUnread: boolean;
}

/** Users are numbers here; null: nobody knows who. */
export class SaidWords {
  #young = emptyStretch();
  #old = emptyStretch();
  #since = Number.NEGATIVE_INFINITY;

  /** But for his own names: that he calls himself so makes no leak of his data an echo. `atMs` never goes back. */
  note(user: number | null, names: readonly string[], text: string, atMs: number): void {
    this.#age(atMs);
    const stretch = this.#young;
    const his = user === null ? undefined : speakerOf(stretch, user);
    const own = new Set(names.map(wordsOf).flatMap(words => (words.length === 1 ? words : [])));
    for (const word of wordsOf(text)) {
      if (!own.has(word)) {
        if (stretch.words.size < MOST_WORDS) stretch.words.add(word);
        else stretch.isMuch = true;
      }
      if (his === undefined || his.words.has(word)) continue;
      const isFull = his.words.size >= MOST_OF_ONE || stretch.count >= 2 * MOST_WORDS;
      his.isMuch ||= isFull;
      if (isFull && !forgetFirst(his.words)) continue;
      his.words.add(word);
      if (!isFull) stretch.count += 1;
    }
  }

  /** He said what nobody can read. */
  unread(user: number, atMs: number): void {
    this.#age(atMs);
    const his = speakerOf(this.#young, user);
    if (his === undefined) this.#young.isMuch = true;
    else his.isUnread = true;
  }

  /** Somebody said what was not heard. */
  unheard(atMs: number): void {
    this.#age(atMs);
    this.#young.isMuch = true;
  }

  /** Has he said all words of this? As far as it was read; of a lot what he said last. */
  isHis(user: number, text: string, atMs: number): boolean {
    this.#age(atMs);
    const halves = [this.#young.users.get(user), this.#old.users.get(user)];
    const words = wordsOf(text);
    return (
      words.length > 0 && words.every(word => halves.some(his => his?.words.has(word) === true))
    );
  }

  /** May it come from what a client has said? */
  mayBeSaid(user: number, text: string, atMs: number): boolean {
    this.#age(atMs);
    const stretches = [this.#young, this.#old];
    return (
      stretches.some(({ isMuch, users }) => isMuch || isIncomplete(users.get(user))) ||
      this.#isSaid(text) ||
      this.isHis(user, text, atMs)
    );
  }

  /** Has somebody else said it, and he has not? */
  isAnothers(user: number, text: string, atMs: number): boolean {
    this.#age(atMs);
    return this.#isSaid(text) && !this.isHis(user, text, atMs);
  }

  #isSaid(text: string): boolean {
    const words = wordsOf(text);
    const isKnown = (word: number) => this.#young.words.has(word) || this.#old.words.has(word);
    return words.length > 0 && words.every(isKnown);
  }

  #age(atMs: number): void {
    if (atMs - this.#since < REMEMBERED_MS) return;
    this.#old = atMs - this.#since < 2 * REMEMBERED_MS ? this.#young : emptyStretch();
    this.#young = emptyStretch();
    this.#since = atMs;
  }
}

function emptyStretch(): Stretch {
  return { words: new Set(), isMuch: false, users: new Map(), count: 0 };
}

/** False: there is none. */
function forgetFirst(words: Set<number>): boolean {
  for (const word of words) return words.delete(word);
  return false;
}

function isIncomplete(his: Speaker | undefined): boolean {
  return his !== undefined && (his.isMuch || his.isUnread);
}

/** Undefined: there are too many. */
function speakerOf({ users }: Stretch, user: number): Speaker | undefined {
  let his = users.get(user);
  if (his === undefined && users.size < MOST_USERS) {
    his = { words: new Set(), isMuch: false, isUnread: false };
    users.set(user, his);
  }
  return his;
}

/**
 * A hash of each word: of letters and digits, and of what joins them in ids and addresses of e-mail, in lower case.
 * The same of what was typed and of what a service makes of it: escapes of JSON and of URLs are undone.
 */
function wordsOf(written: string): number[] {
  const text = plain(written);
  const words: number[] = [];
  let hash = 0;
  /** As of the last letter: what joins nothing is not part of it. */
  let word = 0;
  let isInside = false;
  for (let at = 0; at < text.length; at += 1) {
    const code = text.charCodeAt(at);
    const isLetter = isLetterCode(code);
    if (isLetter || (isInside && isJoint(code))) {
      if (!isInside) hash = 0x811c9dc5;
      isInside = true;
      hash = Math.imul(hash ^ (code >= 0x41 && code <= 0x5a ? code + 0x20 : code), 0x01000193);
      if (isLetter) word = hash;
    } else if (isInside) {
      isInside = false;
      words.push(spread(word));
    }
  }
  if (isInside) words.push(spread(word));
  return words;
}

const JSON_ESCAPE = /\\(?:u([0-9a-f]{4})|[bfnrt])/gi;
const URL_ESCAPES = /(?:%[0-9a-f]{2})+/gi;

function plain(text: string): string {
  let read = text;
  if (read.includes('%')) read = read.replace(URL_ESCAPES, percentDecoded);
  if (read.includes('\\')) {
    read = read.replace(JSON_ESCAPE, (_, code?: string) =>
      code === undefined ? ' ' : String.fromCharCode(Number.parseInt(code, 16)),
    );
  }
  return read;
}

function percentDecoded(escapes: string): string {
  try {
    return decodeURIComponent(escapes);
  } catch {
    // No UTF-8: no name that a service would make of it, either.
    return ' ';
  }
}

/** ASCII letters and digits, `_`, and whatever is beyond ASCII. */
function isLetterCode(code: number): boolean {
  return (
    (code >= 0x61 && code <= 0x7a) ||
    (code >= 0x41 && code <= 0x5a) ||
    (code >= 0x30 && code <= 0x39) ||
    code === 0x5f ||
    code > 0x7f
  );
}

/** Of `-`, `.`, `@`, `|`, `~`. Not `+`, which a query has for a blank. */
function isJoint(code: number): boolean {
  return code === 0x2d || code === 0x2e || code === 0x40 || code === 0x7c || code === 0x7e;
}

function spread(hash: number): number {
  return Math.imul(hash ^ (hash >>> 15), 0x85ebca6b) & HASH_BITS;
}
