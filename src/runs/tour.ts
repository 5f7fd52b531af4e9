// What Cutover is for, told once in a minute on the demo's own services: shadowing, a fault found, a canary, a
// leak stopped, and everybody back on legacy. Every figure that it prints is one that the proxy gave.
import { readFile } from 'node:fs/promises';
import { setTimeout as pause } from 'node:timers/promises';
import type { FaultKind } from '../broadcast/fault.ts';
import type { PlantedFault } from '../broadcast/fault-planter.ts';
import type { KeptGroup } from '../control/evidence/kept.ts';
import type { ShownIncident } from '../control/incident-evidence.ts';
import type { Proof } from '../control/proofs.ts';
import type { LatchView } from '../control/rollback-routes.ts';
import type { RunningDemo } from './demo.ts';
import { faultLine, leakLine, proofOf } from './tour-lines.ts';

/** Events of each user that are to be seen alike before anything is planted. */
const ENOUGH_EACH = 3;
/** Nothing in the tour takes longer; what does is told, and the tour is over. */
const STEP_MS = 20_000;
const LOOK_MS = 100;
/** An event waits 5 s for its pair; then it has its verdict. */
const VERDICT_MS = 6_000;
const STEPS = 6;
/** The one that its users' WebSockets are on. */
const ROUTE = 'events';

export interface TourOptions {
  readonly demo: RunningDemo;
  readonly users: number;
  /** Time to read a line. */
  readonly readMs: number;
  /** The candidate has so long to send something that a fault can be planted in; as any step, if it is not given. */
  readonly plantMs?: number;
  readonly say: (line: string) => void;
  /** Ends it early, wherever it is. */
  readonly signal: AbortSignal;
}

class TourOver extends Error {}

/**
 * Tells it and leaves everything in stage `off`, unless somebody else has begun to roll back, with nothing of what it
 * has planted in how often runs diverge. Never rejects: what went wrong is said.
 */
export async function tellTour(options: TourOptions): Promise<void> {
  const { say, signal } = options;
  const tour = new Tour(options);
  try {
    await tour.tell();
  } catch (error) {
    if (signal.aborted) return;
    const why = error instanceof Error ? error.message : String(error);
    say(`The tour ends here: ${why}`);
  }
  await tour.putBack().catch(error => {
    if (!signal.aborted) say(`Stage and latch are as they are: ${error.message}`);
  });
}

class Tour {
  readonly #options: TourOptions;
  #step = 0;
  /** What is to be put back: nobody else's doing. */
  #hasStaged = false;
  /** The route that the tour's leak has rolled back. */
  #latched: string | null = null;
  /** What the comparison makes of each fault that was planted. */
  readonly #planted: ('mismatch' | 'contaminated')[] = [];

  constructor(options: TourOptions) {
    this.#options = options;
  }

  async tell(): Promise<void> {
    const { demo, users } = this.#options;
    const { routes } = await this.#get<{ routes: { stage: { name: string } }[] }>('/stage');
    const stage = routes.find(({ stage: { name } }) => name !== 'off')?.stage.name;
    if (stage !== undefined) {
      const back = `cutover stage off${stage === 'killed' ? ' --unkill' : ''}`;
      const why = `it begins in stage off, and this is ${stage}`;
      throw new TourOver(`${why}; ${back}, and start the demo again`);
    }

    const { held } = await this.#get<LatchView>('/latch');
    if (held.length > 0)
      throw new TourOver('a rollback holds users on legacy; cutover release ends that');

    this.#title(`${users} users come and go through the proxy. Legacy serves them all.`);
    await this.#until('they are there', () => demo.online().legacy > users / 2);
    await this.#read();

    this.#title(
      'cutover stage shadow: the candidate is shown the same traffic. Nobody waits for it.',
    );
    this.#hasStaged = true;
    await this.#post('/stage', { stage: 'shadow', reason: 'tour' });
    await this.#until('events are compared', () => this.#compared().match >= ENOUGH_EACH * users);
    const { match, wrong } = this.#compared();
    this.#say(`${match} events came from both services and are the same; ${wrong} are not.`);
    await this.#read();

