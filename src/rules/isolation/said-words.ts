// What clients have said of late, word by word: what a service says after them proves nothing at once, and what
// somebody has named is no proof that it was another's. Hashes alone, in a filter of bits that no single client can
// fill: however much one says, the words of the others are told from what nobody said.
import { wordsOf } from '../words.ts';

/** What a client says may come back so much later, and up to twice that: an agent's run takes that long. */
const REMEMBERED_MS = 30_000;
/**
 * Of a stretch: 16 MiB, taken page by page as words come. Each word sets two bits, and two with whoever said it.
 * With a million of them (0.2 MB a second, for 30 s) one that nobody said is taken for said with odds of one in 1,100;
 * with all that the tap lets through, in words of four letters, one in 10. Such a name is told 5 s later, and such an
 * identifier accuses nobody of having sent it.
 */
const FILTER_BITS = 2 ** 27;
/** Users who have said what can not be read. Of more everybody may have. */
const MOST_UNREAD = 20_000;

/** What was said in one stretch of time. */
interface Stretch {
  /** Null before the first word. */
  words: Uint32Array | null;
  /** Somebody whom nobody knows said something that was not heard. */
  isMuch: boolean;
  /** Who has said something that can not be read: binary data, or too much at a time. */
  readonly unread: Set<number>;
  /** The same, of what legacy alone was told; of more it is not known. */
  readonly unreadByLegacy: Set<number>;
  /** Everybody may have. */
  isAllUnread: boolean;
}

/** Users are numbers here; null: nobody knows who. */
export class SaidWords {
  #young = emptyStretch();
  #old = emptyStretch();
  #since = Number.NEGATIVE_INFINITY;

  /**
   * But for his own names: that he calls himself so makes no leak of his data an echo. `isOverheard`: legacy alone was
   * told, so that the candidate repeats it to nobody. `atMs` never goes back.
   */
  note(
    user: number | null,
    names: readonly string[],
    text: string,
    atMs: number,
    isOverheard = false,
  ): void {
    this.#age(atMs);
    this.#young.words ??= new Uint32Array(FILTER_BITS / 32);
    const { words } = this.#young;
    const own = ownWords(names);
    for (const word of wordsOf(text)) {
      if (!own.has(word)) add(words, isOverheard ? saidToLegacy(word) : word);
      if (user !== null) add(words, saidBy(user, word));
    }
  }

