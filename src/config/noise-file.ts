// A noise profile as a file that a person reviews: written by `cutover noise measure`, named by a route's
// `noise`, and refused with a sentence where it is not what it says.
import { join, relative, resolve } from 'node:path';
import { z } from 'zod';
import { RuleError } from '../rules/compare/check.ts';
import { compileRules } from '../rules/compare/compile.ts';
import type { NoiseProfile } from '../rules/compare/noise.ts';
import { pointer } from './compare-schema.ts';
import { readDocument } from './document.ts';
import { explain } from './explain.ts';
import type { Problem } from './problem.ts';
import type { RouteConfig } from './schema.ts';
import { readSmall } from './secrets.ts';

const count = z.int().min(0).max(Number.MAX_SAFE_INTEGER);
const Field = z
  .strictObject({
    eventType: z.string().min(1).max(200),
    path: pointer,
    pairs: count.min(1),
    differed: count.min(1),
  })
  .refine(({ pairs, differed }) => differed <= pairs, {
    path: ['differed'],
    message: 'must be at most as many as pairs',
  });
const Profile = z.strictObject({
  version: z.number().refine(version => version === 1, 'must be 1, the only version there is'),
  route: z.string().min(1),
  measuredAt: z.iso.datetime('must be a time such as 2026-11-26T02:00:00Z'),
  fields: z.array(Field).max(1_000),
});

export type NoiseFile =
  | { readonly profile: NoiseProfile }
  | { readonly problems: readonly Problem[] };

/**
 * Reads the profile of a route; `path` is absolute. A string says why there is none to be read. Problems in
 * it have its own lines, and the name of the file as it is seen from `folder`.
 */
export async function readNoiseFile(
  path: string,
  folder: string,
  { name, compare }: Pick<RouteConfig, 'name' | 'compare'>,
): Promise<NoiseFile | string> {
  const seen = relative(resolve(folder), path);
  const content = await readSmall(path);
  if (typeof content === 'string') return content;
  const document = readDocument(content.toString(), join(folder, seen), {});
  const { value } = document;
  if (document.problems.length > 0) return { problems: document.problems };
  const parsed = Profile.safeParse(value);
  if (parsed.data === undefined) {
    const explained = (parsed.error?.issues ?? []).flatMap(issue =>
      explain(issue, value, () => true),
    );
    return {
      problems: explained.map(each => document.problem(each.path, each.message, each.onKey)),
    };
  }
  const { route, measuredAt, fields } = parsed.data;
  if (route !== name) {
    const message = `must be ${JSON.stringify(name)}, the route that names this file (got ${JSON.stringify(route)})`;
    return { problems: [document.problem(['route'], message)] };
  }
  const profile: NoiseProfile = { version: 1, route, measuredAt: Date.parse(measuredAt), fields };
  try {
    compileRules(compare, profile);
    return { profile };
  } catch (error) {
    if (!(error instanceof RuleError)) throw error;
    const [, index] = /^profile\.fields\[(\d+)\]/.exec(error.field) ?? [];
    // Rules that are wrong by themselves are told where they stand.
    if (index === undefined) return { profile };
    return { problems: [document.problem(['fields', Number(index), 'path'], error.sentence)] };
  }
}
