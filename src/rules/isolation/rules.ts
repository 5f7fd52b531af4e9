// Which fields of an event say whom it is for, on one route; as data, and made ready for use.
import { stepsOf } from '../compare/place.ts';
import { ROUTING_FIELDS } from '../compare/rules.ts';

/** What happens to a message that can not be looked into. */
export type Uninspectable = 'pass' | 'block';

export interface IsolationRules {
  /** Binary data, broken JSON, invalid UTF-8, or longer than is looked into. Counted either way. */
  readonly uninspectable: Uninspectable;
  /** Fields that say who must receive an event; at its root and in `envelopes`. */
  readonly routing: readonly string[];
  /** By event type, those of them that only say who made or owns it: a receipt names its recipient. */
  readonly provenance: Readonly<Record<string, readonly string[]>>;
  /** Objects whose fields count as the event's own: at its root, and one in another. */
  readonly envelopes: readonly string[];
  /** JSON pointers to what users write or services quote: whatever stands there is never an address. */
  readonly content: readonly string[];
  /**
   * JSON pointers to identifiers that belong to one user: the first who has one by legacy's word. Left out:
   * `IDENTIFIERS`, of which numbers below 2^32 prove nothing, since a service may count for itself.
   */
  readonly identifiers?: readonly string[] | undefined;
  /** Event types whose content is for everybody. */
  readonly everyone: readonly string[];
}

export const IDENTIFIERS = ['/thread_id', '/run_id', '/request_id', '/connection_id'] as const;

/** Where a route says nothing else. `*_user_id` is none of them: `source_user_id` tells where from. */
export const DEFAULT_ISOLATION: IsolationRules = {
  uninspectable: 'pass',
  routing: ROUTING_FIELDS,
  provenance: {},
  envelopes: ['data', 'payload'],
  content: [],
  everyone: [],
};

/**
 * Names of routing fields. Of all ways to write such a name in JSON only `\u` escapes are not the
 * plain bytes, which is what the scan is built on.
 */
export const FIELD_NAME = /^[A-Za-z0-9_.:@$-]{1,100}$/;

const BEYOND_ASCII = /[^\0-\x7f]/;
/** Beside routing fields, what says in an object who it is. */
const NAMING_MEMBERS = ['id', 'user_id', 'userId', 'uid', 'sub'];

/** Rules made ready for use; one per route. */
export class Isolation {
  readonly rules: IsolationRules;
  readonly envelopes: ReadonlySet<string>;
  /** What names of fields are to be read as. Few are beyond ASCII, and as UTF-8 they take longer. */
  readonly nameCoding: 'latin1' | 'utf8';
  /** Members of an object in a routing field that say who it is. */
  readonly naming: ReadonlySet<string>;
  /** Names of routing fields as they stand in JSON, with their quotes. */
  readonly needles: readonly Buffer[];
  /** Any of them, or the escape of what may be a letter of one: digits 2 to 7 come first. */
  readonly anyName: RegExp;
  /** ASCII codes that occur in those names: what an escape would have to stand for to hide one. */
  readonly nameCodes: ReadonlySet<number>;
  /** By pointer, as steps: of identifiers. */
  readonly identifiers: readonly (readonly string[])[];
  /** Small numbers are identifiers as well: the route names the places itself. */
  readonly countsNumbers: boolean;
  readonly everyone: ReadonlySet<string>;
  readonly #routing: ReadonlySet<string>;
  readonly #provenance: ReadonlyMap<string, ReadonlySet<string>>;
  readonly #content: ReadonlySet<string>;

  constructor(rules: IsolationRules) {
    const wrong = rules.routing.find(name => !FIELD_NAME.test(name));
    if (wrong !== undefined) throw new RangeError(`"${wrong}" can not be a routing field`);
    this.rules = rules;
    this.envelopes = new Set(rules.envelopes);
    const names = [...rules.envelopes, ...rules.content];
    this.nameCoding = names.some(name => BEYOND_ASCII.test(name)) ? 'utf8' : 'latin1';
    this.naming = new Set([...NAMING_MEMBERS, ...rules.routing]);
    this.needles = rules.routing.map(name => Buffer.from(`"${name}"`));
    const needles = rules.routing.map(name => name.replaceAll(/[.$]/g, '\\$&'));
    this.anyName = new RegExp(`"(?:${needles.join('|')})"|\\\\u00[2-7]`);
    this.nameCodes = new Set(rules.routing.flatMap(name => [...Buffer.from(name)]));
    this.identifiers = (rules.identifiers ?? IDENTIFIERS).map(stepsOf);
    this.countsNumbers = rules.identifiers !== undefined;
    this.everyone = new Set(rules.everyone);
    this.#routing = new Set(rules.routing);
    this.#provenance = new Map(
      Object.entries(rules.provenance).map(([type, fields]) => [type, new Set(fields)]),
    );
    this.#content = new Set(rules.content);
  }

  isRouting(name: string): boolean {
    return this.#routing.has(name);
  }

  /** Does this field of events of all these types say who made or owns them? */
  isProvenance(name: string, types: readonly string[]): boolean {
    return (
      this.#provenance.size > 0 &&
      types.length > 0 &&
      types.every(type => this.#provenance.get(type)?.has(name) === true)
    );
  }

  /** Is a field content by declaration? `outer` are the envelopes that it stands in. */
  isContent(outer: readonly string[], name: string): boolean {
    if (this.#content.size === 0) return false;
    const steps = [...outer, name];
    return steps.some((_, from) => this.#content.has(pointerTo(steps.slice(from))));
  }
}

/** JSON pointer (RFC 6901) to a field. */
export function pointerTo(steps: readonly string[]): string {
  return steps.map(step => `/${step.replaceAll('~', '~0').replaceAll('/', '~1')}`).join('');
}
