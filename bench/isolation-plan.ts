// What is sent to whom, by which service: agent runs of the reference services in all their envelopes,
// with leaks and with what looks like one and is none.
import { agentRun } from '../src/broadcast/agent-run.ts';
import { type Envelopes, legacyEnvelopes, ssotEnvelopes } from '../src/broadcast/envelopes.ts';
import type { BroadcastEvent } from '../src/broadcast/event.ts';
import { createUserExecutionContext } from '../src/broadcast/user-context.ts';
import type { Side } from '../src/rules/decide.ts';
import type { IsolationRule } from '../src/rules/isolation/incident.ts';
import type { Marker } from '../src/rules/isolation/marker.ts';

export const LEAKS = [
  ...(['routing', 'nested', 'nested-twice', 'escaped', 'list', 'twice'] as const),
  ...(['ledger', 'changed-thread', 'fingerprint', 'marker'] as const),
  ...(['enveloped-thread', 'batch', 'typed-by-another', 'quoted-before'] as const),
  ...(['another-alias', 'streamed', 'streamed-thread', 'answered', 'answered-thread'] as const),
  ...(['unsampled-thread', 'unsampled-answer', 'unsampled-content'] as const),
] as const;
export type Leak = (typeof LEAKS)[number];

export const INNOCENTS = [
  ...([
    'provenance',
    'shared-thread',
    'broadcast',
    'receipt',
    'quoted-json',
    'quoted-object',
  ] as const),
  ...(['on-both', 'agent', 'list-with-him', 'nobody'] as const),
  ...(['late-legacy', 'typed-into-a-room', 'typed-run', 'error-that-quotes', 'counter'] as const),
  ...(['own-alias', 'acknowledged', 'streamed-note', 'outbox', 'shared-by-unsampled'] as const),
  'typed-content',
] as const;
export type Innocent = (typeof INNOCENTS)[number];

/**
 * In these legacy itself names others, to some of its users alone: where it did so to more than half of them, their names
 * would not fit, and no address would prove anything (`IdentityFit`).
 */
const LEGACY_NAMES_OTHERS: ReadonlySet<Innocent> = new Set([
  ...(['on-both', 'late-legacy', 'typed-into-a-room', 'outbox'] as const),
]);
const SOME_USERS = 0.4;

export interface Sent {
  readonly side: Side;
  /** Index of the user on whose sockets it goes out. */
  readonly user: number;
  readonly text: string;
  /** On his event stream instead; or to one of those who are not compared, on a socket or as an answer. */
  readonly on?: 'stream' | 'unsampled' | 'unsampled-answer';
}

/** What both services answer to a request of that user's. */
export interface Answered extends Readonly<Record<Side, object>> {
  readonly user: number;
}

export interface Planned {
  /** What a client says before. */
  readonly said?: { readonly user: number; readonly text: string };
  readonly sent: readonly Sent[];
  readonly answered?: Answered;
  /** What legacy sends as well, but later than it may be waited for where nothing speaks for it. */
  readonly late?: readonly Sent[];
  /** How it must be told: rule, user and place; null where it must not be. */
  readonly leak: {
    readonly rule: IsolationRule;
    readonly user: number;
    readonly path: string;
  } | null;
  readonly kind: Leak | Innocent | 'run';
}

const ENVELOPES: Readonly<Record<Side, Envelopes>> = {
  legacy: legacyEnvelopes,
  candidate: ssotEnvelopes,
};

/** Makes up what is sent; the same for the same seed. */
export class IsolationPlan {
  readonly users: readonly string[];
  /** Served by legacy, and not compared. */
  readonly unsampled: readonly string[];
  readonly markers: readonly Marker[];
  readonly #random: () => number;
  #number = 0;

  constructor(users: number, random: () => number) {
    this.users = Array.from({ length: users }, (_, i) => `user_${1001 + i}`);
    this.unsampled = this.users.map((_, i) => `other_${i}`);
    this.markers = this.users.map((user, i) => ({
      text: `cutovermarkerbench${String(i).padStart(8, '0')}`,
      user,
    }));
    this.#random = random;
  }

