// The configuration's shape as JSON Schema: for editors, and for the keys that are known somewhere.
import { z } from 'zod';
import type { Path } from './problem.ts';
import { ConfigSchema } from './schema.ts';

type JsonSchema = z.core.JSONSchema.BaseSchema;

/** JSON Schema (draft 2020-12) of what may stand in a file, with a description for each field. */
export function configJsonSchema(): JsonSchema {
  return z.toJSONSchema(ConfigSchema, {
    target: 'draft-2020-12',
    io: 'input',
    override: ({ jsonSchema }) => allowVariable(jsonSchema),
  });
}

/**
 * Keys that the schema knows in the mapping at `path`. `value` is the mapping itself: where the
 * schema has several shapes (an identity source), its constants say which one is meant.
 */
export function knownKeys(path: Path, value: unknown): string[] {
  let shapes: JsonSchema[] = [configJsonSchema()];
  for (const step of path) {
    shapes = shapes.flatMap(branches).flatMap(shape => {
      const next = typeof step === 'number' ? shape.items : shape.properties?.[String(step)];
      return typeof next === 'object' && !Array.isArray(next) ? [next] : [];
    });
  }
  const keys = shapes
    .flatMap(branches)
    .filter(shape => constantsFit(shape, value))
    .flatMap(shape => Object.keys(shape.properties ?? {}));
  return [...new Set(keys)];
}

/** Anything but free text may also be a `${VARIABLE}`, which an editor should not underline. */
function allowVariable(schema: JsonSchema): void {
  const { type, enum: allowed, pattern, format } = schema;
  const constrained = allowed !== undefined || pattern !== undefined || format !== undefined;
  if (type !== 'integer' && type !== 'boolean' && !constrained) return;
  const { description, default: preset, ...own } = schema;
  for (const key of Object.keys(own)) delete schema[key];
  schema.anyOf = [own, { type: 'string', pattern: '\\$\\{' }];
}

function branches(schema: JsonSchema): JsonSchema[] {
  const several = schema.anyOf ?? schema.oneOf;
  if (several === undefined) return [schema];
  return several.filter(branch => typeof branch === 'object').flatMap(branches);
}

function constantsFit(shape: JsonSchema, value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return true;
  return Object.entries(shape.properties ?? {}).every(([key, property]) => {
    if (typeof property !== 'object' || property.const === undefined) return true;
    const given = new Map(Object.entries(value)).get(key) ?? property.default;
    return given === property.const;
  });
}
