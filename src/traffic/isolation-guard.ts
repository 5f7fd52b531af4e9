// What a lane does about another user's data before it is delivered: looks into a message, puts its
// addresses right or withholds it, and says so.
import type { RouteConfig } from '../config/schema.ts';
import type { AnswerSample, IsolationWatch, UninspectedBecause } from '../ports.ts';
import { type IsolationMode, namesOf, type Side, type Subject } from '../rules/decide.ts';
import {
  type Examined,
  examine,
  type MessageForm,
  type RoutingField,
  textAt,
} from '../rules/isolation/inspect.ts';
import { allNamed, Recipient } from '../rules/isolation/recipient.ts';
import { Isolation } from '../rules/isolation/rules.ts';
import { sanitize } from '../rules/isolation/sanitize.ts';
import { hasRoutingField, scan } from '../rules/isolation/scan.ts';
import { namesIn } from '../rules/known-values.ts';
import { codingsOf } from '../wire/content-coding.ts';

export interface GuardFacts {
  readonly route: string;
  readonly side: Side;
  /** Of the session, or of the request. */
  readonly id: string;
  readonly subject: Subject;
  readonly isolation: Isolation;
  readonly mode: 'sanitize' | 'block';
  readonly watch: IsolationWatch;
  /** True while the judge gets copies. */
  readonly compared: () => boolean;
}

interface Failed {
  readonly kind: 'uninspectable';
  readonly because: 'failed';
}

const FAILED: Failed = Object.freeze({ kind: 'uninspectable', because: 'failed' });

/** What the client gets of a message: all of it as it came, another text in its place, or nothing. */
export type Ruling = 'pass' | 'withhold' | Buffer;

export class IsolationGuard {
  readonly #facts: GuardFacts;
  readonly #recipient: Recipient;
  /** When what is looked into came (epoch ms); null: now. */
  cameAt: number | null = null;

  constructor(facts: GuardFacts) {
    this.#facts = facts;
    this.#recipient = new Recipient(facts.subject);
  }

  get mode(): 'sanitize' | 'block' {
    return this.#facts.mode;
  }

  /** True where nothing in these bytes, which hold whole messages, can be another user's address. */
  isClean(bytes: Buffer): boolean {
    const { isolation } = this.#facts;
    return this.#contained(() => scan(isolation, this.#recipient, bytes) === 'clean', false);
  }

  /** True where a routing field may be in these bytes, which hold whole lines, whomever it names. */
  hasAddress(bytes: Buffer): boolean {
    // What can not be looked at is told when it is to be ruled.
    return this.#contained(() => hasRoutingField(this.#facts.isolation, bytes), true);
  }

  /** What `rule` would do, without telling anybody; `payload` is null for one that is too long to be looked into. */
  withholds(payload: Buffer | null, form: MessageForm): boolean {
    const { mode, isolation } = this.#facts;
    const kind = payload === null ? 'uninspectable' : this.#examine(payload, form).kind;
    if (kind === 'uninspectable') return isolation.rules.uninspectable === 'block';
    return kind === 'foreign' && mode === 'block' && this.#fits;
  }

  /** Of one whole message. Never throws: a fault in here is not to end anybody's session. */
  rule(payload: Buffer, form: MessageForm): Ruling {
    const examined = this.#examine(payload, form);
    switch (examined.kind) {
      case 'clean':
        return 'pass';
      case 'uninspectable':
        return this.uninspectable(examined.because);
      case 'among':
        return this.#narrow(payload, examined.fields);
      case 'foreign':
        return this.#fits ? this.#prevent(payload, examined.fields) : 'pass';
    }
  }