  /** Another name of the same user. */
  aliasOf(user: number): string {
    return `${this.users[user]}@example.com`;
  }

  /** Five events on each side, as they should be. */
  run(): Planned {
    const user = this.#any();
    return { sent: this.#both(user, this.#steps(user)), leak: null, kind: 'run' };
  }

  /** A note to one user: nothing in it but its words says whose it is. */
  note(user = this.#any()): Planned {
    return { sent: this.#same(user, this.#note()), leak: null, kind: 'run' };
  }

  leak(kind: Leak): Planned {
    const user = this.#any();
    const other = this.#other(user);
    const name = this.users[other] as string;
    const leak = (rule: IsolationRule, path: string, sent: readonly Sent[]): Planned => ({
      ...{ sent, kind },
      leak: { rule, user, path },
    });
    const steps = this.#steps(user);
    const altered = (alter: (event: BroadcastEvent) => object | string, at = 4) =>
      this.#both(user, steps, (event, index) => (index === at ? alter(event) : event));
    switch (kind) {
      case 'routing':
        return leak(
          'routing',
          '/target_user_id',
          altered(e => ({ ...e, target_user_id: name })),
        );
      case 'nested':
        return leak(
          'routing',
          '/data/recipient_id',
          altered(e => within(e, { recipient_id: name })),
        );
      case 'nested-twice':
        return leak(
          'routing',
          '/payload/data/userId',
          altered(e => ({ ...e, payload: { data: { userId: name } } })),
        );
      case 'escaped':
        return leak(
          'routing',
          '/data/target_user_id',
          altered(e =>
            JSON.stringify(within(e, { target_user_id: name })).replace(
              'target_',
              'targ\\u0065t\\u005F',
            ),
          ),
        );
      case 'list':
        return leak(
          'routing',
          '/recipient_id',
          altered(e => ({ ...e, recipient_id: [name] })),
        );
      case 'twice':
        return leak(
          'routing',
          '/userId',
          altered(
            e => `{"userId":"${name}","userId":"${this.users[user]}",${JSON.stringify(e).slice(1)}`,
          ),
        );
      case 'ledger': {
        const theirs = this.#steps(other);
        const [first] = theirs.candidate;
        // A run of its own, that nobody knows: the thread is the other's.
        const stray = { ...first, run_id: this.#id('run'), event_id: this.#id('event') };
        return leak('ledger', '/thread_id', [
          ...this.#both(other, theirs),
          { side: 'candidate', user, text: JSON.stringify(stray) },
        ]);
      }
      case 'changed-thread': {
        const theirs = this.#steps(other);
        const thread = theirs.legacy[0]?.thread_id;
        return leak('ledger', '/thread_id', [
          ...this.#both(other, theirs),
          ...altered(e => ({ ...e, thread_id: thread }), 0),
        ]);
      }
      case 'fingerprint': {
        const note = this.#note();
        return leak('fingerprint', '', [
          ...this.#same(other, note),
          { side: 'candidate', user, text: JSON.stringify(note) },
        ]);
      }
      case 'enveloped-thread': {
        const theirs = this.#steps(other);
        const thread_id = theirs.legacy[0]?.thread_id;
        return leak('ledger', '/thread_id', [
          ...this.#both(other, theirs),
          ...altered(e => within(e, { thread_id }), 0),
        ]);
      }
      case 'batch':
      case 'typed-by-another':
      case 'quoted-before': {
        const theirs = this.#steps(other);
        const [first] = theirs.candidate;
        const stray = { ...first, run_id: this.#id('run'), event_id: this.#id('event') };
        const third = this.#other(user);
        const quoted = {
          type: 'error_message',
          run_id: this.#id('run'),
          thread_id: first?.thread_id,
        };
        const text = JSON.stringify(kind === 'batch' ? [stray] : stray);
        return {
          ...leak('ledger', '/thread_id', [
            ...this.#both(other, theirs),
            ...(kind === 'quoted-before' ? this.#same(third, quoted) : []),
            { side: 'candidate', user, text },
          ]),
          ...(kind === 'batch' ? {} : { said: { user: third, text: `stop ${first?.thread_id}` } }),
        };
      }
      case 'another-alias':
        return leak(
          'routing',
          '/target_user_id',
          altered(e => ({ ...e, target_user_id: this.aliasOf(other) })),
        );
      case 'streamed':
        return leak(
          'routing',
          '/data/recipient_id',
          onStream(altered(e => within(e, { recipient_id: name }))),
        );
      case 'streamed-thread': {
        const theirs = this.#steps(other);
        const [stray] = theirs.candidate;
        const text = JSON.stringify({ ...stray, run_id: this.#id('run') });
        return leak('ledger', '/thread_id', [
          ...onStream(this.#both(other, theirs)),
          { side: 'candidate', user, text, on: 'stream' },
        ]);
      }
      case 'answered': {
        const asIs = { balance: this.#number };
        const answered = { user, legacy: asIs, candidate: { ...asIs, recipient_id: name } };
        return { ...leak('routing', '/recipient_id', []), answered };
      }
      case 'answered-thread': {
        const theirs = this.#steps(other);
        const thread_id = theirs.legacy[0]?.thread_id;
        const answered = {
          ...{ user, legacy: { thread_id: this.#id('own') } },
          candidate: { thread_id },
        };
        return { ...leak('ledger', '/thread_id', this.#both(other, theirs)), answered };
      }
      case 'unsampled-thread':
      case 'unsampled-answer': {
        const thread_id = this.#id('theirs');
        const theirs = { type: 'agent_note', run_id: this.#id('run'), thread_id };
        const stray = { ...theirs, run_id: this.#id('run') };
        const on = kind === 'unsampled-thread' ? 'unsampled' : kind;
        return leak('ledger', '/thread_id', [
          { side: 'legacy', user: other, text: JSON.stringify(theirs), on },
          { side: 'candidate', user, text: JSON.stringify(stray) },
        ]);
      }
      case 'unsampled-content': {
        const text = JSON.stringify(this.#note());
        return leak('fingerprint', '', [
          { side: 'legacy', user: other, text, on: 'unsampled' },
          { side: 'candidate', user, text },
        ]);
      }
      case 'marker': {
        const marker = this.markers[other]?.text;
        return leak(
          'marker',
          '',
          altered(e => ({ ...e, final_response: `and ${marker} said` })),
        );
      }
    }
  }

  innocent(kind: Innocent): Planned {
    const few = Math.ceil(SOME_USERS * this.users.length);
    const isOfFew = LEGACY_NAMES_OTHERS.has(kind);
    const user = isOfFew ? this.#any() % few : this.#any();
    const other = isOfFew ? (user + 1) % few : this.#other(user);
    const name = this.users[other] as string;
    const innocent = (sent: readonly Sent[]): Planned => ({ sent, kind, leak: null });
    const both = (event: object): readonly Sent[] => this.#same(user, event);
    // Also what only the candidate says so: of both it would be told apart, and accuse nobody.
    const andAlone = (event: object): readonly Sent[] => [
      ...both(event),
      alone({ ...event, run_id: this.#id('run') }),
    ];
    const alone = (event: object): Sent => ({
      ...{ side: 'candidate', user },
      text: JSON.stringify(event),
    });
    const base = { run_id: this.#id('run'), timestamp: Date.now() / 1_000 };
    switch (kind) {
      case 'provenance': {
        const said = { ...base, type: 'message', user_id: name, sender_id: name, creator_id: name };
        const also = { ...said, owner_id: name, source_user_id: name };
        return innocent([...both(also), alone({ ...also, run_id: this.#id('run') })]);
      }
      case 'shared-thread': {
        const thread = this.#id('shared');
        const said = { ...base, type: 'message', thread_id: thread, text: this.#words() };
        const stray = { ...said, run_id: this.#id('run'), text: this.#words() };
        return innocent([...this.#same(other, said), ...both(said), alone(stray)]);
      }
      case 'broadcast': {
        const said = { type: 'maintenance', text: this.#words() };
        const everybody = [user, other, this.#any()];
        const all = [...new Set(everybody)].flatMap(each => this.#same(each, said));
        const late = { side: 'candidate', user: this.#any(), text: JSON.stringify(said) } as const;
        return innocent([...all, late]);
      }
      case 'receipt': {
        const said = { ...base, type: 'message_receipt', recipient_id: name };
        return innocent([...both(said), alone({ ...said, run_id: this.#id('run') })]);
      }
      case 'quoted-json': {
        const quoted = JSON.stringify({ target_user_id: name, thread_id: 'thread_1' });
        return innocent(andAlone({ ...base, type: 'chat', data: { message: quoted } }));
      }
      case 'quoted-object': {
        const quoted = { userId: name, recipient_id: [name], data: { userId: name } };
        return innocent(
          andAlone({ ...base, type: 'chat', data: { message: quoted }, results: [quoted] }),
        );
      }
      case 'own-alias':
        return innocent(andAlone({ ...base, type: 'message', target_user_id: this.aliasOf(user) }));
      case 'acknowledged': {
        // A reply in an envelope of its own, which quotes whose it was asked about.
        const ack = { type: 'message_ack', payload: { run_id: base.run_id, sender_id: name } };
        return innocent(andAlone(ack));
      }
      case 'streamed-note':
        return innocent(onStream(andAlone({ ...this.#note(), user_id: name })));
      case 'outbox': {
        const outbox = { recipient_id: name, text: this.#words() };
        return { ...innocent([]), answered: { user, legacy: outbox, candidate: outbox } };
      }
      case 'shared-by-unsampled': {
        const thread_id = this.#id('room');
        const said = { ...base, type: 'message', thread_id, text: this.#words() };
        const stray = { ...said, run_id: this.#id('run'), text: this.#words() };
        const text = JSON.stringify(said);
        const members = [user, other].map(
          member => ({ side: 'legacy', user: member, text, on: 'unsampled' }) as const,
        );
        return innocent([...members, alone(stray)]);
      }
      case 'typed-content': {
        // Two say the same: legacy repeats it to the one, and the candidate to the other.
        const note = this.#note();
        const hers: Sent = { side: 'legacy', user: other, text: JSON.stringify(note) };
        return {
          ...innocent([{ ...hers, on: 'unsampled' }, alone(note)]),
          said: { user, text: note.text },
        };
      }
      case 'on-both':
        return innocent(both({ ...base, type: 'assigned', target_user_id: name }));
      case 'late-legacy': {
        const assigned = (run_id: string) => ({ ...base, run_id, type: 'handed_on', userId: name });
        const before = this.#same(user, assigned(this.#id('run'))).toReversed();
        const [late, first] = this.#same(user, assigned(this.#id('run')));
        return { ...innocent([...before, first as Sent]), late: [late as Sent] };
      }
      case 'typed-into-a-room': {
        // Of a type of its own: what legacy did there before must not speak for it. And of nobody who is told of.
        const guest = `guest_${this.#letters()}`;
        const said = { ...base, type: `room_${this.#letters()}`, data: { userId: guest } };
        const all = [user, other].flatMap(each => this.#same(each, said));
        return {
          ...innocent(all.filter(({ side }) => side === 'candidate')),
          said: { user, text: JSON.stringify({ type: 'chat', data: { userId: guest } }) },
          late: all.filter(({ side }) => side === 'legacy'),
        };
      }
      case 'typed-run': {
        const theirs = this.#steps(other);
        const run_id = theirs.candidate[0]?.run_id;
        const stray = alone({ type: 'cancelling', run_id, note: this.#words() });
        return {
          ...innocent([...this.#both(other, theirs), stray]),
          said: { user, text: `cancel ${run_id}` },
        };
      }
      case 'error-that-quotes': {
        const theirs = this.#steps(other);
        const { run_id, thread_id } = theirs.candidate[0] as BroadcastEvent;
        const error = { type: 'error_message', step_number: this.#number, error: 'no such thread' };
        return innocent([
          ...this.#both(other, theirs),
          { side: 'legacy', user, text: JSON.stringify(error) },
          alone({ ...error, run_id, thread_id }),
        ]);
      }
      case 'counter': {
        // Each service numbers its own jobs: what is his here is another's there.
        const job = (request_id: number, state: string) => ({
          ...base,
          type: 'job',
          request_id,
          state,
        });
        const mine = this.#number;
        const theirs = { ...job(mine, 'queued'), run_id: this.#id('run') };
        return innocent([
          ...this.#same(other, theirs),
          { side: 'legacy', user, text: JSON.stringify(job(mine + 1, 'queued')) },
          alone(job(mine, 'waiting')),
        ]);
      }
      case 'agent': {
        const said = { ...base, type: 'agent_note', user_id: name, sender_id: 'agent_triage_7' };
        return innocent(andAlone({ ...said, data: { agent_id: name, on_behalf_of: name } }));
      }
      case 'list-with-him': {
        const recipients = [name, this.users[user]];
        return innocent(andAlone({ ...base, type: 'message', recipient_id: recipients }));
      }
      case 'nobody': {
        const said = {
          ...base,
          type: 'message',
          target_user_id: null,
          userId: '',
          recipient_id: 0,
        };
        return innocent(andAlone({ ...said, data: { recipient_id: [] } }));
      }
    }
  }

  #steps(user: number): Record<Side, readonly BroadcastEvent[]> {
    this.#number += 1;
    const marker = this.markers[user]?.text;
    const context = createUserExecutionContext(this.users[user] as string, {
      message: `question ${this.#number} ${marker}`,
      run_id: this.#id('run'),
      thread_id: `thread_${user}_${Math.floor(this.#number / 200)}`,
    });
    const now = Date.now();
    const of = (side: Side) =>
      agentRun(context).map(step => ENVELOPES[side].step(context, step, now));
    return { legacy: of('legacy'), candidate: of('candidate') };
  }

  #both(
    user: number,
    steps: Readonly<Record<Side, readonly BroadcastEvent[]>>,
    alter: (event: BroadcastEvent, index: number) => object | string = event => event,
  ): readonly Sent[] {
    const textOf = (event: object | string) =>
      typeof event === 'string' ? event : JSON.stringify(event);
    return [
      ...steps.legacy.map(event => ({
        side: 'legacy' as const,
        user,
        text: JSON.stringify(event),
      })),
      ...steps.candidate.map((event, index) => ({
        ...{ side: 'candidate' as const, user },
        text: textOf(alter(event, index)),
      })),
    ];
  }

  #same(user: number, event: object): readonly Sent[] {
    const text = JSON.stringify(event);
    return [
      { side: 'legacy', user, text },
      { side: 'candidate', user, text },
    ];
  }

  #note(): { readonly type: string; readonly text: string } {
    return { type: 'note', text: this.#words() };
  }

  #words(): string {
    return `the words of ${this.#id('note')}, as nobody else is told them`;
  }

  #id(what: string): string {
    this.#number += 1;
    return `${what}_${this.#number.toString(36)}`;
  }

  /** Another word each time, without a digit. */
  #letters(): string {
    this.#number += 1;
    return [...String(this.#number)].map(digit => 'abcdefghij'[Number(digit)]).join('');
  }

  #any(): number {
    return Math.floor(this.#random() * this.users.length);
  }

  #other(user: number): number {
    const other = Math.floor(this.#random() * (this.users.length - 1));
    return other < user ? other : other + 1;
  }
}

function onStream(sent: readonly Sent[]): readonly Sent[] {
  return sent.map(each => ({ ...each, on: 'stream' }));
}

function within(event: BroadcastEvent, more: object): object {
  const { data } = event;
  return { ...event, data: { ...(typeof data === 'object' ? data : {}), ...more } };
}
