// The shape of `isolation`, what is done about data of one user on its way to another: `IsolationRules`
// as it stands in a file, and the mode.
import { z } from 'zod';
import { ISOLATION_MODES } from '../rules/decide.ts';
import { DEFAULT_ISOLATION, FIELD_NAME, IDENTIFIERS } from '../rules/isolation/rules.ts';
import { pointer } from './compare-schema.ts';

const fieldName = z
  .string()
  .regex(FIELD_NAME, 'must be the name of a field: 1 to 100 of letters, digits and _ . : @ $ -');
const eventType = z.string().min(1).max(200);
const defaultOf = <T>(list: readonly T[]): T[] => [...list];

export const IsolationSchema = z
  .strictObject({
    mode: z
      .enum(ISOLATION_MODES as ['observe', 'sanitize', 'block'])
      .optional()
      .describe(
        'observe: report; sanitize: rewrite foreign addresses; block: withhold the event. By default sanitize for WebSockets and event streams that the candidate serves, else observe.',
      ),
    uninspectable: z
      .enum(['pass', 'block'])
      .default(DEFAULT_ISOLATION.uninspectable)
      .describe(
        'Messages that can not be looked into (binary, broken, too long), unless observed.',
      ),
    // A hundred searches of every message are felt.
    routing: z
      .array(fieldName)
      .max(20)
      .default(defaultOf(DEFAULT_ISOLATION.routing))
      .describe('Fields that say who must receive an event; at its root and in its envelopes.'),
    provenance: z
      .record(eventType, z.array(fieldName).min(1).max(20))
      .default({})
      .describe(
        'By event type, routing fields that only tell whose it is: { message_receipt: [recipient_id] }.',
      ),
    envelopes: z
      .array(z.string().min(1).max(100))
      .max(10)
      .default(defaultOf(DEFAULT_ISOLATION.envelopes))
      .describe("Objects in an event whose fields count as the event's own."),
    content: z
      .array(pointer)
      .max(100)
      .default(defaultOf(DEFAULT_ISOLATION.content))
      .describe('What users write and services quote: never an address, whatever stands in it.'),
    identifiers: z
      .array(pointer)
      .max(20)
      .optional()
      .describe(
        `Identifiers that are one user's, as legacy's streams tell; by default ${IDENTIFIERS.join(', ')}, numbers below 2^32 left out: those count at the places that you name.`,
      ),
    everyone: z
      .array(eventType)
      .max(1_000)
      .default(defaultOf(DEFAULT_ISOLATION.everyone))
      .describe('Event types that are for everybody, whoever gets them first.'),
  })
  .describe("What is done about one user's data on its way to another.");