    this.#title('A fault is planted: once, the candidate gives an event another type.');
    const sentBefore = this.#sentByCandidate();
    // Evidence stays in the folder: that of an earlier tour has the same place.
    const known = new Map((await this.#changedTypes()).map(({ id, count }) => [id, count]));
    const fault = await this.#plant('wrong-type', 'mismatch', () => true);
    const plantedAt = performance.now();
    const group = await this.#until('it is found', async () =>
      (await this.#changedTypes()).find(({ id, count }) => count > (known.get(id) ?? 0)),
    );
    const sent = this.#sentByCandidate() - sentBefore;
    this.#say(faultLine(group, fault.event_type, seconds(plantedAt), sent));
    await this.#read();

    this.#title('cutover stage canary 50%: half of the users go over, with their sockets open.');
    await this.#post('/stage', { stage: 'canary', percent: 50, reason: 'tour' });
    await this.#until('they have moved', () => demo.online().candidate > users / 5);
    await this.#read();
    const { legacy, candidate } = demo.online();
    this.#say(`Legacy serves ${legacy} WebSockets now, the candidate ${candidate}.`);

    this.#title('A leak is planted: once, the candidate addresses an event to somebody else.');
    const served = this.#servedByCandidate();
    const before = {
      proofs: new Set((await this.#proofs()).map(({ id }) => id)),
      incident: (await this.#incidents())[0]?.seq ?? 0,
    };
    const leak = await this.#plant('routing-field', 'contaminated', user => served.has(user));
    const leakedAt = performance.now();
    const incident = await this.#until('the leak is on record', async () =>
      (await this.#incidents()).find(
        ({ seq, side, rule, eventType }) =>
          seq > before.incident &&
          side === 'candidate' &&
          rule === 'routing' &&
          eventType === leak.event_type,
      ),
    );
    const proof = await this.#until('everybody is back', async () =>
      proofOf(incident.route, await this.#proofs(), before.proofs),
    );
    this.#latched = proof.scope;
    this.#say(leakLine(incident, seconds(leakedAt)));

    this.#title(`The proof of that rollback (cutover proof ${proof.id}):`);
    const { sessions, lastCandidateByte: last } = proof;
    this.#say(
      `${sessions.affected} WebSockets: ${sessions.inPlace + sessions.redialled} moved and still open, ${sessions.closed} closed, ${sessions.failed} left.`,
    );
    this.#say(
      last === null
        ? 'After the command not one byte of the candidate was handed to a client.'
        : `The candidate's last byte was handed to a client ${last.afterMs.toFixed(1)} ms after the command.`,
    );
    // Guardrails look once a second, and begin anew with what they find rolled back.
    await this.#read();
  }

  /** In stage `off`, released, and counted anew. */
  async putBack(): Promise<void> {
    if (!this.#hasStaged) return;
    await this.#post('/stage', { stage: 'off', reason: 'tour' });
    // Behind it: until then the flags would send half of the users to the candidate once more.
    const route = this.#latched;
    if (route !== null) await this.#post('/release', { route, reason: 'tour' });
    if (this.#planted.length > 0) await this.#countAnew();
    const released = route !== null ? 'Released, and back' : 'Back';
    this.#options.say(`${released} in stage off. From here on it runs without faults.\n`);
  }

  /** The faults were the tour's: they say nothing of how often the candidate's runs diverge. */
  async #countAnew(): Promise<void> {
    await this.#judged();
    const planted = this.#planted.map(verdict => `1 ${verdict}`).join(' and ');
    const reason = `tour: ${planted} planted`;
    const counted = await this.#post('/evidence/restart', { route: ROUTE, reason }).then(
      () => 'counts anew, without that',
      (error: Error) => `has that as well: ${error.message}`,
    );
    this.#say(`Of what cutover status shows, the tour has planted ${planted};`);
    this.#say(`cutover evidence summary ${counted}.`);
  }

  /** What was planted has its verdict, so that nothing of it is counted later; not if the judge has left it out. */
  async #judged(): Promise<void> {
    const { demo, signal } = this.#options;
    const end = performance.now() + VERDICT_MS;
    const isJudged = () => {
      const books = demo.proxy.judge.books().get(ROUTE)?.candidate;
      return (books?.mismatch ?? 0) + (books?.contaminated ?? 0) >= this.#planted.length;
    };
    while (!isJudged() && performance.now() < end) await pause(LOOK_MS, undefined, { signal });
  }

