// Every event with another user's data, on record: `state/incidents.jsonl`, in the form of the audit trail.
// And what follows from one of the candidate's, at once.
//
//   the judge ──► contaminated ──┐                      ┌─► guardrail ─► rollback
//   a lane ─────► prevented ─────┴─► what became of it? ┴─► log, count, record
import type { Logger } from 'pino';
import type { Prevented, TrafficView } from '../ports.ts';
import type { Side } from '../rules/decide.ts';
import { generalType } from '../rules/evidence-group.ts';
import type { Contamination, IsolationRule, Outcome } from '../rules/isolation/incident.ts';
import { wasHeard } from '../rules/isolation/turns.ts';
import { type KeyedHash, keyedHash } from '../rules/keyed-hash.ts';
import { KnownValues } from '../rules/known-values.ts';
import { Redactor } from '../rules/redaction.ts';
import type { Guardrails } from './guardrails.ts';
import { HeldJournal } from './held-journal.ts';
import type { Entry } from './journal.ts';
import { SharedAddresses } from './shared-addresses.ts';

/** In the state folder. */
export const FILE = 'incidents.jsonl';
/**
 * On record and in the log, of one route and side: a service that mixes up everybody is told of by its count, and
 * hides neither what the other one does nor what happens elsewhere.
 */
const MOST_A_MINUTE = 60;
const MINUTE_MS = 60_000;
/**
 * The judge says of what it has read within two of its windows of 5 s, since legacy may have one to answer a write and
 * one more from then on. A second after an event was prevented it is asked whether it has read it, and if so what it
 * has not told of after those ten and one more is told without it.
 */
const READ_MS = 1_000;
const CLAIM_MS = 11_000;
/** A judge that is further behind is stuck, and begins anew. */
const MOST_BEHIND_MS = 15_000;
/**
 * What the judge has told of and has not its last word yet: a handover may yet hand it over, or legacy say whose it is.
 * The latest ones, of each and all.
 */
const MOST_TOLD_OF_ONE = 100;
const MOST_TOLD = 10_000;
/** Between the judge's copy of an event and the one that waits for a handover. */
const NEAR_MS = 50;
/** Events that were prevented and that the judge has not told of yet. */
const MOST_UNCLAIMED = 10_000;

/** Names nobody: users are pseudonyms, the same that evidence has. */
export interface Incident {
  /** ISO 8601, of the event's last byte. */
  readonly at: string;
  readonly route: string;
  readonly rule: IsolationRule;
  /** Which service sent it. */
  readonly side: Side;
  /** JSON pointer to what told; empty where it is the event as a whole. */
  readonly path: string;
  readonly eventType: string;
  readonly outcome: Outcome;
  /** Who got it, or was to; whose it is, null where nobody is known. */
  readonly user: string;
  readonly owner: string | null;
  /** As in evidence, redacted, where the event is kept with the verdict `contaminated` if it was compared. */
  readonly session: string;
  /** Legacy may have sent the same, and was not heard: nobody is accused of it. */
  readonly inDoubt?: true;
}

export interface ContaminationCount {
  readonly route: string;
  readonly side: Side;
  readonly rule: IsolationRule;
  readonly outcome: Outcome;
  count: number;
}

export interface IncidentsOptions {
  readonly guardrails: () => Pick<Guardrails, 'contaminated'> | null;
  readonly traffic: () => Pick<TrafficView, 'sessionsOf'> | null;
  /** True where addresses prove nothing on a route: see `IsolationBooks`. */
  readonly isMismatch: (route: string) => boolean;
  /** So long ago all that came then was handed to the judge and read, ms. */
  readonly behindMs: () => number;
  readonly logger: Logger;
}

interface Unclaimed {
  readonly event: Prevented;
  /** ms of `performance.now()`. */
  readonly at: number;
  /** When the event came, or else was prevented; epoch ms. */
  readonly preventedAt: number;
  timer: NodeJS.Timeout;
}

