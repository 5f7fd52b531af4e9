// The guardrails' limits. Their defaults let a healthy canary pass and stop one that users notice.
import { z } from 'zod';
import { GUARDRAIL_ACTIONS, GUARDRAILS, type GuardrailAction } from '../rules/guardrails.ts';

const actionOr = (action: GuardrailAction) =>
  z
    .enum(GUARDRAIL_ACTIONS)
    .default(action)
    .describe('rollback: the route to legacy; hold: no stage forward; alert: log and metric.');
const percent = (most: number) =>
  z.number().min(0).max(100).default(most).describe("Share in percent, beyond legacy's own.");
const least = (count: number) =>
  z.int().min(1).max(1_000_000).default(count).describe('Fewer in the window are too few to tell.');

type RateName = 'handshakes' | 'errors' | 'timeouts' | 'closes' | 'writeSplits';
const rate = (name: RateName, action: GuardrailAction, mostPercent: number, count: number) =>
  z
    .strictObject({
      action: actionOr(action),
      mostPercent: percent(mostPercent),
      least: least(count),
    })
    .prefault({})
    .describe(GUARDRAILS[name]);

export const GuardrailsSchema = z.strictObject({
  // 30 s: a canary of 1 % of 20 requests/s has six of them in that time; who has more is told sooner.
  windowMs: z
    .int()
    .min(1_000)
    .max(3_600_000)
    .default(30_000)
    .describe('Rates are those of the last so many ms.'),
  // One in twenty is felt by everybody who uses it for an hour; 20 and 50 keep one that failed from being
  // a rate.
  handshakes: rate('handshakes', 'rollback', 5, 20),
  errors: rate('errors', 'rollback', 5, 50),
  timeouts: rate('timeouts', 'rollback', 2, 50),
  // Sessions end by themselves all the time, most of them well; half of a crash's end in one window.
  closes: rate('closes', 'rollback', 20, 20),
  // A slow candidate is a reason to stop and look, not one to throw users about.
  latency: z
    .strictObject({
      action: actionOr('hold'),
      most: z.number().min(1).max(1_000).default(2).describe("Times legacy's p99."),
      graceMs: z.number().min(0).max(600_000).default(50).describe('And so much more in any case.'),
      least: least(200),
    })
    .prefault({})
    .describe(GUARDRAILS.latency),
  // Each one makes a rollback lose something.
  writeSplits: rate('writeSplits', 'hold', 1, 50),
  divergence: z
    .strictObject({
      action: actionOr('hold'),
      mostPercent: z.number().min(0).max(100).default(1).describe('Of runs or sessions.'),
    })
    .prefault({})
    .describe(GUARDRAILS.divergence),
  contamination: z
    .strictObject({ action: actionOr('rollback') })
    .prefault({})
    .describe(GUARDRAILS.contamination),
});
