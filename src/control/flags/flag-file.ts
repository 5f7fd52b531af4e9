// One flag file: text to a checked document. The format is the body of the Unleash server's
// `GET /api/client/features`, so such an answer is a flag file as it is.
import { z } from 'zod';
import type { FlagProblem } from '../../rules/flag-problem.ts';
import type { FeatureLike, SegmentLike } from '../../rules/flag-shape.ts';

/** A broken file can be wrong in every line; the first few tell enough. */
const MAX_PROBLEMS_PER_FILE = 20;

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
  features: z.array(Feature),
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
export function parseFlagFile(text: string, file: string): ParsedFlagFile {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    return { problems: [syntaxProblem(text, file, error)] };
  }
  const problems: FlagProblem[] = [];
  if (isFlagDocument(value, problems, file)) return { document: value };
  return { problems };
}

function isFlagDocument(
  value: unknown,
  problems: FlagProblem[],
  file: string,
): value is FlagDocument {
  const result = FlagFile.safeParse(value);
  if (result.success) return true;
  for (const issue of result.error.issues.slice(0, MAX_PROBLEMS_PER_FILE)) {
    problems.push({
      level: 'error',
      flag: null,
      file,
      path: issue.path
        .map(key => `/${String(key).replaceAll('~', '~0').replaceAll('/', '~1')}`)
        .join(''),
      rule: 'schema',
      message: issue.message,
      fix: 'give what the format of Unleash client features asks for at this place',
    });
  }
  return false;
}

function syntaxProblem(text: string, file: string, error: unknown): FlagProblem {
  const reason = error instanceof Error ? error.message : String(error);
  return {
    level: 'error',
    flag: null,
    file,
    path: '',
    rule: 'syntax',
    message: text.trim() === '' ? 'the file is empty' : describe(text, reason),
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