  /**
   * Words of a text that he is about to say and nobody was heard to say of late, but for his own names; none while some
   * user has said what can not be read.
   */
  unsaid(names: readonly string[], text: string, atMs: number): number[] {
    this.#age(atMs);
    if (![this.#young, this.#old].every(isHeard)) return [];
    const own = ownWords(names);
    return wordsOf(text).filter(word => !own.has(word) && !this.#has([word]));
  }

  /** He said what nobody can read; `isOverheard`: to legacy alone. */
  unread(user: number, atMs: number, isOverheard = false): void {
    this.#age(atMs);
    const { unread, unreadByLegacy } = this.#young;
    if (isOverheard) {
      if (unreadByLegacy.size < MOST_UNREAD) unreadByLegacy.add(user);
    } else if (unread.size < MOST_UNREAD) unread.add(user);
    else if (!unread.has(user)) this.#young.isAllUnread = true;
  }

  /** What was said before is not known of anybody. */
  unreadByAll(atMs: number): void {
    this.#age(atMs);
    this.#young.isAllUnread = true;
  }

  /** Somebody whom nobody knows said what was not heard: others' names may come from it, what they own does not. */
  unheard(atMs: number): void {
    this.#age(atMs);
    this.#young.isMuch = true;
  }

  /** Has he said all words of this? */
  isHis(user: number, text: string, atMs: number): boolean {
    this.#age(atMs);
    return this.#has(wordsOf(text).map(word => saidBy(user, word)));
  }

  /** Has he himself said something of which nobody knows what it was? */
  isInDoubt(user: number, atMs: number): boolean {
    this.#age(atMs);
    const stretches = [this.#young, this.#old];
    return stretches.some(({ isAllUnread, unread }) => isAllUnread || unread.has(user));
  }

  /** Or to legacy alone? */
  isInDoubtOfLegacy(user: number, atMs: number): boolean {
    const isUnread = ({ unreadByLegacy }: Stretch) => unreadByLegacy.has(user);
    return this.isInDoubt(user, atMs) || isUnread(this.#young) || isUnread(this.#old);
  }

  /** May it come from what a client has said? */
  mayBeSaid(user: number, text: string, atMs: number): boolean {
    return this.isSaid(user, text, atMs) || this.#young.isMuch || this.#old.isMuch;
  }

  /** Does it, by what was heard? Of himself also by what nobody could read. */
  isSaid(user: number, text: string, atMs: number): boolean {
    if (this.isInDoubt(user, atMs)) return true;
    return this.#has(wordsOf(text)) || this.isHis(user, text, atMs);
  }

  /** Has somebody else said it, if only to legacy, and he has not? */
  isAnothers(user: number, text: string, atMs: number): boolean {
    this.#age(atMs);
    const words = wordsOf(text);
    const isSaid = (word: number) => this.#isIn(word) || this.#isIn(saidToLegacy(word));
    return words.length > 0 && words.every(isSaid) && !this.isHis(user, text, atMs);
  }

  #has(words: readonly number[]): boolean {
    return words.length > 0 && words.every(word => this.#isIn(word));
  }

  #isIn(word: number): boolean {
    return isIn(this.#young.words, word) || isIn(this.#old.words, word);
  }

  #age(atMs: number): void {
    if (atMs - this.#since < REMEMBERED_MS) return;
    this.#old = atMs - this.#since < 2 * REMEMBERED_MS ? this.#young : emptyStretch();
    this.#young = emptyStretch();
    this.#since = atMs;
  }
}

function emptyStretch(): Stretch {
  return {
    ...{ words: null, isMuch: false, isAllUnread: false },
    ...{ unread: new Set(), unreadByLegacy: new Set() },
  };
}

function ownWords(names: readonly string[]): Set<number> {
  return new Set(names.map(wordsOf).flatMap(parts => (parts.length === 1 ? parts : [])));
}

/** Is all known that was said in it? */
function isHeard({ isMuch, unread, isAllUnread }: Stretch): boolean {
  return !isMuch && !isAllUnread && unread.size === 0;
}

/** A word of that user's, as one of its own. */
function saidBy(user: number, word: number): number {
  return spread(word ^ Math.imul(user | 1, 0x9e3779b1), 0x85ebca6b);
}

/** A word that legacy alone was told. */
function saidToLegacy(word: number): number {
  return spread(word ^ 0x5bd1e995, 0xc2b2ae35);
}

function add(words: Uint32Array, word: number): void {
  for (const bit of [bitOf(word, 0x85ebca6b), bitOf(word, 0xc2b2ae35)]) {
    words[bit >>> 5] = (words[bit >>> 5] ?? 0) | (1 << (bit & 31));
  }
}

function isIn(words: Uint32Array | null, word: number): boolean {
  if (words === null) return false;
  return [bitOf(word, 0x85ebca6b), bitOf(word, 0xc2b2ae35)].every(
    bit => ((words[bit >>> 5] ?? 0) & (1 << (bit & 31))) !== 0,
  );
}

function bitOf(word: number, factor: number): number {
  return spread(word, factor) >>> 5;
}

/** Of 32 bits, each of which depends on all. */
function spread(hash: number, factor: number): number {
  const half = Math.imul(hash ^ (hash >>> 16), factor);
  const whole = Math.imul(half ^ (half >>> 13), 0x27d4eb2f);
  return (whole ^ (whole >>> 15)) >>> 0;
}
