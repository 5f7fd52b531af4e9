// One flag file: text to a checked document. The format is the body of the Unleash server's
// `GET /api/client/features`, so such an answer is a flag file as it is.
import { setImmediate } from 'node:timers/promises';
import { z } from 'zod';
import type { FlagProblem } from '../../rules/flag-problem.ts';
import type { FeatureLike, SegmentLike } from '../../rules/flag-shape.ts';
import { digestOf } from './flag-set.ts';

/** A broken file can be wrong in every line; the first few tell enough. */
const MAX_PROBLEMS_PER_FILE = 20;
/** Some 5 ms of work. Checking 5,000 flags takes 0.2 s, in which clients' bytes must get through. */
const FEATURES_PER_TURN = 100;

// Unknown fields within flags are let through (lint names them): a newer server may send some.
const Constraint = z.looseObject({
  contextName: z.string(),
  operator: z.string(),
  inverted: z.boolean().nullish(),
  values: z.array(z.string()).nullish(),
  value: z.union([z.string(), z.number()]).nullish(),
  caseInsensitive: z.boolean().nullish(),
});

const Variant = z.looseObject({
  name: z.string().min(1),
  // Whole thousandths; a fraction would reach nobody.
  weight: z.int().min(0).max(1_000_000),
  weightType: z.string().nullish(),
  stickiness: z.string().nullish(),
  payload: z.looseObject({ type: z.string(), value: z.string() }).nullish(),
  overrides: z
    .array(z.looseObject({ contextName: z.string(), values: z.array(z.string()) }))
    .nullish(),
});

const Strategy = z.looseObject({
  name: z.string().min(1),
  parameters: z.record(z.string(), z.unknown()).nullish(),
  constraints: z.array(Constraint).nullish(),
  segments: z.array(z.int()).nullish(),
  variants: z.array(Variant).nullish(),
});

const Feature = z.looseObject({
  name: z.string().min(1).max(500),
  type: z.string().nullish(),
  project: z.string().nullish(),
  description: z.string().nullish(),
  enabled: z.boolean(),
  stale: z.boolean().nullish(),
  impressionData: z.boolean().nullish(),
  // Required: the client takes an empty list as "on for everybody", a missing one as off.
  strategies: z.array(Strategy),
  variants: z.array(Variant).nullish(),
  dependencies: z
    .array(
      z.looseObject({
        feature: z.string(),
        enabled: z.boolean().nullish(),
        variants: z.array(z.string()).nullish(),
      }),
    )
    .nullish(),
});

const FlagFile = z.strictObject({
  version: z.number().optional(),
  // Looked at one by one, below.
  features: z.array(z.unknown()),
  segments: z
    .array(
      z.looseObject({
        id: z.int(),
        name: z.string().nullish(),
        constraints: z.array(Constraint),
      }),
    )
    .optional(),
  query: z.unknown().optional(),
  meta: z.unknown().optional(),
});

/** A newer server may say more about its answer than an author means to write into a file. */
export const SERVER_ANSWER = z.looseObject(FlagFile.shape);

export interface FlagDocument {
  readonly features: readonly FeatureLike[];
  readonly segments?: readonly SegmentLike[] | undefined;
}

export type ParsedFlagFile =
  | { readonly document: FlagDocument }
  | { readonly problems: readonly FlagProblem[] };

/**
 * Reads a flag file. The document is the parsed JSON itself: key order and unknown fields are as
 * they were. Problems carry `file`, and for broken JSON line and column.
 */
export async function parseFlagFile(
  text: string,
  file: string | undefined,
  whole: typeof FlagFile | typeof SERVER_ANSWER = FlagFile,
): Promise<ParsedFlagFile> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    return { problems: [syntaxProblem(text, file, error)] };
  }
  const problems: FlagProblem[] = [];
  const report = (path: readonly PropertyKey[], message: string) =>
    problems.length < MAX_PROBLEMS_PER_FILE && problems.push(schemaProblem(file, path, message));
  if (!matches<Shell>(whole, value, [], report)) return { problems };
  const features: FeatureLike[] = [];
  for (const [i, feature] of value.features.entries()) {
    if (i % FEATURES_PER_TURN === FEATURES_PER_TURN - 1) await setImmediate();
    if (!matches<FeatureLike>(Feature, feature, ['features', i], report)) continue;
    // Now, while there are turns; the whole set is put together in one.
    digestOf(feature);
    features.push(feature);
  }
  return problems.length > 0 ? { problems } : { document: { ...value, features } };
}

type Shell = Omit<FlagDocument, 'features'> & { readonly features: readonly unknown[] };

/** Checks the value itself instead of taking a copy, which would have its keys in another order. */
function matches<T>(
  schema: z.ZodType<T>,
  value: unknown,
  at: readonly PropertyKey[],
  report: (path: readonly PropertyKey[], message: string) => void,
): value is T {
  const result = schema.safeParse(value);
  if (result.success) return true;
  for (const { path, message } of result.error.issues) report([...at, ...path], message);
  return false;
}

function schemaProblem(
  file: string | undefined,
  path: readonly PropertyKey[],
  message: string,
): FlagProblem {
  return {
    level: 'error',
    flag: null,
    file,
    path: path.map(key => `/${String(key).replaceAll('~', '~0').replaceAll('/', '~1')}`).join(''),
    rule: 'schema',
    message,
    fix: 'give what the format of Unleash client features asks for at this place',
  };
}

function syntaxProblem(text: string, file: string | undefined, error: unknown): FlagProblem {
  const reason = error instanceof Error ? error.message : String(error);
  return {
    level: 'error',
    flag: null,
    file,
    path: '',
    rule: 'syntax',
    message:
      text.trim() !== ''
        ? describe(text, reason)
        : `the ${file === undefined ? 'answer' : 'file'} is empty`,
    fix: 'write valid JSON (RFC 8259)',
  };
}

/**
 * V8 gives line and column for some errors, a snippet for others, nothing for an early end. The
 * snippet only helps to find the line: it may hold users' ids, and problems are logged.
 */
function describe(text: string, reason: string): string {
  const [, what, snippet] =
    /^(Unexpected .*?), (?:\.\.\.)?"(.*)"(?:\.\.\.)? is not valid JSON$/s.exec(reason) ?? [];
  if (what === undefined || snippet === undefined) {
    return reason.includes('end of') ? `line ${lineAt(text, text.length)}: ${reason}` : reason;
  }
  const at = text.indexOf(snippet);
  const unique = at !== -1 && text.indexOf(snippet, at + 1) === -1;
  return unique ? `line ${lineAt(text, at + snippet.length / 2)}: ${what}` : what;
}

function lineAt(text: string, index: number): number {
  return text.slice(0, index).split('\n').length;
}