interface Told {
  readonly found: Contamination;
  /** Of what a lane has prevented. */
  readonly outcome: Outcome | null;
}

export class Incidents {
  readonly #options: IncidentsOptions;
  readonly #redactor = new Redactor({
    ...{ paths: [], envelopes: [] },
    hash: text => this.#nameless(text),
  });
  readonly #counts = new Map<string, ContaminationCount>();
  /** What both services send, which is on no other record. */
  readonly shared = new SharedAddresses();
  /** By session and side, in order. */
  readonly #unclaimed = new Map<string, Unclaimed[]>();
  #unclaimedCount = 0;
  /** By session and side, who was told of last as the last. */
  readonly #told = new Map<string, Told[]>();
  #toldCount = 0;
  readonly #journal = new HeldJournal<Incident>({
    file: FILE,
    onOpen: (_, repair) => {
      if (repair === null) return;
      this.#options.logger.warn(repair, 'the end of the incidents was none, and is kept beside');
    },
  });
  #pseudonym: KeyedHash | null = null;
  #minute = 0;
  /** By route and side. */
  readonly #inMinute = new Map<string, number>();
  /** Counted, and not on record: too many in a minute, or a disk that refuses. */
  unkept = 0;

  constructor(options: IncidentsOptions) {
    this.#options = options;
  }

  /** By route, side, rule and outcome, since the start. */
  get counts(): Iterable<Readonly<ContaminationCount>> {
    return this.#counts.values();
  }

  /** From now on they are kept in that folder, with pseudonyms by that key. Never rejects; the next one tries again. */
  async keepIn(folder: string, key: Uint8Array): Promise<void> {
    this.#pseudonym = keyedHash(key);
    try {
      await this.#journal.keepIn(folder);
    } catch (error) {
      this.#options.logger.error({ err: error }, 'incidents can not be kept');
    }
  }

  letGo(): void {
    this.#journal.letGo();
  }

  /** What the judge found in an event, whichever service sent it. */
  contaminated(found: Contamination): void {
    const outcome = this.#claim(found);
    const mayBeHanded = found.rule === 'routing' && found.isShown === null && outcome === null;
    if (found.inDoubt || mayBeHanded) this.#remember(found, outcome);
    if (found.inDoubt) this.#noteDoubt(found, outcome);
    // Nobody's fault alone.
    else if (found.onBoth) this.#share(found, outcome !== null);
    else this.#act(found, outcome);
  }

  /** What a lane kept from a client; `unseen`: the judge has no copy of it. */
  prevented(event: Prevented, unseen: boolean): void {
    const told = this.#toldOf(event);
    if (told !== null) return this.#putRight(told.found, event.outcome);
    const preventedAt = event.cameAt ?? Date.now();
    if (unseen || this.#unclaimedCount >= MOST_UNCLAIMED)
      return this.#onlyPrevented(event, preventedAt);
    const key = keyOf(event);
    const look = () => this.#look(key, unclaimed);
    const timer = setTimeout(look, READ_MS).unref();
    const unclaimed: Unclaimed = { event, at: performance.now(), preventedAt, timer };
    const waiting = this.#unclaimed.get(key);
    if (waiting === undefined) this.#unclaimed.set(key, [unclaimed]);
    else waiting.push(unclaimed);
    this.#unclaimedCount += 1;
  }

  /** Has the judge read it by now? Then it has its windows to tell of it. */
  #look(key: string, unclaimed: Unclaimed): void {
    const { event, at, preventedAt } = unclaimed;
    const now = performance.now();
    const isRead = now - this.#options.behindMs() >= at || now - at >= MOST_BEHIND_MS;
    // Not the first of them: who looks more than once is due after those that came behind it.
    const expire = () => {
      this.#forget(key, unclaimed);
      this.#onlyPrevented(event, preventedAt);
    };
    unclaimed.timer = isRead
      ? setTimeout(expire, CLAIM_MS).unref()
      : setTimeout(() => this.#look(key, unclaimed), READ_MS).unref();
  }

  /** The last `most`, newest first. Rejects as `HeldJournal.last` does. */
  last(most: number): Promise<Entry<Incident>[]> {
    return this.#journal.last(most);
  }

  /** What a lane did about it; what was in doubt has claimed that already. Null: nothing. */
  #claim(found: Contamination): Outcome | null {
    const key = keyOf(found);
    if (found.wasInDoubt) {
      const isIt = (told: Contamination) =>
        told.inDoubt === true && told.at === found.at && told.path === found.path;
      return this.#takeTold(key, told => told.find(each => isIt(each.found)))?.outcome ?? null;
    }
    const isAtOnce = found.rule === 'routing' || found.rule === 'marker';
    return isAtOnce ? (this.#take(key)?.outcome ?? null) : null;
  }

  /** The first of them: what the judge tells of comes in the order in which it was prevented. */
  #take(key: string): Prevented | null {
    const [first] = this.#unclaimed.get(key) ?? [];
    if (first === undefined) return null;
    clearTimeout(first.timer);
    this.#forget(key, first);
    return first.event;
  }

  #forget(key: string, unclaimed: Unclaimed): void {
    const waiting = this.#unclaimed.get(key) ?? [];
    waiting.splice(waiting.indexOf(unclaimed), 1);
    if (waiting.length === 0) this.#unclaimed.delete(key);
    this.#unclaimedCount -= 1;
  }

  #remember(found: Contamination, outcome: Outcome | null): void {
    const key = keyOf(found);
    const told = this.#told.get(key) ?? [];
    this.#told.delete(key);
    this.#told.set(key, told);
    this.#toldCount += 1;
    if (told.push({ found, outcome }) > MOST_TOLD_OF_ONE) {
      told.shift();
      this.#toldCount -= 1;
    }
    if (this.#toldCount <= MOST_TOLD) return;
    const [oldest] = this.#told;
    if (oldest === undefined) return;
    this.#told.delete(oldest[0]);
    this.#toldCount -= oldest[1].length;
  }

  /** The one that came at that time, if it was told of. */
  #toldOf(event: Prevented): Told | null {
    const { cameAt, path } = event;
    if (cameAt === undefined) return null;
    const away = ({ found }: Told) => Math.abs(found.at - cameAt);
    return this.#takeTold(keyOf(event), told => {
      const near = told.filter(
        each => each.outcome === null && each.found.path === path && away(each) <= NEAR_MS,
      );
      return near.sort((a, b) => away(a) - away(b))[0];
    });
  }

  #takeTold(key: string, find: (told: readonly Told[]) => Told | undefined): Told | null {
    const told = this.#told.get(key) ?? [];
    const found = find(told);
    if (found === undefined) return null;
    this.#toldCount -= 1;
    told.splice(told.indexOf(found), 1);
    if (told.length === 0) this.#told.delete(key);
    return found;
  }

  /** Told of as shown to nobody, acted upon and counted; now its client has got it after all, or as good as. */
  #putRight(found: Contamination, outcome: Outcome): void {
    if (found.inDoubt) {
      this.#noteDoubt(found, outcome);
      return this.#remember(found, outcome);
    }
    if (found.onBoth) return void this.shared.prevented(found.route, found);
    if (this.#isRoom(`${found.side} ${found.route}`)) void this.#record(found, outcome);
    else this.unkept += 1;
  }

  /** On record as such, and no reason to go anywhere. */
  #noteDoubt(found: Contamination, prevented: Outcome | null): void {
    if (!this.#isRoom(`doubt ${found.side} ${found.route}`)) this.unkept += 1;
    else void this.#record(found, prevented ?? this.#outcomeOf(found));
  }

  #share(found: Contamination, isPrevented: boolean): void {
    if (found.rule !== 'routing') return;
    const { route, side, path, eventType } = found;
    const counts = { count: side === 'candidate' ? 1 : 0, prevented: isPrevented ? 1 : 0 };
    this.shared.add(route, { eventType, path, kept: () => this.#typeOf(found) }, counts);
  }

  #onlyPrevented(event: Prevented, at: number): void {
    const { route, side, session, path, eventType, subject, owner, names = [], outcome } = event;
    // Nobody's leak: users have other names in events than in their credentials.
    if (this.#options.isMismatch(route)) return;
    // Nor is it where both services are known to name others.
    if (this.shared.prevented(route, { eventType, path })) return;
    const found = {
      route,
      side,
      isShown: true,
      session,
      path,
      eventType,
      rule: 'routing',
      at,
    } as const;
    this.#act({ ...found, user: subject.id, owner, names, onBoth: false }, outcome);
  }

  #act(found: Contamination, prevented: Outcome | null): void {
    const { route, side, rule } = found;
    const isRoom = this.#isRoom(`${side} ${route}`);
    // Looking for a session takes a while where there are many: not for every one of a flood.
    const outcome = prevented ?? (isRoom ? this.#outcomeOf(found) : 'unasked');
    // Legacy's own are no reason to go anywhere.
    if (side === 'candidate') this.#options.guardrails()?.contaminated(route);
    const key = JSON.stringify([route, side, rule, outcome]);
    const counted = this.#counts.get(key);
    if (counted === undefined) this.#counts.set(key, { route, side, rule, outcome, count: 1 });
    else counted.count += 1;
    if (isRoom) void this.#record(found, outcome);
    else this.unkept += 1;
  }

  #isRoom(of: string): boolean {
    const minute = Math.floor(performance.now() / MINUTE_MS);
    if (minute !== this.#minute) this.#inMinute.clear();
    this.#minute = minute;
    const count = (this.#inMinute.get(of) ?? 0) + 1;
    this.#inMinute.set(of, count);
    return count <= MOST_A_MINUTE;
  }

  async #record(found: Contamination, outcome: Outcome): Promise<void> {
    const { route, rule, side, path, user, owner } = found;
    const { logger } = this.#options;
    const known = knownOf(found);
    const incident: Incident = {
      ...{ at: new Date(found.at).toISOString(), route, rule, side, path, outcome },
      // A client may name itself in the id of its request.
      session: this.#redactor.text(found.session, known),
      eventType: this.#typeOf(found),
      user: this.#nameless(user),
      owner: owner === null ? null : this.#nameless(owner),
      ...(found.inDoubt === true ? { inDoubt: true } : {}),
    };
    if (incident.inDoubt) logger.warn(incident, "an event may hold another user's data");
    else logger.error(incident, "an event held another user's data");
    try {
      await this.#journal.append(incident);
    } catch (error) {
      this.unkept += 1;
      logger.error({ err: error }, 'an incident could not be kept');
    }
  }

  /** As evidence has it: a service may put whom it is for into the type. */
  #typeOf(found: Contamination): string {
    return this.#redactor.type(generalType(found.eventType), knownOf(found));
  }

  /** Without a key nobody can be told apart, and nobody is named. */
  #nameless(user: string): string {
    return this.#pseudonym?.(user) ?? '?';
  }

  /** Of what no lane has prevented. */
  #outcomeOf({ route, session, side, isShown, at }: Contamination): Outcome {
    if (isShown !== null) return isShown ? 'delivered' : 'not-shown';
    for (const each of this.#options.traffic()?.sessionsOf(route) ?? []) {
      if (each.id === session) return wasHeard(each, side, at) ? 'delivered' : 'not-shown';
    }
    return 'unknown';
  }
}

function knownOf({ user, owner, names = [] }: Contamination): KnownValues {
  const known = new KnownValues();
  for (const name of [user, owner]) known.note(name, 'user');
  known.noteNames([user, ...(owner === null ? [] : [owner]), ...names]);
  return known;
}

function keyOf({ session, side }: Pick<Prevented, 'session' | 'side'>): string {
  return `${side} ${session}`;
}
