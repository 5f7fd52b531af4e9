// The pieces of a configuration that are sound by themselves, so that one mistake in a file does not
// hide the next one in another piece.
import type { z } from 'zod';
import { valueAt } from './explain.ts';
import { type Config, ConfigSchema, type RouteConfig, type UpstreamConfig } from './schema.ts';

export interface Parts {
  readonly listen: Config['listen'] | undefined;
  readonly admin: Config['admin'] | undefined;
  readonly legacy: UpstreamConfig | undefined;
  readonly candidate: UpstreamConfig | undefined;
  readonly legacyTwin: UpstreamConfig | undefined;
  /** With their places in the file. */
  readonly routes: readonly (readonly [index: number, route: RouteConfig])[];
  readonly identity: Config['identity'] | undefined;
  readonly flags: Config['flags'] | undefined;
}

/** Reads every piece of `value` that fits its part of the schema. */
export function soundParts(value: unknown): Parts {
  const { listen, admin, upstreams, routes, identity, flags } = ConfigSchema.shape;
  const part = <T>(schema: z.ZodType<T>, ...path: string[]): T | undefined =>
    schema.safeParse(valueAt(value, path)).data;
  const list = valueAt(value, ['routes']);
  return {
    listen: part(listen, 'listen'),
    admin: part(admin, 'admin'),
    legacy: part(upstreams.shape.legacy, 'upstreams', 'legacy'),
    candidate: part(upstreams.shape.candidate, 'upstreams', 'candidate'),
    legacyTwin: part(upstreams.shape.legacyTwin, 'upstreams', 'legacyTwin'),
    routes: (Array.isArray(list) ? list : []).flatMap((entry, index) => {
      const { data } = routes.element.safeParse(entry);
      return data === undefined ? [] : [[index, data] as const];
    }),
    identity: part(identity, 'identity'),
    flags: part(flags, 'flags'),
  };
}
