// Builders for flags, routes and folders of flag files.
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pino from 'pino';
import { ConfigSchema, type RouteConfig } from '../../src/config/schema.ts';
import { editShare } from '../../src/rules/flag-edit.ts';
import type { FeatureLike, StrategyLike, VariantLike } from '../../src/rules/flag-shape.ts';

export const silent = pino({ level: 'silent' });

export function route(name = 'events', flags: RouteConfig['flags'] = {}): RouteConfig {
  const given = { name, path: `/${name}`, protocol: 'websocket', flags };
  return ConfigSchema.shape.routes.element.parse(given);
}

export function subject(id: string) {
  return { id, aliases: [] };
}

export function feature(name: string, rest: Partial<FeatureLike> = {}): FeatureLike {
  return { name, enabled: true, strategies: [], ...rest };
}

export function everybody(variants?: readonly VariantLike[]): StrategyLike {
  return {
    name: 'default',
    parameters: {},
    constraints: [],
    ...(variants === undefined ? {} : { variants }),
  };
}

/** A strategy for these users alone, with the variant that they get. */
export function pin(users: readonly string[], variant: string): StrategyLike {
  return {
    name: 'default',
    parameters: {},
    constraints: [{ contextName: 'userId', operator: 'IN', inverted: false, values: users }],
    variants: [{ name: variant, weight: 1000, stickiness: 'userId' }],
  };
}

export function serve(share: number, name = 'events.serve'): FeatureLike {
  return editShare(undefined, { name, variant: 'candidate', other: 'legacy', share });
}

export function shadow(share: number, name = 'events.shadow'): FeatureLike {
  return editShare(undefined, { name, variant: 'on', other: 'off', share });
}

export function kill(enabled: boolean, name = 'events.kill'): FeatureLike {
  return feature(name, { enabled, strategies: [everybody()] });
}

export function fileOf(...features: readonly FeatureLike[]): string {
  return `${JSON.stringify({ version: 2, features }, null, 2)}\n`;
}

/** A folder of its own with these files, and how to be rid of it. */
export async function folder(files: Readonly<Record<string, string>> = {}) {
  const dir = await mkdtemp(join(tmpdir(), 'cutover-flags-'));
  for (const [name, text] of Object.entries(files)) await writeFile(join(dir, name), text);
  return { dir, remove: () => rm(dir, { recursive: true, force: true }) };
}