  #compared(): { match: number; wrong: number } {
    let match = 0;
    let wrong = 0;
    for (const { legacy } of this.#options.demo.proxy.judge.books().values()) {
      match += legacy.match + legacy.noise;
      wrong += legacy.mismatch + legacy.missing + legacy.duplicate + legacy['out-of-order'];
    }
    return { match, wrong };
  }

  /** Events of WebSockets, which is what its users have. */
  #sentByCandidate(): number {
    let sent = 0;
    for (const { side, counters } of this.#options.demo.proxy.traffic.counters())
      if (side === 'candidate') sent += counters.messagesToClient;
    return sent;
  }

  async #changedTypes(): Promise<readonly KeptGroup[]> {
    const at = 'verdict=mismatch&path=/type&limit=500';
    return (await this.#get<{ groups: KeptGroup[] }>(`/evidence?${at}`)).groups;
  }

  async #proofs(): Promise<readonly Proof[]> {
    return (await this.#get<{ proofs: Proof[] }>('/proofs')).proofs;
  }

  /** The newest first. */
  async #incidents(): Promise<readonly ShownIncident[]> {
    return (await this.#get<{ incidents: ShownIncident[] }>('/incidents')).incidents;
  }

  #servedByCandidate(): Set<string> {
    const { traffic } = this.#options.demo.proxy;
    const sessions = [...traffic.sessionsOf(ROUTE)];
    return new Set(
      sessions.flatMap(({ subject, side }) =>
        side === 'candidate' && subject !== null ? [subject.id] : [],
      ),
    );
  }

  #title(text: string): void {
    this.#step += 1;
    this.#options.say(`\n${this.#step}/${STEPS}  ${text}`);
  }

  #say(text: string): void {
    this.#options.say(`     ${text}`);
  }

  #read(): Promise<void> {
    return pause(this.#options.readMs, undefined, { signal: this.#options.signal });
  }

  /** One fault, in what the candidate sends next. Where it sends nothing, none waits for when it does again. */
  async #plant(
    kind: FaultKind,
    verdict: 'mismatch' | 'contaminated',
    mayHit: (userId: string) => boolean,
  ): Promise<PlantedFault> {
    const { demo, signal, plantMs = STEP_MS } = this.#options;
    const inTime = AbortSignal.any([signal, AbortSignal.timeout(plantMs)]);
    const fault = await demo.plantNext(kind, mayHit, inTime).catch(cause => {
      throw new TourOver('waited in vain until the candidate sent something to plant it in', {
        cause,
      });
    });
    this.#planted.push(verdict);
    return fault;
  }

  async #until<T>(
    what: string,
    look: () => T | Promise<T>,
  ): Promise<Exclude<T, undefined | false | null>> {
    const end = performance.now() + STEP_MS;
    for (;;) {
      const found = await look();
      if (found) return found as Exclude<T, undefined | false | null>;
      if (performance.now() > end) throw new TourOver(`waited in vain until ${what}`);
      await pause(LOOK_MS, undefined, { signal: this.#options.signal });
    }
  }

  async #get<T>(path: string): Promise<T> {
    return this.#ask<T>(path, {});
  }

  async #post(path: string, body: object): Promise<void> {
    await this.#ask(path, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
    });
  }

  async #ask<T>(path: string, request: RequestInit): Promise<T> {
    const { proxy, adminTokenFile } = this.#options.demo;
    const token = (await readFile(adminTokenFile, 'utf8')).trim();
    const headers = { ...request.headers, authorization: `Bearer ${token}` };
    const url = `${await proxy.admin}/api/v1${path}`;
    const answer = await fetch(url, {
      ...request,
      headers,
      signal: AbortSignal.timeout(STEP_MS),
    });
    const body = (await answer.json()) as { error?: { message?: string } };
    if (!answer.ok) throw new TourOver(body.error?.message ?? `${path} answered ${answer.status}`);
    return body as T;
  }
}

function seconds(since: number): string {
  return `${((performance.now() - since) / 1_000).toFixed(1)} s`;
}
