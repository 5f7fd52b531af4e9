// The shape of `compare`, how what two services say is compared: `CompareRules` as it stands in a file.
import { z } from 'zod';
import { DEFAULT_RULES, READ_ANSWERS } from '../rules/compare/rules.ts';

/** Of a field, as `/user_id`. */
export const pointer = z
  .string()
  .regex(/^(?:\/(?:[^~/]|~[01])*)+$/, 'must be a JSON pointer (RFC 6901), such as /user_id');
const headerName = z
  .string()
  .regex(/^[!#$%&'*+.^_`|~0-9a-z-]+$/, 'must be an HTTP header name (RFC 9110 5.1), in lower case');
const eventTypes = z.array(z.string().min(1).max(200)).max(1_000);

/** One thing that may differ. What may never be excused is checked by `compileRules`. */
function allowance<K extends string, S extends z.ZodRawShape>(as: K, shape: S, what: string) {
  return z
    .strictObject({
      path: pointer.describe(
        'Where in an event: a JSON pointer, * for any element. Without envelope: in each of them.',
      ),
      types: eventTypes.min(1).optional().describe('Event types; without it all.'),
      as: z.literal(as),
      ...shape,
    })
    .describe(what);
}

const Allowance = z.discriminatedUnion('as', [
  allowance(
    'time',
    { withinMs: z.number().min(0).describe('How far apart the two may be.') },
    'Times of sending: epoch seconds or ISO 8601.',
  ),
  allowance('number', { within: z.number().min(0) }, 'Numbers that may be so far apart.'),
  allowance(
    'generated-id',
    { class: z.string().min(1).max(100).optional().describe('By default the last step of path.') },
    'Ids that each service makes up: mapped one to one per user, never ignored.',
  ),
  allowance('null-or-absent', {}, 'Null on one side, absent on the other.'),
  allowance(
    'candidate-adds',
    {},
    "Absent or null on legacy; a user's id must be the client's own.",
  ),
  allowance('replay', {}, 'Marks what is sent again for somebody who was not there.'),
  allowance(
    'any-order',
    { by: pointer.optional().describe('What tells elements apart; by default all of them.') },
    'Arrays whose order says nothing.',
  ),
  allowance('anything', {}, 'Values that are not looked at; the pair is noise, not a match.'),
]);

export const CompareSchema = z
  .strictObject({
    envelopes: z
      .array(z.string().min(1).max(100))
      .max(10)
      .default([...DEFAULT_RULES.envelopes])
      .describe("Objects in an event whose fields count as the event's own, wherever they stand."),
    key: z
      .strictObject({
        all: z
          .array(pointer)
          .max(20)
          .default([...DEFAULT_RULES.key.all]),
        first: z
          .array(pointer)
          .max(20)
          .default([...DEFAULT_RULES.key.first])
          .describe('The first that an event has, and that is no generated id.'),
        shared: z
          .array(pointer)
          .max(20)
          .default([...DEFAULT_RULES.key.shared])
          .describe(
            'Of those, what several events of one run may have alike, such as the name of a tool.',
          ),
        except: z
          .array(pointer)
          .max(100)
          .default([...DEFAULT_RULES.key.except])
          .describe('Not part of the digest by which an event is known that has none of those.'),
      })
      .prefault({})
      .describe('What makes two events the same one: their type, and these values.'),
    lanes: z
      .array(pointer)
      .max(10)
      .default([...DEFAULT_RULES.lanes])
      .describe('Events that share the first of these that they have must come in one order.'),
    replies: eventTypes
      .default([...DEFAULT_RULES.replies])
      .describe('Types that answer one message of the client: in order among themselves.'),
    timers: eventTypes
      .default([...DEFAULT_RULES.timers])
      .describe(
        'Types sent by a timer of each connection, such as heartbeats: in any order, and unjudged without a pair where the second leg came later.',
      ),
    failures: eventTypes
      .default([...DEFAULT_RULES.failures])
      .describe('Types that report a failure: two that are alike prove nothing.'),
    allow: z
      .array(Allowance)
      .max(1_000)
      .default([])
      .describe('What may differ; everything else is reported.'),
    answers: z
      .strictObject({
        status: z.enum(['exact', 'class']).default(READ_ANSWERS.status),
        headers: z
          .array(headerName)
          .max(50)
          .default([...READ_ANSWERS.headers])
          .describe('Headers that are compared; no others are.'),
        body: z.boolean().default(READ_ANSWERS.body),
      })
      .optional()
      .describe('HTTP answers. By default reads exactly, writes by the class of their status.'),
  })
  .describe('How what the two services say is compared.');
