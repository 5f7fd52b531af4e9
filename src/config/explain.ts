// Zod's issues as sentences for whoever edits the file: what must stand there, and what does.
import type { z } from 'zod';
import { knownKeys } from './json-schema.ts';
import { type Path, quoted } from './problem.ts';
import { nearest } from './spelling.ts';

type Issue = z.core.$ZodIssue;

export interface Explained {
  readonly path: Path;
  readonly message: string;
  /** The key itself is wrong, not what stands behind it. */
  readonly onKey?: boolean;
}

/** Types by their JSON Schema name, for people. */
export const KINDS: Readonly<Record<string, string>> = {
  string: 'text',
  number: 'a number',
  int: 'a whole number',
  boolean: 'true or false',
  array: 'a list',
  object: 'a mapping (key: value)',
  record: 'a mapping (key: value)',
};

/**
 * Explains one issue; unknown keys become one entry each. `root` is the value that was parsed.
 * `shows` says whether a value may be quoted: what came from the environment never is.
 */
export function explain(issue: Issue, root: unknown, shows: (path: Path) => boolean): Explained[] {
  const { path } = issue;
  const value = valueAt(root, path);
  const got = shows(path) ? ` (got ${quoted(String(value))})` : '';
  const one = (message: string) => [{ path, message }];
  switch (issue.code) {
    case 'invalid_type': {
      const must = `must be ${KINDS[issue.expected] ?? issue.expected}`;
      return one(value === undefined ? `is missing; it ${must}` : `${must} (got ${kindOf(value)})`);
    }
    case 'invalid_value':
      return one(mustBeOneOf(issue.values.map(String), value, got));
    case 'unrecognized_keys': {
      const known = knownKeys(path, value);
      return issue.keys.map(key => unknownKey([...path, key], key, known));
    }
    case 'too_small':
    case 'too_big': {
      const bound =
        issue.code === 'too_small' ? `at least ${issue.minimum}` : `at most ${issue.maximum}`;
      if (issue.origin === 'array') return one(`must have ${bound} entries`);
      if (issue.origin !== 'string')
        return one(`must be ${bound}${shows(path) ? ` (got ${value})` : ''}`);
      return one(bound === 'at least 1' ? 'must not be empty' : `must have ${bound} characters`);
    }
    case 'invalid_key':
      return [{ path, message: issue.issues[0]?.message ?? issue.message, onKey: true }];
    case 'invalid_union': {
      if ('options' in issue && Array.isArray(issue.options)) {
        // A discriminator that may be left out is there as `undefined`.
        const options = issue.options.filter(option => option !== undefined);
        return one(mustBeOneOf(options.map(String), value, got));
      }
      const branch = closestBranch(issue.errors);
      if (branch === undefined) return one(issue.message);
      return branch.flatMap(inner =>
        explain({ ...inner, path: [...path, ...inner.path] }, root, shows),
      );
    }
    default:
      // Formats and refinements carry their own sentence in the schema, without the value.
      return one(issue.message);
  }
}

/** The shape that was meant: the one with the fewest issues, if no other is as near. */
function closestBranch(branches: readonly Issue[][]): Issue[] | undefined {
  const open = branches
    .filter(issues => issues.every(issue => issue.path.length > 0 || 'keys' in issue))
    .toSorted((a, b) => a.length - b.length);
  const [first, second] = open;
  return first && second?.length === first.length ? undefined : first;
}

function mustBeOneOf(allowed: readonly string[], value: unknown, got: string): string {
  const list = allowed.map(word => JSON.stringify(word)).join(', ');
  const must = allowed.length === 1 ? `must be ${list}` : `must be one of ${list}`;
  if (value === undefined) return `is missing; it ${must}`;
  if (typeof value !== 'string') return `${must} (got ${kindOf(value)})`;
  const meant = got === '' ? undefined : nearest(value, allowed);
  return `${must}${got}${meant === undefined ? '' : `; did you mean "${meant}"?`}`;
}

function unknownKey(path: Path, key: string, known: readonly string[]): Explained {
  const meant = nearest(key, known);
  const hint = meant === undefined ? `known here: ${known.join(', ')}` : `did you mean "${meant}"?`;
  return { path, message: `there is no key ${quoted(key)} here; ${hint}`, onKey: true };
}

function kindOf(value: unknown): string {
  if (value === null) return 'nothing';
  if (Array.isArray(value)) return KINDS.array ?? '';
  return KINDS[typeof value] ?? typeof value;
}

/** What stands at a path of the parsed value. */
export function valueAt(root: unknown, path: Path): unknown {
  let value = root;
  for (const step of path) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, step))
      return undefined;
    value = Reflect.get(value, step);
  }
  return value;
}