  #examine(payload: Buffer, form: MessageForm): Examined | Failed {
    const { isolation } = this.#facts;
    return this.#contained<Examined | Failed>(
      () => examine(isolation, this.#recipient, payload, form),
      FAILED,
    );
  }

  /** Without an answer to that addresses are taken for what they say. */
  get #fits(): boolean {
    const { watch, route } = this.#facts;
    return this.#contained(() => watch.fits(route), true);
  }

  #contained<T>(work: () => T, otherwise: T): T {
    try {
      return work();
    } catch (error) {
      this.#facts.watch.failed(this.#facts.route, error);
      return otherwise;
    }
  }

  /** Of a message that nobody can look into. */
  uninspectable(because: UninspectedBecause): 'pass' | 'withhold' {
    const { route, side, isolation, watch } = this.#facts;
    const withheld = isolation.rules.uninspectable === 'block';
    watch.uninspected(route, side, because, withheld);
    return withheld ? 'withhold' : 'pass';
  }

  /** Whom else it is for is none of his business; but it is his, and nothing to be withheld. */
  #narrow(payload: Buffer, fields: readonly RoutingField[]): Ruling {
    const { route, side, mode, watch } = this.#facts;
    if (mode !== 'sanitize' || !this.#fits) return 'pass';
    watch.narrowed(route, side);
    return this.#sanitized(payload, fields);
  }

  #prevent(payload: Buffer, fields: readonly RoutingField[]): Ruling {
    const { route, side, id, subject, isolation, mode, watch } = this.#facts;
    const foreign = fields.find(({ says }) => says === 'foreign') as RoutingField;
    const { path, eventType, start, end } = foreign;
    const ruling = mode === 'block' ? 'withhold' : this.#sanitized(payload, fields);
    const named = () =>
      fields
        .filter(({ says }) => says === 'foreign')
        .flatMap(each => allNamed(isolation, textAt(payload, each.start, each.end)) ?? []);
    const tell = () =>
      watch.prevented({
        ...{ route, side, session: id, subject, path, eventType },
        owner: this.#recipient.other(isolation, textAt(payload, start, end)),
        ...namesIn([...namesOf(subject), ...named()], eventType, id),
        compared: this.#facts.compared(),
        outcome: ruling === 'withhold' ? 'blocked' : 'sanitized',
        ...(this.cameAt === null ? {} : { cameAt: this.cameAt }),
      });
    // Whatever comes of telling: he does not get it.
    this.#contained(tell, undefined);
    return ruling;
  }

  /** What is another's and can not be put right is withheld. */
  #sanitized(payload: Buffer, fields: readonly RoutingField[]): Buffer | 'withhold' {
    return this.#contained<Buffer | 'withhold'>(
      () => sanitize(this.#facts.isolation, this.#recipient, payload, fields),
      'withhold',
    );
  }
}

const COMPILED = new WeakMap<RouteConfig, Isolation>();

/** A route's rules, compiled once. */
export function isolationOf(route: RouteConfig): Isolation {
  let isolation = COMPILED.get(route);
  if (isolation === undefined) {
    isolation = new Isolation(route.isolation);
    COMPILED.set(route, isolation);
  }
  return isolation;
}

/** Never wrong when it says no: there is no address of somebody else in it, nor a planted string. */
export function mayBeAnothers(
  isolation: Isolation,
  subject: Subject,
  { headers, body, marker }: AnswerSample,
): boolean {
  if (marker !== null) return true;
  if (body === null || body === 'overload' || body.length === 0) return false;
  const isCoded = codingsOf(headers).length > 0;
  return isCoded || scan(isolation, new Recipient(subject), body) === 'parse';
}

/** What a guard is made of; null where nothing is enforced, or where nobody knows whose data it would be. */
export function guardFacts(
  { id, route, subject }: { id: string; route: RouteConfig; subject: Subject | null },
  side: Side,
  mode: IsolationMode,
  { watch, compared }: Pick<GuardFacts, 'watch' | 'compared'>,
): GuardFacts | null {
  if (mode === 'observe' || subject === null) return null;
  const isolation = isolationOf(route);
  return { route: route.name, side, id, subject, isolation, mode, watch, compared };
}
