// What a comparison of two services may excuse, as data: checked when it is read, reviewed like code.
// Paths are JSON pointers (RFC 6901) into an event; a step `*` stands for every element or key. They
// are read through envelopes: `/event_id` means that field at the root and in every envelope,
// `/data/event_id` the one in `data` alone.

/** Which values at a path may differ, and how far. */
export type Allowance = {
  readonly path: string;
  /** Event types; left out: all. */
  readonly types?: readonly string[] | undefined;
} & (
  | {
      /** The same instant's kind: epoch seconds (milliseconds beyond 1e11) or ISO 8601, UTC if it names no zone. */
      readonly as: 'time';
      readonly withinMs: number;
    }
  | { readonly as: 'number'; readonly within: number }
  | {
      /** Made up by each service for itself. Mapped one to one per user, never ignored. */
      readonly as: 'generated-id';
      /** Ids of one class are mapped together; left out: the path's last step. */
      readonly class?: string | undefined;
    }
  /** Null on one side, absent on the other. */
  | { readonly as: 'null-or-absent' }
  /** Absent or null on legacy. A field that names a user must then name the session's user. */
  | { readonly as: 'candidate-adds' }
  /** True in events that are sent again for somebody who was not there; without a pair they are unjudged. */
  | { readonly as: 'replay' }
  | {
      /** An array whose order says nothing. */
      readonly as: 'any-order';
      /** Pointer into an element, to what tells elements apart; left out: the whole element. */
      readonly by?: string | undefined;
    }
  /** Whatever is there: the value is not looked at. A pair that differs here is noise, not a match. */
  | { readonly as: 'anything' }
);
export type AllowanceKind = Allowance['as'];

/** What makes an event "the same one" on both sides: its type, and the values at these pointers. */
export interface KeyRules {
  /** All that an event has of these. */
  readonly all: readonly string[];
  /** The first of these that an event has, and that is not a generated id. */
  readonly first: readonly string[];
  /** Of `first`, what several events of one run may share: it helps to find a pair and proves none. */
  readonly shared: readonly string[];
  /** Left out of the digest that stands in for a key when an event has none of the above. */
  readonly except: readonly string[];
}

/** How two HTTP answers are compared. */
export interface AnswerRules {
  /** `class`: 200 and 201 are the same. */
  readonly status: 'exact' | 'class';
  /** Names, lower case; no other header is looked at. */
  readonly headers: readonly string[];
  readonly body: boolean;
}

export interface CompareRules {
  /** Objects at an event's root whose fields count as the event's own, wherever they stand. */
  readonly envelopes: readonly string[];
  readonly key: KeyRules;
  /** Order counts among events that share the first of these that they have, else within the session. */
  readonly lanes: readonly string[];
  /** Types that answer one client message: a lane of their own, since broadcasts come in between anywhere. */
  readonly replies: readonly string[];
  /** Types that a service sends by a timer of each connection: where its legs came one late, none need have a pair. */
  readonly timers: readonly string[];
  /** Types that report a failure: two that are alike are `failed-alike`. */
  readonly failures: readonly string[];
  readonly allow: readonly Allowance[];
  /** Left out: `READ_ANSWERS`, or `WRITE_ANSWERS` for a write that went to both. */
  readonly answers?: AnswerRules | undefined;
}

/** Say who must receive an event. */
export const ROUTING_FIELDS = ['recipient_id', 'target_user_id', 'userId'] as const;
/** Say who made or owns it: must arrive untouched. */
export const PROVENANCE_FIELDS = ['user_id', 'sender_id', 'creator_id', 'owner_id'] as const;

const USER_FIELDS: ReadonlySet<string> = new Set([...ROUTING_FIELDS, ...PROVENANCE_FIELDS]);

/** Does a field of this name name a user? */
export function isUserField(name: string): boolean {
  return USER_FIELDS.has(name) || /(?:^|_)user_id$|(?:^u|U)serId$/.test(name);
}

/** Kinds that may be said of a field that names a user: whom it names stays as it is. */
export const OF_USERS: ReadonlySet<AllowanceKind> = new Set(['candidate-adds', 'null-or-absent']);

/** Where a route says nothing else. */
export const DEFAULT_RULES: CompareRules = {
  envelopes: ['data', 'payload'],
  key: {
    all: ['/run_id'],
    first: ['/step_number', '/seq', '/message_id', '/in_reply_to', '/tool_name'],
    // A run may call one tool again and again.
    shared: ['/tool_name'],
    except: ['/timestamp', '/event_id', '/request_id', '/thread_id', '/recovered'],
  },
  lanes: ['/run_id', '/thread_id'],
  replies: [],
  timers: [],
  failures: ['error_message'],
  allow: [],
};

export const READ_ANSWERS: AnswerRules = {
  status: 'exact',
  // Of a redirect the place is all that it says (RFC 9110 10.2.2).
  headers: ['content-type', 'location'],
  body: true,
};

/** For requests that change state and go to both: the services may answer each in their own way. */
export const WRITE_ANSWERS: AnswerRules = { status: 'class', headers: [], body: false };
